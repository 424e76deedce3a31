"""The tokens: texts as ids, and nothing but the texts; many of them once and then from disk, by content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """The ids of one text: no BOS is added and a literal `<bos>` in it is spelled out."""
    return encode_texts(tokenizer, [text])[0]


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The ids of each text, as `encode_text` gives them.

    Goes to the tokenizer's backend because transformers' own switch for special tokens in a text exists on the newest
    stack only. A cut or a filling that tokenizer.json may ask for is turned off: one would lose words, the other would
    make a row's ids depend on its neighbours."""
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()
    return [list(encoding.ids) for encoding in backend.encode_batch(list(texts), add_special_tokens=False)]


def tokenizer_digest(tokenizer: Any) -> str:
    """SHA-256 of a tokenizer: its vocabulary, merges and rules."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()
