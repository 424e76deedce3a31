"""The trainer: epochs of optimizer steps, an evaluation after each, and checkpoints; the best adapter is kept."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Optional

import torch
from accelerate import Accelerator

from runner.distributed.collectives import all_gather, all_reduce_max
from runner.errors import UserError
from runner.evaluation.intervals import with_interval
from runner.language import tr
from runner.model.adapter import adapter_state
from runner.recipe.schema import Train
from runner.scoring.collator import Collator
from runner.scoring.scorer import LabelScorer
from runner.system.signals import Stopped, deferred_signals
from runner.training.checkpoint import Checkpoint, CheckpointPolicy, Checkpoints, LoadedCheckpoint
from runner.training.evaluation import Evaluator
from runner.training.learning_rate import LearningRate
from runner.training.metrics_log import MetricsLog
from runner.training.optimization import AdapterOptimizer, row_order
from runner.training.steps import steps_of
from runner.training.train_state import TrainState, random_state, set_random_state

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
    learning_rate: LearningRate
    """The peak learning rate."""


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
        """Train the parameters of `scorer` that require a gradient on the dataset of `collator`, at `run.learning_rate`."""
        self.config, self.scorer, self.dataset = config, scorer, collator.dataset
        self.evaluator, self.run, self.accelerator = evaluator, run, run.accelerator
        self.rows_per_step = config.batch_size * config.accumulation
        self.total_steps = steps_of(config, len(self.dataset))
        config = dataclasses.replace(config, learning_rate=run.learning_rate.value)
        self.optimizer = AdapterOptimizer(config, scorer, collator, self.total_steps, run.accelerator)
        self.metrics = MetricsLog(run.metrics, run.accelerator)
        self.state = TrainState(self.optimizer.micro_batch_size)

    def fit(self, adapter: Any, resume_from: Optional[LoadedCheckpoint] = None) -> TrainState:
        """Run all epochs, or those that are left after the checkpoint.

        Args:
            adapter: the PeftModel whose adapter is trained; the best one is kept in the state.
            resume_from: the checkpoint of an earlier run; None: start from the beginning.

        Returns:
            The state after the last epoch.

        Raises:
            Stopped: a signal asked for it; a checkpoint was saved if there was room for one.
            UserError: the loss or its gradient was not finite in too many steps, or the hold-out's loss is not.
            OutOfMemory: a single row does not fit into memory.
        """
        state = self.state
        if resume_from is not None:
            self._restore(resume_from.content)
            log.info(
                tr(
                    "resuming after step {global_step} of {total_steps}, from a checkpoint",
                    global_step=state.global_step,
                    total_steps=self.total_steps,
                )
            )
        self._started = time.perf_counter() - state.seconds
        rows = len(self.dataset)
        # an epoch's hold-out is a part of its time
        held_out = len(self.evaluator.dataset)
        done = (state.epoch - 1) * (rows + held_out) + min(state.step_in_epoch * self.rows_per_step, rows)
        total = self.config.epochs * (rows + held_out) + held_out * (self.config.average_epochs > 1)
        with self.metrics.progress_bar(total, done, state.best), deferred_signals() as stop:
            self._policy = CheckpointPolicy(self.config.checkpoint_minutes, stop)
            if resume_from is None and self.run.learning_rate.losses:
                # its choice took a while
                self._save_if_due(epoch_ended=True)
            while state.epoch <= self.config.epochs and not self._out_of_patience():
                self._train_epoch()
                self._evaluate_epoch(adapter)
                self._save_if_due(epoch_ended=True)
            if len(state.recent) > 1:
                self._evaluate_average(adapter)
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
        order = row_order(self.config.seed, self.state.epoch, len(self.dataset))
        for start in range(self.state.step_in_epoch * self.rows_per_step, len(order), self.rows_per_step):
            yield order[start : start + self.rows_per_step]

    def _step(self, rows: Sequence[int]) -> None:
        """One optimizer step over these rows; skipped where their loss or its gradient is not finite."""
        loss = self.optimizer.step(rows)
        self._count_skipped(usable=loss is not None)
        self.state.global_step += 1
        self.state.step_in_epoch += 1
        self.metrics.step(self.state, len(rows), loss, self.optimizer.learning_rate)

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
                tr(
                    "the loss or its gradient was not finite in {most_skipped} steps in a row, up to step {step}",
                    most_skipped=MOST_SKIPPED,
                    step=step,
                ),
                tr("lower train.learning_rate, or set train.precision: fp32"),
            )
        log.warning(tr("step {step} skipped: its loss or gradient is not finite", step=step))

    def _evaluate_epoch(self, adapter: Any) -> None:
        """The end of an epoch: evaluates the adapter, and keeps it where it is the best. A run that is stopped in between
        does it again."""
        state = self.state
        evaluation = self.evaluator.evaluate(self.scorer, self._after_batch)
        if not math.isfinite(evaluation.loss):
            raise UserError(
                tr("the hold-out loss is {loss} after epoch {epoch}", loss=evaluation.loss, epoch=state.epoch),
                tr("lower train.learning_rate"),
            )
        if state.best is None or evaluation.better_than(state.best):
            state.best_epoch, state.best_adapter = state.epoch, adapter_state(adapter)
        state.evaluations.append(evaluation)
        if self.config.average_epochs > 1:
            now = {name: each.detach().to("cpu", copy=True) for name, each in self.optimizer.parameters.items()}
            state.recent = [*state.recent, now][-self.config.average_epochs :]
        self.metrics.epoch(state, evaluation)
        log.info(
            tr(
                "epoch {epoch} of {epochs}: hold-out accuracy {accuracy}, loss {loss:.3f}",
                epoch=state.epoch,
                epochs=self.config.epochs,
                accuracy=with_interval(evaluation.accuracy, evaluation.rows),
                loss=evaluation.loss,
            )
            + (tr(", the best so far") if state.best_epoch == state.epoch and state.epoch > 1 else "")
        )
        state.epoch, state.step_in_epoch = state.epoch + 1, 0

    def _out_of_patience(self) -> bool:
        """Whether the last epochs were no better than the best one, `train.patience` of them."""
        state, patience = self.state, self.config.patience
        worse = len(state.evaluations) - state.best_epoch
        if patience is None or worse < patience:
            return False
        log.info(
            tr(
                "stopped after epoch {evaluations_count} of {epochs}: none of the last {worse} was "
                "better on the hold-out than epoch {best_epoch} (train.patience: {patience})",
                evaluations_count=len(state.evaluations),
                epochs=self.config.epochs,
                worse=worse,
                best_epoch=state.best_epoch,
                patience=patience,
            )
        )
        return True

    def _evaluate_average(self, adapter: Any) -> None:
        """Evaluates the mean of the last epochs' parameters, and keeps it where it is better than the best epoch. A run that is
        stopped in between does it again, from `recent`."""
        state = self.state
        mean = {name: torch.stack([each[name] for each in state.recent]).mean(0) for name in state.recent[0]}
        self.optimizer.set_parameters(mean)
        evaluation = self.evaluator.evaluate(self.scorer, self._after_batch)
        if not math.isfinite(evaluation.loss):
            log.warning(
                tr(
                    "the mean of the last {recent_count} epochs is not used: its hold-out loss is {loss}",
                    recent_count=len(state.recent),
                    loss=evaluation.loss,
                )
            )
            return
        state.average = evaluation
        if state.average_is_best:
            state.best_adapter = adapter_state(adapter)
        self.metrics.average(state, evaluation)

    def _after_batch(self, rows: int) -> None:
        """After a batch of the hold-out."""
        self.metrics.evaluated(rows)
        self._save_if_due()

    def _save_if_due(self, epoch_ended: bool = False) -> None:
        """Between two steps, or two batches of the hold-out: saves a checkpoint where one is due, and stops where a signal
        asked for it. All processes decide alike; where one has run out of memory, the others follow."""
        size, due = self.state.micro_batch_size, self._policy.is_due(epoch_ended)
        stop, save, rows = all_reduce_max(self.accelerator, [self._policy.stop.number, int(due), -size.rows])
        if -rows < size.rows:
            size.shrink_to(-rows)
        saved = bool(stop or save) and self._save()
        if stop:
            source = tr("the checkpoint") if saved else tr("the last checkpoint")
            if not saved and not self.run.checkpoints.exist():
                source = tr("the beginning: no checkpoint could be saved")
            raise Stopped(
                stop,
                tr(
                    "after step {global_step} of {total_steps}",
                    global_step=self.state.global_step,
                    total_steps=self.total_steps,
                ),
                source,
            )

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
            **self.optimizer.groups(),
            "best": self.state.best_adapter,
            **{f"recent/{number}": each for number, each in enumerate(self.state.recent)},
            **{f"random/{process}": state for process, state in enumerate(randoms)},
        }
        values = {
            "state": self.state.state_dict(),
            "scheduler": self.optimizer.scheduler.state_dict(),
            "metrics": self.metrics.read(),
            "learning_rate": dataclasses.asdict(self.run.learning_rate),
            "recent": len(self.state.recent),
        }
        tensors = {f"{group}/{name}": tensor for group, each in groups.items() for name, tensor in each.items()}
        return Checkpoint(self.run.computed, values, tensors)

    def _restore(self, checkpoint: Checkpoint) -> None:
        groups = {name: checkpoint.group(name) for name in self.optimizer.groups()}
        self.optimizer.restore(groups, checkpoint.values["scheduler"])
        set_random_state(checkpoint.group(f"random/{self.accelerator.process_index}"))
        self.state.load_state_dict(checkpoint.values["state"])
        self.state.best_adapter = checkpoint.group("best")
        self.state.recent = [checkpoint.group(f"recent/{number}") for number in range(checkpoint.values["recent"])]
        self.metrics.restore(checkpoint.values["metrics"])
