"""The encoded dataset: records as token ids, together with the prompt that they were encoded for."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from runner.data.records import Record, RecordFile
from runner.errors import DataError
from runner.language import tr, trn
from runner.scoring.prompt import Prompt
from runner.scoring.token_store import Example, Rows, stored_tokens
from runner.scoring.tokenization import encode_texts
from runner.system.console import progress

BAR_AFTER = 1
"""Seconds of tokenising after which a progress bar appears."""


class Suffixes(Rows):
    """The suffixes of some records: the ids of each input, cut to the room there is, and the fixed words after it."""

    def __init__(self, inputs: Sequence[list[int]], chosen: Sequence[int], room: int, tail: Sequence[int]) -> None:
        """`chosen`: numbers of the inputs that are used."""
        self.inputs, self.chosen, self.room, self.tail = inputs, chosen, room, list(tail)

    def __len__(self) -> int:
        return len(self.chosen)

    def row(self, number: int) -> list[int]:
        """The suffix of one record."""
        return self.inputs[self.chosen[number]][: self.room] + self.tail

    def lengths(self) -> list[int]:
        """The number of ids of each suffix."""
        sizes = _lengths(self.inputs)
        return [min(sizes[number], self.room) + len(self.tail) for number in self.chosen]


class BothOrders(Rows):
    """The suffixes of some records in both orders, one after the other: 2 × i is record i, 2 × i + 1 is record i swapped."""

    def __init__(self, plain: Sequence[list[int]], swapped: Sequence[list[int]]) -> None:
        self.orders = (plain, swapped)

    def __len__(self) -> int:
        return 2 * len(self.orders[0])

    def row(self, number: int) -> list[int]:
        """The suffix of one record in one order."""
        return self.orders[number % 2][number // 2]

    def lengths(self) -> list[int]:
        """The number of ids of each suffix."""
        return [length for pair in zip(*map(_lengths, self.orders)) for length in pair]


@dataclass(frozen=True)
class EncodedDataset:
    """Records as token ids. An example is the prompt's prefix and the suffix of one record."""

    prompt: Prompt
    """The prompt that they were encoded for."""
    suffixes: Sequence[list[int]]
    """One list of ids for each record; those of a file are read when they are asked for."""
    targets: Sequence[int] = ()
    """The number of the right label of each record; empty for records without labels."""
    truncated: int = 0
    """Records whose input was cut at its end."""
    dropped: int = 0
    """Training records that were left out because they are too long."""
    swapped: Optional[EncodedDataset] = None
    """The same records with the columns of `task.swap` exchanged, where prediction averages over both orders."""
    name: str = "dev"
    """What messages call the records: `training`, `hold-out`, `dev`."""

    def __len__(self) -> int:
        return len(self.suffixes)

    def lengths(self) -> list[int]:
        """The number of ids of each suffix. Suffixes in a file are not read for it."""
        return _lengths(self.suffixes)


def encode_records(prompt: Prompt, records: Iterable[Record], name: str, may_drop: bool = False) -> EncodedDataset:
    """Encodes records that are in memory.

    Args:
        prompt: The task's prompt.
        records: Records with `instruction`, `input` and, all or none of them, `output`.
        name: What messages call the records: `training`, `hold-out`, `dev`.
        may_drop: Whether a record that is too long may be left out, where the recipe says `drop-from-train`.

    Raises:
        DataError: A record is too long and the recipe says `error`, or it has another instruction than the prompt.
    """
    examples = list(_examples(prompt, records, name))
    inputs = encode_texts(prompt.tokenizer, [example.text for example in examples])
    targets = [example.target for example in examples if example.target is not None]
    return _fitted(prompt, inputs, targets, name, may_drop)


def encode_orders(
    prompt: Prompt, records: Iterable[Record], swapped: Optional[Iterable[Record]], name: str
) -> EncodedDataset:
    """Encodes records to predict, and the swapped ones, as `encode_records` does; `swapped`: None where only one order is used.

    Raises DataError as `encode_records` does, and where the two do not have the same number of records."""
    dataset = encode_records(prompt, records, name)
    if swapped is None:
        return dataset
    other = encode_records(prompt, swapped, tr("{name}, swapped", name=name))
    if len(other) != len(dataset):
        raise DataError(
            tr(
                "{name}: expected {dataset_count} swapped records, found {other_count}",
                name=name,
                dataset_count=len(dataset),
                other_count=len(other),
            ),
            tr("run the prepare stage again: --stages prepare --fresh"),
        )
    return dataclasses.replace(dataset, swapped=other)


def encode_file(prompt: Prompt, file: RecordFile, name: str, store: Path, may_drop: bool = False) -> EncodedDataset:
    """Encodes a file of records as `encode_records` does, and keeps the tokens in the folder `store`.

    The file is read once; and only to compute its digest where the store has its tokens. No record stays in memory."""
    digest = file.digest()
    parts = [digest, prompt.tokenizer_digest, prompt.instruction, prompt.labels]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def examples() -> Iterator[Example]:
        yield from progress(None, tr("tokenize {name} rows", name=name), _examples(prompt, file, name), delay=BAR_AFTER)
        if file.digest() != digest:
            raise DataError(
                tr("{shown}: the records changed while they were read", shown=file.shown),
                tr("run again when they are finished"),
            )

    inputs = stored_tokens(store, key, prompt.tokenizer, examples())
    return _fitted(prompt, inputs, inputs.targets(), name, may_drop)


def _examples(prompt: Prompt, records: Iterable[Record], name: str) -> Iterator[Example]:
    """Raises DataError where a record has another instruction than the prompt."""
    number_of = {label: number for number, label in enumerate(prompt.labels)}
    for number, record in enumerate(records, 1):
        if record["instruction"] != prompt.instruction:
            raise DataError(
                tr(
                    "{name}: record {number}: expected the instruction {instruction!r}, found {instruction_2!r}",
                    name=name,
                    number=number,
                    instruction=prompt.instruction,
                    instruction_2=record["instruction"],
                ),
                tr("run the prepare stage again: --stages prepare --fresh"),
            )
        yield Example(record["input"], number_of[record["output"]] if "output" in record else None)


def _fitted(
    prompt: Prompt, inputs: Sequence[list[int]], targets: Sequence[int], name: str, may_drop: bool
) -> EncodedDataset:
    """The dataset in which no example is longer than the prompt allows."""
    room = prompt.max_length - len(prompt.prefix) - len(prompt.tail)
    lengths = _lengths(inputs)
    too_long = [number for number, length in enumerate(lengths) if length > room]
    if too_long and prompt.too_long == "error":
        worst = max(too_long, key=lengths.__getitem__)
        tokens = lengths[worst] + prompt.max_length - room
        fits = tokens <= prompt.positions
        most = tr("prompt.max_length = {max_length} tokens", max_length=prompt.max_length)
        if prompt.max_length == prompt.positions:
            most = tr("the {positions} tokens that this base reads", positions=prompt.positions)
        raise DataError(
            trn(
                "{name}: 1 record is longer than {most}, the longest is record {record} with {tokens}",
                "{name}: {count} records are longer than {most}, the longest is record {record} with {tokens}",
                len(too_long),
                name=name,
                most=most,
                record=worst + 1,
                tokens=tokens,
            ),
            tr(
                "raise prompt.max_length to {tokens}, or choose prompt.too_long: truncate or drop-from-train",
                tokens=tokens,
            )
            if fits
            else tr("shorten the text, or choose prompt.too_long: truncate or drop-from-train"),
        )
    dropped = set(too_long) if may_drop and prompt.too_long == "drop-from-train" else set()
    chosen = [number for number in range(len(inputs)) if number not in dropped]
    return EncodedDataset(
        prompt,
        Suffixes(inputs, chosen, room, prompt.tail),
        [targets[number] for number in chosen] if targets else [],
        truncated=len(too_long) - len(dropped),
        dropped=len(dropped),
        name=name,
    )


def _lengths(rows: Sequence[list[int]]) -> list[int]:
    return rows.lengths() if isinstance(rows, Rows) else [len(row) for row in rows]
