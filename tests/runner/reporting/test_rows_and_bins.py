"""What a page shows of the hold-out: the kinds of rows, groups of equal size, and texts in which nothing is invisible."""

import pytest
from support.evaluated_runs import rows_of

from runner.evaluation.holdout import HoldoutPrediction, kept_characters
from runner.reporting.bins import bins_of
from runner.reporting.rows import MOST_SHOWN, shown
from runner.reporting.rows import rows_of as rows_in_a_report
from runner.reporting.texts import MOST_BYTES, kept_texts
from runner.reporting.visible import visible


def prediction(number: int, target: str, *logits: float) -> HoldoutPrediction:
    label = "01"[logits[1] > logits[0]]
    return HoldoutPrediction(number, str(number), target, label, logits)


def test_rows_have_kinds() -> None:
    found = [
        prediction(1, "0", 4.0, -4.0),
        prediction(2, "0", -3.0, 3.0),
        prediction(3, "1", -0.05, 0.05),
        prediction(4, "1", -2.0, 2.0),
    ]
    rows = rows_in_a_report(found, ["0", "1"], {})
    assert [row.kinds for row in rows] == [(), ("hardest", "doubtful"), ("unsure",), ()]
    assert [row.is_right for row in rows] == [True, False, True, True]
    assert rows[1].right == pytest.approx(0.0025, abs=1e-4)
    assert [row.number for row in shown(rows)] == [2, 3, 4, 1]


def test_probabilities_are_those_after_calibration() -> None:
    calibration = {"temperature": 2.0, "bias": {"0": 0.5, "1": -0.5}}
    (row,) = rows_in_a_report([prediction(1, "1", 0.0, 2.0)], ["0", "1"], calibration)
    assert row.probabilities == pytest.approx((0.5, 0.5))
    own = HoldoutPrediction(1, "1", "1", "0", (0.0, 2.0), probabilities=(0.6, 0.4))
    (row,) = rows_in_a_report([own], ["0", "1"], calibration)
    assert (row.probabilities, row.right) == ((0.6, 0.4), 0.4)


def test_of_many_rows_the_marked_ones_are_shown_and_others_evenly() -> None:
    rows = rows_in_a_report(rows_of(5000), ["0", "1"], {})
    some = shown(rows)
    assert len(some) == len({row.number for row in some}) == MOST_SHOWN
    assert {row.number for row in rows if row.kinds} <= {row.number for row in some}


def test_bins_have_equal_sizes_and_equal_values_stay_together() -> None:
    values = [float(number) for number in range(100)]
    found = bins_of(values, [value < 50 for value in values], most=4)
    assert [(each.low, each.high, each.rows, each.accuracy) for each in found] == [
        (0, 24, 25, 1),
        (25, 49, 25, 1),
        (50, 74, 25, 0),
        (75, 99, 25, 0),
    ]
    assert [each.rows for each in bins_of([1.0] * 60 + [2.0] * 40, [True] * 100, most=4)] == [60, 40]
    assert len(bins_of([1.0, 2.0], [True, False], most=4)) == 1


def test_texts_are_cut_so_that_all_are_small() -> None:
    assert kept_texts(["a" * 700, "b"], [700, 1]) == (["a" * 600 + "…", "b"], 600)
    assert kept_texts(["stored"], [60]) == (["stored…"], 6)
    texts, most = kept_texts(["<" * 700] * 1000, [700] * 1000)
    assert most == 150
    assert sum(len(text) * len("&lt;") for text in texts) < MOST_BYTES


def test_few_rows_are_stored_longer_than_many() -> None:
    assert [kept_characters(rows) for rows in (1, 4000, 20_000, 10**6)] == [1000, 1000, 200, 80]


def test_the_invisible_is_seen() -> None:
    assert visible("a\u202eb\u0000\ud800 你好\n👩\u200d👧") == "a\\u202eb\\x00\\ud800 你好\n👩\u200d👧"
    assert visible("plain text", 5) == "plain"
