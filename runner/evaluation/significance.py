"""The paired comparison: are two models that answered the same rows different, or is it the luck of few rows?

Nothing heavy is imported at the top; the bootstrap alone uses numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Optional

from runner.language import mark, tr

LEVEL = 0.05
"""Largest p-value of a difference that is called one."""

POWER = 0.8
"""The chance of finding a real difference, for the number of rows that would be needed."""

RESAMPLES = 10_000
"""Resamples of a bootstrap interval."""


def exact_mcnemar(only_first: int, only_second: int) -> float:
    """McNemar's exact test, two-sided (Q. McNemar, 1947).

    Args:
        only_first: rows that only the first of two models gets right.
        only_second: rows that only the second gets right.

    Returns:
        The p-value: how often a fair coin, tossed once for each of these rows, is at least as one-sided.
    """
    total, least = only_first + only_second, min(only_first, only_second)
    # the sum of the binomial coefficients, in whole numbers: exact for any number of rows
    ways = below = 1
    for k in range(least):
        ways = ways * (total - k) // (k + 1)
        below += ways
    return min(1.0, 2 * below / 2**total)


def bootstrap_interval(only_first: int, only_second: int, rows: int, seed: int = 0) -> tuple[float, float]:
    """The paired bootstrap's 95 % interval of the accuracy difference, second minus first (B. Efron, 1979).

    Each of `RESAMPLES` resamples draws as many rows as there are, with replacement. Only three kinds of rows change the
    difference, so their counts are drawn, which has the same distribution.

    Args:
        only_first: rows that only the first of two models gets right.
        only_second: rows that only the second gets right.
        rows: all rows, at least one.
        seed: of the resamples; the same seed gives the same interval.

    Returns:
        Both ends, from -1 to 1.
    """
    import numpy as np

    shares = [only_first / rows, only_second / rows, (rows - only_first - only_second) / rows]
    counts = np.random.default_rng(seed).multinomial(rows, shares, size=RESAMPLES)
    low, high = np.quantile((counts[:, 1] - counts[:, 0]) / rows, [0.025, 0.975])
    return float(low), float(high)


def rows_needed(only_first: int, only_second: int, rows: int, tests: int = 1) -> Optional[int]:
    """How many rows would show the observed difference at `LEVEL` with the chance `POWER` (R. J. Connor, 1987).

    Args:
        only_first: rows that only the first of two models gets right.
        only_second: rows that only the second gets right.
        rows: all rows, at least one.
        tests: how many comparisons share `LEVEL`. Holm's first step, the strictest one, gives each a part of it.

    Returns:
        The number; None where both get equally many right, which no number of rows would tell apart.
    """
    if only_first == only_second:
        return None
    discordant, difference = (only_first + only_second) / rows, abs(only_first - only_second) / rows
    level = LEVEL / tests
    at_level, at_power = NormalDist().inv_cdf(1 - level / 2), NormalDist().inv_cdf(POWER)
    spread = at_level * math.sqrt(discordant) + at_power * math.sqrt(max(0.0, discordant - difference**2))
    # with fewer rows that only one gets right McNemar's exact test finds nothing: 2 / 2**6 < 0.05
    least = math.floor(math.log2(2 / level)) + 1
    return max(math.ceil((spread / difference) ** 2), math.ceil(least / discordant))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of several comparisons (S. Holm, 1979).

    Args:
        p_values: one for each comparison, in any order.

    Returns:
        The adjusted values in the same order. The chance that any comparison of equal models is below `LEVEL` is at most
        `LEVEL`.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for done, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - done) * p_values[place]))
        adjusted[place] = largest
    return adjusted


@dataclass(frozen=True)
class PairedComparison:
    """Two models on the same rows."""

    rows: int
    """Rows that both answered."""
    only_first: int
    """Rows that only the first gets right."""
    only_second: int
    """Rows that only the second gets right."""
    p: float
    """McNemar's exact p-value, or the adjusted one where it is one of several comparisons."""
    interval: tuple[float, float]
    """95 % bootstrap interval of `difference`."""
    tests: int = 1
    """How many comparisons the p-value is adjusted for."""

    @property
    def difference(self) -> float:
        """Accuracy of the second minus that of the first, -1 to 1."""
        return (self.only_second - self.only_first) / self.rows

    @property
    def distinguishable(self) -> bool:
        """Whether the difference is more than the luck of these rows."""
        return self.p < LEVEL

    @property
    def rows_needed(self) -> Optional[int]:
        """How many rows would show the observed difference; None where there is none."""
        return rows_needed(self.only_first, self.only_second, self.rows, self.tests)

    def sentence(self, first: str = mark("the first"), second: str = mark("the second")) -> str:
        """The result in a sentence. `first`, `second`: the names of the two models."""
        if self.distinguishable:
            better, worse, sign = (second, first, 1) if self.difference > 0 else (first, second, -1)
            low, high = sorted(100 * sign * end for end in self.interval)
            points = 100 * abs(self.difference)
            return tr(
                "{better} is {points:.1f} points better than {worse} on {rows:,} rows (95 % interval "
                "{low:.1f} to {high:.1f}, {shown_p})",
                better=better,
                points=points,
                worse=worse,
                rows=self.rows,
                low=low,
                high=high,
                shown_p=shown_p(self.p),
            )
        return tr("not distinguishable on {rows:,} rows; {more}", rows=self.rows, more=self.needed())

    def needed(self) -> str:
        """How many rows would tell the two apart, in words."""
        if self.rows_needed is None:
            return tr("both get equally many right")
        return tr("about {rounded:,} would be needed", rounded=_rounded(self.rows_needed))


def compare(first: Sequence[bool], second: Sequence[bool]) -> PairedComparison:
    """Compare two models.

    Args:
        first: for each row whether the first model gets it right; at least one row.
        second: the same of the second model, in the same order.

    Returns:
        The comparison, with the p-value of this one pair.

    Raises:
        ValueError: there is no row, or the numbers of rows differ.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"expected as many rows of both and at least one, got {len(first)} and {len(second)}")
    only_first = sum(one and not other for one, other in zip(first, second))
    only_second = sum(other and not one for one, other in zip(first, second))
    return PairedComparison(
        rows=len(first),
        only_first=only_first,
        only_second=only_second,
        p=exact_mcnemar(only_first, only_second),
        interval=bootstrap_interval(only_first, only_second, len(first)),
    )


def shown_p(p: float) -> str:
    """A p-value as text: `p = 0.004`, `p < 0.0001`."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.2g}"


def _rounded(number: int) -> int:
    """The number with its first two digits: 2,317 is about 2,300."""
    unit: int = 10 ** max(0, len(str(number)) - 2)
    return round(number / unit) * unit
