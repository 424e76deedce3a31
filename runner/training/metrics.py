"""The label metric: accuracy, MCC and F1 of predicted labels, as an `evaluate.Metric` that needs no hub."""

from __future__ import annotations

from collections.abc import Sequence

import datasets
import evaluate

from grading.contract import label_set, measure


class LabelMetric(evaluate.Metric):
    """Label numbers in, three metrics out: those of the grader, by its own code.

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
        answers = [self.labels[number] for number in references]
        found = measure(answers, [self.labels[number] for number in predictions], label_set(answers))
        return {"accuracy": found.accuracy, "mcc": found.mcc, "f1": found.f1}
