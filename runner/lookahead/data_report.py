"""The data report: the task's files as a run would read them, their labels and repeated inputs, and the sample that is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, TypeVar

from runner.data.exclusion import Exclusion
from runner.data.prepare import inputs_at
from runner.data.records import Record
from runner.data.survey import Survey, survey
from runner.data.table import Table
from runner.data.task_tables import dev_table, exclusion_of, train_table
from runner.language import tr
from runner.lookahead.findings import Findings, Section
from runner.recipe.schema import Recipe
from runner.workspace.paths import locate_table

T = TypeVar("T")

MOST_TEXTS = 5000
"""Most inputs whose length is measured of each kind of row; with more, they are evenly spaced."""

MAJORITY = 0.95
"""A label with a larger share of the rows is worth a warning: accuracy then says little."""


@dataclass(frozen=True)
class DataReport:
    """What the files hold."""

    recipe: Recipe
    train: Optional[Table]
    """The labelled file; None: it cannot be opened."""
    dev: Optional[Table]
    """The file to predict; None: it cannot be opened, or there is none."""
    survey: Survey
    """The rows, as `prepare` would find and draw them."""
    texts: Mapping[int, str]
    """The inputs of training and held-out rows, by their line; `MOST_TEXTS` of each at most."""

    @property
    def training_rows(self) -> int:
        """Records to train on, those that `samples` repeats or swaps included."""
        swapped = self.recipe.samples.augment == "swap"
        return len(self.survey.drawn.train) * (1 + swapped)

    @property
    def all_texts(self) -> list[str]:
        """All inputs at hand, of training, held-out and dev rows."""
        return [*self.texts.values(), *(record["input"] for record in _some(self.survey.dev))]

    @property
    def is_sampled(self) -> bool:
        """Whether there are more inputs of one kind than `MOST_TEXTS`."""
        rows = self.survey
        return max(len(rows.drawn.train), len(rows.drawn.holdout), len(rows.dev)) > MOST_TEXTS

    def records(self) -> tuple[list[Record], list[Record], list[Record]]:
        """Training, held-out and dev records; of the first two those whose inputs are at hand."""
        rows, labels = self.survey, self.recipe.task.labels

        def labelled(numbers: Sequence[int]) -> list[Record]:
            return [
                {
                    "instruction": self.recipe.instruction,
                    "input": self.texts[rows.lines[row]],
                    "output": labels[rows.labels[row]],
                }
                for row in numbers
                if rows.lines[row] in self.texts
            ]

        return labelled(rows.drawn.train), labelled(rows.drawn.holdout), list(rows.dev)

    def example(self, label: int) -> Optional[tuple[int, str]]:
        """Line and input of the first training row with that label."""
        rows = self.survey
        for row in rows.drawn.train:
            if rows.labels[row] == label and rows.lines[row] in self.texts:
                return rows.lines[row], self.texts[rows.lines[row]]
        return None


def look_at_data(recipe: Recipe, root: Path, findings: Findings) -> DataReport:
    """Read a task's files. Adds a problem for everything that `prepare` would stop at."""
    train, dev = None, None
    if _is_there("task.train", recipe.task.train, recipe, root, findings):
        with findings.collect():
            train = train_table(recipe, root)
    # how the dev file is read depends on the training file
    if recipe.task.dev and _is_there("task.dev", recipe.task.dev, recipe, root, findings) and train is not None:
        with findings.collect():
            dev = dev_table(recipe, root, train)
    exclusion = Exclusion()
    with findings.collect():
        exclusion = exclusion_of(recipe, root)
    found = survey(recipe, train, dev, exclusion)
    for warning in found.warnings:
        findings.warn(f"{recipe.task.train}: {warning}", "")
    for error in found.problems:
        findings.problem(error.what, error.next_step)
    texts: dict[int, str] = {}
    if train is not None:
        chosen = [*_some(found.drawn.train), *_some(found.drawn.holdout)]
        with findings.collect():
            texts = inputs_at(recipe, train, {found.lines[row] for row in chosen})
    report = DataReport(recipe, train, dev, found, texts)
    _warn(report, findings)
    return report


def data_section(report: DataReport) -> Section:
    """The report as text."""
    rows, labels = report.survey, report.recipe.task.labels
    lines = []
    if report.train is not None:
        counts = Counter(rows.labels)
        shares = _shares({label: counts[number] for number, label in enumerate(labels)})
        lines.append(
            (
                tr("train"),
                tr(
                    "{absolute}: {labels_count:,} rows; {shares}",
                    absolute=_absolute(report.train),
                    labels_count=len(rows.labels),
                    shares=shares,
                ),
            )
        )
        lines += [("", note) for note in (report.train.described(), *report.train.notes)]
    if report.dev is not None:
        lines.append(
            (
                tr("dev"),
                tr(
                    "{absolute}: {dev_count:,} rows to predict", absolute=_absolute(report.dev), dev_count=len(rows.dev)
                ),
            )
        )
        lines += [("", note) for note in (report.dev.described(), *report.dev.notes)]
    elif rows.dev:
        lines.append(
            (
                tr("dev"),
                tr("{dev_count:,} labelled rows are set aside, to be predicted and scored", dev_count=len(rows.dev)),
            )
        )
    if rows.drawn.train:
        lines.append((tr("sample"), _sample(report)))
    if len(rows.labels):
        lines.append((tr("repeated"), _repeated(report)))
    return Section(tr("data"), lines)


def _is_there(key: str, name: str, recipe: Recipe, root: Path, findings: Findings) -> bool:
    path = locate_table(name, root, recipe.task.name).absolute()
    if path.exists():
        return True
    near = sorted(other.name for other in path.parent.glob("*") if other.is_file()) if path.parent.is_dir() else []
    there = tr("; that folder has {near}", near=", ".join(near[:6])) if near else ""
    findings.problem(
        tr("{key}: {path}: no such file{there}", key=key, path=path, there=there),
        tr(
            "put the file there, name another with {key}=PATH, or name the folder that holds {name} with --workspace",
            key=key,
            name=name,
        ),
    )
    return False


def _absolute(table: Table) -> Path:
    return table.path.absolute()


def _shares(counts: Mapping[str, int]) -> str:
    total = sum(counts.values()) or 1
    return ", ".join(f"{label}: {count / total:.1%}" for label, count in counts.items())


def _sample(report: DataReport) -> str:
    rows, labels = report.survey, report.recipe.task.labels
    drawn = Counter(rows.labels[row] for row in rows.drawn.train)
    shares = _shares({label: drawn[number] for number, label in enumerate(labels)})
    held = len(rows.drawn.holdout)
    majority = max(Counter(rows.labels[row] for row in rows.drawn.holdout).values(), default=0) / max(held, 1)
    most = tr("at most ") if report.recipe.fits_rows else ""
    return tr(
        "{most}{training_rows:,} rows to train on ({shares}), {held:,} held out; one label "
        "for every row is right in {majority:.1%} of those",
        most=most,
        training_rows=report.training_rows,
        shares=shares,
        held=held,
        majority=majority,
    )


def _repeated(report: DataReport) -> str:
    rows = report.survey
    leaks = rows.dev_keys.intersection(rows.keys)
    two = sum(len(labels) > 1 for labels in rows.repeated.values())
    if not (rows.repeated or leaks):
        return tr("no input is in two labelled rows, and none is in the dev file too")
    return tr(
        "{repeated_count:,} inputs in several labelled rows, {two:,} of them with two "
        "labels; {leaks_count:,} also in dev",
        repeated_count=len(rows.repeated),
        two=two,
        leaks_count=len(leaks),
    )


def _warn(report: DataReport, findings: Findings) -> None:
    """Warnings about rows that a run accepts and that cost points or honesty."""
    rows, name = report.survey, report.train.shown if report.train else ""
    two = [key for key, labels in rows.repeated.items() if len(labels) > 1]
    if two:
        where = _lines_of(rows, two[0])
        findings.warn(
            tr(
                "{name}: {two_count:,} inputs have two different labels, the first on lines {where}",
                name=name,
                two_count=len(two),
                where=where,
            ),
            tr("correct the wrong label of each, or remove both rows: the model cannot learn from a contradiction"),
        )
    drawn = rows.dev_keys.intersection(rows.keys[row] for row in rows.drawn.train)
    if drawn:
        line = _lines_of(rows, next(key for key in rows.keys if key in drawn))
        findings.warn(
            tr(
                "{name}: {drawn_count:,} of the rows to predict are among the drawn training rows, "
                "the first on line {line}",
                name=name,
                drawn_count=len(drawn),
                line=line,
            ),
            tr(
                "remove those rows from the training file if the score is to count unseen rows only; "
                "none of them is held out"
            ),
        )
    if rows.bad_rows and report.recipe.task.bad_rows == "skip":
        findings.warn(
            tr("{name}: {bad_rows:,} bad rows are skipped", name=name, bad_rows=rows.bad_rows),
            tr("task.bad_rows: error names them"),
        )
    if rows.bad_dev and report.dev is not None:
        first = rows.bad_dev[0]
        findings.warn(
            tr(
                "{shown}:{line}: {problem} ({bad_dev_count:,} bad rows to predict)",
                shown=report.dev.shown,
                line=first.line,
                problem=first.problem,
                bad_dev_count=len(rows.bad_dev),
            ),
            tr("fix the file: such a row is predicted from what can be read of it"),
        )
    if rows.empty:
        findings.warn(
            tr("{name}: {empty:,} rows have an empty input column", name=name, empty=rows.empty),
            tr("check task.columns and task.input"),
        )
    counts = Counter(rows.labels)
    top, count = counts.most_common(1)[0] if counts else (0, 0)
    if count > MAJORITY * len(rows.labels):
        findings.warn(
            tr(
                "{name}: {share:.1%} of the rows have the label {label!r}",
                name=name,
                share=count / len(rows.labels),
                label=report.recipe.task.labels[top],
            ),
            tr("set samples.balance: oversample or train.class_weights: balanced, and look at MCC, not at accuracy"),
        )
    _warn_of_steps(report, findings)


def _warn_of_steps(report: DataReport, findings: Findings) -> None:
    train = report.recipe.train
    step, rows = train.batch_size * train.accumulation, report.training_rows
    if rows and step > rows / 4:
        findings.warn(
            tr(
                "train.batch_size x train.accumulation = {step:,} rows a step, and {rows:,} rows: "
                "{steps} steps an epoch",
                step=step,
                rows=rows,
                steps=-(-rows // step),
            ),
            tr("lower them to 16 rows a step or so: few steps teach little"),
        )


def _lines_of(rows: Survey, key: int) -> str:
    found = [line for line, each in zip(rows.lines, rows.keys) if each == key]
    return tr(" and ").join(str(line) for line in found[:2])


def _some(rows: Sequence[T]) -> Sequence[T]:
    """All of them, or `MOST_TEXTS` evenly spaced ones."""
    return rows[:: -(-len(rows) // MOST_TEXTS)] if rows else rows
