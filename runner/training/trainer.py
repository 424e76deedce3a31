"""The training loop: rows in, gradients, steps, and after every epoch the hold-out; the best epoch's adapter is kept."""

from __future__ import annotations

import itertools
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import torch
from accelerate import Accelerator
from transformers import get_scheduler

from runner.distributed.collectives import all_gather, all_reduce_gradients, all_reduce_max, broadcast_parameters
from runner.distributed.sharding import requested_sharding
from runner.errors import UserError
from runner.model.adapter import adapter_state
from runner.recipe.schema import Train
from runner.scoring.collator import Collator
from runner.scoring.dataset import EncodedDataset
from runner.scoring.layouts import Layout
from runner.scoring.scorer import LabelScorer
from runner.system.console import progress
from runner.system.memory import out_of_memory, too_little
from runner.system.signals import Stopped, StopRequest, finishing
from runner.training.checkpoint import Checkpoints, Kept, random_state, set_random_state
from runner.training.evaluation import Evaluation, Holdout

log = logging.getLogger("labeltune.training")

LOG_STEPS = 10
"""Optimizer steps between two lines of metrics.jsonl: reading the loss makes a device wait, so not every step."""


MOST_SKIPPED = 5
"""Steps in a row whose gradient is no number before the run is given up."""


@dataclass(frozen=True)
class Best:
    """The best epoch so far."""

    epoch: int
    evaluation: Evaluation
    state: Mapping[str, torch.Tensor]


class TrainingLoop:
    """The training loop of one adapter. Stopped anywhere, it goes on from its last checkpoint to the same bytes."""

    def __init__(
        self,
        train: Train,
        rows: EncodedDataset,
        layout: Layout,
        holdout: Holdout,
        accelerator: Accelerator,
        metrics: Path,
        checkpoints: Checkpoints,
        computed: Mapping[str, str],
    ) -> None:
        """`metrics`: the file that gets a line now and then. `computed`: how this run computes, for its checkpoints."""
        self.train, self.rows, self.collator = train, rows, Collator(rows, layout)
        self.holdout, self.accelerator, self.metrics = holdout, accelerator, metrics
        self.checkpoints, self.computed = checkpoints, computed
        self.size = train.batch_size * train.accumulation
        self.rows_at_once = -(-train.batch_size // accelerator.num_processes)
        """Rows that a process computes at once: its part of the recipe's batch, less where memory has run out."""
        self.epoch, self.done, self.step = 1, 0, 0
        """The epoch at hand, its steps that are done, and all steps that are."""
        self.skipped, self.in_a_row = 0, 0
        """Steps without a usable gradient, and how many of them came last."""
        self.seconds = 0.0
        self.evaluations: list[Evaluation] = []
        self.best: Optional[Best] = None

    def run(self, model: Any, scorer: LabelScorer, kept: Optional[Kept]) -> list[Evaluation]:
        """All epochs, or those that the checkpoint `kept` leaves. Returns the hold-out's evaluation after each and leaves
        the best one in `self.best`. Raises Stopped, with a checkpoint behind it, when a signal asks for it."""
        train, accelerator = self.train, self.accelerator
        trained = {name: parameter for name, parameter in scorer.named_parameters() if parameter.requires_grad}
        parameters = list(trained.values())
        optimizer = torch.optim.AdamW(parameters, lr=train.learning_rate, weight_decay=train.weight_decay)
        per_epoch = math.ceil(len(self.rows) / self.size)
        steps = train.epochs * per_epoch
        scheduler = get_scheduler(train.schedule, optimizer, math.ceil(train.warmup * steps), steps)
        broadcast_parameters(accelerator, parameters)
        if kept is not None:
            self._restore(kept.state, trained, optimizer, scheduler)
            log.info(f"going on behind step {self.step} of {steps}, from a checkpoint")
        total = train.epochs * len(self.rows)
        started = time.perf_counter() - self.seconds
        seen = (self.epoch - 1) * len(self.rows) + min(self.done * self.size, len(self.rows))
        with progress(total, "finetune", shown=accelerator.is_main_process, done=seen) as bar, finishing() as asked:
            bar.set_postfix(self._postfix(None))
            saved = time.perf_counter()

            def rest(epoch_ended: bool = False) -> None:
                """Between two steps, or two batches of the hold-out: keeps a checkpoint where one is due, and ends where
                somebody asks for it."""
                nonlocal saved
                now = time.perf_counter()
                stop, due = self._agree(asked, epoch_ended or now - saved > 60 * train.checkpoint_minutes)
                if stop or due:
                    self.seconds = now - started
                    safe = self._keep(trained, optimizer, scheduler)
                    saved = time.perf_counter()
                if stop:
                    last = (
                        "the last checkpoint" if self.checkpoints.there() else "the start: no checkpoint could be kept"
                    )
                    raise Stopped(stop, f"behind step {self.step} of {steps}", "there" if safe else last)

            while self.epoch <= train.epochs:
                scorer.train()
                for _ in self._epoch(scorer, parameters, optimizer, scheduler, bar):
                    rest()
                self._judge(model, scorer, bar, rest)
                rest(epoch_ended=True)
        self.seconds = time.perf_counter() - started
        if accelerator.is_main_process:
            self.checkpoints.prune(1)  # the room of the others may be what the adapter needs
        return self.evaluations

    def _judge(self, model: Any, scorer: LabelScorer, bar: Any, rest: Callable[[], None]) -> None:
        """The end of an epoch: what it is worth, and whether it is the best. Cut in between, it is done again."""
        evaluation = self.holdout.evaluate(scorer, rest)
        if not math.isfinite(evaluation.loss):
            raise UserError(
                f"the hold-out's loss became {evaluation.loss} in epoch {self.epoch}", "lower train.learning_rate"
            )
        self.evaluations.append(evaluation)
        if self.best is None or evaluation.better_than(self.best.evaluation):
            self.best = Best(self.epoch, evaluation, adapter_state(model))
        figures = {f"holdout_{name}": value for name, value in evaluation.figures().items()}
        self._log({"epoch": self.epoch, **figures})
        bar.set_postfix(self._postfix(None, evaluation), refresh=False)
        self.epoch, self.done = self.epoch + 1, 0

    def _epoch(
        self, scorer: Any, parameters: Sequence[Any], optimizer: Any, scheduler: Any, bar: Any
    ) -> Iterator[None]:
        """The steps of this epoch that are not done; yields after each."""
        losses: list[torch.Tensor] = []
        since, seen = time.perf_counter(), 0
        for rows in itertools.islice(self._steps(self.epoch), self.done, None):
            loss = all_reduce_gradients(self.accelerator, parameters, self._gradient(scorer, rows, optimizer))
            norm = torch.nn.utils.clip_grad_norm_(parameters, self.train.max_grad_norm)
            if self._usable(norm, loss):
                losses.append(loss)
                optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            self.step += 1
            self.done += 1
            seen += len(rows)
            bar.update(len(rows))
            if self.step % LOG_STEPS == 0 and losses:
                mean = torch.stack(losses).mean().item()
                now = time.perf_counter()
                rate = {
                    "loss": mean,
                    "learning_rate": scheduler.get_last_lr()[0],
                    "rows_per_second": seen / (now - since),
                }
                self._log({"step": self.step, "epoch": self.epoch, **rate})
                bar.set_postfix(self._postfix(mean), refresh=False)
                losses, since, seen = [], now, 0
            yield

    def _usable(self, norm: Any, loss: torch.Tensor) -> bool:
        """Whether the loss and its gradient are numbers. A step whose are not is passed over and counted.

        Raises UserError after `MOST_SKIPPED` of them in a row: what follows would be no better."""
        if math.isfinite(float(norm) + loss.item()):
            self.in_a_row = 0
            return True
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row == MOST_SKIPPED:
            raise UserError(
                f"the loss or its gradient was no number (NaN or infinite) in {MOST_SKIPPED} steps in a row, up to step "
                f"{self.step + 1}",
                "lower train.learning_rate, or set train.precision: fp32",
            )
        log.warning(f"step {self.step + 1} skipped: its loss or gradient is no number")
        return False

    def _gradient(self, scorer: Any, rows: Sequence[int], optimizer: Any) -> torch.Tensor:
        """Adds up the gradient of the rows' mean loss, in smaller parts from where memory runs out: the parts are weighted
        by their rows, so the gradient is the same. Raises UserError where one row does not fit."""
        while True:
            try:
                return self._accumulate(scorer, rows)
            except (RuntimeError, MemoryError) as error:
                said = out_of_memory(error)
                if not said:
                    raise
            optimizer.zero_grad()  # behind the except: only now is what the failed pass held given back
            # with a split base all processes compute together: one cannot do smaller parts than the others
            if self.rows_at_once == 1 or requested_sharding(self.accelerator):
                raise too_little(said, self.rows_at_once)
            self._compute_at_once(-(-self.rows_at_once // 2))
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _compute_at_once(self, rows: int) -> None:
        self.rows_at_once = rows
        log.warning(
            f"out of memory behind step {self.step}; from here {rows} rows at once, the same {self.size} rows a step"
        )

    def _agree(self, asked: StopRequest, overdue: bool) -> tuple[int, bool]:
        """The signal to stop on (0: none) and whether a checkpoint is due, the same on every process; where one has run out
        of memory, the others follow."""
        stop, due, rows = all_reduce_max(self.accelerator, [asked.number, int(overdue), -self.rows_at_once])
        if -rows < self.rows_at_once:
            self._compute_at_once(-rows)
        return stop, bool(due)

    def _keep(self, trained: Mapping[str, torch.Tensor], optimizer: Any, scheduler: Any) -> bool:
        """Writes a checkpoint. Every process takes part, for its own random numbers, and none goes on before it is written:
        one that ended here would have the launcher end the main one. Returns whether it could be written."""
        randoms = all_gather(self.accelerator, [random_state()])
        main = self.accelerator.is_main_process
        kept = self._write(trained, optimizer, scheduler, randoms) if main else True
        return not all_reduce_max(self.accelerator, [int(not kept)])[0]

    def _write(
        self, trained: Mapping[str, torch.Tensor], optimizer: Any, scheduler: Any, randoms: Sequence[Any]
    ) -> bool:
        best = None
        if self.best is not None:
            state = dict(self.best.state)
            best = {"epoch": self.best.epoch, "evaluation": self.best.evaluation.figures(), "state": state}
        return self.checkpoints.save(
            self.step,
            len(self.evaluations),
            self.computed,
            {
                "parameters": {name: parameter.detach().cpu() for name, parameter in trained.items()},
                "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
                "random": list(randoms),
                "place": [self.epoch, self.done, self.step, self.rows_at_once, self.skipped, self.in_a_row],
                "evaluations": [evaluation.figures() for evaluation in self.evaluations],
                "best": best,
                "seconds": self.seconds,
                "metrics": self.metrics.read_text(encoding="utf-8") if self.metrics.exists() else "",
            },
        )

    def _restore(self, kept: Mapping[str, Any], trained: Mapping[str, Any], optimizer: Any, scheduler: Any) -> None:
        for name, parameter in trained.items():
            parameter.data.copy_(kept["parameters"][name])
        optimizer.load_state_dict(kept["optimizer"])
        scheduler.load_state_dict(kept["scheduler"])
        set_random_state(kept["random"][self.accelerator.process_index])
        self.epoch, self.done, self.step, self.rows_at_once, self.skipped, self.in_a_row = kept["place"]
        self.evaluations = [Evaluation(**figures) for figures in kept["evaluations"]]
        if kept["best"] is not None:
            best = kept["best"]
            self.best = Best(best["epoch"], Evaluation(**best["evaluation"]), best["state"])
        self.seconds = kept["seconds"]
        if self.accelerator.is_main_process:
            self.metrics.write_text(kept["metrics"], encoding="utf-8")

    def _steps(self, epoch: int) -> Iterator[list[int]]:
        """The rows of each optimizer step, every row once in an order of the seed and the epoch alone."""
        order = torch.randperm(
            len(self.rows), generator=torch.Generator().manual_seed(self.train.seed * 1000 + epoch)
        ).tolist()
        for start in range(0, len(order), self.size):
            yield order[start : start + self.size]

    def _accumulate(self, scorer: Any, rows: Sequence[int]) -> torch.Tensor:
        """Adds up this process's part of the gradient of the rows' mean loss, and returns that part of the mean.

        Weighting by rows keeps a short last batch from counting more than its rows, with any number of processes."""
        accelerator = self.accelerator
        mine = rows[accelerator.process_index :: accelerator.num_processes]
        most, size = -(-len(rows) // accelerator.num_processes), self.rows_at_once
        total = torch.zeros((), device=accelerator.device)
        for start in range(0, most, size):
            # a process without a row of its own computes one with weight 0: a split base needs all of them to
            part, weight = mine[start : start + size] or rows[:1], float(start < len(mine)) / len(rows)
            loss = scorer(self.collator(part)).losses.sum() * weight
            loss.backward()
            total += loss.detach()
        return total

    def _postfix(self, loss: Optional[float], evaluation: Optional[Evaluation] = None) -> dict[str, str]:
        shown = evaluation or (self.best.evaluation if self.best else None)
        values = {"loss": f"{loss:.3f}"} if loss is not None else {}
        return {**values, "accuracy": f"{shown.accuracy:.1%}" if shown else "-"}

    def _log(self, values: Mapping[str, Any]) -> None:
        if self.accelerator.is_main_process:
            with (
                suppress(OSError),
                self.metrics.open("a", encoding="utf-8") as file,
            ):  # a full disk: training matters more
                file.write(json.dumps(dict(values), allow_nan=False) + "\n")
        numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
        self.accelerator.log(numbers, step=self.step)
