"""The tables of a task: its training file, its dev file and its excluded rows, found and opened as the recipe says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Optional

from runner.data.exclusion import Exclusion, read_exclusion
from runner.data.open_table import open_table
from runner.data.sources import wanted_dev, wanted_train
from runner.data.table import Table
from runner.recipe.schema import Recipe
from runner.workspace.paths import locate_table, shown


def train_table(recipe: Recipe, root: Path) -> Table:
    """The labelled rows. `root`: where relative paths start. Raises DataError."""
    task = recipe.task
    path = locate_table(task.train, root, task.name)
    return open_table(path, shown(path, root), wanted_train(task))


def dev_table(recipe: Recipe, root: Path, train: Table) -> Optional[Table]:
    """The rows to predict, read like the training file where their own form decides nothing; None where the recipe names no
    dev file. Raises DataError."""
    task = recipe.task
    if task.dev is None:
        return None
    path = locate_table(task.dev, root, task.name)
    return open_table(path, shown(path, root), wanted_dev(task, train), train)


def exclusion_path(recipe: Recipe, root: Path) -> Optional[Path]:
    """The file of `samples.exclude`; None: the recipe has none."""
    name = recipe.samples.exclude
    return None if name is None else root / os.path.expanduser(name)


def exclusion_of(recipe: Recipe, root: Path) -> Exclusion:
    """The labelled rows that are not used. Raises DataError."""
    path = exclusion_path(recipe, root)
    return Exclusion() if path is None else read_exclusion(path, shown(path, root))
