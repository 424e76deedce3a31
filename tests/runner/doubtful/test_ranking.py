"""The ranking: another label is predicted, the own one is less likely than usual, the largest margin first."""

import math

from runner.data.prepare import LabelledRow
from runner.doubtful.ranking import several_labels
from runner.evaluation.contradiction import ScoredRow, contradicted, margin, self_confidence


def scored(line: int, label: int, *probabilities: float) -> ScoredRow:
    return ScoredRow(line, label, tuple(map(math.log, probabilities)))


def test_the_rule_of_a_contradiction() -> None:
    rows = [
        scored(1, 0, 0.9, 0.1),
        scored(2, 0, 0.4, 0.6),
        scored(3, 0, 0.2, 0.8),
        # label 1 is never believed: its mean is 0.25, and only a row below that is contradicted
        scored(4, 1, 0.7, 0.3),
        scored(5, 1, 0.8, 0.2),
    ]
    confidence = self_confidence(rows)
    assert [round(confidence[label], 9) for label in (0, 1)] == [0.5, 0.25]
    assert [row.line for row in contradicted(rows)] == [3, 5, 2]


def test_the_margin_orders_rows_of_three_labels() -> None:
    narrow, wide = scored(1, 0, 0.1, 0.5, 0.4), scored(2, 0, 0.1, 0.8, 0.1)
    sure = scored(3, 0, 0.9, 0.05, 0.05)
    assert [row.line for row in contradicted([narrow, wide, sure])] == [2, 1]
    assert math.isclose(margin(wide), math.log(8))


def test_groups_have_one_input_and_several_labels() -> None:
    rows = [LabelledRow(line, label, key, 1) for line, label, key in [(1, 0, 7), (2, 0, 8), (3, 1, 7), (4, 0, 8)]]
    assert [[row.line for row in group] for group in several_labels(rows)] == [[1, 3]]
