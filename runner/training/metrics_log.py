"""The metrics log: loss and accuracy while training, in metrics.jsonl, for the trackers and beside the progress bar."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Optional

import torch
from accelerate import Accelerator

from runner.distributed.trackers import METRICS
from runner.evaluation.intervals import with_interval
from runner.system.console import progress
from runner.training.evaluation import Evaluation
from runner.training.train_state import TrainState

LOG_STEPS = 10
"""Optimizer steps between two lines of metrics.jsonl: reading the loss makes a device wait, so not every step."""


class MetricsLog:
    """Writes metrics down while an adapter is trained. A full disk does not stop it: training matters more."""

    def __init__(self, path: Path, accelerator: Accelerator) -> None:
        """`path`: of metrics.jsonl. Only the main process writes it."""
        self.path, self.accelerator = path, accelerator
        self.start_epoch()

    @contextmanager
    def progress_bar(self, total: int, done: int, best: Optional[Evaluation]) -> Iterator[None]:
        """Show how many of `total` rows are done while the block runs, with the epoch, the last loss and the last accuracy
        beside it."""
        with progress(total, "finetune", shown=self.accelerator.is_main_process, done=done) as self._bar:
            self._show(None, best)
            yield

    def start_epoch(self) -> None:
        """Forget the losses that are not written yet."""
        self._losses: list[torch.Tensor] = []
        self._since, self._rows = time.perf_counter(), 0

    def step(self, state: TrainState, rows: int, loss: Optional[torch.Tensor], learning_rate: float) -> None:
        """Note a step over so many rows; `loss`: None for a step that was skipped."""
        self._losses += [] if loss is None else [loss]
        self._rows += rows
        self._bar.update(rows)
        if state.global_step % LOG_STEPS or not self._losses:
            return
        mean = torch.stack(self._losses).mean().item()
        rate = self._rows / (time.perf_counter() - self._since)
        values = {"loss": mean, "learning_rate": learning_rate, "rows_per_second": rate}
        self._write({"step": state.global_step, "epoch": state.epoch, **values}, state.global_step)
        self._show(state, state.best, mean)
        self.start_epoch()

    def evaluated(self, rows: int) -> None:
        """Count so many rows of the hold-out as done."""
        self._bar.update(rows)

    def epoch(self, state: TrainState, evaluation: Evaluation) -> None:
        """Note the evaluation after an epoch."""
        values = {f"holdout_{name}": value for name, value in evaluation.figures().items()}
        self._write({"epoch": state.epoch, **values}, state.global_step)
        self._show(state, evaluation)

    def average(self, state: TrainState, evaluation: Evaluation) -> None:
        """Note the evaluation of the mean of the last epochs."""
        values = {f"holdout_{name}": value for name, value in evaluation.figures().items()}
        last = len(state.evaluations)
        self._write({"epoch": last, "averaged_epochs": len(state.recent), **values}, state.global_step)
        self._show(None, state.best)

    def read(self) -> str:
        """The lines so far, for a checkpoint."""
        return self.path.read_text(encoding="utf-8") if self.path.exists() else ""

    def restore(self, text: str) -> None:
        """Begin with the lines that `read` returned."""
        if self.accelerator.is_main_process:
            self.path.write_text(text, encoding="utf-8")

    def _show(
        self, state: Optional[TrainState], evaluation: Optional[Evaluation], loss: Optional[float] = None
    ) -> None:
        values = {} if state is None else {"epoch": str(state.epoch)}
        values |= {} if loss is None else {"loss": f"{loss:.3f}"}
        self._bar.set_postfix(
            {**values, "accuracy": with_interval(evaluation.accuracy, evaluation.rows) if evaluation else "-"},
            refresh=False,
        )

    def _write(self, values: Mapping[str, Any], step: int) -> None:
        if self.accelerator.is_main_process:
            with suppress(OSError), self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(dict(values), allow_nan=False) + "\n")
        self.accelerator.log({name: values[name] for name in METRICS if name in values}, step=step)
