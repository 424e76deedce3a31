"""The comparison of several runs, pair by pair, on the hold-out rows that all of them answered."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Optional

from grading.contract.metrics import Metrics, measure
from runner.errors import UserError
from runner.evaluation.holdout import HoldoutPrediction
from runner.evaluation.significance import PairedComparison, compare, holm
from runner.language import tr

Predictions = Sequence[HoldoutPrediction]


@dataclass(frozen=True)
class Comparison:
    """Several runs on the same rows."""

    rows: int
    """Rows that all runs held out and answered."""
    left_out: tuple[int, ...]
    """For each run how many of its hold-out rows are not among them."""
    metrics: tuple[Metrics, ...]
    """Each run's metrics on these rows."""
    pairs: dict[tuple[int, int], PairedComparison]
    """Every two runs by their numbers from 0; the p-values are corrected for the number of pairs (Holm)."""

    def tied_with_best(self) -> list[bool]:
        """For each run whether it is the best one or not distinguishable from it."""
        best = max(range(len(self.metrics)), key=lambda number: self.metrics[number].correct)
        pairs = [self.pairs.get((min(best, number), max(best, number))) for number in range(len(self.metrics))]
        return [pair is None or not pair.distinguishable for pair in pairs]


def compare_runs(runs: Sequence[Predictions], names: Sequence[str]) -> Comparison:
    """Compare runs by their hold-out predictions.

    Rows are the same where input and label are. A row that not all runs held out is left out: some may have been trained on
    it. Raises UserError with fewer than two common rows, and for runs with other labels."""
    answers = [{(each.key, each.target): each.label for each in predictions} for predictions in runs]
    common = [row for row in answers[0] if all(row in other for other in answers)]
    if len(common) < 2:
        sizes = ", ".join(f"{name} {len(rows):,}" for name, rows in zip(names, answers))
        raise UserError(
            tr(
                "these runs have {common_count} hold-out rows in common ({sizes}), and a comparison needs 2 or more",
                common_count=len(common),
                sizes=sizes,
            ),
            tr("train them on the same data with the same samples.seed and samples.holdout"),
        )
    targets = [target for _, target in common]
    labels = sorted({*targets, *(each.target for predictions in runs for each in predictions)})
    predicted = [[_valid(rows[row], labels) for row in common] for rows in answers]
    right = [[label == target for label, target in zip(given, targets)] for given in predicted]
    pairs = {(i, j): compare(right[i], right[j]) for i, j in combinations(range(len(runs)), 2)}
    corrected = holm([pair.p for pair in pairs.values()])
    return Comparison(
        rows=len(common),
        left_out=tuple(len(rows) - len(common) for rows in answers),
        metrics=tuple(measure(targets, given, labels) for given in predicted),
        pairs={
            names: dataclasses.replace(pair, p=p, tests=len(pairs))
            for (names, pair), p in zip(pairs.items(), corrected)
        },
    )


def _valid(label: str, labels: Sequence[str]) -> Optional[str]:
    return label if label in labels else None
