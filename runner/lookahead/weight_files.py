"""The weight files of a base: the names, shapes and types of their tensors, from their headers, and whether they are whole.

Format: https://github.com/huggingface/safetensors. No value is read.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.errors import UserError

HEADER_LIMIT = 100 << 20
"""Most bytes of a header; the library's own limit."""

AGAIN = "download or copy it again"


@dataclass(frozen=True)
class Tensor:
    """One tensor, without its values."""

    shape: tuple[int, ...]
    dtype: str
    """As the file writes it: `BF16`, `F32`."""

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name. Raises UserError where the file is not whole."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else HEADER_LIMIT + 1
        if length > min(size, HEADER_LIMIT):
            raise UserError(f"base: {path} ({size:,} bytes) is not a safetensors file", AGAIN)
        text = file.read(length)
    try:
        tree: dict[str, Any] = json.loads(text)
        tree.pop("__metadata__", None)
        tensors = {name: Tensor(tuple(entry["shape"]), str(entry["dtype"])) for name, entry in tree.items()}
        end = max((int(entry["data_offsets"][1]) for entry in tree.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UserError(f"base: {path} has a header that cannot be read", AGAIN) from None
    if 8 + length + end != size:
        raise UserError(
            f"base: {path} is not whole: its header says {8 + length + end:,} bytes, and it has {size:,}", AGAIN
        )
    return tensors


def missing_tensors(folder: Path, tensors: Iterable[str]) -> list[str]:
    """The tensors that an index in the folder names and no file has."""
    named: set[str] = set()
    for index in folder.glob("*.safetensors.index.json"):
        named |= set(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    return sorted(named - set(tensors))


def types_of(tensors: Mapping[str, Tensor]) -> str:
    """The types of the values, the most frequent first."""
    sizes: Counter[str] = Counter()
    for tensor in tensors.values():
        sizes[tensor.dtype] += tensor.size
    return ", ".join(name.lower() for name, _ in sizes.most_common(3))
