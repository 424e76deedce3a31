"""The survey: what `prepare` would find and draw, with every error that it would raise. Nothing is written."""

from __future__ import annotations

import dataclasses
import logging
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Optional, TypeVar

from runner.data.dev_checks import leaks
from runner.data.dev_rows import DevRows, read_dev_rows, report_dev, with_dev_rows
from runner.data.exclusion import Exclusion
from runner.data.records import Record
from runner.data.sampling import Draw, draw, undrawn_labels
from runner.data.scan import Scan, bad_rows_error, scan_rows
from runner.data.sources import Sources, input_columns
from runner.data.table import Table
from runner.data.tsv import Row
from runner.errors import DataError
from runner.recipe.schema import Recipe
from runner.system.console import quiet

T = TypeVar("T")


@dataclass(frozen=True)
class Survey:
    """What `prepare` would find and draw."""

    problems: list[DataError]
    """The errors that `prepare` would raise, all of them."""
    warnings: list[str]
    """Columns that may give the label away, and labels that are too rare to be drawn."""
    lines: Sequence[int]
    """For each good labelled row that is not set aside the line of the training file that it begins on."""
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
    """Read and draw as `prepare` does, and collect the errors. None: a table that cannot be opened, or no dev file.

    Where the number of rows follows from a time, all are drawn: no run takes more."""
    problems: list[DataError] = []

    def attempt(action: Callable[[], T], otherwise: T) -> T:
        try:
            return action()
        except DataError as error:
            problems.append(error)
            return otherwise

    none = Scan(array("L"), array("L"), array("L"), array("q"), Counter(), [], 0, Counter(), [], {})
    rows, scan, drawn = DevRows([], [], set(), []), none, Draw([], [])
    if dev is not None:
        rows = attempt(lambda: read_dev_rows(recipe, dev), rows)
    warnings: list[str] = []
    if train is not None:
        sources, before = Sources(train, dev, exclusion), len(problems)
        scan = attempt(lambda: scan_rows(recipe, sources), none)
        bad = bad_rows_error(recipe, train, scan)
        problems += [bad] if bad else []
        warnings = list(leaks(recipe.task, input_columns(recipe.task), train, scan.sample))
        everything = scan
        if recipe.task.dev is None and len(problems) == before:
            scan, rows = attempt(lambda: with_dev_rows(recipe, sources, everything), (scan, rows))
        elif dev is not None and rows.records:
            with quiet(logging.CRITICAL):
                attempt(lambda: report_dev(recipe, sources, everything, rows), None)
        if len(problems) == before:
            samples = recipe.samples
            if recipe.fits_rows:
                samples = dataclasses.replace(samples, train="all")
            drawn = attempt(
                lambda: draw(scan.labels, scan.places, scan.unique(rows.keys), samples, recipe.task.labels), drawn
            )
            if drawn.train:
                warnings += undrawn_labels(drawn, scan.labels, recipe.task.labels)
    counts = scan.lines, scan.labels, scan.keys, sum(scan.bad.values()), scan.empty
    return Survey(problems, warnings, *counts, scan.repeated, drawn, rows.records, rows.keys, rows.problems)
