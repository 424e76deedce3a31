"""The exam's points for accuracy that an adapter may expect, with a 95 % prediction interval."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from runner.language import tr

ACCURACY_POINTS = 70
"""Points of the grader's row `accuracy` where one dataset is graded. With N datasets each carries 1/N of them."""

PRIOR = 0.5
"""Both parameters of the Beta prior (Jeffreys'; Brown, Cai and DasGupta 2001, Interval Estimation for a Binomial Proportion)."""


@dataclass(frozen=True)
class ExpectedPoints:
    """What to expect on rows that nobody has graded yet."""

    rows: int
    """Rows that will be graded."""
    points: float
    """Expected points for accuracy."""
    interval: tuple[float, float]
    """In 95 of 100 cases the points are between these."""
    max_points: int = ACCURACY_POINTS
    """Points for an accuracy of 1."""

    def words(self) -> str:
        """The message for the user."""
        low, high = self.interval
        return tr(
            "expected: {points:.0f} of {max_points} points for accuracy on {rows:,} rows (95 %: "
            "{low:.0f} to {high:.0f})",
            points=self.points,
            max_points=self.max_points,
            rows=self.rows,
            low=low,
            high=high,
        )


def expected_points(accuracy: float, holdout_rows: int, rows: int) -> ExpectedPoints:
    """Predict the points for accuracy, as the grader counts them when this dataset is the only one.

    Both samples are small, so both count. After `accuracy × holdout_rows` right answers the accuracy has a Beta distribution,
    and the number of right answers on `rows` more rows is beta-binomial (Gelman et al., Bayesian Data Analysis, 3rd ed., 2.1
    and 2.4). Both must be drawn alike: rows of another source can be harder than the interval says. The best epoch was chosen
    on the hold-out, so the points are slightly optimistic.

    Args:
        accuracy: On the hold-out, 0 to 1.
        holdout_rows: Rows of the hold-out.
        rows: Rows that will be graded.
    """
    right = accuracy * holdout_rows + PRIOR
    wrong = (1 - accuracy) * holdout_rows + PRIOR
    low, high = _quantiles(rows, right, wrong)
    share = ACCURACY_POINTS / rows
    return ExpectedPoints(rows, ACCURACY_POINTS * right / (right + wrong), (low * share, high * share))


def beta_binomial(rows: int, right: float, wrong: float) -> Iterator[float]:
    """The probabilities of 0, 1, …, `rows` right answers where the accuracy is Beta(`right`, `wrong`)."""
    fixed = math.lgamma(rows + 1) - math.lgamma(rows + right + wrong) - _log_beta(right, wrong)
    for count in range(rows + 1):
        ways = math.lgamma(count + 1) + math.lgamma(rows - count + 1)
        yield math.exp(fixed - ways + math.lgamma(count + right) + math.lgamma(rows - count + wrong))


def _quantiles(rows: int, right: float, wrong: float) -> tuple[int, int]:
    """The smallest counts whose cumulative probability reaches 2.5 % and 97.5 %."""
    total, low = 0.0, -1
    for count, probability in enumerate(beta_binomial(rows, right, wrong)):
        total += probability
        if low < 0 and total >= 0.025:
            low = count
        if total >= 0.975:
            return low, count
    return max(low, 0), rows


def _log_beta(one: float, other: float) -> float:
    return math.lgamma(one) + math.lgamma(other) - math.lgamma(one + other)
