"""The files of a run, read back from its adapter's folder: its whole recipe, its workspace, and the members of its ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from grading import contract
from runner.errors import RecipeError
from runner.recipe.loader import load_recipes, recipe_from
from runner.recipe.schema import Recipe
from runner.workspace.paths import RECIPE
from runner.workspace.runs import read_object

RUN_RECORD = "run.json"
"""File in an adapter's folder with the record of the last run."""

HANDED_IN = ("pre_data", "saved_model", "result")
"""Folders of a workspace that are handed in and graded."""


def recipe_of(folder: Path) -> Optional[Recipe]:
    """The recipe of an adapter's folder; None where none is there that this version can read.

    The record of the run has what the last run decoded with; `recipe.yaml` is as old as the adapter."""
    found = recipe_from(read_object(folder / RUN_RECORD).get("recipe"))
    if found is None and (folder / RECIPE).is_file():
        try:
            (loaded,) = load_recipes([folder / RECIPE])
        except RecipeError:
            return None
        found = loaded.recipe
    return found


def workspace_of(folder: Path) -> Optional[Path]:
    """The workspace that an adapter's folder is in place in; None for a folder elsewhere, or for a kept run."""
    here = folder.resolve()
    is_in_place = here.parent.name == "saved_model" and contract.is_dataset_name(here.name)
    return here.parent.parent if is_in_place else None


def handed_in(path: Path, workspace: Optional[Path]) -> bool:
    """Whether a file or folder lies in a part of the workspace that is handed in."""
    if workspace is None:
        return False
    here = path.resolve()
    folders = [(workspace / name).resolve() for name in HANDED_IN]
    return any(folder in (here, *here.parents) for folder in folders)
