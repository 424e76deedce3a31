"""The sample: which labelled rows become training rows and which are held out. Seeded, and stratified by label."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, MutableSequence, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice

from runner.errors import DataError
from runner.recipe.schema import Samples


@dataclass(frozen=True)
class Draw:
    """Row numbers, counted from 0 among the good rows, in the file's order."""

    train: list[int]
    """Training rows; a row that is repeated is there several times."""
    holdout: list[int]
    """Held-out rows."""


def draw(labels: Sequence[int], unique: Sequence[bool], samples: Samples, names: Sequence[str]) -> Draw:
    """Draws the hold-out first, from rows whose input is in no other row, then the training rows from the rest.

    `labels[i]` is the label of row i as a number into `names`. `unique[i]` says that no other labelled or dev row has its
    input, so hold-out and training share no input. The hold-out has the label shares of the file; the training rows have
    these shares too, or equal ones: drawn so, or by repeating rows of the rare labels. Raises DataError where a label has too
    few rows."""
    shuffle = random.Random(samples.seed)
    by_label = _rows_by_label(labels, names)
    counts = [len(rows) for rows in by_label]
    wanted = samples.holdout + (len(names) if samples.train_rows == "all" else samples.train_rows)
    if wanted > len(labels):
        raise DataError(
            f"samples asks for {samples.train} training and {samples.holdout} held-out rows, found {len(labels)} usable rows",
            "lower samples.train or samples.holdout, or set samples.train: all",
        )
    holdout: list[int] = []
    drawn = [_drawn(rows, shuffle) for rows in by_label]
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
                f"samples.holdout needs {quota} rows of label {name!r} whose input is in no other row, found {len(chosen)}, and "
                "training needs some too",
                "lower samples.holdout",
            )
        holdout.extend(chosen)
    counts = [count - share for count, share in zip(counts, _shares(counts, samples.holdout))]
    train: list[int] = []
    quotas = _quotas(counts, samples)
    for first, of_label, count, quota, name in zip(passed, drawn, counts, quotas, names):
        if quota > count:
            raise DataError(
                f"samples asks for {quota} training rows of label {name!r}, found {count}",
                "lower samples.train, or set samples.balance: none",
            )
        chosen = list(islice(chain(first, of_label), quota))
        train.extend(_repeated(chosen, max(quotas), name) if samples.balance == "oversample" else chosen)
    return Draw(sorted(train), sorted(holdout))


def _rows_by_label(labels: Sequence[int], names: Sequence[str]) -> list[array[int]]:
    # arrays of machine words: the full QQP has 363,846 rows
    by_label = [array("L") for _ in names]
    for row, label in enumerate(labels):
        by_label[label].append(row)
    for name, rows in zip(names, by_label):
        if not rows:
            raise DataError(f"no training row has the label {name!r}", "correct task.labels or the file")
    return by_label


def _repeated(rows: Sequence[int], total: int, name: str) -> list[int]:
    """`total` rows, each as often as any other or once more."""
    if not rows:
        raise DataError(
            f"samples.balance: oversample: no row of label {name!r} was drawn, so none can be repeated",
            "raise samples.train, or set samples.balance: equal",
        )
    return list(islice(cycle(rows), total))


def _drawn(rows: MutableSequence[int], random_numbers: random.Random) -> Iterator[int]:
    """The rows in a random order, shuffled only as far as they are used (Fisher and Yates, from the front)."""
    for place in range(len(rows)):
        other = random_numbers.randrange(place, len(rows))
        rows[place], rows[other] = rows[other], rows[place]
        yield rows[place]


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
