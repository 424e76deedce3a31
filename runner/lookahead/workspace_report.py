"""The workspace report: what a run would find and replace in its workspace, and whether it can write there."""

from __future__ import annotations

import os
from pathlib import Path

from runner.language import tr
from runner.lookahead.findings import Findings, Section
from runner.lookahead.layout import size
from runner.lookahead.machine import free_disk
from runner.recipe.schema import Recipe
from runner.stages import FINETUNE
from runner.training.resume import CHECKPOINTS
from runner.workspace.paths import Workspace
from runner.workspace.runs import run_in_place

SPARE = 50 << 20
"""Bytes that should be left on a disk beside what a run writes."""


def look_at_workspace(recipe: Recipe, workspace: Workspace, disk: int, findings: Findings) -> Section:
    """What is there. `disk`: bytes that a run would write; 0: not known."""
    root = workspace.root
    lines = [(tr("folder"), str(root))]
    free, _ = free_disk(root)
    needed = tr("{needed} needed at most, ", needed=size(disk)) if disk else ""
    lines.append((tr("disk"), tr("{needed}{free} free", needed=needed, free=size(free))))
    if disk + SPARE > free:
        findings.problem(
            tr(
                "{root}: a run writes {needed}, and the disk has {free} free",
                root=root,
                needed=size(disk + SPARE),
                free=size(free),
            ),
            tr("make room there, or work on another disk: --workspace DIR"),
        )
    for name in (f"pre_data/{workspace.dataset}", workspace.adapter, "saved_model", "result"):
        _check_folder(root / name, root, findings)
    lines.append((tr("adapter"), _adapter(recipe, workspace, findings)))
    unfinished = sorted({path.parent for path in workspace.at(workspace.checkpoints).glob(f"*/{CHECKPOINTS}")})
    if unfinished:
        findings.warn(
            tr(
                "{unfinished}: an unfinished run of {dataset} has checkpoints here",
                unfinished=unfinished[0],
                dataset=workspace.dataset,
            ),
            tr("the same command with the same inputs resumes it; any other is refused until you add --fresh"),
        )
    return Section(tr("workspace"), lines)


def _check_folder(folder: Path, root: Path, findings: Findings) -> None:
    """A problem where a file is in the folder's place, or where it may not be written."""
    if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
        findings.problem(
            tr("{folder}: expected a folder, found a file or a link to nothing", folder=folder), tr("move it away")
        )
        return
    while not folder.exists() and folder != root:
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        findings.problem(
            tr("{folder}: cannot write here", folder=folder),
            tr("change its mode or its owner, or work in another folder: --workspace DIR"),
        )


def _adapter(recipe: Recipe, workspace: Workspace, findings: Findings) -> str:
    """What becomes of the adapter in place."""
    present = run_in_place(workspace)
    if present is None:
        return tr("none yet in {adapter}: nothing is replaced", adapter=workspace.adapter)
    accuracy = "" if present.accuracy is None else tr(", hold-out accuracy {accuracy:.1%}", accuracy=present.accuracy)
    if present.manifest is None:
        findings.warn(
            tr(
                "{adapter} has an adapter that no run of labeltune has finished; a run replaces it for good",
                adapter=workspace.adapter,
            ),
            tr("copy it elsewhere if you need it"),
        )
        return tr("of unknown origin, replaced for good")
    if present.manifest.inputs.get("recipe") == recipe.digest(*FINETUNE.recipe_keys):
        return tr(
            "run {id}{accuracy}: of these settings; not trained again unless data, base or code changed",
            id=present.id,
            accuracy=accuracy,
        )
    return tr(
        "run {id}{accuracy}: replaced, and kept in {runs}/{id}", id=present.id, accuracy=accuracy, runs=workspace.runs
    )
