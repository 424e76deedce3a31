"""The contradiction: a row whose label a model that was not trained on it contradicts with confidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runner.evaluation.log_probabilities import best


@dataclass(frozen=True)
class ScoredRow:
    """A labelled row as a model scored it that was not trained on it."""

    line: int
    """Its number: the line of the training file that it begins on, or that of a hold-out row."""
    label: int
    """The number of its label."""
    log_probabilities: tuple[float, ...]
    """The log-probability of each label, in nats, before calibration."""

    @property
    def predicted(self) -> int:
        """The number of the most likely label."""
        return best(self.log_probabilities)


def contradicted(rows: Sequence[ScoredRow]) -> list[ScoredRow]:
    """The rows whose label is contradicted, most confidently first.

    A simple form of confident learning (Northcutt et al. 2021, arXiv:1911.00068). A row is contradicted where another label
    is predicted, and the probability of its own label is below the mean that this label has over all rows that carry it. They
    are ranked by the margin: the log-probability of the predicted label minus that of the given one."""
    threshold = self_confidence(rows)
    found = [
        row
        for row in rows
        if row.predicted != row.label and math.exp(row.log_probabilities[row.label]) < threshold[row.label]
    ]
    return sorted(found, key=lambda row: (-margin(row), row.line))


def self_confidence(rows: Sequence[ScoredRow]) -> Mapping[int, float]:
    """For each label, its mean probability over the rows that carry it."""
    by_label: dict[int, list[float]] = {}
    for row in rows:
        by_label.setdefault(row.label, []).append(math.exp(row.log_probabilities[row.label]))
    return {label: math.fsum(found) / len(found) for label, found in by_label.items()}


def margin(row: ScoredRow) -> float:
    """How much more likely the predicted label is than the given one, in nats."""
    return row.log_probabilities[row.predicted] - row.log_probabilities[row.label]
