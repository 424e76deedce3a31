"""Prepare: a task's tables become the contract's records, in `pre_data/{dataset}/`.

Two passes over the training file and nothing of it held but a label and a hash per row: the first reads and checks
every row, the second takes the drawn ones. Knows nothing of models.
"""

from __future__ import annotations

import logging
import string
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import Any

from runner.data.records import Record, write_records
from runner.data.sampling import draw
from runner.data.tsv import Row, Table
from runner.errors import DataError
from runner.recipe.schema import Recipe
from runner.workspace.paths import Workspace

log = logging.getLogger("labeltune.data")

SHOWN_PROBLEMS = 10
"""Bad rows named in one message; the rest are counted."""


def prepare(
    recipe: Recipe,
    train: Table,
    dev: Table,
    workspace: Workspace,
) -> Mapping[str, Any]:
    """Writes the train, hold-out and dev records and returns the counts.

    Raises DataError for rows that cannot be read (unless the recipe skips them), too few rows, or a label without rows."""
    for table in (train, dev):
        for note in table.notes:
            log.info(f"{table.shown}: {note}")
    dev_records, dev_keys, dev_problems = _dev_records(recipe, dev)
    for row in dev_problems[:SHOWN_PROBLEMS]:
        log.info(f"{dev.shown}:{row.line}: {row.problem}; kept all the same, every dev row has its line in the result")
    scan = _scan(recipe, train)
    _judge_bad_rows(recipe, train, scan)
    repeated = _repeated(scan)
    unique = [key not in repeated and key not in dev_keys for key in scan.keys]
    chosen = draw(scan.labels, unique, recipe.samples, recipe.task.labels)
    held_lines = {scan.lines[row] for row in chosen.holdout}
    held: list[Record] = []

    def training() -> Iterator[Record]:
        for line, record in _labelled_records(recipe, train, {scan.lines[row] for row in chosen.train} | held_lines):
            if line in held_lines:
                held.append(record)
            else:
                yield record

    write_records(workspace.at(workspace.train), training())
    write_records(workspace.at(workspace.holdout), held)
    write_records(workspace.at(workspace.dev), dev_records)
    figures = {
        "rows": len(scan.labels) + sum(scan.bad.values()),
        "bad_rows": dict(scan.bad),
        "labels": _label_counts(recipe, scan.labels),
        "repeated_inputs": len(repeated),
        "inputs_with_two_labels": sum(len(found) > 1 for found in repeated.values()),
        "dev_inputs_among_labelled": len(dev_keys.intersection(scan.keys)),
        "dev_inputs_in_training": len(dev_keys.intersection(scan.keys[row] for row in chosen.train)),
        "bad_dev_rows": len(dev_problems),
        "empty_inputs": scan.empty,
        "train": _label_counts(recipe, (scan.labels[row] for row in chosen.train)),
        "holdout": _label_counts(recipe, (scan.labels[row] for row in chosen.holdout)),
        "dev": len(dev_records),
    }
    for line in _summary(figures):
        log.info(line)
    return figures


@dataclass(frozen=True)
class _Scan:
    """The first pass: what is known of every good training row, a few bytes each."""

    lines: array[int]
    """The line that the row begins on."""
    labels: array[int]
    """Its label's number."""
    keys: array[int]
    """Hash of its input, equal for equal inputs in this process."""
    bad: Counter[str]
    """Bad rows by what is wrong: the `row`, or its `label`."""
    examples: list[Row]
    """The first bad rows."""
    empty: int
    """Good rows with an empty input column."""


def _scan(recipe: Recipe, table: Table) -> _Scan:
    label_at = table.columns.index(recipe.task.label)
    number_of = {label: number for number, label in enumerate(recipe.task.labels)}
    inputs, fill = _input_columns(recipe, table), _filler(recipe, table)
    lines, labels, keys, bad = array("L"), array("L"), array("q"), Counter[str]()
    examples: list[Row] = []
    empty = 0
    for row in table.rows():
        line, fields, problem = row
        label = number_of.get(fields[label_at], -1)
        if problem or label < 0:
            wanted = f"expected the label {' or '.join(recipe.task.labels)}, found {fields[label_at][:40]!r}"
            bad["row" if problem else "label"] += 1
            if len(examples) < SHOWN_PROBLEMS:
                examples.append(row._replace(problem=problem or wanted))
            continue
        empty += not all(map(fields.__getitem__, inputs))
        lines.append(line)
        labels.append(label)
        keys.append(hash(fill(fields)))
    return _Scan(lines, labels, keys, bad, examples, empty)


def _repeated(scan: _Scan) -> dict[int, set[int]]:
    """The labels of every input that stands in more than one row, by its key.

    Only keys whose last bits stand twice can be such, and those are few: a table of those bits costs a quarter of sorting
    all keys, and less memory than a set of them."""
    last_bits = (1 << 22) - 1  # a byte each, eleven times the rows of the full QQP
    taken = bytearray(last_bits + 1)
    suspects = set()
    for key in scan.keys:
        slot = key & last_bits
        if taken[slot]:
            suspects.add(slot)
        taken[slot] = 1
    times = Counter(key for key in scan.keys if key & last_bits in suspects)
    found: dict[int, set[int]] = {key: set() for key, count in times.items() if count > 1}
    for key, label in zip(scan.keys, scan.labels) if found else ():
        if key in found:
            found[key].add(label)
    return found


def _judge_bad_rows(recipe: Recipe, table: Table, scan: _Scan) -> None:
    count = sum(scan.bad.values())
    if not count:
        return
    lines = [f"{table.shown}:{row.line}: {row.problem}" for row in scan.examples]
    if count > len(lines):
        lines.append(f"{table.shown}: and {count - len(lines)} more bad rows")
    if recipe.task.bad_rows == "error":
        raise DataError("\n".join(lines), "mend the rows, or set task.bad_rows: skip to leave them out, counted")
    for line in lines:
        log.info(f"{line}; skipped")


def _dev_records(recipe: Recipe, table: Table) -> tuple[list[Record], set[int], list[Row]]:
    limit = None if recipe.samples.dev == "all" else recipe.samples.dev
    fill = _filler(recipe, table)
    records, keys, problems = [], set(), []
    for row in islice(table.rows(), limit):
        text = fill(row.fields)
        records.append({"instruction": recipe.instruction, "input": text})
        keys.add(hash(text))
        if row.problem:
            problems.append(row)
    if not records:
        raise DataError(f"{table.shown}: expected rows to predict, found none", "check task.dev and task.header")
    if limit is not None and len(records) < limit:
        raise DataError(
            f"{table.shown}: expected {limit} rows (samples.dev), found {len(records)}",
            "set samples.dev: all to predict what is there",
        )
    return records, keys, problems


def _labelled_records(recipe: Recipe, table: Table, lines: Set[int]) -> Iterator[tuple[int, Record]]:
    """The records of the good rows that begin on these lines, in the file's order, each with its line."""
    label_at, fill, count = table.columns.index(recipe.task.label), _filler(recipe, table), 0
    for line, fields, _ in table.rows(only=lines):
        yield line, {"instruction": recipe.instruction, "input": fill(fields), "output": fields[label_at]}
        count += 1
    if count < len(lines):
        raise table_changed(table)


def table_changed(table: Table) -> DataError:
    """The error of a table that somebody writes while it is read."""
    return DataError(f"{table.shown}: changed while it was read", "run again when it is finished")


def _input_columns(recipe: Recipe, table: Table) -> list[int]:
    return [
        table.columns.index(name) for _, name, _, _ in string.Formatter().parse(recipe.task.input) if name is not None
    ]


def _filler(recipe: Recipe, table: Table) -> Callable[[Sequence[str]], str]:
    """A function from a row's fields to the record's input. Called for every row of the file, so made once."""
    columns = _input_columns(recipe, table)
    pattern = "".join(
        text.replace("%", "%%") + ("" if name is None else "%s")
        for text, name, _, _ in string.Formatter().parse(recipe.task.input)
    )
    if len(columns) == 1:
        return lambda fields: pattern % fields[columns[0]]
    pick = itemgetter(*columns)
    return lambda fields: pattern % pick(fields)


def _label_counts(recipe: Recipe, numbers: Iterable[int]) -> dict[str, int]:
    counts = Counter(numbers)
    return {label: counts[number] for number, label in enumerate(recipe.task.labels)}


def _summary(figures: Mapping[str, Any]) -> Iterator[str]:
    def shares(counts: Mapping[str, int]) -> str:
        total = sum(counts.values())
        return f"{total:,} rows ({', '.join(f'{label}: {count / total:.1%}' for label, count in counts.items())})"

    yield f"labelled {shares(figures['labels'])}; training {shares(figures['train'])}; hold-out {shares(figures['holdout'])}"
    skipped = sum(figures["bad_rows"].values())
    for count, words in (
        (skipped, "bad training rows skipped"),
        (figures["bad_dev_rows"], "dev rows that are not as expected, kept all the same"),
        (figures["empty_inputs"], "labelled rows with an empty input column"),
        (figures["repeated_inputs"], "inputs stand in several labelled rows (none of them in the hold-out)"),
        (figures["inputs_with_two_labels"], "of those carry two labels"),
        (
            figures["dev_inputs_among_labelled"],
            "dev inputs also stand among the labelled rows (none of them in the hold-out)",
        ),
        (figures["dev_inputs_in_training"], "of those were drawn for training"),
    ):
        if count:
            yield f"{count:,} {words}"
