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
    stack only."""
    backend = tokenizer.backend_tokenizer
    backend.encode_special_tokens = True
    return [list(encoding.ids) for encoding in backend.encode_batch(list(texts), add_special_tokens=False)]


def kept_texts(tokenizer: Any, texts: Sequence[str], folder: Path) -> list[list[int]]:
    """The same, kept in `folder` as an Arrow table that the tokenizer's and the texts' contents name.

    A table that cannot be read is made anew."""
    import datasets

    hasher = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode())
    hasher.update(json.dumps(list(texts)).encode())
    path = folder / hasher.hexdigest()[:32]
    if path.is_dir():
        try:
            return list(datasets.load_from_disk(str(path))["ids"])
        except (OSError, ValueError, KeyError):
            shutil.rmtree(path)
    ids = encode_texts(tokenizer, texts)
    datasets.disable_progress_bars()  # a bar of its own for each table would break ours
    with folder_aside(path) as aside:
        datasets.Dataset.from_dict({"ids": ids}).save_to_disk(str(aside))
    return ids
