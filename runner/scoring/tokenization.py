"""Tokenization: texts as token ids, and nothing but the texts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """The ids of one text: no BOS is added, and a literal `<bos>` in it is tokenised as characters."""
    return encode_texts(tokenizer, [text])[0]


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The ids of each text, as `encode_text` gives them.

    Uses the tokenizer's backend, because transformers' own switch for special tokens in a text exists on the newest
    versions only. Turns off the truncation and the padding that tokenizer.json may ask for: the first would lose words,
    the second would make the ids of a text depend on its neighbours."""
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()
    # newer ones have a way without the places of the tokens in the text: the same ids in a third of the time
    encode = getattr(backend, "encode_batch_fast", backend.encode_batch)
    return [list(encoding.ids) for encoding in encode(list(texts), add_special_tokens=False)]


def tokenizer_digest(tokenizer: Any) -> str:
    """SHA-256 of a tokenizer: its vocabulary, merges and rules."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()
