"""The form of an input: the columns that a row to ask has, and how they become the text that the prompt has in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional

from runner.data.decoding_needs import needs_swapped
from runner.data.input_template import InputTemplate
from runner.data.sources import input_columns
from runner.recipe.schema import Recipe, Task


@dataclass(frozen=True)
class InputForm:
    """The columns of an input and its template."""

    columns: tuple[str, ...] = ("text",)
    """What a row has, in the order of the template, each once."""
    template: str = "{text}"
    """`task.input` of the recipe."""
    swap: tuple[str, ...] = ()
    """The two columns that are exchanged for the mean of both orders; none where one order answers."""
    task: Optional[Task] = None
    """The task of the run, where its recipe is known. Without it the whole input is one text."""
    _inputs: InputTemplate = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_inputs", InputTemplate(self.template, self.columns, self.swap))

    def text(self, fields: Sequence[str]) -> str:
        """The input of a row."""
        return self._inputs.fill(fields)

    def swapped_text(self, fields: Sequence[str]) -> Optional[str]:
        """The input with the two columns exchanged; None where one order answers."""
        return None if self._inputs.fill_swapped is None else self._inputs.fill_swapped(fields)


def form_of(recipe: Optional[Recipe]) -> InputForm:
    """The form of a run's inputs, by its recipe; None: it is not known."""
    if recipe is None:
        return InputForm()
    task = recipe.task
    swap = task.swap if needs_swapped(recipe.decoding) else ()
    return InputForm(input_columns(task), task.input, swap, task)
