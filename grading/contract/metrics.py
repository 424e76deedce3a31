"""The measures: how good predictions are, counted from integers so that every machine gets the same figures.

Conventions: an invalid or missing prediction is a class of its own, always wrong; a quotient with denominator zero is
0. They are scikit-learn's (`matthews_corrcoef`, `f1_score(zero_division=0)`) with the invalid class as one more label.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

Z_95 = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


@dataclass(frozen=True)
class Measures:
    """How one dataset's predictions compare with its key."""

    rows: int
    """Lines of the key."""
    correct: int
    """Rows whose prediction equals the answer."""
    interval: tuple[float, float]
    """95 % Wilson interval of the accuracy, 0 to 1."""
    mcc: float
    """Matthews' correlation coefficient, -1 to 1."""
    f1: float
    """F1 of the last label in sorted order ("1" of "0" and "1"); with more than two labels the mean over all."""
    majority: float
    """The accuracy of always giving the key's most frequent label, 0 to 1."""
    confusion: tuple[tuple[int, ...], ...]
    """A row for each label of the key, a column for each label predicted and a last one for what is no label: counts."""

    @property
    def accuracy(self) -> float:
        """Share of rows that are right, 0 to 1: the only measure that carries points."""
        return self.correct / self.rows


def measure(answers: Sequence[str], predictions: Sequence[Optional[str]], labels: Sequence[str]) -> Measures:
    """The measures of `predictions` (None: invalid) against as many `answers`; at least one row."""
    answered, predicted = Counter(answers), Counter(predictions)
    hits = Counter(answer for answer, prediction in zip(answers, predictions) if answer == prediction)
    correct = sum(hits.values())

    def f1(label: str) -> float:
        return _quotient(2 * hits[label], answered[label] + predicted[label])

    met = Counter(zip(answers, predictions))
    scored = labels if len(labels) > 2 else labels[-1:]
    return Measures(
        rows=len(answers),
        correct=correct,
        interval=wilson_interval(correct, len(answers)),
        mcc=_mcc(len(answers), correct, answered, predicted),
        f1=math.fsum(f1(label) for label in scored) / len(scored),
        majority=max(answered.values()) / len(answers),
        confusion=tuple(tuple(met[answer, prediction] for prediction in (*labels, None)) for answer in labels),
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


def _mcc(rows: int, correct: int, answered: "Counter[str]", predicted: "Counter[Optional[str]]") -> float:
    """Matthews' coefficient for any number of classes (J. Gorodkin, 2004, the R_K statistic)."""
    covariance = correct * rows - sum(count * predicted[label] for label, count in answered.items())
    answer_variance = rows * rows - sum(count * count for count in answered.values())
    prediction_variance = rows * rows - sum(count * count for count in predicted.values())
    return _quotient(covariance, math.sqrt(answer_variance * prediction_variance))


def _quotient(above: float, below: float) -> float:
    return above / below if below else 0.0
