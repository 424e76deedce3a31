"""Moving runs: a new adapter replaces the one in place, and an earlier one is put back. No finished adapter is lost.

A process that is killed at any moment leaves the old or the new adapter in place; `recover` does what is left to do.
"""

from __future__ import annotations

import json
import logging
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, Optional

from grading import contract
from runner.errors import UserError
from runner.language import tr
from runner.system.files import digest, move_folder, recover_folder, replace_folder, write_atomic
from runner.workspace.manifest import read_manifest
from runner.workspace.paths import (
    CALIBRATION,
    ENSEMBLE,
    EVALUATION,
    HOLDOUT_PREDICTIONS,
    MANIFESTS,
    PROMPT_EXAMPLE,
    RECIPE,
    Workspace,
)
from runner.workspace.runs import RESULTS, Run, kept_runs, read_object, run_in_place

log = logging.getLogger("labeltune.workspace")

KEPT_RUNS = 20
"""Most kept runs of a dataset."""

KEPT_BYTES = 1 << 30
"""Most bytes of the kept runs of a dataset: about 12 adapters of gemma-2b. The last one and the best are kept in any case."""

REPLACED = "replaced.json"
"""File in the folder of a new adapter: which run it has replaced, and which one it is still to be compared with."""

OWN_RECORDS = (
    *(Path(path).name for path in MANIFESTS.values() if path.startswith("saved_model/{0}/")),
    "run.json",
    RECIPE,
    HOLDOUT_PREDICTIONS,
    EVALUATION,
    CALIBRATION,
    PROMPT_EXAMPLE,
    ENSEMBLE,
    REPLACED,
    RESULTS,
)
"""Files that a new adapter makes invalid in its folder. They go with the old adapter; anything else that lies there stays."""


def mark_replaced(workspace: Workspace, new: Path, inputs: Mapping[str, str]) -> None:
    """Write into the folder of a new adapter, which depends on `inputs`, which run it is about to replace.

    The same run trained again replaces itself: nothing is kept. An adapter that was put there by hand, or changed since, is
    kept, because nothing can make it again. An adapter that has not been evaluated is not compared with;
    then the one before it is."""
    present = run_in_place(workspace)
    compare_with = read_object(workspace.at(workspace.adapter) / REPLACED).get("compare_with")
    moved = None
    if present is not None and not _can_be_made_again(present, inputs):
        moved = _free_id(present)
        compare_with = moved if present.is_evaluated else compare_with
    if moved or compare_with:
        _mark(new, moved, compare_with)


def _can_be_made_again(run: Run, inputs: Mapping[str, str]) -> bool:
    """Whether a run with these inputs gives the same adapter again."""
    if run.manifest is None:
        # a run that was killed before it wrote its manifest has left its recipe; another tool has not
        return (run.folder / RECIPE).is_file()
    return run.manifest.inputs == inputs and run.is_intact()


def retired(workspace: Workspace) -> Callable[[Path], None]:
    """A function that takes away the folder of an adapter that was replaced: to the kept runs, if it is marked so."""

    def retire(old: Path) -> None:
        name = read_object(workspace.at(workspace.adapter) / REPLACED).get("moved")
        target = workspace.at(workspace.runs) / str(name)
        # it is there already where a move to another disk was interrupted
        if not name or target.exists():
            shutil.rmtree(old)
            return
        (old / REPLACED).unlink(missing_ok=True)
        _copy_results(workspace, old)
        move_folder(old, target)
        _remove_oldest(workspace, spared=str(name))

    return retire


def recover(workspace: Workspace) -> None:
    """Finish what a killed process has left half done."""
    recover_folder(workspace.at(workspace.adapter), OWN_RECORDS, retired(workspace))
    _place_results(workspace)


def log_replaced(workspace: Workspace) -> None:
    """Log which run the adapter in place has replaced, if it is kept."""
    name = read_object(workspace.at(workspace.adapter) / REPLACED).get("moved")
    run = next((run for run in kept_runs(workspace) if run.id == name), None)
    if run is not None:
        accuracy = "" if run.accuracy is None else tr(" (hold-out accuracy {accuracy:.1%})", accuracy=run.accuracy)
        command = restore_command(workspace, run.id)
        log.info(
            tr(
                "kept: the adapter that was in place, run {id}{accuracy}; to get it back: {command}",
                id=run.id,
                accuracy=accuracy,
                command=command,
            )
        )


def compare_with(workspace: Workspace) -> str:
    """The kept run that the adapter in place replaced and has not been compared with; empty where there is none."""
    return read_object(workspace.at(workspace.adapter) / REPLACED).get("compare_with") or ""


def restore_command(workspace: Workspace, name: str) -> str:
    """The command that puts a kept run in place."""
    elsewhere = workspace.root.resolve() != Path.cwd()
    return f"labeltune runs restore {name}" + (f" --workspace {shlex.quote(str(workspace.root))}" if elsewhere else "")


def settle(workspace: Workspace) -> None:
    """The adapter in place stays there: forget what it replaced."""
    (workspace.at(workspace.adapter) / REPLACED).unlink(missing_ok=True)


def restore(run: Run, to_compare: bool = False) -> Optional[str]:
    """Put a kept run in place, with its results, and return the id of the one that is kept instead. Hold the workspace's lock.

    `to_compare`: whether the two are still to be compared. Raises UserError where its files are damaged."""
    workspace = run.workspace
    recover(workspace)
    if run.manifest is not None and not run.is_intact():
        raise UserError(
            tr("{folder}: the files are not what the finetune stage wrote", folder=run.folder), tr("train it again")
        )
    present = run_in_place(workspace)
    moved = _free_id(present) if present else None
    _mark(run.folder, moved, moved if present and present.is_evaluated and to_compare else None)
    # an empty folder says that there are no results
    (run.folder / RESULTS).mkdir(exist_ok=True)
    replace_folder(run.folder, workspace.at(workspace.adapter))
    recover(workspace)
    if not to_compare:
        settle(workspace)
    _drop_stale_record(workspace)
    return moved


def remove(run: Run) -> None:
    """Remove a kept run for good. Hold the workspace's lock. Raises UserError for the run in place."""
    if run.in_place:
        raise UserError(
            tr("{id} is in place, in {adapter}", id=run.id, adapter=run.workspace.adapter),
            tr("put another run in place first"),
        )
    # at once: half a run would still be listed
    old = run.folder.with_name(f".{run.id}.old")
    run.folder.rename(old)
    shutil.rmtree(old)


def _mark(folder: Path, moved: object, compare_with: object) -> None:
    text = json.dumps({"moved": moved, "compare_with": compare_with})
    write_atomic(folder / REPLACED, f"{text}\n".encode())


def _free_id(run: Run) -> str:
    """The run's id; with a number where another run was finished within the same second."""
    folder, number, name = run.workspace.at(run.workspace.runs), 1, run.id
    while (folder / name).exists():
        number += 1
        name = f"{run.id}-{number}"
    return name


def _result_files(workspace: Workspace) -> Sequence[Path]:
    """The result files in place, the manifest last."""
    names = (workspace.result, workspace.predictions, workspace.score)
    return [*map(workspace.at, names), workspace.manifest("predict")]


def _copy_results(workspace: Workspace, old: Path) -> None:
    """Copy the results in place into the folder of the adapter that made them. They stay where they are until the next ones
    are written."""
    manifest = read_manifest(workspace.manifest("predict"))
    target = old / RESULTS
    shutil.rmtree(target, ignore_errors=True)
    if manifest is None or manifest.inputs.get("adapter") != digest(old / contract.ADAPTER_WEIGHTS):
        return
    for path in _result_files(workspace):
        if path.is_file():
            write_atomic(target / path.name, path.read_bytes())


def _place_results(workspace: Workspace) -> None:
    """Put the results that were kept with the adapter in place. Without any, those of a kept run are removed, for they are not
    this adapter's."""
    kept = workspace.at(workspace.adapter) / RESULTS
    if not kept.is_dir():
        return
    files = _result_files(workspace)
    manifest = files[-1]
    elsewhere = [path.read_bytes() for path in workspace.at(workspace.runs).glob(f"*/{RESULTS}/{manifest.name}")]
    if (kept / manifest.name).exists():
        for path in files:
            if (kept / path.name).exists():
                write_atomic(path, (kept / path.name).read_bytes())
            elif path == workspace.at(workspace.score):
                # a score is there only where the dev labels were known
                path.unlink(missing_ok=True)
    elif manifest.exists() and manifest.read_bytes() in elsewhere:
        for path in files:
            path.unlink(missing_ok=True)
    shutil.rmtree(kept)


def _drop_stale_record(workspace: Workspace) -> None:
    """Remove the run record of the adapter in place where it names files that have changed since."""
    stages = read_object(workspace.run_record).get("stages")
    outputs: dict[str, Any] = {}
    for stage in stages.values() if isinstance(stages, dict) else ():
        outputs.update(stage.get("outputs", {}))
    for name, value in outputs.items():
        path = workspace.at(name)
        if not path.is_file() or digest(path) != value:
            workspace.run_record.unlink(missing_ok=True)
            return


def _remove_oldest(workspace: Workspace, spared: str) -> None:
    """Remove the oldest kept runs where there are too many; never `spared`, nor the one with the best hold-out accuracy."""
    runs = kept_runs(workspace)
    best = max(runs, key=lambda run: run.accuracy or 0.0, default=None)
    oldest = [run for run in runs if run is not best and run.id != spared]
    sizes = {run.id: run.bytes for run in runs}
    while oldest and (len(sizes) > KEPT_RUNS or sum(sizes.values()) > KEPT_BYTES):
        run = oldest.pop(0)
        remove(run)
        del sizes[run.id]
        log.info(
            tr(
                "removed {folder}: {kept_runs} runs and {gigabytes} GiB are kept of a dataset",
                folder=run.folder,
                kept_runs=KEPT_RUNS,
                gigabytes=KEPT_BYTES >> 30,
            )
        )
