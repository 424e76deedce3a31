"""The dev rows: those of the dev file, or labelled rows that are set aside; and the checks that the two files are of one task."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Optional

from runner.data import labels as label_values
from runner.data.dev_checks import check_dev, leaks
from runner.data.input_template import InputTemplate
from runner.data.records import Record
from runner.data.sampling import set_aside
from runner.data.scan import SAMPLE_ROWS, SHOWN_PROBLEMS, Scan
from runner.data.sources import Sources, good_rows, input_columns, input_template
from runner.data.table import Table
from runner.data.tsv import Row
from runner.errors import DataError
from runner.language import tr
from runner.recipe.schema import Recipe

log = logging.getLogger("labeltune.data")

MOST_UNKNOWN = 10
"""Different values that are no labels: a column with more of them, and few labels, is another one."""


@dataclass(frozen=True)
class DevRows:
    """The rows to predict."""

    records: list[Record]
    """Their records."""
    swapped: list[Record]
    """The records with the columns of `task.swap` exchanged; empty without that key."""
    keys: set[int]
    """The keys of their inputs, as in `InputTemplate.key`."""
    problems: list[Row]
    """The bad rows among them."""
    answers: list[Optional[str]] = field(default_factory=list)
    """The label of each row, None where it has none; empty if the table has no label column. They are in no record."""
    sample: list[list[str]] = field(default_factory=list)
    """The fields of the first rows."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Values of the label column that are no labels."""
    empty: list[int] = field(default_factory=list)
    """The lines of good rows whose input columns are all empty."""

    def add(self, recipe: Recipe, inputs: InputTemplate, row: Row) -> None:
        """Add a row."""
        self.records.append({"instruction": recipe.instruction, "input": inputs.fill(row.fields)})
        if inputs.fill_swapped:
            self.swapped.append({"instruction": recipe.instruction, "input": inputs.fill_swapped(row.fields)})
        self.keys.add(inputs.key(row.fields))
        if row.problem:
            self.problems.append(row)
        elif not any(map(row.fields.__getitem__, inputs.columns)):
            self.empty.append(row.line)


def read_dev_rows(recipe: Recipe, table: Table) -> DevRows:
    """The rows to predict of a dev file, as many as the recipe wants. Raises DataError where there are too few."""
    limit = None if recipe.samples.dev == "all" else recipe.samples.dev
    inputs, found = input_template(recipe, table), DevRows([], [], set(), [])
    labels, number_of = recipe.task.labels, label_values.numbers(recipe.task)
    label_at = table.columns.index(recipe.task.label) if recipe.task.label in table.columns else None
    records = found.records
    for row in islice(table.rows(), limit):
        found.add(recipe, inputs, row)
        if len(records) <= 4 * SAMPLE_ROWS and not row.problem:
            found.sample.append(row.fields)
        if label_at is not None:
            number = number_of.get(row.fields[label_at], -1)
            found.answers.append(None if number < 0 else labels[number])
            if number < 0:
                label_values.counted(found.unknown, row.fields[label_at])
    if not records:
        raise DataError(
            tr("{shown}: expected rows to predict, found none", shown=table.shown), tr("check task.dev and task.header")
        )
    if limit is not None and len(records) < limit:
        raise DataError(
            tr(
                "{shown}: expected {limit} rows (samples.dev), found {records_count}",
                shown=table.shown,
                limit=limit,
                records_count=len(records),
            ),
            tr("set samples.dev: all to predict all rows"),
        )
    return found


def rows_set_aside(recipe: Recipe, table: Table, scan: Scan, aside: Sequence[int]) -> DevRows:
    """Rows of a labelled table as rows to predict. `aside`: their numbers in the scan."""
    inputs, found = input_template(recipe, table), DevRows([], [], set(), [])
    for line, fields in good_rows(table, {scan.lines[row] for row in aside}):
        found.add(recipe, inputs, Row(line, list(fields), ""))
    found.answers.extend(recipe.task.labels[scan.labels[row]] for row in aside)
    return found


def report_dev(recipe: Recipe, sources: Sources, scan: Scan, rows: DevRows) -> None:
    """Log what the dev file is, and compare it with the training file. Raises DataError where it cannot be the same task's."""
    task, train, dev = recipe.task, sources.train, sources.dev
    names = input_columns(task)
    for warning in leaks(task, names, train, scan.sample):
        log.warning(f"{train.shown}: {warning}")
    if dev is None:
        log.info(
            tr(
                "{records_count:,} labelled rows are set aside, to be predicted and scored: there is no task.dev",
                records_count=len(rows.records),
            )
        )
        return
    log.info(
        tr(
            "{shown}: {described}; {records_count:,} rows to predict",
            shown=dev.shown,
            described=dev.described(),
            records_count=len(rows.records),
        )
    )
    for row in rows.problems[:SHOWN_PROBLEMS]:
        log.info(
            tr(
                "{shown}:{line}: {problem}; not skipped: every dev row has its line in the result",
                shown=dev.shown,
                line=row.line,
                problem=row.problem,
            )
        )
    if not task.dev_differs and 2 * len(rows.problems) > len(rows.records):
        raise DataError(
            tr(
                "{shown}: {bad:,} of {all:,} rows are bad, so its columns are not those of its rows",
                shown=dev.shown,
                bad=len(rows.problems),
                all=len(rows.records),
            ),
            tr(
                "correct its first line, task.dev_columns or task.header; or set task.dev_differs: true if the file is right"
            ),
        )
    if rows.empty:
        first = tr(
            "{empty_count:,} rows have no text, the first is line {empty}",
            empty_count=len(rows.empty),
            empty=rows.empty[0],
        )
        log.info(
            tr("{shown}: {first}; not skipped: every dev row has its line in the result", shown=dev.shown, first=first)
        )
    if not task.dev_differs:
        check_dev(task, names, (train, scan.sample), (dev, rows.sample))
    if not rows.answers:
        return
    labelled = sum(answer is not None for answer in rows.answers)
    held = ", ".join(f"{value!r}" for value, _ in rows.unknown.most_common(3))
    few = 2 * labelled < len(rows.answers) and len(rows.unknown) > MOST_UNKNOWN
    if (labelled == 0 and len(rows.unknown) > 1) or few:
        cure = label_values.cure(rows.unknown, task, all_rows=True)
        raise DataError(
            tr(
                "{shown}: its column {label} holds {more}, but {held}",
                shown=dev.shown,
                label=task.label,
                more=tr("few labels") if few else tr("no label"),
                held=held,
            ),
            tr("{cure}; or list the columns of this file in task.dev_columns", cure=cure or tr("correct task.label")),
        )
    if labelled:
        log.info(
            tr(
                "{shown}: {labelled:,} rows have a label; no model reads the column {label}, it scores the result",
                shown=dev.shown,
                labelled=labelled,
                label=task.label,
            )
        )
    if labelled < len(rows.answers):
        log.info(
            tr(
                "{shown}: {answers_count:,} rows are not scored: their {label} is {held}, not a label",
                shown=dev.shown,
                answers_count=len(rows.answers) - labelled,
                label=task.label,
                held=held,
            )
        )


def with_dev_rows(recipe: Recipe, sources: Sources, scan: Scan) -> tuple[Scan, DevRows]:
    """The rows to predict, and the scan of the rows that are left to train on and to hold out. Logs nothing.

    Raises DataError where there are too few."""
    if sources.dev is not None:
        return scan, read_dev_rows(recipe, sources.dev)
    aside = set_aside(scan.labels, scan.places, scan.unique(), recipe.samples, recipe.task.labels)
    rows = rows_set_aside(recipe, sources.train, scan, aside)
    return scan.without(set(aside)), rows
