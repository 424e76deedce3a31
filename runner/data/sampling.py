"""The sample: which labelled rows become training rows and which are held out. Seeded, and stratified by label.

Which of two rows is drawn first depends on the seed and on their places in the file alone. So a smaller hold-out is a part of a
larger one (with three labels or more, but for a row), and excluding a row changes no other: runs that differ in such settings
have many held-out rows in common, with the label shares of the file, and can be compared on them.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice
from typing import Union

from runner.errors import DataError
from runner.language import tr
from runner.recipe.schema import Samples

DRAW = 2
"""Version of the draw: another number where the same settings draw other rows than before."""


@dataclass(frozen=True)
class Draw:
    """Row numbers, counted from 0 among the good rows, in the file's order."""

    train: list[int]
    """Training rows; a row that is repeated is there several times."""
    holdout: list[int]
    """Held-out rows."""


def draw(
    labels: Sequence[int], places: Sequence[int], unique: Sequence[bool], samples: Samples, names: Sequence[str]
) -> Draw:
    """Draws the hold-out first, from rows whose input is in no other row, then the training rows from the rest.

    `labels[i]` is the label of row i as a number into `names`, and `places[i]` its number in the file. `unique[i]` says that no
    other labelled or dev row has its input, so hold-out and training share no input. The hold-out has the label shares of the
    file; the training rows have these shares too, or equal ones: drawn so, or by repeating rows of the rare labels. Raises
    DataError where a label has too few rows."""
    by_label = _rows_by_label(labels, names, _order(places, samples.seed))
    counts = [len(rows) for rows in by_label]
    wanted = samples.holdout + (len(names) if samples.train_rows == "all" else samples.train_rows)
    if wanted > len(labels):
        raise DataError(
            tr(
                "samples asks for {train} training and {holdout} held-out rows, found {labels_count} usable rows",
                train=samples.train,
                holdout=samples.holdout,
                labels_count=len(labels),
            ),
            tr("lower samples.train or samples.holdout, or set samples.train: all"),
        )
    holdout: list[int] = []
    drawn = [iter(rows) for rows in by_label]
    # drawn but not unique, so not for the hold-out: the first to train on
    passed: list[list[int]] = []
    for rows, of_label, quota, name in zip(by_label, drawn, _shares(counts, samples.holdout), names):
        chosen: list[int] = []
        passed.append([])
        while len(chosen) < quota:
            candidate = next(of_label, None)
            if candidate is None:
                break
            (chosen if unique[candidate] else passed[-1]).append(candidate)
        if len(chosen) < quota or quota == len(rows):
            raise DataError(
                tr(
                    "samples.holdout needs {quota} rows of label {name!r} whose input is in no other "
                    "row, found {chosen_count}, and training needs some too",
                    quota=quota,
                    name=name,
                    chosen_count=len(chosen),
                ),
                tr("lower samples.holdout"),
            )
        holdout.extend(chosen)
    counts = [count - share for count, share in zip(counts, _shares(counts, samples.holdout))]
    train: list[int] = []
    quotas = _quotas(counts, samples)
    for first, of_label, count, quota, name in zip(passed, drawn, counts, quotas, names):
        if quota > count:
            raise DataError(
                tr(
                    "samples asks for {quota} training rows of label {name!r}, found {count}",
                    quota=quota,
                    name=name,
                    count=count,
                ),
                tr("lower samples.train, or set samples.balance: none"),
            )
        chosen = list(islice(chain(first, of_label), quota))
        train.extend(_repeated(chosen, max(quotas), name) if samples.balance == "oversample" else chosen)
    return Draw(sorted(train), sorted(holdout))


MOST_TEST = 1000
"""Rows that are set aside where the recipe does not say how many."""


def set_aside(
    labels: Sequence[int], places: Sequence[int], unique: Sequence[bool], samples: Samples, names: Sequence[str]
) -> list[int]:
    """Draws the rows that are predicted where there is no dev file: in the file's order, with its label shares, from rows whose
    input is in no other row. Raises DataError where a label has too few. The arguments are those of `draw`."""
    total = samples.test or max(1, min(MOST_TEST, len(labels) // 10))
    # another order than the hold-out's
    by_label = _rows_by_label(labels, names, _order(places, f"test {samples.seed}"))
    chosen: list[int] = []
    for rows, quota, name in zip(by_label, _shares([len(rows) for rows in by_label], total), names):
        found = list(islice((row for row in rows if unique[row]), quota))
        if len(found) < quota or quota == len(rows):
            raise DataError(
                tr(
                    "samples.test needs {quota} rows of label {name!r} whose input is in no other row, "
                    "found {found_count}, and training needs some too",
                    quota=quota,
                    name=name,
                    found_count=len(found),
                ),
                tr("lower samples.test, or name a file to predict: task.dev"),
            )
        chosen.extend(found)
    return sorted(chosen)


def undrawn_labels(drawn: Draw, labels: Sequence[int], names: Sequence[str]) -> Iterator[str]:
    """Warnings about labels that are too rare to be drawn. `labels` and `names`: as `draw` takes them."""
    training = {labels[row] for row in drawn.train}
    held_out = {labels[row] for row in drawn.holdout}
    for number, name in enumerate(names):
        if number not in training:
            yield tr(
                "no training row has the label {label!r}, so the model cannot learn it; raise samples.train, or set "
                "samples.balance: equal",
                label=name,
            )
    for number, name in enumerate(names):
        if number not in held_out:
            yield tr(
                "no hold-out row has the label {label!r}, so mistakes on such rows are not seen; raise samples.holdout",
                label=name,
            )


def _order(places: Sequence[int], seed: Union[int, str]) -> list[int]:
    """The rows in a random order: which of two rows comes first depends on the seed and on their places alone."""
    numbers = random.Random(seed)
    keys = array("d", (numbers.random() for _ in range(max(places, default=0) + 1)))
    return sorted(range(len(places)), key=lambda row: keys[places[row]])


def _rows_by_label(labels: Sequence[int], names: Sequence[str], order: Sequence[int]) -> list[array[int]]:
    # arrays of machine words: the full QQP has 363,846 rows
    by_label = [array("L") for _ in names]
    for row in order:
        by_label[labels[row]].append(row)
    for name, rows in zip(names, by_label):
        if not rows:
            raise DataError(
                tr("no training row has the label {name!r}", name=name), tr("correct task.labels or the file")
            )
    return by_label


def _repeated(rows: Sequence[int], total: int, name: str) -> list[int]:
    """`total` rows, each as often as any other or once more."""
    if not rows:
        raise DataError(
            tr("samples.balance: oversample: no row of label {name!r} was drawn, so none can be repeated", name=name),
            tr("raise samples.train, or set samples.balance: equal"),
        )
    return list(islice(cycle(rows), total))


def _quotas(counts: Sequence[int], samples: Samples) -> list[int]:
    if samples.balance == "equal":
        total = min(counts) * len(counts) if samples.train_rows == "all" else samples.train_rows
        return _shares([1] * len(counts), total)
    return list(counts) if samples.train_rows == "all" else _shares(counts, samples.train_rows)


def _shares(weights: Sequence[int], total: int) -> list[int]:
    """`total` split in proportion to `weights`, by largest remainder: the parts add up to `total`."""
    exact = [total * weight / sum(weights) for weight in weights]
    parts = [int(share) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: parts[i] - exact[i])
    for index in by_remainder[: total - sum(parts)]:
        parts[index] += 1
    return parts
