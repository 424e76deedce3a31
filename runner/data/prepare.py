"""Prepare: a task's tables become the contract's records, in `pre_data/{dataset}/`.

The training file is read twice: the first pass checks every row, the second writes the drawn ones. Between them only a label
and a hash of each row are in memory.
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
"""Bad rows that one message names; the others are counted."""


def prepare(recipe: Recipe, train: Table, dev: Table, workspace: Workspace) -> Mapping[str, Any]:
    """Writes the training, hold-out and dev records and returns the counts.

    Raises DataError for rows that cannot be read (unless the recipe skips them), too few rows, or a label without rows."""
    for table in (train, dev):
        for note in table.notes:
            log.info(f"{table.shown}: {note}")
    dev_records, dev_keys, dev_problems = _dev_records(recipe, dev)
    for row in dev_problems[:SHOWN_PROBLEMS]:
        log.info(f"{dev.shown}:{row.line}: {row.problem}; not skipped: every dev row has its line in the result")
    scan = _scan(recipe, train)
    _report_bad_rows(recipe, train, scan)
    repeated = _repeated(scan)
    unique = [key not in repeated and key not in dev_keys for key in scan.keys]
    chosen = draw(scan.labels, unique, recipe.samples, recipe.task.labels)
    _write_labelled(
        recipe, train, workspace, *({scan.lines[row] for row in rows} for rows in (chosen.train, chosen.holdout))
    )
    write_records(workspace.at(workspace.dev), dev_records)
    counts = {
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
    for line in _summary(counts):
        log.info(line)
    return counts


def _write_labelled(
    recipe: Recipe, table: Table, workspace: Workspace, train_lines: Set[int], holdout_lines: Set[int]
) -> None:
    """Writes the training and the hold-out records, in one pass over the table."""
    holdout: list[Record] = []

    def training() -> Iterator[Record]:
        for line, record in _labelled_records(recipe, table, train_lines | holdout_lines):
            if line in holdout_lines:
                holdout.append(record)
            else:
                yield record

    write_records(workspace.at(workspace.train), training())
    write_records(workspace.at(workspace.holdout), holdout)


@dataclass(frozen=True)
class _Scan:
    """The result of the first pass: a few bytes for every good training row."""

    lines: array[int]
    """The line that the row begins on."""
    labels: array[int]
    """The number of its label."""
    keys: array[int]
    """A hash of its input, equal for equal inputs in this process."""
    bad: Counter[str]
    """Counts of bad rows by the wrong part: the `row`, or its `label`."""
    examples: list[Row]
    """The first bad rows."""
    empty: int
    """Good rows with an empty input column."""


def _scan(recipe: Recipe, table: Table) -> _Scan:
    """The first pass over the training file."""
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
    """The labels of every input that is in more than one row, by its key.

    Only keys whose last bits are equal can be equal, and those are few. A table of these bits takes a quarter of the time of
    sorting all keys, and less memory than a set of them."""
    # one byte each, eleven times the rows of the full QQP
    last_bits = (1 << 22) - 1
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


def _report_bad_rows(recipe: Recipe, table: Table, scan: _Scan) -> None:
    """Logs the bad rows that the recipe skips. Raises DataError where it does not skip them."""
    count = sum(scan.bad.values())
    if not count:
        return
    lines = [f"{table.shown}:{row.line}: {row.problem}" for row in scan.examples]
    if count > len(lines):
        lines.append(f"{table.shown}: and {count - len(lines)} more bad rows")
    if recipe.task.bad_rows == "error":
        raise DataError("\n".join(lines), "fix the rows, or set task.bad_rows: skip to leave them out")
    for line in lines:
        log.info(f"{line}; skipped")


def _dev_records(recipe: Recipe, table: Table) -> tuple[list[Record], set[int], list[Row]]:
    """The dev records, the hashes of their inputs, and the bad rows among them."""
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
            "set samples.dev: all to predict all rows",
        )
    return records, keys, problems


def _labelled_records(recipe: Recipe, table: Table, lines: Set[int]) -> Iterator[tuple[int, Record]]:
    """The records of the good rows that begin on these lines, in the file's order, each with its line number."""
    label_at, fill, count = table.columns.index(recipe.task.label), _filler(recipe, table), 0
    for line, fields, _ in table.rows(only=lines):
        yield line, {"instruction": recipe.instruction, "input": fill(fields), "output": fields[label_at]}
        count += 1
    if count < len(lines):
        raise table_changed(table)


def table_changed(table: Table) -> DataError:
    """The error of a table that was written while it was read."""
    return DataError(f"{table.shown}: changed while it was read", "run again when it is finished")


def _input_columns(recipe: Recipe, table: Table) -> list[int]:
    return [
        table.columns.index(name) for _, name, _, _ in string.Formatter().parse(recipe.task.input) if name is not None
    ]


def _filler(recipe: Recipe, table: Table) -> Callable[[Sequence[str]], str]:
    """A function from a row's fields to the record's input. It is made once, because every row of the file calls it."""
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


def _summary(counts: Mapping[str, Any]) -> Iterator[str]:
    def shares(of: Mapping[str, int]) -> str:
        total = sum(of.values())
        return f"{total:,} rows ({', '.join(f'{label}: {count / total:.1%}' for label, count in of.items())})"

    yield f"labelled {shares(counts['labels'])}; training {shares(counts['train'])}; hold-out {shares(counts['holdout'])}"
    skipped = sum(counts["bad_rows"].values())
    for count, words in (
        (skipped, "bad training rows skipped"),
        (counts["bad_dev_rows"], "bad dev rows, not skipped"),
        (counts["empty_inputs"], "labelled rows with an empty input column"),
        (counts["repeated_inputs"], "inputs are in several labelled rows (none of them in the hold-out)"),
        (counts["inputs_with_two_labels"], "of those have two labels"),
        (
            counts["dev_inputs_among_labelled"],
            "dev inputs are also in labelled rows (none of them in the hold-out)",
        ),
        (counts["dev_inputs_in_training"], "of those were drawn for training"),
    ):
        if count:
            yield f"{count:,} {words}"
