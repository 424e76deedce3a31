"""The trainer: rows in, gradients, steps, and an evaluation after every epoch; the best epoch's adapter is kept."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Optional

import torch
from accelerate import Accelerator
from transformers import get_scheduler

from runner.distributed.collectives import all_gather, all_reduce_gradients, all_reduce_max, broadcast_parameters
from runner.distributed.sharding import requested_sharding
from runner.errors import UserError
from runner.model.adapter import adapter_state
from runner.recipe.schema import Train
from runner.scoring.collator import Collator
from runner.scoring.scorer import LabelScorer
from runner.system.memory import MicroBatchSize
from runner.system.signals import Stopped, deferred_signals
from runner.training.checkpoint import Checkpoint, CheckpointPolicy, Checkpoints, LoadedCheckpoint
from runner.training.class_balance import class_weights
from runner.training.evaluation import Evaluator
from runner.training.metrics_log import MetricsLog
from runner.training.train_state import (
    TrainState,
    load_optimizer_tensors,
    optimizer_tensors,
    random_state,
    set_random_state,
)

log = logging.getLogger("labeltune.training")

MOST_SKIPPED = 5
"""Steps in a row whose loss or gradient is not finite before the run is given up."""


@dataclass(frozen=True)
class TrainingRun:
    """The processes that train, and where they write."""

    accelerator: Accelerator
    """Accelerate's handle on them."""
    checkpoints: Checkpoints
    """Where checkpoints are saved."""
    computed: Mapping[str, str]
    """How the run computes (device, precision, layout), for its checkpoints."""
    metrics: Path
    """The path of metrics.jsonl."""


class Trainer:
    """Trains one adapter. A run that was stopped anywhere resumes from its last checkpoint to the same bytes."""

    on_step_end: ClassVar[Sequence[Callable[[TrainState], None]]] = ()
    """Functions to call after every step, before a checkpoint is saved."""

    def __init__(
        self,
        config: Train,
        scorer: LabelScorer,
        collator: Collator,
        evaluator: Evaluator,
        run: TrainingRun,
    ) -> None:
        """Train the parameters of `scorer` that require a gradient on the dataset of `collator`."""
        self.config, self.scorer, self.collator, self.dataset = config, scorer, collator, collator.dataset
        self.evaluator, self.run, self.accelerator = evaluator, run, run.accelerator
        self.rows_per_step = config.batch_size * config.accumulation
        steps_per_epoch = math.ceil(len(self.dataset) / self.rows_per_step)
        self.total_steps = config.epochs * steps_per_epoch
        weights = class_weights(config, self.dataset)
        self.class_weights = None if weights is None else torch.tensor(weights, device=run.accelerator.device)
        self.parameters = {name: each for name, each in scorer.named_parameters() if each.requires_grad}
        self.optimizer = torch.optim.AdamW(
            list(self.parameters.values()), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        warmup = math.ceil(config.warmup * self.total_steps)
        self.scheduler = get_scheduler(config.schedule, self.optimizer, warmup, self.total_steps)
        self.metrics = MetricsLog(run.metrics, run.accelerator)
        micro_batch_size = MicroBatchSize(
            -(-config.batch_size // run.accelerator.num_processes),
            "training",
            f"; a step still has {self.rows_per_step} rows",
            may_shrink=requested_sharding(run.accelerator) is None,
        )
        self.state = TrainState(micro_batch_size)

    def fit(self, adapter: Any, resume_from: Optional[LoadedCheckpoint] = None) -> TrainState:
        """Run all epochs, or those that are left after the checkpoint.

        Args:
            adapter: the PeftModel whose adapter is trained; the best epoch's is kept in the state.
            resume_from: the checkpoint of an earlier run; None: start from the beginning.

        Returns:
            The state after the last epoch.

        Raises:
            Stopped: a signal asked for it; a checkpoint was saved if there was room for one.
            UserError: the loss or its gradient was not finite in too many steps, or the hold-out's loss is not.
            OutOfMemory: a single row does not fit into memory.
        """
        state = self.state
        broadcast_parameters(self.accelerator, self.parameters.values())
        if resume_from is not None:
            self._restore(resume_from.content)
            log.info(f"resuming after step {state.global_step} of {self.total_steps}, from a checkpoint")
        self._started = time.perf_counter() - state.seconds
        rows = len(self.dataset)
        done = (state.epoch - 1) * rows + min(state.step_in_epoch * self.rows_per_step, rows)
        total = self.config.epochs * rows
        with self.metrics.progress_bar(total, done, state.best), deferred_signals() as stop:
            self._policy = CheckpointPolicy(self.config.checkpoint_minutes, stop)
            while state.epoch <= self.config.epochs:
                self._train_epoch()
                self._evaluate_epoch(adapter)
                self._save_if_due(epoch_ended=True)
        state.seconds = time.perf_counter() - self._started
        if self.accelerator.is_main_process:
            self.run.checkpoints.prune(1)  # the adapter may need the room of the others
        return state

    def _train_epoch(self) -> None:
        """The steps of this epoch that are not done yet."""
        self.scorer.train()
        self.metrics.start_epoch()
        for rows in self._steps_left():
            self._step(rows)
            for function in self.on_step_end:
                function(self.state)
            self._save_if_due()

    def _steps_left(self) -> Iterator[list[int]]:
        """The rows of each step: every row once an epoch, in an order that depends on the seed and the epoch alone."""
        generator = torch.Generator().manual_seed(self.config.seed * 1000 + self.state.epoch)
        order = torch.randperm(len(self.dataset), generator=generator).tolist()
        for start in range(self.state.step_in_epoch * self.rows_per_step, len(order), self.rows_per_step):
            yield order[start : start + self.rows_per_step]

    def _step(self, rows: Sequence[int]) -> None:
        """One optimizer step over these rows; skipped where their loss or its gradient is not finite."""
        state, parameters = self.state, list(self.parameters.values())
        most = -(-len(rows) // self.accelerator.num_processes)
        loss = state.micro_batch_size.run(lambda size: self._accumulate(rows, size), most)
        loss = all_reduce_gradients(self.accelerator, parameters, loss)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)
        usable = math.isfinite(float(norm) + loss.item())
        if usable:
            self.optimizer.step()
        self._count_skipped(usable)
        self.scheduler.step()
        self.optimizer.zero_grad()
        state.global_step += 1
        state.step_in_epoch += 1
        self.metrics.step(state, len(rows), loss if usable else None, self.scheduler.get_last_lr()[0])

    def _accumulate(self, rows: Sequence[int], size: int) -> torch.Tensor:
        """Computes this process's part of the gradient of the rows' mean loss, `size` rows at once; returns its part of that
        mean.

        Each part counts by its rows, and each row by its label's weight alone, so the gradient is the same for every `size` and
        number of processes."""
        self.optimizer.zero_grad()  # of a pass that ran out of memory
        processes = self.accelerator.num_processes
        mine = rows[self.accelerator.process_index :: processes]
        total = torch.zeros((), device=self.accelerator.device)
        for start in range(0, -(-len(rows) // processes), size):
            # a process without a row of its own computes one with weight 0: a sharded base needs all of them to compute
            part, weight = mine[start : start + size] or rows[:1], float(start < len(mine)) / len(rows)
            batch = self.collator(part)
            losses = self.scorer(batch).losses
            if self.class_weights is not None:
                losses = losses * self.class_weights[batch.targets]
            loss = losses.sum() * weight
            loss.backward()
            total += loss.detach()
        return total

    def _count_skipped(self, usable: bool) -> None:
        """Raises UserError after `MOST_SKIPPED` skipped steps in a row: the next ones would be no better."""
        state, step = self.state, self.state.global_step + 1
        if usable:
            state.consecutive_skips = 0
            return
        state.skipped_steps += 1
        state.consecutive_skips += 1
        if state.consecutive_skips == MOST_SKIPPED:
            raise UserError(
                f"the loss or its gradient was not finite in {MOST_SKIPPED} steps in a row, up to step {step}",
                "lower train.learning_rate, or set train.precision: fp32",
            )
        log.warning(f"step {step} skipped: its loss or gradient is not finite")

    def _evaluate_epoch(self, adapter: Any) -> None:
        """The end of an epoch: evaluates the adapter, and keeps it where it is the best. A run that is stopped in between
        does it again."""
        state = self.state
        evaluation = self.evaluator.evaluate(self.scorer, self._save_if_due)
        if not math.isfinite(evaluation.loss):
            raise UserError(
                f"the hold-out loss is {evaluation.loss} after epoch {state.epoch}", "lower train.learning_rate"
            )
        if state.best is None or evaluation.better_than(state.best):
            state.best_epoch, state.best_adapter = state.epoch, adapter_state(adapter)
        state.evaluations.append(evaluation)
        self.metrics.epoch(state, evaluation)
        state.epoch, state.step_in_epoch = state.epoch + 1, 0

    def _save_if_due(self, epoch_ended: bool = False) -> None:
        """Between two steps, or two batches of the hold-out: saves a checkpoint where one is due, and stops where a signal
        asked for it. All processes decide alike; where one has run out of memory, the others follow."""
        size, due = self.state.micro_batch_size, self._policy.is_due(epoch_ended)
        stop, save, rows = all_reduce_max(self.accelerator, [self._policy.stop.number, int(due), -size.rows])
        if -rows < size.rows:
            size.shrink_to(-rows)
        saved = bool(stop or save) and self._save()
        if stop:
            source = "the checkpoint" if saved else "the last checkpoint"
            if not saved and not self.run.checkpoints.exist():
                source = "the beginning: no checkpoint could be saved"
            raise Stopped(stop, f"after step {self.state.global_step} of {self.total_steps}", source)

    def _save(self) -> bool:
        """Saves a checkpoint; returns whether that was possible. Every process takes part, for its own random numbers, and
        none continues before it is written: one that ended here would make the launcher end the main one."""
        self.state.seconds = time.perf_counter() - self._started
        randoms = all_gather(self.accelerator, [random_state()])
        failed = False
        if self.accelerator.is_main_process:
            step, epochs = self.state.global_step, len(self.state.evaluations)
            failed = not self.run.checkpoints.save(step, epochs, self._checkpoint(randoms))
        self._policy.saved()
        return not all_reduce_max(self.accelerator, [int(failed)])[0]

    def _checkpoint(self, randoms: Sequence[Mapping[str, torch.Tensor]]) -> Checkpoint:
        groups = {
            "parameters": self.parameters,
            "optimizer": optimizer_tensors(self.optimizer, self.parameters),
            "best": self.state.best_adapter,
            **{f"random/{process}": state for process, state in enumerate(randoms)},
        }
        values = {
            "state": self.state.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "metrics": self.metrics.read(),
        }
        tensors = {f"{group}/{name}": tensor for group, each in groups.items() for name, tensor in each.items()}
        return Checkpoint(self.run.computed, values, tensors)

    def _restore(self, checkpoint: Checkpoint) -> None:
        for name, tensor in checkpoint.group("parameters").items():
            self.parameters[name].data.copy_(tensor)
        load_optimizer_tensors(self.optimizer, self.parameters, checkpoint.group("optimizer"))
        self.scheduler.load_state_dict(checkpoint.values["scheduler"])
        for group, learning_rate in zip(self.optimizer.param_groups, self.scheduler.get_last_lr()):
            group["lr"] = learning_rate
        set_random_state(checkpoint.group(f"random/{self.accelerator.process_index}"))
        self.state.load_state_dict(checkpoint.values["state"])
        self.state.best_adapter = checkpoint.group("best")
        self.metrics.restore(checkpoint.values["metrics"])
