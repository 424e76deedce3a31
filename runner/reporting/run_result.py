"""The history of a run: what its manifests and its metrics.jsonl hold, read back as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from runner.errors import DataError
from runner.workspace.history import read_history
from runner.workspace.manifest import read_manifest
from runner.workspace.paths import MANIFESTS, Workspace


@dataclass(frozen=True)
class HoldoutMetrics:
    """What a model was worth on the hold-out."""

    accuracy: float
    """Share of right answers, 0 to 1."""
    mcc: float
    """Matthews correlation coefficient, -1 to 1."""
    f1: float
    """F1 of the last label; the mean over labels where there are more than two."""
    loss: float
    """Mean loss, in nats."""
    predicted_counts: Mapping[str, int]
    """How often each label was predicted."""


@dataclass(frozen=True)
class RunResult:
    """What the stages of one recipe have left in a workspace."""

    dataset: str
    """`task.name` of the recipe."""
    workspace: Path
    """The folder that the run worked in."""
    statistics: Mapping[str, Mapping[str, Any]]
    """The counts, metrics and seconds of each finished stage, by its name; as in its manifest."""
    history: Sequence[Mapping[str, Any]]
    """The rows of metrics.jsonl: one every few optimizer steps and one for each epoch; empty before fine-tuning."""

    @property
    def majority(self) -> Optional[float]:
        """Hold-out accuracy of always giving the most frequent label, 0 to 1; None before fine-tuning."""
        return self.statistics.get("finetune", {}).get("majority")

    @property
    def untuned(self) -> Optional[HoldoutMetrics]:
        """The base model on the hold-out; None before fine-tuning."""
        return self._holdout("untuned")

    @property
    def tuned(self) -> Optional[HoldoutMetrics]:
        """The saved adapter on the hold-out; None before fine-tuning."""
        return self._holdout("tuned")

    @property
    def evaluation(self) -> Optional[Mapping[str, Any]]:
        """The content of evaluation.json: accuracy with its interval, calibration, baselines, expected points; None before the
        evaluate stage."""
        return self.statistics.get("evaluate")

    @property
    def adapter(self) -> Path:
        """Folder of the saved adapter."""
        paths = Workspace(self.workspace, self.dataset)
        return paths.at(paths.adapter)

    def _holdout(self, name: str) -> Optional[HoldoutMetrics]:
        found = self.statistics.get("finetune", {}).get(name)
        if found is None:
            return None
        return HoldoutMetrics(found["accuracy"], found["mcc"], found["f1"], found["loss"], found["answers"])


def read_run(workspace: Workspace) -> RunResult:
    """Read what the stages have left in a workspace; a stage that has not finished is left out.

    The ensemble is among them whatever the recipe asks for: an older adapter that stays in place may have one."""
    manifests = {stage: read_manifest(workspace.manifest(stage)) for stage in MANIFESTS}
    statistics = {stage: manifest.figures for stage, manifest in manifests.items() if manifest is not None}
    history = known_history(workspace.at(workspace.adapter)) if "finetune" in statistics else []
    return RunResult(workspace.dataset, workspace.root, statistics, history)


def known_history(adapter: Path) -> Sequence[Mapping[str, Any]]:
    """The rows of metrics.jsonl; none where it is missing or damaged: the stage that needs the adapter says so."""
    try:
        return read_history(adapter)
    except DataError:
        return []
