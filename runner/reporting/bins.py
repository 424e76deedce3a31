"""Bins: rows in groups of equal size, for the reliability diagram and for length against accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from runner.evaluation.intervals import accuracy_interval

LEAST_ROWS = 20
"""Fewest rows of a bin, if there is more than one: the accuracy of fewer says nothing."""


@dataclass(frozen=True)
class Bin:
    """Rows with similar values."""

    low: float
    """The smallest value."""
    high: float
    """The largest value."""
    mean: float
    """The mean value."""
    rows: int
    """How many rows."""
    accuracy: float
    """Share of them that is right, 0 to 1."""

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the accuracy."""
        return accuracy_interval(self.accuracy, self.rows)


def bins_of(values: Sequence[float], right: Sequence[bool], most: int) -> list[Bin]:
    """The rows in at most `most` bins of about equal size, by their values. Equal values are in one bin."""
    found = sorted(zip(values, right))
    count = max(1, min(most, len(found) // LEAST_ROWS))
    edges = [0]
    for number in range(1, count + 1):
        edge = len(found) * number // count
        while 0 < edge < len(found) and found[edge][0] == found[edge - 1][0]:
            edge += 1
        if edge > edges[-1]:
            edges.append(edge)
    return [_bin(found[start:end]) for start, end in zip(edges, edges[1:])]


def _bin(rows: Sequence[tuple[float, bool]]) -> Bin:
    values = [value for value, _ in rows]
    share = sum(right for _, right in rows) / len(rows)
    return Bin(values[0], values[-1], math.fsum(values) / len(values), len(rows), share)
