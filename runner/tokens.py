"""The tokens: texts as ids, and nothing but the texts; many of them once and then from disk, by content."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runner.files import folder_aside


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


def kept_texts(tokenizer: Any, digest: str, texts: Sequence[str], folder: Path) -> list[list[int]]:
    """The same, kept in `folder` as an Arrow table that the tokenizer's `digest` and the texts' contents name.

    A table that cannot be read is made anew."""
    import datasets

    hasher = hashlib.sha256(digest.encode())
    hasher.update(json.dumps(list(texts)).encode())
    path = folder / hasher.hexdigest()[:32]
    if path.is_dir():
        try:
            kept = list(datasets.load_from_disk(str(path))["ids"])
        except Exception:  # a damaged table raises what it likes; it is made again
            kept = []
        if len(kept) == len(texts):
            return kept
        shutil.rmtree(path)
    ids = encode_texts(tokenizer, texts)
    datasets.disable_progress_bars()  # a bar of its own for each table would break ours
    with folder_aside(path) as aside:
        datasets.Dataset.from_dict({"ids": ids}).save_to_disk(str(aside))
    return ids
