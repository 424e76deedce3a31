"""Log loss and Brier score against scikit-learn, the calibration error against a count by hand."""

import random

import pytest
from sklearn.metrics import brier_score_loss, log_loss

from runner.evaluation.probability_metrics import calibration_error, measure_probabilities


def test_log_loss_and_brier_score_are_scikit_learns() -> None:
    draw = random.Random(0)
    ones = [draw.random() for _ in range(200)]
    targets = [int(draw.random() < one) for one in ones]
    found = measure_probabilities([[1 - one, one] for one in ones], targets)
    assert found.log_loss == pytest.approx(log_loss(targets, ones))
    assert found.brier == pytest.approx(brier_score_loss(targets, ones))


def test_three_labels_and_a_probability_of_zero_are_counted() -> None:
    found = measure_probabilities([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]], [0, 0])
    assert found.brier == pytest.approx(((0.25 + 2 * 0.0625) / 2 + (1 + 1) / 2) / 2)
    assert 17 < found.log_loss < 18


def test_the_calibration_error_is_the_gap_of_groups_of_equal_size() -> None:
    # two groups: confidence 0.6 and 1 of 2 right, confidence 0.9 and 2 of 2 right
    probabilities = [[0.9, 0.1], [0.4, 0.6], [0.1, 0.9], [0.6, 0.4]]
    assert calibration_error(probabilities, [0, 0, 1, 0], bins=2) == pytest.approx((2 * 0.1 + 2 * 0.1) / 4)
    # fewer rows than bins: a bin for each row
    assert calibration_error([[0.75, 0.25]], [1]) == pytest.approx(0.75)


def test_probabilities_that_are_right_have_a_small_calibration_error() -> None:
    draw = random.Random(1)
    ones = [draw.random() for _ in range(20_000)]
    targets = [int(draw.random() < one) for one in ones]
    assert calibration_error([[1 - one, one] for one in ones], targets) < 0.015
    assert calibration_error([[1 - one**3, one**3] for one in ones], targets) > 0.1
