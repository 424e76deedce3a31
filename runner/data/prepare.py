"""Prepare: a task's tables become the contract's records, in `pre_data/{dataset}/`.

The training file is read twice: the first pass checks every row, the second writes the drawn ones. Between them only a label
and a hash of each row are in memory.
"""

from __future__ import annotations

import json
import logging
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Optional

from runner.data import labels as label_values
from runner.data.dev_checks import check_dev, leaks
from runner.data.input_template import InputTemplate
from runner.data.open_table import Wanted
from runner.data.records import Record, write_records
from runner.data.sampling import draw, set_aside
from runner.data.table import Table
from runner.data.tsv import Row
from runner.errors import DataError
from runner.recipe.rules import placeholders
from runner.recipe.schema import Recipe, Task, dev_forms
from runner.system.files import write_atomic
from runner.workspace.paths import Workspace

log = logging.getLogger("labeltune.data")

SHOWN_PROBLEMS = 10
"""Bad rows that one message names; the others are counted."""


SAMPLE_ROWS, SAMPLE_STEP = 500, 199
"""The first training rows, and one of so many after them, are compared with the dev rows."""


@dataclass(frozen=True)
class Tables:
    """The tables of a task."""

    train: Table
    """The labelled rows."""
    dev: Optional[Table]
    """The rows to predict; None: they are set aside from the labelled ones."""

    def named(self) -> list[tuple[str, Table]]:
        """The tables that are there, by the keys of their files."""
        return [(name, table) for name, table in (("train", self.train), ("dev", self.dev)) if table is not None]


def wanted_train(task: Task) -> Wanted:
    """What the recipe says about the training file."""
    forms = (task.columns,) if task.columns else ()
    needed = tuple(dict.fromkeys([*_input_columns(task), task.label]))
    return Wanted(forms, needed, task.header, task.quoting, task.format, task.encoding, suspicious=not task.dev_differs)


def wanted_dev(task: Task, train: Table) -> Wanted:
    """What the recipe, and the training file where the recipe names no columns, say about the dev file."""
    forms = dev_forms(task.columns or train.columns, task.label, task.dev_columns)
    how = (task.header, task.quoting, task.format, task.encoding)
    return Wanted(forms, _input_columns(task), *how, own_names=True, suspicious=not task.dev_differs)


def _input_columns(task: Task) -> tuple[str, ...]:
    return tuple(dict.fromkeys(placeholders(task.input) or ()))


def prepare(recipe: Recipe, tables: Tables, workspace: Workspace) -> Mapping[str, Any]:
    """Writes the training, hold-out and dev records and returns the counts. With `task.swap`, the hold-out and the dev records
    are also written with both columns exchanged.

    Raises DataError for rows that cannot be read (unless the recipe skips them), too few rows, a label without rows, or a dev
    file that cannot be the training file's."""
    train, (scan, dev_rows) = tables.train, _read(recipe, tables)
    rows = len(scan.labels) + sum(scan.bad.values())
    repeated = _repeated(scan)
    if dev_rows is None:
        unique = [key not in repeated for key in scan.keys]
        aside = set_aside(scan.labels, unique, recipe.samples, recipe.task.labels)
        dev_rows, scan = _rows_set_aside(recipe, train, scan, aside)
    dev_keys, dev_problems = dev_rows.keys, dev_rows.problems
    unique = [key not in repeated and key not in dev_keys for key in scan.keys]
    chosen = draw(scan.labels, unique, recipe.samples, recipe.task.labels)
    copies = Counter(scan.lines[row] for row in chosen.train)
    holdout = {scan.lines[row] for row in chosen.holdout}
    written = _write_labelled(recipe, train, workspace, _Chosen(copies, holdout, dev_keys))
    write_records(workspace.at(workspace.dev), dev_rows.records)
    _write_answers(workspace, dev_rows.answers)
    if recipe.task.swap:
        write_records(workspace.at(workspace.dev_swapped), dev_rows.swapped)
    counts = {
        "rows": rows,
        "bad_rows": dict(scan.bad),
        "labels": _label_counts(recipe, scan.labels),
        "repeated_inputs": len(repeated),
        "inputs_with_two_labels": sum(len(found) > 1 for found in repeated.values()),
        "dev_inputs_among_labelled": len(dev_keys.intersection(scan.keys)),
        "dev_inputs_in_training": len(dev_keys.intersection(scan.keys[row] for row in chosen.train)),
        "bad_dev_rows": len(dev_problems),
        "empty_inputs": scan.empty,
        "drawn": _label_counts(recipe, (scan.labels[row] for row in set(chosen.train))),
        "train": {label: written.labels[label] for label in recipe.task.labels},
        "repeated_rows": len(chosen.train) - len(copies),
        "swapped_rows": sum(written.labels.values()) - len(chosen.train),
        "rows_in_one_order": written.in_one_order,
        "holdout": _label_counts(recipe, (scan.labels[row] for row in chosen.holdout)),
        "dev": len(dev_rows.records),
        "dev_labelled": sum(answer is not None for answer in dev_rows.answers),
    }
    for line in _summary(counts):
        log.info(line)
    return counts


def _read(recipe: Recipe, tables: Tables) -> tuple[_Scan, Optional[_DevRows]]:
    """The first pass over the training file, and the dev rows; both files are reported and checked."""
    for _, table in tables.named():
        for note in table.notes:
            log.info(f"{table.shown}: {note}")
    train, dev_rows = tables.train, _dev_rows(recipe, tables.dev) if tables.dev else None
    scan = _scan(recipe, train)
    _report_bad_rows(recipe, train, scan)
    log.info(f"{train.shown}: {train.described()}; {len(scan.labels) + sum(scan.bad.values()):,} rows")
    _report_dev(recipe, tables, scan, dev_rows)
    return scan, dev_rows


def prepared_files(recipe: Recipe, workspace: Workspace) -> list[str]:
    """The files that `prepare` writes, by their paths from the workspace."""
    files = [workspace.train, workspace.holdout, workspace.dev]
    if workspace.at(workspace.dev_answers).exists():
        files.append(workspace.dev_answers)
    return [*files, workspace.holdout_swapped, workspace.dev_swapped] if recipe.task.swap else files


@dataclass(frozen=True)
class _Chosen:
    """The rows that become labelled records."""

    copies: Mapping[int, int]
    """How often each training row is written, by the line that it begins on."""
    holdout: Set[int]
    """The lines of the held-out rows."""
    dev_keys: Set[int]
    """The keys of the dev rows."""


@dataclass
class _Written:
    """The training records that were written."""

    labels: Counter[str]
    """Their number by label."""
    in_one_order: int = 0
    """Rows that `samples.augment` has left in one order."""


def _write_labelled(recipe: Recipe, table: Table, workspace: Workspace, chosen: _Chosen) -> _Written:
    """Writes the training and the hold-out records, in one pass over the table."""
    inputs, label_at = _inputs(recipe, table), table.columns.index(recipe.task.label)
    labels, number_of = recipe.task.labels, label_values.numbers(recipe.task)
    holdout: list[Record] = []
    holdout_swapped: list[Record] = []
    written = _Written(Counter())

    def training() -> Iterator[Record]:
        for line, fields in _good_rows(table, {*chosen.copies, *chosen.holdout}):
            label, text = labels[number_of[fields[label_at]]], inputs.fill(fields)
            swapped = inputs.fill_swapped(fields) if inputs.fill_swapped else text
            if line in chosen.holdout:
                holdout.append(_record(recipe, text, label))
                holdout_swapped.append(_record(recipe, swapped, label))
                continue
            orders = [text]
            if recipe.samples.augment == "swap":
                both = swapped != text and inputs.key(fields) not in chosen.dev_keys
                orders += [swapped] if both else []
                written.in_one_order += not both
            orders *= chosen.copies[line]
            written.labels[label] += len(orders)
            yield from (_record(recipe, each, label) for each in orders)

    write_records(workspace.at(workspace.train), training())
    write_records(workspace.at(workspace.holdout), holdout)
    if recipe.task.swap:
        write_records(workspace.at(workspace.holdout_swapped), holdout_swapped)
    return written


def _record(recipe: Recipe, text: str, label: str) -> Record:
    return {"instruction": recipe.instruction, "input": text, "output": label}


@dataclass(frozen=True)
class _Scan:
    """The result of the first pass: a few bytes for every good training row."""

    lines: array[int]
    """The line that the row begins on."""
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

    def without(self, rows: Set[int]) -> _Scan:
        """The same without some rows, by their numbers here."""
        lines, labels, keys = (
            array(each.typecode, (value for row, value in enumerate(each) if row not in rows))
            for each in (self.lines, self.labels, self.keys)
        )
        return _Scan(lines, labels, keys, self.bad, self.examples, self.empty, self.unknown, self.sample)


def _scan(recipe: Recipe, table: Table) -> _Scan:
    """The first pass over the training file."""
    label_at = table.columns.index(recipe.task.label)
    number_of = label_values.numbers(recipe.task)
    inputs = _inputs(recipe, table)
    lines, labels, keys, bad = array("L"), array("L"), array("q"), Counter[str]()
    examples: list[Row] = []
    sample: list[list[str]] = []
    unknown = Counter[str]()
    empty = 0
    for row in table.rows():
        line, fields, problem = row
        label = number_of.get(fields[label_at], -1)
        if problem or label < 0:
            wanted = f"expected the label {' or '.join(recipe.task.labels)}, found {fields[label_at][:40]!r}"
            bad["row" if problem else "label"] += 1
            if not problem:
                label_values.counted(unknown, fields[label_at])
            if len(examples) < SHOWN_PROBLEMS:
                examples.append(row._replace(problem=problem or wanted))
            continue
        empty += not all(map(fields.__getitem__, inputs.columns))
        if len(lines) < SAMPLE_ROWS or not len(lines) % SAMPLE_STEP:
            sample.append(fields)
        lines.append(line)
        labels.append(label)
        keys.append(inputs.key(fields))
    return _Scan(lines, labels, keys, bad, examples, empty, unknown, sample)


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
    cure = label_values.cure(scan.unknown, recipe.task, not scan.labels)
    if recipe.task.bad_rows == "error" or not scan.labels:
        rows = "" if not scan.labels else "fix the rows, or set task.bad_rows: skip to leave them out"
        raise DataError(
            "\n".join(lines), "; or ".join(filter(None, (cure, rows))) or "correct task.label and task.labels"
        )
    if cure:
        log.warning(f"skipped rows: {cure}")
    for line in lines:
        log.info(f"{line}; skipped")


@dataclass(frozen=True)
class _DevRows:
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

    def add(self, recipe: Recipe, inputs: InputTemplate, row: Row) -> None:
        """Add a row."""
        self.records.append({"instruction": recipe.instruction, "input": inputs.fill(row.fields)})
        if inputs.fill_swapped:
            self.swapped.append({"instruction": recipe.instruction, "input": inputs.fill_swapped(row.fields)})
        self.keys.add(inputs.key(row.fields))
        if row.problem:
            self.problems.append(row)


def _dev_rows(recipe: Recipe, table: Table) -> _DevRows:
    limit = None if recipe.samples.dev == "all" else recipe.samples.dev
    inputs, found = _inputs(recipe, table), _DevRows([], [], set(), [])
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
        raise DataError(f"{table.shown}: expected rows to predict, found none", "check task.dev and task.header")
    if limit is not None and len(records) < limit:
        raise DataError(
            f"{table.shown}: expected {limit} rows (samples.dev), found {len(records)}",
            "set samples.dev: all to predict all rows",
        )
    return found


def _rows_set_aside(recipe: Recipe, table: Table, scan: _Scan, aside: Sequence[int]) -> tuple[_DevRows, _Scan]:
    """The rows that are set aside from a labelled table as rows to predict, and the scan without them."""
    inputs, found = _inputs(recipe, table), _DevRows([], [], set(), [])
    for line, fields in _good_rows(table, {scan.lines[row] for row in aside}):
        found.add(recipe, inputs, Row(line, list(fields), ""))
    found.answers.extend(recipe.task.labels[scan.labels[row]] for row in aside)
    log.info(f"{len(aside):,} labelled rows are set aside, to be predicted and scored: there is no task.dev")
    return found, scan.without(set(aside))


def _report_dev(recipe: Recipe, tables: Tables, scan: _Scan, rows: Optional[_DevRows]) -> None:
    """Log what the dev file is, and compare it with the training file. Raises DataError where it cannot be the same task's."""
    task, train, dev = recipe.task, tables.train, tables.dev
    names = _input_columns(task)
    for warning in leaks(task, names, train, scan.sample):
        log.warning(f"{train.shown}: {warning}")
    if dev is None or rows is None:
        return
    log.info(f"{dev.shown}: {dev.described()}; {len(rows.records):,} rows to predict")
    for row in rows.problems[:SHOWN_PROBLEMS]:
        log.info(f"{dev.shown}:{row.line}: {row.problem}; not skipped: every dev row has its line in the result")
    if not task.dev_differs:
        check_dev(task, names, (train, scan.sample), (dev, rows.sample))
    if not rows.answers:
        return
    labelled = sum(answer is not None for answer in rows.answers)
    held = ", ".join(f"{value!r}" for value, _ in rows.unknown.most_common(3))
    if labelled == 0 and len(rows.unknown) > 1:
        cure = label_values.cure(rows.unknown, task, all_rows=True)
        raise DataError(
            f"{dev.shown}: its column {task.label} holds no label, but {held}",
            f"{cure or 'correct task.label'}; or list the columns of this file in task.dev_columns",
        )
    if labelled:
        log.info(
            f"{dev.shown}: {labelled:,} rows have a label; no model reads the column {task.label}, it scores the result"
        )
    if labelled < len(rows.answers):
        log.info(
            f"{dev.shown}: {len(rows.answers) - labelled:,} rows are not scored: their {task.label} is {held}, not a label"
        )


def _write_answers(workspace: Workspace, answers: Sequence[Optional[str]]) -> None:
    """Write the labels of the dev rows, or remove those of another dev file."""
    path = workspace.at(workspace.dev_answers)
    if any(answer is not None for answer in answers):
        write_atomic(path, (json.dumps(list(answers), ensure_ascii=False) + "\n").encode())
    else:
        path.unlink(missing_ok=True)


def _good_rows(table: Table, lines: Set[int]) -> Iterator[tuple[int, Sequence[str]]]:
    """The line and the fields of the good rows that begin on these lines, in the file's order."""
    count = 0
    for line, fields, _ in table.rows(only=lines):
        yield line, fields
        count += 1
    if count < len(lines):
        raise table_changed(table)


def table_changed(table: Table) -> DataError:
    """The error of a table that was written while it was read."""
    return DataError(f"{table.shown}: changed while it was read", "run again when it is finished")


def _inputs(recipe: Recipe, table: Table) -> InputTemplate:
    return InputTemplate(recipe.task.input, table.columns, recipe.task.swap)


def _label_counts(recipe: Recipe, numbers: Iterable[int]) -> dict[str, int]:
    counts = Counter(numbers)
    return {label: counts[number] for number, label in enumerate(recipe.task.labels)}


def _summary(counts: Mapping[str, Any]) -> Iterator[str]:
    def shares(of: Mapping[str, int]) -> str:
        total = sum(of.values())
        return f"{total:,} rows ({', '.join(f'{label}: {count / total:.1%}' for label, count in of.items())})"

    yield f"labelled {shares(counts['labels'])}; training {shares(counts['train'])}; hold-out {shares(counts['holdout'])}"
    if counts["drawn"] != counts["train"]:
        yield (
            f"of the training rows {sum(counts['drawn'].values()):,} are distinct, {counts['repeated_rows']:,} repeat one of "
            f"them, and {counts['swapped_rows']:,} have the columns of task.swap exchanged"
        )
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
        (
            counts["rows_in_one_order"],
            "drawn rows are in one order only: both texts are equal, or the pair is in the dev file",
        ),
    ):
        if count:
            yield f"{count:,} {words}"
