"""The record of an ensemble: `ensemble.json` beside the adapter of its first member, read back."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Optional

from runner.recipe.schema import Ensemble
from runner.recipe.writer import yaml_value
from runner.workspace.paths import ENSEMBLE, RECIPE, Workspace
from runner.workspace.runs import read_object


@dataclass(frozen=True)
class RecordedMember:
    """One member, as the last comparison of all members has found it."""

    seed: int
    """Its `train.seed`."""
    instruction: str
    """Its `instruction`."""
    adapter: str
    """SHA-256 of its adapter's weights."""


@dataclass(frozen=True)
class EnsembleRecord:
    """What is known of an ensemble."""

    answer: str
    """The recipe's `ensemble.answer`."""
    members: tuple[RecordedMember, ...]
    """All members, the first one first."""
    accuracy: float
    """What all members together get right on the hold-out, 0 to 1."""
    interval: tuple[float, float]
    """Its 95 % interval."""

    @property
    def answers_by_mean(self) -> bool:
        """Whether all members answer together."""
        return self.answer == "mean"

    @property
    def ensemble(self) -> Ensemble:
        """The recipe's block that gives these members, in this order. What all have in common is left out."""
        seeds = tuple(dict.fromkeys(each.seed for each in self.members))
        instructions = tuple(dict.fromkeys(each.instruction for each in self.members))
        answer: Literal["mean", "first"] = "mean" if self.answers_by_mean else "first"
        return Ensemble(seeds if len(seeds) > 1 else (), instructions if len(instructions) > 1 else (), answer)

    def adapter_of(self, seed: int, instruction: str) -> Optional[str]:
        """The digest of a member's weights; None for one that is not recorded."""
        found = (each.adapter for each in self.members if (each.seed, each.instruction) == (seed, instruction))
        return next(found, None)

    def run_command(self, workspace: Workspace) -> str:
        """The command that runs the ensemble again: the recipe beside the first adapter is that of a run by itself."""
        values = dataclasses.asdict(self.ensemble)
        words = [f"ensemble.{key}={yaml_value(value)}" for key, value in values.items() if value != "mean" and value]
        path = f"{workspace.adapter}/{RECIPE}"
        if workspace.root.resolve() == Path.cwd():
            return shlex.join(["labeltune", "run", path, *words])
        root = str(workspace.root)
        return shlex.join(["labeltune", "run", str(workspace.at(path)), *words, "--workspace", root])


def read_ensemble(folder: Path) -> Optional[EnsembleRecord]:
    """The record beside an adapter; None where there is none that can be read: it is a run by itself."""
    tree = read_object(folder / ENSEMBLE)
    try:
        members = tuple(RecordedMember(each["seed"], each["instruction"], each["adapter"]) for each in tree["members"])
        low, high = tree["together"]["interval"]
        return EnsembleRecord(tree["answer"], members, tree["together"]["accuracy"], (low, high))
    except (KeyError, TypeError, ValueError):
        return None


def together(folder: Path) -> Optional[Mapping[str, Any]]:
    """What all members are worth that answer together, as plain values, by the record beside the first one's adapter; None where
    an adapter answers alone."""
    found = read_ensemble(folder)
    if found is None or not found.answers_by_mean:
        return None
    return {"members": len(found.members), "accuracy": found.accuracy, "interval": list(found.interval)}
