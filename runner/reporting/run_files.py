"""The files of a run, read back for its report: what the stages wrote about one adapter. No model, no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.evaluation.holdout import HoldoutPrediction, read_holdout_predictions
from runner.recipe.writer import flat_values
from runner.reporting.run_result import known_history
from runner.workspace.manifest import read_manifest
from runner.workspace.paths import ENSEMBLE, EVALUATION, HOLDOUT_PREDICTIONS, PROMPT_EXAMPLE
from runner.workspace.runs import Run, read_object


@dataclass(frozen=True)
class RunFiles:
    """What is known of a finished and evaluated run. Missing files are empty here."""

    run: Run
    """The run; its recipe and the statistics of the finetune stage."""
    recipe: Mapping[str, Any]
    """Its recipe by dotted keys: that of the run record, else that of the training."""
    evaluation: Mapping[str, Any]
    """evaluation.json."""
    predictions: Sequence[HoldoutPrediction]
    """The hold-out's rows, with texts and logits."""
    history: Sequence[Mapping[str, Any]]
    """The lines of metrics.jsonl."""
    prepared: Mapping[str, Any]
    """The counts of the prepare stage; empty where pre_data has the rows of another run by now."""
    predicted: Mapping[str, Any]
    """The statistics of the predict stage; empty where nothing is predicted."""
    ensemble: Mapping[str, Any]
    """ensemble.json."""
    prompt_example: Mapping[str, Any]
    """prompt_example.json."""
    record: Mapping[str, Any]
    """run.json."""

    @property
    def labels(self) -> list[str]:
        """The labels in the recipe's order; those of the rows where the recipe is not known."""
        found = self.recipe.get("task.labels")
        if isinstance(found, list) and all(isinstance(each, str) for each in found):
            return found
        return sorted({each.target for each in self.predictions})


def read_run_files(run: Run) -> RunFiles:
    """Read all that belongs to a run. Raises DataError where the hold-out's predictions are missing or damaged."""
    record = read_object(run.folder / "run.json")
    own = record.get("recipe")
    return RunFiles(
        run=run,
        recipe={**run.recipe, **(flat_values(own) if isinstance(own, dict) else {})},
        evaluation=read_object(run.folder / EVALUATION),
        predictions=read_holdout_predictions(run.folder / HOLDOUT_PREDICTIONS),
        history=known_history(run.folder),
        prepared=_prepared(run),
        predicted=_predicted(run),
        ensemble=read_object(run.folder / ENSEMBLE),
        prompt_example=read_object(run.folder / PROMPT_EXAMPLE),
        record=record,
    )


def _prepared(run: Run) -> Mapping[str, Any]:
    """The counts of the prepare stage, if the run was evaluated on its rows."""
    workspace = run.workspace
    prepared = read_manifest(workspace.manifest("prepare"))
    evaluated = read_manifest(run.folder / workspace.manifest("evaluate").name)
    if prepared is None or evaluated is None:
        return {}
    rows = {"train": workspace.train, "holdout": workspace.holdout}
    same = all(evaluated.inputs.get(name) == prepared.outputs.get(path, "") for name, path in rows.items())
    return prepared.figures if same else {}


def _predicted(run: Run) -> Mapping[str, Any]:
    """The statistics of the predict stage, if it used this adapter."""
    manifest = read_manifest(run.workspace.manifest("predict")) if run.in_place else run.result_manifest()
    evaluated = read_manifest(run.folder / run.workspace.manifest("evaluate").name)
    if manifest is None or evaluated is None or manifest.inputs.get("adapter") != evaluated.inputs.get("adapter"):
        return {}
    return manifest.figures
