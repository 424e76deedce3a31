"""Prepare: a task's tables become the contract's records, in `pre_data/{dataset}/`.

The training file is read twice: the scan checks every row, the second pass writes the drawn ones. Between them only a label
and a hash of each row are in memory.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional

from runner.data import labels as label_values
from runner.data.dev_rows import report_dev, with_dev_rows
from runner.data.folds import Fold, draw_around, fold_numbers
from runner.data.records import Record, write_records
from runner.data.sampling import Draw, draw, undrawn_labels
from runner.data.scan import Scan, report_bad_rows, scan_rows
from runner.data.sources import Sources, good_rows, input_template, table_changed
from runner.data.table import Table
from runner.language import tr
from runner.recipe.schema import Recipe
from runner.system.files import write_atomic
from runner.workspace.paths import Workspace

log = logging.getLogger("labeltune.data")


def prepare(
    recipe: Recipe, sources: Sources, scan: Scan, workspace: Workspace, fold: Optional[Fold] = None
) -> Mapping[str, Any]:
    """Writes the training, hold-out and dev records and returns the counts. With `task.swap`, the hold-out and the dev records
    are also written with both columns exchanged. With a fold, the fold is held out of all rows that the recipe draws.

    `scan`: what `scan_rows` found. Raises DataError for rows that cannot be read (unless the recipe skips them), too few rows,
    a label without rows, or a dev file that cannot be the training file's."""
    train, rows, repeated = sources.train, scan.rows, scan.repeated
    _report_sources(recipe, sources)
    report_bad_rows(recipe, train, scan)
    log.info(tr("{shown}: {described}; {rows:,} rows", shown=train.shown, described=train.described(), rows=rows))
    everything = scan
    scan, dev_rows = with_dev_rows(recipe, sources, everything)
    report_dev(recipe, sources, everything, dev_rows)
    dev_keys, dev_problems = dev_rows.keys, dev_rows.problems
    chosen = draw(scan.labels, scan.places, scan.unique(dev_keys), recipe.samples, recipe.task.labels)
    if fold is not None:
        chosen = _around(recipe, scan, chosen, fold)
    copies = Counter(scan.lines[row] for row in chosen.train)
    holdout = {scan.lines[row] for row in chosen.holdout}
    written = _write_labelled(recipe, train, workspace, _Chosen(copies, holdout, dev_keys))
    write_records(workspace.at(workspace.dev), dev_rows.records)
    _write_answers(workspace, dev_rows.answers)
    if recipe.task.swap:
        write_records(workspace.at(workspace.dev_swapped), dev_rows.swapped)
    counts = {
        "rows": rows + len(sources.exclusion.texts),
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
        "dev_labelled": sum(answer is not None for answer in dev_rows.answers),
    }
    for line in _summary(counts):
        log.info(line)
    for warning in undrawn_labels(chosen, scan.labels, recipe.task.labels):
        log.warning(warning)
    return counts


def _report_sources(recipe: Recipe, sources: Sources) -> None:
    """Logs what was recognised in the files."""
    for _, table in sources.tables():
        for note in table.notes:
            log.info(f"{table.shown}: {note}")
    names = recipe.task.label_names or {}
    moved = [tr("{name!r} becomes {label!r}", name=name, label=label) for name, label in names.items() if name != label]
    if moved and set(names) <= set(recipe.task.labels):
        log.warning(
            tr(
                "task.label_names gives labels other labels: {moved}; leave it out if that is not meant",
                moved=", ".join(moved),
            )
        )
    if recipe.samples.exclude and not sources.exclusion.texts:
        log.info(tr("{shown}: excludes no row: no row has `no` in the column keep", shown=sources.exclusion.shown))


class RowCounts(NamedTuple):
    """How many rows a recipe can use."""

    train: int
    """Different rows to train on, as many as there are."""
    holdout: int
    """Held-out rows."""
    dev: int
    """Rows to predict."""


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
    scan = scan_rows(recipe, sources)
    report_bad_rows(recipe, sources.train, scan)
    scan, dev = with_dev_rows(recipe, sources, scan)
    chosen = draw(scan.labels, scan.places, scan.unique(dev.keys), recipe.samples, recipe.task.labels)
    fold_of = dict(zip(*_folds(recipe, scan, chosen, folds)))
    rows = enumerate(zip(scan.lines, scan.labels, scan.keys))
    return [LabelledRow(line, label, key, fold_of.get(row, 0)) for row, (line, label, key) in rows]


def usable_rows(recipe: Recipe, sources: Sources, scan: Scan) -> RowCounts:
    """How many rows the recipe can use, whatever its `samples.train`. Raises DataError as `prepare` does."""
    scan, dev = with_dev_rows(recipe, sources, scan)
    samples = dataclasses.replace(recipe.samples, train="all")
    chosen = draw(scan.labels, scan.places, scan.unique(dev.keys), samples, recipe.task.labels)
    return RowCounts(len(set(chosen.train)), len(chosen.holdout), len(dev.records))


def inputs_at(recipe: Recipe, table: Table, lines: Set[int]) -> dict[int, str]:
    """The inputs of the rows that begin on these lines. Raises DataError where one is not there any more."""
    inputs = input_template(recipe, table)
    return {line: inputs.fill(fields) for line, fields in good_rows(table, lines)}


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
    inputs, label_at = input_template(recipe, table), table.columns.index(recipe.task.label)
    labels, number_of = recipe.task.labels, label_values.numbers(recipe.task)
    holdout: list[Record] = []
    holdout_swapped: list[Record] = []
    written = _Written(Counter())

    def training() -> Iterator[Record]:
        for line, fields in good_rows(table, {*chosen.copies, *chosen.holdout}):
            number = number_of.get(fields[label_at])
            if number is None:
                # it was a label when the scan has read it
                raise table_changed(table.shown)
            label, text = labels[number], inputs.fill(fields)
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


def _write_answers(workspace: Workspace, answers: Sequence[Optional[str]]) -> None:
    """Write the labels of the dev rows, or remove those of another dev file."""
    path = workspace.at(workspace.dev_answers)
    if any(answer is not None for answer in answers):
        write_atomic(path, (json.dumps(list(answers), ensure_ascii=False) + "\n").encode())
    else:
        path.unlink(missing_ok=True)


def _label_counts(recipe: Recipe, numbers: Iterable[int]) -> dict[str, int]:
    counts = Counter(numbers)
    return {label: counts[number] for number, label in enumerate(recipe.task.labels)}


def _summary(counts: Mapping[str, Any]) -> Iterator[str]:
    def shares(of: Mapping[str, int]) -> str:
        total = sum(of.values())
        return tr(
            "{total:,} rows ({of})",
            total=total,
            of=", ".join((f"{label}: {count / total:.1%}" for label, count in of.items())),
        )

    yield tr(
        "labelled {shares}; training {shares_2}; hold-out {shares_3}",
        shares=shares(counts["labels"]),
        shares_2=shares(counts["train"]),
        shares_3=shares(counts["holdout"]),
    )
    if counts["drawn"] != counts["train"]:
        yield (
            tr(
                "of the training rows {drawn:,} are distinct, {repeated_rows:,} repeat one of them, "
                "and {swapped_rows:,} have the columns of task.swap exchanged",
                drawn=sum(counts["drawn"].values()),
                repeated_rows=counts["repeated_rows"],
                swapped_rows=counts["swapped_rows"],
            )
        )
    skipped = sum(counts["bad_rows"].values())
    for count, words in (
        (skipped, tr("bad training rows skipped")),
        (counts["excluded_rows"], tr("labelled rows excluded by samples.exclude, from training and hold-out")),
        (counts["bad_dev_rows"], tr("bad dev rows, not skipped")),
        (counts["empty_inputs"], tr("labelled rows with an empty input column")),
        (counts["repeated_inputs"], tr("inputs are in several labelled rows (none of them in the hold-out)")),
        (counts["inputs_with_two_labels"], tr("of those have two labels")),
        (
            counts["dev_inputs_among_labelled"],
            tr("dev inputs are also in labelled rows (none of them in the hold-out)"),
        ),
        (counts["dev_inputs_in_training"], tr("of those were drawn for training")),
        (
            counts["rows_in_one_order"],
            tr("drawn rows are in one order only: both texts are equal, or the pair is in the dev file"),
        ),
    ):
        if count:
            yield f"{count:,} {words}"
