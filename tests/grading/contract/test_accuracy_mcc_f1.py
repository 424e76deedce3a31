"""Accuracy, MCC and F1 against numbers counted by hand and against scikit-learn."""

import random

import pytest

from grading.contract import measure, wilson_interval

LABELS = ("0", "1")


def test_counted_by_hand():
    found = measure(list("1110000000"), list("1011000000"), LABELS)
    # hits 8; of 3 answers "1" and 3 predictions "1", 2 agree; MCC = (2*6 - 1*1) / sqrt(3*3*7*7)
    assert (found.rows, found.correct, found.accuracy, found.majority) == (10, 8, 0.8, 0.7)
    assert found.f1 == pytest.approx(2 * 2 / (3 + 3), abs=1e-15)
    assert found.mcc == pytest.approx(11 / 21, abs=1e-15)


def test_the_exams_interval():
    low, high = wilson_interval(132, 150)
    assert (round(100 * low, 1), round(100 * high, 1)) == (81.8, 92.3)


def test_intervals_stay_inside_zero_and_one():
    for rows in (1, 2, 150):
        for correct in range(rows + 1):
            low, high = wilson_interval(correct, rows)
            assert 0 <= low <= correct / rows <= high <= 1
    assert wilson_interval(0, 150)[0] == 0
    assert wilson_interval(150, 150)[1] == 1


@pytest.mark.parametrize(
    ("answers", "predictions", "mcc", "f1"),
    [
        ("1111", "1111", 0, 1),  # one class only: MCC is 0 by convention, even if all is right
        ("0000", "0000", 0, 0),  # nothing positive anywhere: F1 is 0 by convention
        ("0101", "0000", 0, 0),
        ("0101", "1010", -1, 0),
        ("0101", "0101", 1, 1),
    ],
)
def test_conventions(answers, predictions, mcc, f1):
    found = measure(list(answers), list(predictions), LABELS)
    assert (found.mcc, found.f1) == (mcc, f1)


def test_invalid_predictions_are_a_wrong_class():
    found = measure(list("0011"), [None, "0", "1", None], LABELS)
    assert (found.correct, found.accuracy) == (2, 0.5)
    assert found.f1 == pytest.approx(2 / 3)
    assert -1 <= found.mcc <= 1
    assert measure(["0", "1"], [None, None], LABELS).accuracy == 0


def test_numbers_serve_as_labels():
    """The runner's hold-out counts labels from 0."""
    answers, predictions = [0, 1, 1, 0], [0, 1, None, 1]
    found = measure(answers, predictions, range(2))
    named = measure(list("0110"), ["0", "1", None, "1"], LABELS)
    assert found == named
    assert found.confusion == ((1, 1, 0), (0, 1, 1))
    assert found.accuracy == 0.5


@pytest.mark.parametrize(("answers", "predictions"), [([], []), (["0"], ["0", "1"]), (["0", "1"], ["0"])])
def test_rows_that_do_not_pair(answers, predictions):
    expected = "expected as many predictions as answers and at least one, got"
    with pytest.raises(ValueError, match=f"^{expected} {len(predictions)} and {len(answers)}$"):
        measure(answers, predictions, LABELS)


@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.parametrize("labels", [("0", "1"), ("no", "yes"), ("0", "1", "2"), tuple("abcde")])
def test_equal_to_scikit_learn(labels):
    metrics = pytest.importorskip("sklearn.metrics")
    draw = random.Random(0)
    for _ in range(60):
        rows = draw.randint(1, 200)
        weights = [draw.random() for _ in labels]
        answers = draw.choices(labels, weights, k=rows)
        predictions = [draw.choice([answer, answer, draw.choice([*labels, None])]) for answer in answers]
        found = measure(answers, predictions, labels)
        named = [label if label is not None else "invalid" for label in predictions]
        scored, average = (labels, "macro") if len(labels) > 2 else (labels[-1:], None)
        f1 = metrics.f1_score(answers, named, labels=scored, average=average, zero_division=0)
        assert found.accuracy == pytest.approx(metrics.accuracy_score(answers, named), abs=1e-12)
        assert found.mcc == pytest.approx(metrics.matthews_corrcoef(answers, named), abs=1e-12)
        assert found.f1 == pytest.approx(float(f1 if average else f1[0]), abs=1e-12)
