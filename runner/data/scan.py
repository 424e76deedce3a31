"""The scan: the first pass over the training file, which checks every row and keeps a few bytes of each."""

from __future__ import annotations

import logging
from array import array
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Optional

from runner.data import labels as label_values
from runner.data.sources import Sources, input_template
from runner.data.table import Table
from runner.data.tsv import Row
from runner.errors import DataError
from runner.language import tr
from runner.recipe.schema import Recipe

log = logging.getLogger("labeltune.data")

SHOWN_PROBLEMS = 10
"""Bad rows that one message names; the others are counted."""

SAMPLE_ROWS, SAMPLE_STEP = 500, 199
"""The first training rows, and one of so many after them, are compared with the dev rows."""


@dataclass(frozen=True)
class Scan:
    """The result of the first pass: a few bytes for every good training row."""

    lines: array[int]
    """The line that the row begins on."""
    places: array[int]
    """Its number among all rows of the file, good or bad, from 0."""
    labels: array[int]
    """The number of its label."""
    keys: array[int]
    """A hash of its input, as in `InputTemplate.key`."""
    bad: Counter[str]
    """Counts of bad rows by the wrong part: the `row`, or its `label`."""
    examples: list[Row]
    """The first bad rows."""
    empty: int
    """Good rows with an empty input column."""
    unknown: Counter[str]
    """Values of the label column that are no labels."""
    sample: list[list[str]]
    """The fields of some good rows from all over the file."""
    repeated: Mapping[int, Set[int]]
    """The labels of every input that is in more than one row, by its key."""

    @property
    def rows(self) -> int:
        """All rows, good or bad."""
        return len(self.labels) + sum(self.bad.values())

    def unique(self, dev_keys: Set[int] = frozenset()) -> list[bool]:
        """For each row, whether its input is in no other row and in no dev row."""
        return [key not in self.repeated and key not in dev_keys for key in self.keys]

    def without(self, rows: Set[int]) -> Scan:
        """The same without some rows, by their numbers here."""
        lines, places, labels, keys = (
            array(each.typecode, (value for row, value in enumerate(each) if row not in rows))
            for each in (self.lines, self.places, self.labels, self.keys)
        )
        return replace(self, lines=lines, places=places, labels=labels, keys=keys)


def scan_rows(recipe: Recipe, sources: Sources) -> Scan:
    """The first pass over the training file: it depends on the recipe's `task` and the excluded rows alone.

    Raises DataError for excluded rows that are not in the file."""
    table, excluded = sources.train, sources.exclusion.texts
    label_at = table.columns.index(recipe.task.label)
    number_of = label_values.numbers(recipe.task)
    inputs = input_template(recipe, table)
    lines, places, labels, keys = array("L"), array("L"), array("L"), array("q")
    bad = Counter[str]()
    examples: list[Row] = []
    sample: list[list[str]] = []
    unknown = Counter[str]()
    empty = 0
    left_out: dict[int, str] = {}
    for place, row in enumerate(table.rows()):
        line, fields, problem = row
        if line in excluded:
            left_out[line] = inputs.fill(fields)
            continue
        label = number_of.get(fields[label_at], -1)
        if problem or label < 0:
            wanted = tr(
                "expected the label {labels}, found {fields!r}",
                labels=tr(" or ").join(recipe.task.labels),
                fields=fields[label_at][:40],
            )
            bad["row" if problem else "label"] += 1
            if not problem:
                label_values.counted(unknown, fields[label_at])
            if len(examples) < SHOWN_PROBLEMS:
                examples.append(row._replace(problem=problem or wanted))
            continue
        empty += not all(map(fields.__getitem__, inputs.columns))
        if len(lines) < SAMPLE_ROWS or not len(lines) % SAMPLE_STEP:
            sample.append(fields)
        places.append(place)
        lines.append(line)
        labels.append(label)
        keys.append(inputs.key(fields))
    sources.exclusion.require_same(left_out, table.shown)
    return Scan(lines, places, labels, keys, bad, examples, empty, unknown, sample, _repeated(keys, labels))


def _repeated(keys: array[int], labels: array[int]) -> dict[int, set[int]]:
    """The labels of every input that is in more than one row, by its key.

    Only keys whose last bits are equal can be equal, and those are few. A table of these bits takes a quarter of the time of
    sorting all keys, and less memory than a set of them."""
    # one byte each, eleven times the rows of the full QQP
    last_bits = (1 << 22) - 1
    taken = bytearray(last_bits + 1)
    suspects = set()
    for key in keys:
        slot = key & last_bits
        if taken[slot]:
            suspects.add(slot)
        taken[slot] = 1
    times = Counter(key for key in keys if key & last_bits in suspects)
    found: dict[int, set[int]] = {key: set() for key, count in times.items() if count > 1}
    for key, label in zip(keys, labels) if found else ():
        if key in found:
            found[key].add(label)
    return found


def bad_rows_error(recipe: Recipe, table: Table, scan: Scan) -> Optional[DataError]:
    """The error of bad rows that the recipe does not skip, or after which no row is left; None: there is no such error."""
    if not scan.bad or (recipe.task.bad_rows == "skip" and scan.labels):
        return None
    cure = label_values.cure(scan.unknown, recipe.task, not scan.labels)
    rows = tr("fix the rows, or set task.bad_rows: skip to leave them out") if scan.labels else ""
    last = (
        tr("correct task.label and task.labels") if scan.bad["label"] else tr("fix the rows, or correct task.columns")
    )
    next_step = tr("; or ").join(filter(None, (cure, rows))) or last
    return DataError("\n".join(_bad_lines(table, scan)), next_step)


def report_bad_rows(recipe: Recipe, table: Table, scan: Scan) -> None:
    """Logs the bad rows that the recipe skips. Raises DataError where it does not skip them."""
    error = bad_rows_error(recipe, table, scan)
    if error is not None:
        raise error
    cure = label_values.cure(scan.unknown, recipe.task, not scan.labels) if scan.bad else ""
    if cure:
        log.warning(tr("skipped rows: {cure}", cure=cure))
    for line in _bad_lines(table, scan):
        log.info(tr("{line}; skipped", line=line))


def _bad_lines(table: Table, scan: Scan) -> list[str]:
    """The first bad rows, one a line, and how many more there are."""
    lines = [f"{table.shown}:{row.line}: {row.problem}" for row in scan.examples]
    more = sum(scan.bad.values()) - len(lines)
    return [*lines, tr("{shown}: and {more} more bad rows", shown=table.shown, more=more)] if more else lines
