"""The label metric: accuracy, MCC and F1 of predicted labels, as an `evaluate.Metric` that needs no hub."""

from __future__ import annotations

from collections.abc import Sequence

import datasets
import evaluate
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef


class LabelMetric(evaluate.Metric):
    """Label numbers in, three measures out. F1 is of the alphabetically last of two labels, as
    the grader takes it, and the unweighted mean for more.

    `evaluate.load("accuracy")` fetches a script from the hub; a subclass works offline on every version."""

    def __init__(self, labels: Sequence[str]) -> None:
        """`labels`: the task's labels, in the order of their numbers."""
        self.labels = labels
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(
            description="Accuracy, Matthews correlation (MCC) and F1 of labels.",
            citation="",
            inputs_description="predictions and references: label numbers, from 0.",
            features=features,
        )

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        average, positive = ("binary" if len(self.labels) == 2 else "macro"), self.labels.index(max(self.labels))
        f1 = f1_score(references, predictions, average=average, pos_label=positive, zero_division=0)
        return {
            "accuracy": float(accuracy_score(references, predictions)),
            "mcc": float(matthews_corrcoef(references, predictions)),
            "f1": float(f1),
        }
