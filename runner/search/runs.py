"""The runs of a search: each trial is what its recipe would give alone, in a workspace of its own, on the base that all
trials share."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Optional

from grading import contract
from runner.errors import UserError
from runner.evaluation.diagnosis import warn_if_not_better
from runner.evaluation.holdout import read_holdout_predictions
from runner.recipe.rules import contradictions
from runner.recipe.schema import Recipe, Search
from runner.search.plan import FORWARD, Pace
from runner.search.space import changed
from runner.search.trials import Trial, TrialResult
from runner.side_run import run_aside
from runner.stages import EVALUATE, FINETUNE, PREPARE, Stage, StageContext
from runner.system.console import quiet
from runner.system.shared_work import UNTUNED
from runner.system.signals import time_limit
from runner.training.resume import CHECKPOINTS
from runner.workspace.history import read_history
from runner.workspace.manifest import read_manifest
from runner.workspace.paths import EVALUATION, HOLDOUT_PREDICTIONS, Workspace


@dataclass(frozen=True)
class Runs:
    """Runs trials below one folder."""

    context: StageContext
    """The recipe, workspace and bases of the search, and what its trials share."""
    folder: Path
    """Gets a workspace for each trial, and the store of all."""

    @property
    def store(self) -> Path:
        """The store of all trials."""
        return self.folder / "store"

    @property
    def shared_context(self) -> StageContext:
        """The search's recipe with all rows, over the search's data."""
        recipe = self.context.recipe
        return dataclasses.replace(
            self.context, recipe=dataclasses.replace(recipe, samples=dataclasses.replace(recipe.samples, train="all"))
        )

    def workspace(self, trial: Trial) -> Workspace:
        """Where the trial writes; its data is that of the search."""
        own = self.context.workspace
        return Workspace(self.folder / f"trial-{trial.number:03}", own.dataset, own.root, store_root=self.store)

    def recipe(self, trial: Trial) -> Recipe:
        """The trial's recipe, which gives the same adapter when it runs alone."""
        recipe = changed(self.context.recipe, {**trial.changes, "train.epochs": trial.epochs})
        samples = dataclasses.replace(recipe.samples, train=trial.rows)
        # the search chooses the epochs, and a mean of more than there are is refused
        train = dataclasses.replace(recipe.train, average_epochs=min(recipe.train.average_epochs, trial.epochs))
        return dataclasses.replace(recipe, samples=samples, train=train, search=Search())

    def run(self, trial: Trial, seconds: float) -> TrialResult:
        """Prepare, fine-tune and evaluate; continue where a killed search was.

        That it is no better than a baseline is not said here. Raises UserError where the trial cannot be run, and
        `Stopped(OUT_OF_TIME)` after so many seconds."""
        shared, bases = self.context.shared, self.context.bases
        started, saved, loads = time.perf_counter(), shared.saved.copy(), bases.loads
        self._run(trial, (PREPARE, FINETUNE), seconds, logging.WARNING)
        self._run(trial, (EVALUATE,), seconds - (time.perf_counter() - started), logging.ERROR)
        folder, evaluation = self._evaluated(trial)
        right = "".join("01"[row.label == row.target] for row in read_holdout_predictions(folder / HOLDOUT_PREDICTIONS))
        return TrialResult(
            trial,
            right,
            evaluation["log_loss"],
            round(time.perf_counter() - started, 3),
            {kind: round(each - saved.get(kind, 0.0), 3) for kind, each in shared.saved.items()},
            bases.loads - loads,
            self._found(trial),
        )

    def warn_if_not_better(self, trial: Trial) -> None:
        """Log a warning where a finished trial is not better than a baseline."""
        workspace = self.workspace(trial)
        prepared, trained = (read_manifest(workspace.manifest(stage.name)) for stage in (PREPARE, FINETUNE))
        assert prepared is not None
        assert trained is not None
        warn_if_not_better(workspace, self._evaluated(trial)[1], trained.figures, prepared.figures)

    def measure(self, trial: Trial, held_out: int, seconds: float) -> tuple[Pace, float]:
        """What a run costs, from one that starts now, and the seconds of its training.

        It is not evaluated at its end, and its warnings are not shown: a few steps teach nothing. Raises as `run` does."""
        root = self.workspace(trial).root
        # of a measurement that was killed
        shutil.rmtree(root, ignore_errors=True)
        started, saved = time.perf_counter(), self._untuned_saved()
        self._run(trial, (PREPARE, FINETUNE), seconds, logging.ERROR)
        # as if the untuned base were evaluated again
        taken = time.perf_counter() - started + self._untuned_saved() - saved
        manifest, written = read_manifest(self.workspace(trial).manifest("finetune")), self._written(trial)
        assert manifest is not None
        speeds = self._speeds(trial)
        shutil.rmtree(root)
        training: float = manifest.figures["train_seconds"]
        trained, evaluated = trial.passes * written, trial.epochs * held_out
        row = fmean(1 / speed for speed in speeds) if speeds else training / (trained + evaluated * FORWARD)
        evaluate = max(training - row * trained, 0.0) / evaluated
        start = taken - training - held_out * evaluate
        return Pace(row * written, evaluate, max(start, 0.0)), training

    def forget(self, trial: Trial) -> None:
        """Remove the weights of a trial that is out: the adapters of many trials fill a disk."""
        workspace = self.workspace(trial)
        (workspace.at(workspace.adapter) / contract.ADAPTER_WEIGHTS).unlink(missing_ok=True)

    def remove(self, trial: Trial) -> None:
        """Remove all that a trial has written."""
        shutil.rmtree(self.workspace(trial).root, ignore_errors=True)

    def passes_done(self, trial: Trial) -> int:
        """Row passes up to the last checkpoint of a trial that was stopped; 0 where there is none."""
        train, newest = self.recipe(trial).train, self._newest_checkpoint(trial)
        steps = int(newest.name.split("-")[1]) if newest else 0
        rows = steps * train.batch_size * train.accumulation
        return min(int(rows / self._written(trial)), trial.passes) if rows else 0

    def found_rate(self, trial: Trial) -> dict[str, float]:
        """The learning rate that a stopped trial with `auto` has found, as a change of its recipe; empty where there is none."""
        newest = self._newest_checkpoint(trial)
        if newest is None or self.recipe(trial).train.learning_rate != "auto":
            return {}
        from safetensors import safe_open

        with safe_open(str(newest), framework="numpy") as file:
            found = json.loads(file.metadata()["checkpoint"])
        return {"train.learning_rate": found["values"]["learning_rate"]["value"]}

    def _found(self, trial: Trial) -> dict[str, Any]:
        """The learning rate that a finished trial with `auto` has found, and the reason; empty where its rate was set."""
        if self.recipe(trial).train.learning_rate != "auto":
            return {}
        manifest = read_manifest(self.workspace(trial).manifest("finetune"))
        assert manifest is not None
        return {name: manifest.figures[name] for name in ("learning_rate", "learning_rate_reason")}

    def clear_store(self) -> None:
        """Remove what only trials over the same rows share."""
        shutil.rmtree(self.store, ignore_errors=True)

    def _evaluated(self, trial: Trial) -> tuple[Path, dict[str, Any]]:
        """The folder of a finished trial's adapter, and the evaluation in it."""
        workspace = self.workspace(trial)
        folder = workspace.at(workspace.adapter)
        return folder, json.loads((folder / EVALUATION).read_text(encoding="utf-8"))

    def _speeds(self, trial: Trial) -> list[float]:
        """Training rows a second, after every few steps; none for a run of fewer steps."""
        workspace = self.workspace(trial)
        history = read_history(workspace.at(workspace.adapter))
        return [row["rows_per_second"] for row in history if "rows_per_second" in row]

    def _newest_checkpoint(self, trial: Trial) -> Optional[Path]:
        workspace = self.workspace(trial)
        found = workspace.at(workspace.checkpoints).glob(f"*/{CHECKPOINTS}")
        return max(found, key=lambda path: path.name, default=None)

    def _written(self, trial: Trial) -> float:
        """Training rows for each drawn one, with those that are repeated or swapped."""
        manifest = read_manifest(self.workspace(trial).manifest("prepare"))
        assert manifest is not None
        return float(sum(manifest.figures["train"].values()) / trial.rows)

    def _untuned_saved(self) -> float:
        return self.context.shared.saved.get(UNTUNED, 0.0)

    def _run(self, trial: Trial, stages: Sequence[Stage], seconds: float, level: int) -> None:
        recipe, workspace = self.recipe(trial), self.workspace(trial)
        # the values of a space are checked one by one, and two of them may not fit together
        for key, problem in contradictions(recipe.flat()):
            raise UserError(f"{key}: {problem}")
        context = dataclasses.replace(self.context, recipe=recipe, workspace=workspace, fresh=False, keeps_runs=False)
        with time_limit(seconds), quiet(level):
            run_aside(stages, context)
