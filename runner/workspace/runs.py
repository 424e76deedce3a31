"""The runs of a dataset: the one in place, in `saved_model/{dataset}`, and earlier ones, kept in `saved_model/.runs`.

A kept run is the adapter's folder as it was, with the results of its predictions in `.result`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

from grading import contract
from runner.errors import UserError
from runner.language import tr
from runner.recipe.writer import read_flat_recipe
from runner.system.files import digest
from runner.system.fingerprint import Fingerprint
from runner.workspace.manifest import Manifest, read_manifest
from runner.workspace.paths import CLASSIFIER, EVALUATION, HOLDOUT_PREDICTIONS, RECIPE, Workspace

RESULTS = ".result"
"""Folder in a kept run with the result, the predictions, their score and the manifest of the predict stage."""

FINISHED = "finished"
"""Name in the finetune stage's statistics: when the adapter was finished, in UTC."""

DEV_INPUTS = "dev_inputs"
"""Name in the predict stage's statistics: a digest of the inputs that were predicted, without the instruction."""

TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Run:
    """One finished adapter, with all that was written about it."""

    workspace: Workspace
    """The dataset that it belongs to."""
    folder: Path
    """The adapter's folder."""
    in_place: bool
    """Whether it is the one in `saved_model/{dataset}`, which is graded."""
    id: str
    """When it was finished and what it depends on: `20261125-084419-1a2b3c4d`. A later run sorts after an earlier one."""
    manifest: Optional[Manifest]
    """What the finetune stage wrote; None for an adapter that was put there by hand."""

    @property
    def statistics(self) -> Mapping[str, Any]:
        """Counts, metrics and seconds of the finetune stage; empty without a manifest."""
        return self.manifest.figures if self.manifest else {}

    @property
    def finished(self) -> str:
        """When the adapter was finished, in UTC, such as `2026-11-25T08:44:19Z`."""
        return _finished(self.folder, self.manifest)

    @cached_property
    def recipe(self) -> Mapping[str, Any]:
        """Its recipe by dotted keys; empty where it was not written."""
        return read_flat_recipe(self.folder / RECIPE)

    @property
    def accuracy(self) -> Optional[float]:
        """Hold-out accuracy, 0 to 1: as the evaluate stage has measured it, or else at the end of training."""
        found = read_object(self.folder / EVALUATION).get("accuracy")
        tuned = self.statistics.get("tuned")
        at_end = tuned.get("accuracy") if isinstance(tuned, dict) else None
        return found if isinstance(found, float) else at_end

    @property
    def is_evaluated(self) -> bool:
        """Whether its answer to each hold-out row is known."""
        return (self.folder / HOLDOUT_PREDICTIONS).is_file()

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def is_intact(self) -> bool:
        """Whether the adapter's files are what the finetune stage wrote."""
        if self.manifest is None:
            return False
        try:
            written = self.manifest.outputs.items()
            return all(digest(self.folder / Path(name).name) == value for name, value in written)
        except (OSError, ValueError):
            return False

    def result_manifest(self) -> Optional[Manifest]:
        """What the predict stage wrote about this adapter's predictions, if they are kept with it."""
        return read_manifest(self.folder / RESULTS / self.workspace.manifest("predict").name)


def now() -> str:
    """The time as `Run.finished` has it."""
    return f"{datetime.now(timezone.utc):{TIME}}"


def run_at(workspace: Workspace, folder: Path, in_place: bool) -> Run:
    """The run whose adapter is in this folder."""
    manifest = read_manifest(folder / "manifest.json")
    if not in_place:
        return Run(workspace, folder, False, folder.name, manifest)
    inputs = manifest.inputs if manifest else {"adapter": digest(folder / contract.ADAPTER_WEIGHTS)}
    time = datetime.strptime(_finished(folder, manifest), TIME)
    return Run(workspace, folder, True, f"{time:%Y%m%d-%H%M%S}-{Fingerprint(inputs).digest[:8]}", manifest)


def run_in_place(workspace: Workspace) -> Optional[Run]:
    """The adapter in `saved_model/{dataset}`; None where there is none."""
    folder = workspace.at(workspace.adapter)
    return run_at(workspace, folder, True) if (folder / contract.ADAPTER_WEIGHTS).is_file() else None


def kept_runs(workspace: Workspace) -> list[Run]:
    """The kept runs of a dataset, oldest first."""
    weights = workspace.at(workspace.runs).glob(f"[!.]*/{contract.ADAPTER_WEIGHTS}")
    return [run_at(workspace, folder, False) for folder in sorted({path.parent for path in weights})]


def all_runs(root: Path) -> dict[str, list[Run]]:
    """All runs in a workspace by dataset: the one in place first, then the kept ones, newest first."""
    places = (
        (root / "saved_model").glob(f"[!.]*/{contract.ADAPTER_WEIGHTS}"),
        (root / "saved_model/.runs").glob("[!.]*/*"),
    )
    names = sorted({path.parent.name for found in places for path in found})
    found = {}
    for name in filter(contract.is_dataset_name, names):
        workspace = Workspace(root, name)
        present = run_in_place(workspace)
        kept = [run for run in reversed(kept_runs(workspace)) if present is None or run.id != present.id]
        found[name] = ([present] if present else []) + kept
    return {name: runs for name, runs in found.items() if runs}


def find_run(root: Path, text: str) -> Run:
    """The run with this id in a workspace; its beginning or its last eight characters do where only one run has them.

    Raises UserError where there is none, or more than one."""
    runs = [run for of_dataset in all_runs(root).values() for run in of_dataset]
    found = [run for run in runs if run.id == text]
    found = found or [run for run in runs if text and (run.id.startswith(text) or run.id.rpartition("-")[2] == text)]
    if len(found) == 1:
        return found[0]
    problem = (
        tr("{found_count} runs begin so", found_count=len(found))
        if found
        else tr("no such run in {root}", root=root.resolve())
    )
    raise UserError(f"{text}: {problem}", tr("`labeltune runs` lists all; in another folder: labeltune runs FOLDER"))


def named_folder(text: str, root: Path) -> Path:
    """The folder that a command's argument may name: in the current folder, or in `root` where it is there alone."""
    here, there = Path(text), root / text
    return there if there.is_dir() and not here.is_dir() else here


def named_adapter(text: str, root: Path) -> Path:
    """The adapter's folder that a command's argument names, also one without weights: what loads it says so.

    Raises UserError as `named_run` does."""
    folder = named_folder(text, root)
    return folder if (folder / CLASSIFIER).is_file() else named_run(text, root).folder


def named_run(text: str, root: Path) -> Run:
    """The run that a command's argument names: an adapter's folder, a workspace with one dataset, or an id in `root`.

    Raises UserError where it names none, or more than one."""
    folder = named_folder(text, root)
    if (folder / contract.ADAPTER_WEIGHTS).is_file():
        here = folder.resolve()
        kept = here.parent.parent.name == ".runs"
        # no workspace is needed around the folder, only the dataset's name
        return run_at(Workspace(here.parent, here.parent.name if kept else here.name), folder, in_place=not kept)
    if (folder / "saved_model").is_dir():
        names = sorted(path.parent.name for path in folder.glob(f"saved_model/[!.]*/{contract.ADAPTER_WEIGHTS}"))
        present = run_in_place(Workspace(folder, names[0])) if len(names) == 1 else None
        if present is not None:
            return present
        problem = tr("has the adapters of {names}", names=", ".join(names)) if names else tr("has no adapter")
        raise UserError(f"{folder}: {problem}", tr("name one adapter's folder, such as saved_model/QQP"))
    return find_run(root, text)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _finished(folder: Path, manifest: Optional[Manifest]) -> str:
    """When an adapter was finished: by its manifest, or by the time of its file where that does not say it."""
    try:
        return f"{datetime.strptime((manifest.figures if manifest else {})[FINISHED], TIME):{TIME}}"
    # of an earlier version, or put there by hand
    except (KeyError, TypeError, ValueError):
        seconds = (folder / contract.ADAPTER_WEIGHTS).stat().st_mtime
        return f"{datetime.fromtimestamp(seconds, timezone.utc):{TIME}}"
