"""The sources of a task: its tables and the excluded rows, opened, and what the recipe says about each file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Optional

from runner.data.exclusion import Exclusion
from runner.data.input_template import InputTemplate
from runner.data.open_table import Wanted
from runner.data.table import Table
from runner.errors import DataError
from runner.language import tr
from runner.recipe.rules import placeholders
from runner.recipe.schema import Recipe, Task, dev_forms


@dataclass(frozen=True)
class Sources:
    """The files of a task, opened."""

    train: Table
    """The labelled rows."""
    dev: Optional[Table]
    """The rows to predict; None: they are set aside from the labelled ones."""
    exclusion: Exclusion
    """The labelled rows that are not used."""

    def tables(self) -> list[tuple[str, Table]]:
        """The tables that are there, by the keys of their files."""
        return [(name, table) for name, table in (("train", self.train), ("dev", self.dev)) if table is not None]


def wanted_train(task: Task) -> Wanted:
    """What the recipe says about the training file."""
    forms = (task.columns,) if task.columns else ()
    needed = tuple(dict.fromkeys([*input_columns(task), task.label]))
    return Wanted(forms, needed, task.header, task.quoting, task.format, task.encoding, suspicious=not task.dev_differs)


def wanted_dev(task: Task, train: Table) -> Wanted:
    """What the recipe, and the training file where the recipe names no columns, say about the dev file."""
    forms = dev_forms(task.columns or train.columns, task.label, task.dev_columns)
    how = (task.header, task.quoting, task.format, task.encoding)
    return Wanted(forms, input_columns(task), *how, own_names=True, suspicious=not task.dev_differs)


def input_columns(task: Task) -> tuple[str, ...]:
    """The columns of the input, each once."""
    return tuple(dict.fromkeys(placeholders(task.input) or ()))


def input_template(recipe: Recipe, table: Table) -> InputTemplate:
    """The template that fills the input from the table's rows."""
    return InputTemplate(recipe.task.input, table.columns, recipe.task.swap)


def table_changed(shown: str) -> DataError:
    """The error of a file that was written while it was read."""
    return DataError(tr("{shown}: changed while it was read", shown=shown), tr("run again when it is finished"))


def good_rows(table: Table, lines: Set[int]) -> Iterator[tuple[int, Sequence[str]]]:
    """The line and the fields of the good rows that begin on these lines, in the file's order."""
    count = 0
    for line, fields, _ in table.rows(only=lines):
        yield line, fields
        count += 1
    if count < len(lines):
        raise table_changed(table.shown)
