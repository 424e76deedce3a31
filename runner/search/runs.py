"""The runs of a search: each trial is what its recipe would give alone, in a workspace of its own, on the base that all
trials share."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from grading import contract
from runner.evaluation.holdout import read_holdout_predictions
from runner.recipe.schema import Recipe, Search
from runner.search.plan import EXTRA_EVALUATIONS, Pace
from runner.search.space import changed
from runner.search.trials import Trial, TrialResult
from runner.stages import EVALUATE, FINETUNE, PREPARE, StageContext, run_stage
from runner.system.console import warnings_only
from runner.system.signals import time_limit
from runner.workspace.manifest import read_manifest
from runner.workspace.paths import EVALUATION, HOLDOUT_PREDICTIONS, Workspace

FORWARD = 1 / 3
"""Cost of scoring a row, as a share of the cost of training on it: a forward pass, and no backward pass of twice its cost."""


@dataclass(frozen=True)
class Runs:
    """Runs trials below one folder."""

    context: StageContext
    """The search's own recipe, workspace and bases."""
    folder: Path
    """Gets a workspace for each trial."""

    def workspace(self, trial: Trial) -> Workspace:
        """Where the trial writes; its data is that of the search."""
        own = self.context.workspace
        return Workspace(self.folder / f"trial-{trial.number:03}", own.dataset, own.root)

    def recipe(self, trial: Trial) -> Recipe:
        """The trial's recipe, which gives the same adapter when it runs alone."""
        recipe = changed(self.context.recipe, {**trial.changes, "train.epochs": trial.epochs})
        samples = dataclasses.replace(recipe.samples, train=trial.rows)
        return dataclasses.replace(recipe, samples=samples, search=Search())

    def run(self, trial: Trial, seconds: float) -> TrialResult:
        """Prepare, fine-tune and evaluate; continue where a killed search was.

        Raises UserError where the trial cannot be run, and `Stopped(OUT_OF_TIME)` after so many seconds."""
        workspace, started = self.workspace(trial), time.perf_counter()
        workspace.make_folders()
        context = dataclasses.replace(self.context, recipe=self.recipe(trial), workspace=workspace, fresh=False)
        with time_limit(seconds), warnings_only():
            for stage in (PREPARE, FINETUNE, EVALUATE):
                run_stage(stage, context)
        folder = workspace.at(workspace.adapter)
        evaluation = json.loads((folder / EVALUATION).read_text(encoding="utf-8"))
        right = "".join("01"[row.label == row.target] for row in read_holdout_predictions(folder / HOLDOUT_PREDICTIONS))
        return TrialResult(trial, right, evaluation["log_loss"], round(time.perf_counter() - started, 3))

    def pace(self, trial: Trial, seconds: float) -> Pace:
        """What a run costs, from a finished trial that took so many seconds."""
        workspace = self.workspace(trial)
        manifest = read_manifest(workspace.manifest("finetune"))
        assert manifest is not None
        held_out = self.rows(trial)[1]
        in_training = trial.passes + trial.epochs * held_out * FORWARD
        train = manifest.figures["train_seconds"] / in_training
        start = seconds - train * (in_training + EXTRA_EVALUATIONS * held_out * FORWARD)
        return Pace(train, train * FORWARD, max(start, 0.0))

    def rows(self, trial: Trial) -> tuple[int, int]:
        """The numbers of rows that can be trained on and that are held out, from a finished trial."""
        manifest = read_manifest(self.workspace(trial).manifest("prepare"))
        assert manifest is not None
        held_out = sum(manifest.figures["holdout"].values())
        return sum(manifest.figures["labels"].values()) - held_out, held_out

    def forget(self, trial: Trial) -> None:
        """Remove the weights of a trial that is out: the adapters of many trials fill a disk."""
        workspace = self.workspace(trial)
        (workspace.at(workspace.adapter) / contract.ADAPTER_WEIGHTS).unlink(missing_ok=True)
        shutil.rmtree(workspace.at(workspace.store), ignore_errors=True)
