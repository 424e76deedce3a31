"""The token store: texts are tokenised once, written to an Arrow file, and read from there."""

from __future__ import annotations

import bisect
import itertools
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union, overload

from runner.scoring.tokenization import encode_texts
from runner.system.content_store import ContentStore

ENCODED_AT_ONCE = 1000
"""Texts tokenised between two writes, and so the number of texts in memory."""


class Example(NamedTuple):
    """A record before tokenising."""

    text: str
    """Its input."""
    target: Optional[int]
    """The number of its right label; None: it has no label."""


class Rows(Sequence[list[int]]):
    """Rows of token ids, each read when it is asked for."""

    @abstractmethod
    def row(self, number: int) -> list[int]:
        """The row of that number, counted from 0."""

    @abstractmethod
    def lengths(self) -> list[int]:
        """The number of ids of each row. No row is read for it."""

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


class TokenRows(Rows):
    """Rows of an Arrow file that is mapped into memory: all of QQP takes no more memory than a few rows."""

    def __init__(self, path: Path) -> None:
        import datasets

        # it holds the mapping
        self._table = datasets.Dataset.from_file(str(path)).data
        self._chunks = [
            (chunk.offsets.to_numpy(), chunk.values.to_numpy()) for chunk in self._table.column("ids").chunks
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
        """The number of ids of each text."""
        return [length for offsets, _ in self._chunks for length in (offsets[1:] - offsets[:-1]).tolist()]

    def targets(self) -> list[int]:
        """The target of each example; empty for examples without labels."""
        return [target for target in self._table.column("target").to_pylist() if target is not None]


def stored_tokens(folder: Path, key: str, tokenizer: Any, examples: Iterable[Example]) -> TokenRows:
    """The tokens of these examples, from `folder` where they are stored under `key`, else tokenised and stored now.

    `examples` is read only in the second case, and once. An error that it raises leaves nothing in the store."""
    store = ContentStore(folder, ".arrow")
    return TokenRows(store.get(key) or store.put(key, lambda path: _write(path, tokenizer, examples)))


def _write(path: Path, tokenizer: Any, examples: Iterable[Example]) -> None:
    # datasets depends on pyarrow and reads its files
    import pyarrow as pa

    schema = pa.schema([("ids", pa.list_(pa.int32())), ("target", pa.int32())])
    left = iter(examples)
    with path.open("xb") as file, pa.ipc.new_stream(file, schema) as stream:
        while some := list(itertools.islice(left, ENCODED_AT_ONCE)):
            ids = encode_texts(tokenizer, [example.text for example in some])
            columns = [pa.array(ids, schema.field("ids").type), pa.array([one.target for one in some], pa.int32())]
            stream.write_batch(pa.record_batch(columns, schema=schema))
