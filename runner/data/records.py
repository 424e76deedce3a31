"""The records on disk: the output of prepare and the input of the other stages, written and read one at a time.

As Python objects, the training records of QQP take hundreds of megabytes, so no stage has all of them in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from grading import contract
from runner.errors import DataError
from runner.language import mark, tr
from runner.system.files import digest, open_atomic
from runner.workspace.paths import Workspace

Record = dict[str, str]
"""`instruction`, `input` and, where the row has a label, `output`."""

_NEXT_STEP = mark("run the prepare stage again: --stages prepare --fresh")


class RecordFile(Iterable[Record]):
    """The records of a file that `write_records` wrote. Each iteration reads the file."""

    def __init__(self, path: Path, shown: str, keys: Sequence[str], labels: Sequence[str]) -> None:
        """`shown`: the file's name in messages. `keys`, `labels`: those that the contract allows in a record."""
        self.path, self.shown, self.keys, self.labels = path, shown, keys, labels

    def __iter__(self) -> Iterator[Record]:
        """Raises DataError where the file is missing or a record breaks the contract."""
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(file):
                    if line.rstrip() not in (b"[", b"]", b"[]"):
                        yield self._record(number, line.rstrip().rstrip(b","))
        except OSError as error:
            raise DataError(f"{self.shown}: {error.strerror}", _NEXT_STEP) from None

    def digest(self) -> str:
        """SHA-256 of the file. Raises DataError where it cannot be read."""
        try:
            return digest(self.path)
        except OSError as error:
            raise DataError(f"{self.shown}: {error.strerror}", _NEXT_STEP) from None

    def _record(self, number: int, line: bytes) -> Record:
        try:
            record = contract.parse_json(line)
            problem = contract.record_problem(record, self.keys, self.labels)
        except contract.ContractError as error:
            problem = str(error)
        if problem:
            raise DataError(
                tr("{shown}: record {number}: {problem}", shown=self.shown, number=number, problem=problem), _NEXT_STEP
            )
        return dict(record)


@dataclass(frozen=True)
class Records:
    """The records of one task."""

    train: RecordFile
    """Training records."""
    holdout: RecordFile
    """Held-out records, with their answers."""
    dev: RecordFile
    """Records to predict, without answers, record *i* for dev row *i*."""
    holdout_swapped: RecordFile
    """The held-out records with the columns of `task.swap` exchanged; there only where the recipe has that key."""
    dev_swapped: RecordFile
    """The same of the records to predict."""


def records_of(workspace: Workspace, labels: Sequence[str]) -> Records:
    """The records that prepare wrote in a workspace."""

    def file(name: str, keys: Sequence[str]) -> RecordFile:
        return RecordFile(workspace.at(name), name, keys, labels)

    return Records(
        file(workspace.train, contract.TRAIN_KEYS),
        file(workspace.holdout, contract.TRAIN_KEYS),
        file(workspace.dev, contract.DEV_KEYS),
        file(workspace.holdout_swapped, contract.TRAIN_KEYS),
        file(workspace.dev_swapped, contract.DEV_KEYS),
    )


def inputs_digest(records: Iterable[Record]) -> str:
    """SHA-256 over the inputs alone, in order: the same rows with another instruction have the same."""
    hasher = hashlib.sha256()
    for record in records:
        hasher.update(hashlib.sha256(record["input"].encode()).digest())
    return hasher.hexdigest()


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Writes a file of records in the contract's format, completely or not at all."""
    with open_atomic(path) as file:
        file.writelines(contract.format_records(records))
