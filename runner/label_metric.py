"""The label metric: accuracy, MCC and F1 of predicted labels, as an `evaluate.Metric` that needs no hub."""

from __future__ import annotations

from collections.abc import Sequence

import datasets
import evaluate
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef


class LabelMetric(evaluate.Metric):
    """Label numbers in, three measures out. F1 is of the last label for two labels, the unweighted mean for more.

    `evaluate.load("accuracy")` fetches a script from the hub; a subclass works offline on every version."""

    def __init__(self, labels: int) -> None:
        """`labels`: how many labels the task has."""
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
        binary = self.labels == 2
        f1 = f1_score(references, predictions, average="binary" if binary else "macro", pos_label=1, zero_division=0)
        return {
            "accuracy": float(accuracy_score(references, predictions)),
            "mcc": float(matthews_corrcoef(references, predictions)),
            "f1": float(f1),
        }
