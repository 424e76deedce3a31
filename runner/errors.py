"""Errors that the user can fix: each says what is wrong, where, and what to do next. The command prints them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from grading.contract.language import translated
from runner.language import tr


class UserError(Exception):
    """A mistake that the user can fix. `str()` is the whole message; the command prints it and exits with 2."""

    def __init__(self, what: str, next_step: str = "") -> None:
        self.what = translated(what)
        self.next_step = translated(next_step)
        super().__init__(with_next_step(self.what, self.next_step) if next_step else self.what)


def with_next_step(what: str, next_step: str) -> str:
    """A message in two lines: what is wrong, and what to do about it."""
    return tr("{what}\n  next: {next_step}", what=what, next_step=next_step)


class RecipeError(UserError):
    """Every problem of one or more recipes, one a line."""

    def __init__(self, problems: Sequence[object]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class DataError(UserError):
    """A data file that cannot be read as the recipe describes it. The message names file, line, expected and found."""


def redact_secrets(text: str) -> str:
    """Hide the name and password in a URL, and the hub's token."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        token = os.environ.get(name, "").strip()
        text = text.replace(token, "…") if token else text
    return re.sub(r"\bhf_\w{8,}", "hf_…", re.sub(r"//\S+@", "//…@", text))
