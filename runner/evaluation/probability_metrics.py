"""Metrics of probabilities: log loss, Brier score and expected calibration error. Lower is better for all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

BINS = 15
"""Bins of the calibration error (as Guo et al. 2017, arXiv:1706.04599)."""

SMALLEST = 1e-15
"""A probability counts as this much at least in the log loss: one row that is wrong with probability 0 would make it
infinite."""

Probabilities = Sequence[Sequence[float]]
"""For each row, one probability a label; their sum is 1."""


@dataclass(frozen=True)
class ProbabilityMetrics:
    """How well probabilities fit the labels."""

    log_loss: float
    """Mean of minus the log-probability of the right label, in nats; 0 is the best."""
    brier: float
    """Mean squared error of the probabilities, 0 to 1: half the sum over the labels (Brier 1950), which is scikit-learn's
    `brier_score_loss` where there are two labels."""
    ece: float
    """Expected calibration error, 0 to 1: the mean distance between confidence and accuracy."""


def measure_probabilities(probabilities: Probabilities, targets: Sequence[int]) -> ProbabilityMetrics:
    """Compute all three.

    Args:
        probabilities: (rows, labels), at least one row.
        targets: (rows,), the number of each row's right label.
    """
    rows = len(targets)
    log_loss = -math.fsum(math.log(max(row[target], SMALLEST)) for row, target in zip(probabilities, targets)) / rows
    errors = (
        (probability - (number == target)) ** 2
        for row, target in zip(probabilities, targets)
        for number, probability in enumerate(row)
    )
    return ProbabilityMetrics(log_loss, math.fsum(errors) / (2 * rows), calibration_error(probabilities, targets))


def calibration_error(probabilities: Probabilities, targets: Sequence[int], bins: int = BINS) -> float:
    """The expected calibration error over bins of equal mass.

    The rows are sorted by confidence (the largest probability) and cut into `bins` groups of equal size. In each group the
    mean confidence is compared with the share of rows whose likeliest label is right. With few rows, groups of equal size have
    a smaller bias than bins of equal width (Roelofs et al. 2022, arXiv:2012.08668)."""
    found = []
    for row, target in zip(probabilities, targets):
        confidence = max(row)
        found.append((confidence, row[target] == confidence))
    # ties are in the order of the rows
    found.sort(key=lambda each: each[0])
    edges = [len(found) * number // bins for number in range(bins + 1)]
    groups = [found[start:end] for start, end in zip(edges, edges[1:])]
    gaps = (abs(math.fsum(confidence - right for confidence, right in group)) for group in groups)
    return math.fsum(gaps) / len(found)
