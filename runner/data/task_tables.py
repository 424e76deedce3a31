"""The tables of a task: its training file and its dev file, found and opened as the recipe says."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from runner.data.tsv import Table, open_table
from runner.recipe.schema import Recipe, dev_forms
from runner.workspace.paths import locate_table, shown


def train_table(recipe: Recipe, root: Path) -> Table:
    """The labelled rows. `root`: where relative paths start. Raises DataError."""
    task = recipe.task
    path = locate_table(task.train, root, task.name)
    return open_table(path, shown(path, root), (task.columns,), task.header, task.quoting)


def dev_table(recipe: Recipe, root: Path, train: Optional[Table]) -> Table:
    """The rows to predict, read like the training file where their own quotes decide nothing. Raises DataError."""
    task = recipe.task
    path = locate_table(task.dev, root, task.name)
    forms = dev_forms(task.columns, task.label, task.dev_columns)
    like_csv = train is not None and train.csv_quoted
    return open_table(path, shown(path, root), forms, task.header, task.quoting, like_csv)
