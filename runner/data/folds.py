"""The folds: the drawn rows in a few parts, so that each part can be scored by an adapter that was not trained on it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass

from runner.data.sampling import Draw, draw
from runner.recipe.schema import Samples


@dataclass(frozen=True)
class Fold:
    """One of some parts."""

    number: int
    """From 1."""
    count: int
    """The number of parts."""


def fold_numbers(labels: Sequence[int], keys: Sequence[int], count: int, seed: int) -> list[int]:
    """The fold of each row, from 1. Rows with the same input are in one fold, and every fold has the label shares of all rows.

    `labels`, `keys`: the label and the input's key of each row. Only the equality of keys matters, because they differ from
    process to process. scikit-learn's StratifiedGroupKFold takes a step in Python for every group and fold and depends on
    its version; here inputs with the same labels are shuffled and dealt in turn."""
    rows_of: dict[int, list[int]] = {}
    for row, key in enumerate(keys):
        rows_of.setdefault(key, []).append(row)
    strata: dict[tuple[int, ...], list[list[int]]] = {}
    for rows in rows_of.values():
        strata.setdefault(tuple(sorted(labels[row] for row in rows)), []).append(rows)
    shuffle, found, dealt = random.Random(seed), [0] * len(labels), 0
    for stratum in sorted(strata):
        shuffle.shuffle(strata[stratum])
        for rows in strata[stratum]:
            for row in rows:
                found[row] = dealt % count + 1
            dealt += 1
    return found


def draw_around(
    fold: Fold, numbers: Sequence[int], labels: Sequence[int], samples: Samples, names: Sequence[str]
) -> Draw:
    """The draw that holds out one fold and trains on the others, balanced as `samples` says. `numbers`: from `fold_numbers`.

    Raises DataError where a label has no row outside the fold."""
    rest = [row for row, number in enumerate(numbers) if number != fold.number]
    everything = dataclasses.replace(samples, train="all", holdout=0)
    chosen = draw([labels[row] for row in rest], rest, [False] * len(rest), everything, names).train
    return Draw([rest[row] for row in chosen], [row for row, number in enumerate(numbers) if number == fold.number])
