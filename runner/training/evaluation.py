"""The hold-out: what the scorer says of rows kept out of training, in the measures that the recipe's user cares for."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

from runner.distributed.collectives import all_gather
from runner.distributed.sharding import requested_sharding
from runner.scoring.collator import Collator
from runner.scoring.dataset import EncodedDataset
from runner.scoring.layouts import Layout
from runner.scoring.scorer import LabelScorer
from runner.system.memory import out_of_memory, too_little
from runner.training.metrics import LabelMetric

log = logging.getLogger("labeltune.training")


@dataclass(frozen=True)
class Evaluation:
    """The measures of one adapter on the hold-out."""

    accuracy: float
    """Share of right answers."""
    mcc: float
    """Matthews correlation: 0 is chance, whatever the label shares."""
    f1: float
    """F1 of the last label; the mean over labels where there are more than two."""
    loss: float
    """Mean loss, in nats."""
    answers: dict[str, int]
    """How often each label was the answer."""

    def better_than(self, other: Evaluation) -> bool:
        """Whether this adapter is the one to keep: by accuracy, which the exam grades, then by loss."""
        return (self.accuracy, -self.loss) > (other.accuracy, -other.loss)

    def figures(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)


class Holdout:
    """The held-out rows of one task, ready to be scored again and again, spread over all processes."""

    def __init__(
        self,
        rows: EncodedDataset,
        layout: Layout,
        batch_size: int,
        accelerator: Accelerator,
    ) -> None:
        self.rows, self.collator, self.accelerator = rows, Collator(rows, layout), accelerator
        lengths = rows.lengths()
        order = sorted(range(len(lengths)), key=lengths.__getitem__)  # equal lengths waste least
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        self.batches = batches[accelerator.process_index :: accelerator.num_processes]
        rounds = -(-len(batches) // accelerator.num_processes)
        self.rows_at_once = batch_size
        self.fillers = batches[:1] * (rounds - len(self.batches))
        """Computed for nothing where others have one batch more: a split base needs every process to compute."""
        self.metric = LabelMetric(rows.prompt.labels)

    def majority(self) -> float:
        """The accuracy of always giving the commonest label."""
        return max(Counter(self.rows.targets).values()) / len(self.rows.targets)

    @torch.no_grad()
    def evaluate(self, scorer: LabelScorer, rest: Callable[[], None] = lambda: None) -> Evaluation:
        """The scorer's measures, the same on every process. The scorer is left in the mode it came in. `rest` is called
        behind every batch, on all processes as often."""
        training = scorer.training
        scorer.eval()
        found: list[tuple[int, int, float]] = []
        for rows in self.batches:
            found += self._score(scorer, rows)
            rest()
        for rows in self.fillers:
            self._score(scorer, rows)
            rest()
        scorer.train(training)
        found = sorted(all_gather(self.accelerator, found))
        answers = [answer for _, answer, _ in found]
        measures = self.metric.compute(predictions=answers, references=self.rows.targets)
        loss = sum(loss for _, _, loss in found) / len(found)
        counts = Counter(answers)
        return Evaluation(
            **measures, loss=loss, answers={name: counts[n] for n, name in enumerate(self.rows.prompt.labels)}
        )

    def _score(self, scorer: LabelScorer, rows: Sequence[int]) -> list[tuple[int, int, float]]:
        """Each row's number, answer and loss. Where memory runs out, fewer rows are computed at once from there on.
        Raises UserError where one row does not fit."""
        found: list[tuple[int, int, float]] = []
        while len(found) < len(rows):
            part = rows[len(found) :][: self.rows_at_once]
            try:
                found += self._compute(scorer, part)
                continue
            except (RuntimeError, MemoryError) as error:
                said = out_of_memory(error)
                if not said:
                    raise
            if len(part) == 1 or requested_sharding(self.accelerator):
                raise too_little(said, len(part))
            self.rows_at_once = -(-len(part) // 2)
            log.warning(f"out of memory on the hold-out; from here {self.rows_at_once} of its rows at once")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return found

    def _compute(self, scorer: LabelScorer, rows: Sequence[int]) -> list[tuple[int, int, float]]:
        scores = scorer(self.collator(rows))
        return list(zip(rows, scores.label_logits.argmax(1).tolist(), scores.losses.tolist()))
