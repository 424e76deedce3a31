"""The training loop: rows in, gradients, steps, and after every epoch the hold-out; the best epoch's adapter is kept."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import torch
from accelerate import Accelerator
from datasets import Dataset
from transformers import get_scheduler

from runner.adapter import adapter_state
from runner.errors import UserError
from runner.holdout import Evaluation, Holdout
from runner.layouts import Layout
from runner.progress import progress
from runner.prompt import Prompt
from runner.recipe import Train
from runner.scorer import LabelScorer

LOG_STEPS = 10
"""Optimizer steps between two lines of metrics.jsonl: reading the loss makes a device wait, so not every step."""


@dataclass(frozen=True)
class Best:
    """The best epoch so far."""

    epoch: int
    evaluation: Evaluation
    state: Mapping[str, torch.Tensor]


class TrainingLoop:
    """The training loop of one adapter."""

    def __init__(
        self,
        train: Train,
        dataset: Dataset,
        prompt: Prompt,
        layout: Layout,
        holdout: Holdout,
        accelerator: Accelerator,
        metrics: Path,
    ) -> None:
        self.train, self.dataset, self.prompt, self.layout = train, dataset, prompt, layout
        self.holdout, self.accelerator, self.metrics = holdout, accelerator, metrics
        self.step = 0
        self.best: Optional[Best] = None

    def run(self, model: Any, scorer: LabelScorer) -> list[Evaluation]:
        """All epochs. Returns the hold-out's evaluation after each and leaves the best one in `self.best`."""
        train, accelerator = self.train, self.accelerator
        parameters = [parameter for parameter in scorer.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=train.learning_rate, weight_decay=train.weight_decay)
        steps = train.epochs * math.ceil(len(self.dataset) / (train.batch_size * train.accumulation))
        scheduler = get_scheduler(train.schedule, optimizer, math.ceil(train.warmup * steps), steps)
        wrapped, optimizer = accelerator.prepare(scorer, optimizer)
        evaluations: list[Evaluation] = []
        total = train.epochs * len(self.dataset)
        with progress(total, "finetune", shown=accelerator.is_main_process) as bar:
            bar.set_postfix(self._postfix(None))
            for epoch in range(1, train.epochs + 1):
                wrapped.train()
                self._epoch(epoch, wrapped, parameters, optimizer, scheduler, bar)
                evaluation = self.holdout.evaluate(scorer)
                if not math.isfinite(evaluation.loss):
                    raise UserError(
                        f"the hold-out's loss became {evaluation.loss} in epoch {epoch}", "lower train.learning_rate"
                    )
                evaluations.append(evaluation)
                if self.best is None or evaluation.better_than(self.best.evaluation):
                    self.best = Best(epoch, evaluation, adapter_state(model))
                self._log(
                    {"epoch": epoch, **{f"holdout_{name}": value for name, value in evaluation.figures().items()}}
                )
                bar.set_postfix(self._postfix(None, evaluation), refresh=False)
        accelerator.free_memory()
        return evaluations

    def _epoch(
        self, epoch: int, scorer: Any, parameters: Sequence[Any], optimizer: Any, scheduler: Any, bar: Any
    ) -> None:
        losses: list[torch.Tensor] = []
        since, seen = time.perf_counter(), 0
        for rows in self._steps(epoch):
            losses.append(self._accumulate(scorer, rows))
            self.accelerator.clip_grad_norm_(parameters, self.train.max_grad_norm)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            self.step += 1
            seen += len(rows)
            bar.update(len(rows))
            if self.step % LOG_STEPS == 0:
                loss = self._mean(losses)
                now = time.perf_counter()
                rate = {
                    "loss": loss,
                    "learning_rate": scheduler.get_last_lr()[0],
                    "rows_per_second": seen / (now - since),
                }
                self._log({"step": self.step, "epoch": epoch, **rate})
                bar.set_postfix(self._postfix(loss), refresh=False)
                losses, since, seen = [], now, 0
        if losses:
            self._mean(losses)

    def _mean(self, losses: Sequence[torch.Tensor]) -> float:
        """The mean of some steps' losses. Raises UserError where it is no number: what follows would be none either."""
        loss = torch.stack(list(losses)).mean().item()
        if not math.isfinite(loss):
            raise UserError(
                f"the loss became {loss} by step {self.step}", "lower train.learning_rate, or set train.precision: fp32"
            )
        return loss

    def _steps(self, epoch: int) -> Iterator[list[int]]:
        """The rows of each optimizer step, every row once in an order of the seed and the epoch alone."""
        order = torch.randperm(
            len(self.dataset), generator=torch.Generator().manual_seed(self.train.seed * 1000 + epoch)
        ).tolist()
        size = self.train.batch_size * self.train.accumulation
        for start in range(0, len(order), size):
            yield order[start : start + size]

    def _accumulate(self, scorer: Any, rows: Sequence[int]) -> torch.Tensor:
        """Adds up the gradient of the rows' mean loss and returns that mean, of this process's share.

        Weighting by rows keeps a short last batch from counting more than its rows, with any number of processes."""
        accelerator, size = self.accelerator, self.train.batch_size
        total = torch.zeros((), device=accelerator.device)
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            mine = chunk[accelerator.process_index :: accelerator.num_processes]
            # a process without a row of its own still takes part in the exchange of gradients, with weight 0
            weight = accelerator.num_processes / len(rows) if mine else 0.0
            examples = self.dataset[list(mine or chunk[:1])]
            batch = self.layout(self.prompt, examples["suffix"])
            targets = torch.tensor(examples["target"], device=accelerator.device)
            last = start + size >= len(rows)
            with nullcontext() if last else accelerator.no_sync(scorer):
                loss = scorer(batch, targets).losses.sum() * weight
                accelerator.backward(loss)
            total += loss.detach()
        return total

    def _postfix(self, loss: Optional[float], evaluation: Optional[Evaluation] = None) -> dict[str, str]:
        shown = evaluation or (self.best.evaluation if self.best else None)
        values = {"loss": f"{loss:.3f}"} if loss is not None else {}
        return {**values, "accuracy": f"{shown.accuracy:.1%}" if shown else "-"}

    def _log(self, values: Mapping[str, Any]) -> None:
        if self.accelerator.is_main_process:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(dict(values), allow_nan=False) + "\n")
        numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
        self.accelerator.log(numbers, step=self.step)
