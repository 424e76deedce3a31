"""Metrics: accuracy, MCC and F1, defined once for the runner's hold-out and the grader.

All are counted in integers first, so every machine gets the same numbers. The conventions are scikit-learn's
(`accuracy_score`, `matthews_corrcoef`, `f1_score(zero_division=0)`):

* None is an invalid or missing prediction: a class of its own, always wrong.
* A quotient with denominator zero is 0. So MCC is 0 where the answers, or the predictions, have one class only.
* F1 is that of the last label with two labels (`f1_score(labels=labels[-1:], average=None)`), and the unweighted mean over
  all labels with more (`average="macro"`). The order of `labels` is the caller's; the grader sorts them.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Optional, TypeVar

Label = TypeVar("Label", bound=Hashable)
"""A string, or a label's number."""

Z_95 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


MOST_CONFUSED = 256
"""Most labels for which the counts of answers against predictions are made: their number is quadratic in the labels."""


@dataclass(frozen=True)
class Metrics:
    """How the predictions for one dataset compare with its answers."""

    rows: int
    """Number of answers."""
    correct: int
    """Rows whose prediction equals the answer."""
    interval: tuple[float, float]
    """95 % Wilson interval of the accuracy, 0 to 1."""
    mcc: float
    """Matthews correlation coefficient, -1 to 1."""
    f1: float
    """F1 of the last label; with more than two labels the mean over all. 0 to 1."""
    majority: float
    """Accuracy of always predicting the most frequent answer, 0 to 1."""
    confusion: tuple[tuple[int, ...], ...]
    """Counts: a row for each label as the answer, a column for each label as the prediction, and a last column for None.
    Empty with more than `MOST_CONFUSED` labels."""

    @property
    def accuracy(self) -> float:
        """Share of rows that are right, 0 to 1: the only metric that earns points."""
        return self.correct / self.rows


def measure(answers: Sequence[Label], predictions: Sequence[Optional[Label]], labels: Sequence[Label]) -> Metrics:
    """Compute all metrics.

    Args:
        answers: The right label of each row; at least one row.
        predictions: The predicted label of each row, None where there is no valid one; as many as `answers`.
        labels: All labels that answers and predictions may use, each once; at least one.

    Returns:
        The metrics, by the conventions above.

    Raises:
        ValueError: There is no row, or the numbers of answers and predictions differ.
    """
    if len(answers) != len(predictions) or not answers:
        raise ValueError(
            f"expected as many predictions as answers and at least one, got {len(predictions)} and {len(answers)}"
        )
    cells = Counter(zip(answers, predictions))
    answered, predicted = Counter(answers), Counter(predictions)
    correct = sum(cells[label, label] for label in answered)
    scored = labels if len(labels) > 2 else labels[-1:]
    f1 = [_quotient(2 * cells[label, label], answered[label] + predicted[label]) for label in scored]
    return Metrics(
        rows=len(answers),
        correct=correct,
        interval=wilson_interval(correct, len(answers)),
        mcc=_mcc(len(answers), correct, answered, predicted),
        f1=math.fsum(f1) / len(f1),
        majority=max(answered.values()) / len(answers),
        confusion=tuple(tuple(cells[answer, label] for label in (*labels, None)) for answer in labels)
        if len(labels) <= MOST_CONFUSED
        else (),
    )


def wilson_interval(correct: int, rows: int) -> tuple[float, float]:
    """The 95 % interval of a share (E. B. Wilson, 1927): unlike share +- error it stays inside 0 to 1 at both ends."""
    share, z2 = correct / rows, Z_95 * Z_95
    centre = share + z2 / (2 * rows)
    half = Z_95 * math.sqrt(share * (1 - share) / rows + z2 / (4 * rows * rows))
    # At no or all rows right the end is 0 or 1 exactly, which rounding would miss.
    low = 0.0 if correct == 0 else (centre - half) / (1 + z2 / rows)
    high = 1.0 if correct == rows else (centre + half) / (1 + z2 / rows)
    return low, high


def _mcc(rows: int, correct: int, answered: "Counter[Label]", predicted: "Counter[Optional[Label]]") -> float:
    """Matthews' coefficient for any number of classes (J. Gorodkin, 2004, the R_K statistic)."""
    covariance = correct * rows - sum(count * predicted[label] for label, count in answered.items())
    answer_variance = rows * rows - sum(count * count for count in answered.values())
    prediction_variance = rows * rows - sum(count * count for count in predicted.values())
    return _quotient(covariance, math.sqrt(answer_variance * prediction_variance))


def _quotient(above: float, below: float) -> float:
    return above / below if below else 0.0
