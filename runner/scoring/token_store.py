"""The token store: many texts tokenised once and then read from disk, named by their contents."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Union, overload

from runner.errors import DataError
from runner.scoring.tokenization import encode_texts
from runner.system.files import aside_in, intact, seal, sealed

ENCODED_AT_ONCE = 1000
"""Texts tokenised between two writes: as many rows are in memory."""


class Rows(Sequence[list[int]]):
    """Rows of token ids that are read when they are asked for."""

    @abstractmethod
    def row(self, number: int) -> list[int]:
        """The row of that number, from 0 to before the end."""

    @overload
    def __getitem__(self, place: int) -> list[int]: ...

    @overload
    def __getitem__(self, place: slice) -> list[list[int]]: ...

    def __getitem__(self, place: Union[int, slice]) -> Any:
        if isinstance(place, slice):
            return [self.row(number) for number in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"row {place} of {len(self)}")
        return self.row(place % len(self))


class Joined(Rows):
    """The rows of one sequence, and behind them those of another."""

    def __init__(self, first: Sequence[list[int]], second: Sequence[list[int]]) -> None:
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def row(self, number: int) -> list[int]:
        """The row of one of them."""
        behind = number - len(self.first)
        return self.second[behind] if behind >= 0 else self.first[number]


class TokenRows(Rows):
    """Rows of an Arrow file that is mapped into memory, so all of QQP takes no more memory than a few rows do."""

    def __init__(self, path: Path) -> None:
        import datasets

        self._kept = datasets.Dataset.from_file(str(path))  # holds the mapping
        self._chunks = [
            (chunk.offsets.to_numpy(), chunk.values.to_numpy()) for chunk in self._kept.data.column("ids").chunks
        ]
        self._starts = list(itertools.accumulate((len(offsets) - 1 for offsets, _ in self._chunks), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def row(self, number: int) -> list[int]:
        """The ids of one text."""
        chunk = bisect.bisect_right(self._starts, number) - 1
        offsets, values = self._chunks[chunk]
        place = number - self._starts[chunk]
        ids: list[int] = values[offsets[place] : offsets[place + 1]].tolist()
        return ids

    def lengths(self) -> list[int]:
        """The number of ids of each row, without reading them."""
        return [length for offsets, _ in self._chunks for length in (offsets[1:] - offsets[:-1]).tolist()]


def kept_texts(tokenizer: Any, digest: str, texts: Callable[[], Iterable[str]], folder: Path) -> TokenRows:
    """The same, kept in `folder` as an Arrow file that the tokenizer's `digest` and the texts' contents name.

    `texts` gives them anew at each call: once to know them, and again where they have to be tokenised. A file that is
    damaged is made anew."""
    hasher = hashlib.sha256(digest.encode())
    for text in texts():
        _add(hasher, text)
    key = hasher.hexdigest()[:32]
    kept = sealed(folder, key, ".arrow")
    if kept is not None and not intact(kept):
        kept.unlink()
        kept = None
    return TokenRows(kept or _store(tokenizer, digest, texts(), folder, key))


def _add(hasher: Any, text: str) -> None:
    hasher.update(f"{len(text)}\0{text}".encode("utf-8", "surrogatepass"))


def _store(tokenizer: Any, digest: str, texts: Iterable[str], folder: Path, key: str) -> Path:
    """Writes the ids of the texts, some at a time, aside and seals the file. Raises DataError where they are not those that
    the key was made of."""
    import pyarrow as pa  # datasets brings it and reads its files

    folder.mkdir(parents=True, exist_ok=True)
    aside = aside_in(folder, key)
    schema = pa.schema([("ids", pa.list_(pa.int32()))])
    left, hasher = iter(texts), hashlib.sha256(digest.encode())
    with aside.open("wb") as file:
        with pa.ipc.new_stream(file, schema) as stream:
            while some := list(itertools.islice(left, ENCODED_AT_ONCE)):
                for text in some:
                    _add(hasher, text)
                ids = encode_texts(tokenizer, some)
                stream.write_batch(pa.record_batch([pa.array(ids, schema.field("ids").type)], schema=schema))
        file.flush()
        os.fsync(file.fileno())
    if hasher.hexdigest()[:32] != key:
        aside.unlink()
        raise DataError(
            f"{folder.parent.parent}: the records changed while they were read", "run again when they are finished"
        )
    return seal(aside, key, ".arrow")
