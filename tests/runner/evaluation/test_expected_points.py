"""The expected points: the beta-binomial distribution of scipy, the grader's number of points, and what the interval covers."""

import random

import pytest
from scipy.stats import betabinom

from grading.rubric import RUBRIC
from runner.evaluation.expected_points import ACCURACY_POINTS, beta_binomial, expected_points
from runner.evaluation.intervals import accuracy_interval, with_interval


def test_the_points_are_those_of_the_grader() -> None:
    assert [check.points for check in RUBRIC if check.name == "accuracy"] == [ACCURACY_POINTS]


@pytest.mark.parametrize(("right", "rows"), [(400, 500), (500, 500), (0, 4), (3, 4)])
def test_the_interval_is_scipys_beta_binomial(right: int, rows: int) -> None:
    a, b = right + 0.5, rows - right + 0.5
    assert list(beta_binomial(150, a, b)) == pytest.approx([betabinom.pmf(k, 150, a, b) for k in range(151)])
    found = expected_points(right / rows, rows, 150)
    low, high = (betabinom.ppf(share, 150, a, b) * 70 / 150 for share in (0.025, 0.975))
    assert found.interval == (pytest.approx(low), pytest.approx(high))
    assert found.points == pytest.approx(70 * a / (a + b))


def test_the_interval_holds_95_of_100_results() -> None:
    draw, inside = random.Random(0), 0
    for _ in range(1000):
        accuracy = 0.6 + 0.3 * draw.random()
        holdout, graded = (sum(draw.random() < accuracy for _ in range(rows)) for rows in (300, 150))
        low, high = expected_points(holdout / 300, 300, 150).interval
        inside += low - 1e-9 <= graded * 70 / 150 <= high + 1e-9
    assert 935 <= inside <= 985


def test_the_message() -> None:
    words = expected_points(0.8, 500, 150).words()
    assert words == "expected: 56 of 70 points for accuracy on 150 rows (95 %: 51 to 61)"


def test_an_accuracy_is_shown_with_its_wilson_interval() -> None:
    assert with_interval(0.962, 500) == "96.2% (94.1 to 97.6)"
    assert accuracy_interval(1.0, 4) == (pytest.approx(0.5101, abs=1e-4), 1.0)
