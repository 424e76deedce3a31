"""Disclosure: how much a report says about its answer key, which a candidate who reads it does not know.

A candidate knows what was submitted, the number of rows, and the labels. So the matrix of answers against predictions says, for
each column, how its rows divide into the labels: with two labels these are three numbers, with as many labels as rows it is the
key. Therefore it is in a report only where it says little (`shows_confusion`). Everything else is then a function of the matrix.

Without it a report has two counts, the right rows and the rows of the most frequent label, and two measures that are rounded.
`most_bits` is the sum. It holds for one report: two that differ in one line say that line's answer.
"""

import math

from grading.contract.metrics import Metrics
from grading.contract.records import MOST_NAMED
from grading.grades import AnswerKey

DECIMALS = 2
"""Decimals of MCC and F1 in a report without the matrix: 201 and 101 values."""

ROWS_A_CELL = 10
"""Rows that a key of three labels and more must have for each pair of labels, so that the matrix is shown."""


def shows_confusion(rows: int, labels: int) -> bool:
    """Whether a report on a key of so many rows and labels has the matrix of answers against predictions."""
    return labels <= 2 or (labels <= MOST_NAMED and rows >= ROWS_A_CELL * labels * labels)


def is_open(key: AnswerKey) -> bool:
    """`shows_confusion` for this key."""
    return shows_confusion(len(key.answers), len(key.labels))


def shown_measures(key: AnswerKey, metrics: Metrics) -> tuple[float, float]:
    """MCC and F1 as a report has them."""
    if is_open(key):
        return metrics.mcc, metrics.f1
    return round(metrics.mcc, DECIMALS), round(metrics.f1, DECIMALS)


def most_bits(rows: int, labels: int) -> float:
    """Most bits of information about the answers in one report, for someone who knows the rows, the labels and the submission.

    With the matrix: each of its labels + 1 columns divides its rows into the labels, in C(its rows + labels - 1, labels - 1)
    ways, which are most if the columns are equal. A key of two labels and 150 rows: 17 bits, of 150."""
    if shows_confusion(rows, labels):
        column = rows / (labels + 1)
        return (labels + 1) * sum(math.log2((column + number) / number) for number in range(1, labels))
    steps = 10**DECIMALS
    return 2 * math.log2(rows + 1) + math.log2(2 * steps + 1) + math.log2(steps + 1)
