"""Paired comparisons, against exact counts, by-hand numbers, and what is promised on simulated pairs."""

import dataclasses
import math
import random
from fractions import Fraction

import pytest

from runner.evaluation.significance import (
    LEVEL,
    PairedComparison,
    bootstrap_interval,
    compare,
    exact_mcnemar,
    holm,
    rows_needed,
)


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 0), (0, 6), (3, 10), (12, 12), (40, 61), (700, 801)])
def test_mcnemar_is_the_two_sided_binomial_test(one: int, other: int) -> None:
    total = one + other
    tail = sum(Fraction(math.comb(total, k), 2**total) for k in range(min(one, other) + 1))
    assert exact_mcnemar(one, other) == pytest.approx(float(min(Fraction(1), 2 * tail)), rel=1e-12)
    assert exact_mcnemar(one, other) == exact_mcnemar(other, one)


def test_mcnemar_by_hand() -> None:
    assert exact_mcnemar(0, 6) == 2 / 64
    assert exact_mcnemar(1, 5) == 2 * 7 / 64
    assert exact_mcnemar(4, 4) == 1


def test_equal_models_are_called_different_at_most_as_often_as_the_level_says() -> None:
    draw, found = random.Random(0), 0
    for _ in range(2000):
        ones = sum(draw.random() < 0.5 for _ in range(60))
        found += exact_mcnemar(ones, 60 - ones) < LEVEL
    assert found / 2000 < LEVEL


def test_the_bootstrap_is_the_resampling_of_rows() -> None:
    """The interval of counts agrees with that of rows drawn one by one."""
    numpy = pytest.importorskip("numpy")
    rows = numpy.array([1] * 30 + [-1] * 12 + [0] * 358)
    draws = numpy.random.default_rng(1).integers(0, len(rows), size=(4000, len(rows)))
    expected = numpy.quantile(rows[draws].mean(1), [0.025, 0.975])
    assert bootstrap_interval(12, 30, 400) == pytest.approx(expected, abs=0.004)
    assert bootstrap_interval(12, 30, 400) == bootstrap_interval(12, 30, 400)
    assert bootstrap_interval(0, 0, 400) == (0.0, 0.0)


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says() -> None:
    draw, covered = random.Random(2), 0
    for seed in range(200):
        kinds = draw.choices(["first", "second", "same"], [0.10, 0.16, 0.74], k=300)
        low, high = bootstrap_interval(kinds.count("first"), kinds.count("second"), 300, seed)
        covered += low <= 0.06 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_as_many_rows_as_are_needed_show_the_difference_with_the_promised_power() -> None:
    needed = rows_needed(20, 30, 500)
    assert needed == 1960
    draw, found = random.Random(3), 0
    for _ in range(300):
        kinds = draw.choices(["first", "second", "same"], [0.04, 0.06, 0.90], k=needed)
        found += exact_mcnemar(kinds.count("first"), kinds.count("second")) < LEVEL
    assert 0.72 <= found / 300 <= 0.88
    assert rows_needed(25, 25, 500) is None
    assert rows_needed(5, 0, 5) == 6


def test_of_several_comparisons_each_needs_more_rows() -> None:
    """9 rows of 20 are a difference for one comparison (p = 0.004), but not for 15: these need more than 20 rows."""
    assert 15 * exact_mcnemar(9, 0) > LEVEL
    alone = compare([True] * 20, [False] * 9 + [True] * 11)
    adjusted = dataclasses.replace(alone, p=15 * alone.p, tests=15)
    assert alone.distinguishable
    assert adjusted.rows_needed == 29
    assert adjusted.sentence() == "not distinguishable on 20 rows; about 29 would be needed"


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_sentences() -> None:
    right = [True] * 400 + [False] * 100
    better = [True] * 430 + [False] * 70
    assert compare(right, better).sentence("A", "B") == (
        "B is 6.0 points better than A on 500 rows (95 % interval 4.0 to 8.2, p < 0.0001)"
    )
    assert compare(better, right).sentence("A", "B").startswith("A is 6.0 points better than B on 500 rows (95 % ")
    close = PairedComparison(500, 20, 29, exact_mcnemar(20, 29), (0.0, 0.0))
    assert close.sentence() == "not distinguishable on 500 rows; about 2,400 would be needed"
    same = compare(right, right)
    assert same.sentence() == "not distinguishable on 500 rows; both get equally many right"
    assert not same.distinguishable


def test_rows_must_match() -> None:
    with pytest.raises(ValueError, match="expected as many rows of both and at least one, got 1 and 2"):
        compare([True], [True, False])
    with pytest.raises(ValueError, match="got 0 and 0"):
        compare([], [])
