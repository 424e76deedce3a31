"""Prepare: a task's tables become the contract's records, in `pre_data/{dataset}/`.

The training file is read twice: the first pass checks every row, the second writes the drawn ones. Between them only a label
and a hash of each row are in memory.
"""

from __future__ import annotations

import dataclasses
import logging
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, Optional, TypeVar

from runner.data.exclusion import Exclusion
from runner.data.folds import Fold, draw_around, fold_numbers
from runner.data.input_template import InputTemplate
from runner.data.records import Record, write_records
from runner.data.sampling import Draw, draw
from runner.data.tsv import Row, Table
from runner.errors import DataError
from runner.recipe.duration import Duration
from runner.recipe.schema import Recipe
from runner.workspace.paths import Workspace

log = logging.getLogger("labeltune.data")

T = TypeVar("T")

SHOWN_PROBLEMS = 10
"""Bad rows that one message names; the others are counted."""


@dataclass(frozen=True)
class Sources:
    """The files of a task, opened."""

    train: Table
    """The labelled rows."""
    dev: Table
    """The rows to predict."""
    exclusion: Exclusion
    """The labelled rows that are not used."""


class RowCounts(NamedTuple):
    """How many rows a recipe can use."""

    train: int
    """Different rows to train on, as many as there are."""
    holdout: int
    """Held-out rows."""
    dev: int
    """Rows to predict."""


def prepare(
    recipe: Recipe, sources: Sources, scan: Scan, workspace: Workspace, fold: Optional[Fold] = None
) -> Mapping[str, Any]:
    """Writes the training, hold-out and dev records and returns the counts. With `task.swap`, the hold-out and the dev records
    are also written with both columns exchanged. With a fold, the fold is held out of all rows that the recipe draws.

    `scan`: what `scan_rows` found. Raises DataError for rows that cannot be read (unless the recipe skips them), too few rows,
    or a label without rows."""
    train, dev = sources.train, sources.dev
    _report_sources(recipe, sources)
    dev_rows = _dev_rows(recipe, dev)
    dev_keys, dev_problems = dev_rows.keys, dev_rows.problems
    for row in dev_problems[:SHOWN_PROBLEMS]:
        log.info(f"{dev.shown}:{row.line}: {row.problem}; not skipped: every dev row has its line in the result")
    _report_bad_rows(recipe, train, scan)
    repeated = scan.repeated
    chosen = draw(scan.labels, scan.unique(dev_keys), recipe.samples, recipe.task.labels)
    if fold is not None:
        chosen = _around(recipe, scan, chosen, fold)
    copies = Counter(scan.lines[row] for row in chosen.train)
    holdout = {scan.lines[row] for row in chosen.holdout}
    written = _write_labelled(recipe, train, workspace, _Chosen(copies, holdout, dev_keys))
    write_records(workspace.at(workspace.dev), dev_rows.records)
    if recipe.task.swap:
        write_records(workspace.at(workspace.dev_swapped), dev_rows.swapped)
    counts = {
        "rows": len(scan.labels) + sum(scan.bad.values()) + len(sources.exclusion.texts),
        "excluded_rows": len(sources.exclusion.texts),
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
    }
    for line in _summary(counts):
        log.info(line)
    return counts


def _report_sources(recipe: Recipe, sources: Sources) -> None:
    """Logs what was recognised in the files."""
    for table in (sources.train, sources.dev):
        for note in table.notes:
            log.info(f"{table.shown}: {note}")
    if recipe.samples.exclude and not sources.exclusion.texts:
        log.info(f"{sources.exclusion.shown}: excludes no row: no row has `no` in the column keep")


class LabelledRow(NamedTuple):
    """A good labelled row that is not excluded."""

    line: int
    """The line of the training file that it begins on."""
    label: int
    """The number of its label."""
    key: int
    """Equal for equal inputs, in this process."""
    fold: int
    """The fold that holds it out; 0: the recipe does not draw it."""


def labelled_rows(recipe: Recipe, sources: Sources, folds: int) -> list[LabelledRow]:
    """All labelled rows in the file's order, each with its fold. Raises DataError as `prepare` does."""
    scan = scan_rows(recipe, sources.train, sources.exclusion)
    _report_bad_rows(recipe, sources.train, scan)
    unique = scan.unique(_dev_rows(recipe, sources.dev).keys)
    chosen = draw(scan.labels, unique, recipe.samples, recipe.task.labels)
    fold_of = dict(zip(*_folds(recipe, scan, chosen, folds)))
    rows = enumerate(zip(scan.lines, scan.labels, scan.keys))
    return [LabelledRow(line, label, key, fold_of.get(row, 0)) for row, (line, label, key) in rows]


def usable_rows(recipe: Recipe, sources: Sources, scan: Scan) -> RowCounts:
    """How many rows the recipe can use, whatever its `samples.train`. Raises DataError as `prepare` does."""
    dev = _dev_rows(recipe, sources.dev)
    samples = dataclasses.replace(recipe.samples, train="all")
    chosen = draw(scan.labels, scan.unique(dev.keys), samples, recipe.task.labels)
    return RowCounts(len(set(chosen.train)), len(chosen.holdout), len(dev.records))


@dataclass(frozen=True)
class Survey:
    """What `prepare` would find and draw. Nothing is written for it."""

    problems: list[DataError]
    """The errors that `prepare` would raise, all of them."""
    lines: Sequence[int]
    """For each good labelled row the line of the training file that it begins on."""
    labels: Sequence[int]
    """The number of its label."""
    keys: Sequence[int]
    """A number that is equal for equal inputs, in this process."""
    bad_rows: int
    """Bad labelled rows, which are skipped or, by `problems`, end the run."""
    empty: int
    """Good labelled rows with an empty input column."""
    repeated: Mapping[int, Set[int]]
    """The labels of each input that is in several labelled rows, by its key."""
    drawn: Draw
    """Which rows are trained on and held out; empty where they cannot be drawn."""
    dev: Sequence[Record]
    """The records to predict."""
    dev_keys: set[int]
    """The keys of their inputs."""
    bad_dev: Sequence[Row]
    """The bad rows among them."""


def survey(recipe: Recipe, train: Optional[Table], dev: Optional[Table], exclusion: Exclusion) -> Survey:
    """Read and draw as `prepare` does, and collect the errors. None: a table that cannot be opened.

    Where `samples.train` is a time, all rows are drawn: no run takes more."""
    problems: list[DataError] = []

    def attempt(action: Callable[[], T], otherwise: T) -> T:
        try:
            return action()
        except DataError as error:
            problems.append(error)
            return otherwise

    dev_rows, scan = _DevRows([], [], set(), []), Scan(array("L"), array("L"), array("q"), Counter(), [], 0, {})
    if dev is not None:
        dev_rows = attempt(lambda: _dev_rows(recipe, dev), dev_rows)
    before, drawn = len(problems), Draw([], [])
    if train is not None:
        scan = attempt(lambda: scan_rows(recipe, train, exclusion), scan)
        if scan.bad and recipe.task.bad_rows == "error":
            problems.append(_bad_rows_error(train, scan))
    samples = recipe.samples
    if isinstance(samples.train, Duration):
        samples = dataclasses.replace(samples, train="all")
    if train is not None and len(problems) == before:
        unique = scan.unique(dev_rows.keys)
        drawn = attempt(lambda: draw(scan.labels, unique, samples, recipe.task.labels), drawn)
    counts = scan.lines, scan.labels, scan.keys, sum(scan.bad.values()), scan.empty
    return Survey(problems, *counts, scan.repeated, drawn, dev_rows.records, dev_rows.keys, dev_rows.problems)


def inputs_at(recipe: Recipe, table: Table, lines: Set[int]) -> dict[int, str]:
    """The inputs of the rows that begin on these lines. Raises DataError where one is not there any more."""
    inputs = _inputs(recipe, table)
    return {line: inputs.fill(fields) for line, fields in _good_rows(table, lines)}


def _around(recipe: Recipe, scan: Scan, chosen: Draw, fold: Fold) -> Draw:
    """The draw that holds out a fold of the chosen rows and trains on the others."""
    drawn, numbers = _folds(recipe, scan, chosen, fold.count)
    around = draw_around(fold, numbers, [scan.labels[row] for row in drawn], recipe.samples, recipe.task.labels)
    return Draw([drawn[row] for row in around.train], [drawn[row] for row in around.holdout])


def _folds(recipe: Recipe, scan: Scan, chosen: Draw, count: int) -> tuple[list[int], list[int]]:
    """The rows that the recipe draws, for training or for the hold-out, and the fold of each."""
    drawn = sorted({*chosen.train, *chosen.holdout})
    labels, keys = [scan.labels[row] for row in drawn], [scan.keys[row] for row in drawn]
    return drawn, fold_numbers(labels, keys, count, recipe.samples.seed)


def prepared_files(recipe: Recipe, workspace: Workspace) -> list[str]:
    """The files that `prepare` writes, by their paths from the workspace."""
    files = [workspace.train, workspace.holdout, workspace.dev]
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
    holdout: list[Record] = []
    holdout_swapped: list[Record] = []
    written = _Written(Counter())

    def training() -> Iterator[Record]:
        for line, fields in _good_rows(table, {*chosen.copies, *chosen.holdout}):
            label, text = fields[label_at], inputs.fill(fields)
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
class Scan:
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
    repeated: Mapping[int, Set[int]]
    """The labels of every input that is in more than one row, by its key."""

    def unique(self, dev_keys: Set[int]) -> list[bool]:
        """For each row, whether its input is in no other row and in no dev row."""
        return [key not in self.repeated and key not in dev_keys for key in self.keys]


def scan_rows(recipe: Recipe, table: Table, exclusion: Exclusion) -> Scan:
    """The first pass over the training file: it depends on the recipe's `task` and the excluded rows alone.

    Raises DataError for excluded rows that are not in the file."""
    excluded = exclusion.texts
    label_at = table.columns.index(recipe.task.label)
    number_of = {label: number for number, label in enumerate(recipe.task.labels)}
    inputs = _inputs(recipe, table)
    lines, labels, keys, bad = array("L"), array("L"), array("q"), Counter[str]()
    examples: list[Row] = []
    empty = 0
    left_out: dict[int, str] = {}
    for row in table.rows():
        line, fields, problem = row
        if line in excluded:
            left_out[line] = inputs.fill(fields)
            continue
        label = number_of.get(fields[label_at], -1)
        if problem or label < 0:
            wanted = f"expected the label {' or '.join(recipe.task.labels)}, found {fields[label_at][:40]!r}"
            bad["row" if problem else "label"] += 1
            if len(examples) < SHOWN_PROBLEMS:
                examples.append(row._replace(problem=problem or wanted))
            continue
        empty += not all(map(fields.__getitem__, inputs.columns))
        lines.append(line)
        labels.append(label)
        keys.append(inputs.key(fields))
    exclusion.require_same(left_out, table.shown)
    return Scan(lines, labels, keys, bad, examples, empty, _repeated(keys, labels))


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


def _report_bad_rows(recipe: Recipe, table: Table, scan: Scan) -> None:
    """Logs the bad rows that the recipe skips. Raises DataError where it does not skip them."""
    if not scan.bad:
        return
    error = _bad_rows_error(table, scan)
    if recipe.task.bad_rows == "error":
        raise error
    for line in error.what.split("\n"):
        log.info(f"{line}; skipped")


def _bad_rows_error(table: Table, scan: Scan) -> DataError:
    """The first bad rows, one a line, and how many more there are."""
    lines = [f"{table.shown}:{row.line}: {row.problem}" for row in scan.examples]
    count = sum(scan.bad.values())
    if count > len(lines):
        lines.append(f"{table.shown}: and {count - len(lines)} more bad rows")
    return DataError("\n".join(lines), "fix the rows, or set task.bad_rows: skip to leave them out")


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


def _dev_rows(recipe: Recipe, table: Table) -> _DevRows:
    limit = None if recipe.samples.dev == "all" else recipe.samples.dev
    inputs, found = _inputs(recipe, table), _DevRows([], [], set(), [])
    records = found.records
    for row in islice(table.rows(), limit):
        records.append({"instruction": recipe.instruction, "input": inputs.fill(row.fields)})
        if inputs.fill_swapped:
            found.swapped.append({"instruction": recipe.instruction, "input": inputs.fill_swapped(row.fields)})
        found.keys.add(inputs.key(row.fields))
        if row.problem:
            found.problems.append(row)
    if not records:
        raise DataError(f"{table.shown}: expected rows to predict, found none", "check task.dev and task.header")
    if limit is not None and len(records) < limit:
        raise DataError(
            f"{table.shown}: expected {limit} rows (samples.dev), found {len(records)}",
            "set samples.dev: all to predict all rows",
        )
    return found


def _good_rows(table: Table, lines: Set[int]) -> Iterator[tuple[int, Sequence[str]]]:
    """The line and the fields of the good rows that begin on these lines, in the file's order."""
    count = 0
    for line, fields, _ in table.rows(only=lines):
        yield line, fields
        count += 1
    if count < len(lines):
        raise table_changed(table.shown)


def table_changed(shown: str) -> DataError:
    """The error of a file that was written while it was read; `shown`: as messages name it."""
    return DataError(f"{shown}: changed while it was read", "run again when it is finished")


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
        (counts["excluded_rows"], "labelled rows excluded by samples.exclude, from training and hold-out"),
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
