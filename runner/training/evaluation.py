"""The hold-out: rows kept out of training, scored after every epoch to choose the best one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

from runner.distributed.collectives import all_gather
from runner.distributed.sharding import requested_sharding
from runner.evaluation.intervals import accuracy_interval
from runner.language import tr
from runner.scoring.collator import Collator
from runner.scoring.scorer import LabelScorer
from runner.system.memory import MicroBatchSize
from runner.training.metrics import LabelMetric


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one adapter on the hold-out."""

    accuracy: float
    """Share of correct predictions, 0 to 1."""
    mcc: float
    """Matthews correlation: 0 is chance, whatever the label shares."""
    f1: float
    """F1 of the last label; the mean over labels where there are more than two."""
    loss: float
    """Mean loss, in nats."""
    predicted_counts: dict[str, int]
    """How often each label was predicted."""

    @property
    def rows(self) -> int:
        """Rows of the hold-out."""
        return sum(self.predicted_counts.values())

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the accuracy."""
        return accuracy_interval(self.accuracy, self.rows)

    def better_than(self, other: Evaluation) -> bool:
        """Whether to keep this adapter: by accuracy, which the exam grades, then by loss."""
        return (self.accuracy, -self.loss) > (other.accuracy, -other.loss)

    def figures(self) -> dict[str, Any]:
        """Plain values for JSON. In manifests and metrics.jsonl the counts are called `answers`."""
        values = dataclasses.asdict(self)
        values["answers"] = values.pop("predicted_counts")
        values["interval"] = list(self.interval)
        return values


def f1_name(labels: Sequence[str]) -> str:
    """What F1 is of, in words."""
    return tr("F1 of {labels}", labels=max(labels)) if len(labels) == 2 else tr("mean F1 of the labels")


class Evaluator:
    """Evaluates a scorer on the hold-out, whose rows are spread over all processes."""

    def __init__(self, collator: Collator, batch_size: int, accelerator: Accelerator) -> None:
        """`collator`: makes batches of the held-out rows, which have targets."""
        self.collator, self.dataset, self.accelerator = collator, collator.dataset, accelerator
        self.labels = self.dataset.prompt.labels
        may_shrink = requested_sharding(accelerator) is None
        self.micro_batch_size = MicroBatchSize(batch_size, tr("the hold-out"), may_shrink=may_shrink)
        self.metric = LabelMetric(self.labels)
        lengths = self.dataset.lengths()
        order = sorted(range(len(lengths)), key=lengths.__getitem__)  # equal lengths need least padding
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        self.batches = batches[accelerator.process_index :: accelerator.num_processes]
        rounds = -(-len(batches) // accelerator.num_processes)
        self.fillers = batches[:1] * (rounds - len(self.batches))
        """Computed without use where other processes have one batch more: with a sharded base all have to compute."""

    def majority(self) -> float:
        """The accuracy of always predicting the most frequent label."""
        return max(Counter(self.dataset.targets).values()) / len(self.dataset.targets)

    def evaluate(self, scorer: LabelScorer, after_batch: Callable[[int], None] = lambda rows: None) -> Evaluation:
        """The scorer's metrics, the same on every process. The scorer stays in the mode that it had.

        `after_batch` is called after every batch, equally often on all processes, with the number of rows that all of them
        have finished since. Raises OutOfMemory where one row does not fit."""
        found = self._scores(scorer, after_batch)
        predictions = [prediction for _, prediction, _ in found]
        metrics = self.metric.compute(predictions=predictions, references=self.dataset.targets)
        loss = sum(loss for _, _, loss in found) / len(found)
        counts = Counter(predictions)
        return Evaluation(
            **metrics, loss=loss, predicted_counts={name: counts[n] for n, name in enumerate(self.labels)}
        )

    def losses(self, scorer: LabelScorer, after_batch: Callable[[int], None] = lambda rows: None) -> list[float]:
        """The loss of every row, in order; as `evaluate`."""
        return [loss for _, _, loss in self._scores(scorer, after_batch)]

    @torch.no_grad()
    def _scores(self, scorer: LabelScorer, after_batch: Callable[[int], None]) -> list[tuple[int, int, float]]:
        """Every row's number, prediction and loss, in order."""
        training = scorer.training
        scorer.eval()
        found: list[tuple[int, int, float]] = []
        done = 0
        for number, rows in enumerate([*self.batches, *self.fillers]):
            scored = list(self.micro_batch_size.run_in_parts(rows, lambda part: self._score(scorer, part)))
            found += scored if number < len(self.batches) else []
            before, done = done, min(done + len(rows) * self.accelerator.num_processes, len(self.dataset))
            after_batch(done - before)
        scorer.train(training)
        return sorted(all_gather(self.accelerator, found))

    def _score(self, scorer: LabelScorer, rows: Sequence[int]) -> list[tuple[int, int, float]]:
        """Each row's number, prediction and loss."""
        scores = scorer(self.collator(rows))
        return list(zip(rows, scores.label_logits.argmax(1).tolist(), scores.losses.tolist()))
