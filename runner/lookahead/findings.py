"""The findings: what would make a run fail, and what its user should know, each with what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from runner.errors import UserError


@dataclass(frozen=True)
class Finding:
    """One problem or warning."""

    what: str
    """What is wrong, and where."""
    next_step: str
    """What to do about it; empty where `what` says it."""


@dataclass
class Findings:
    """All findings about one recipe, in the order in which they were found."""

    problems: list[Finding] = field(default_factory=list)
    """With one of these a run would fail."""
    warnings: list[Finding] = field(default_factory=list)
    """With these a run would work, perhaps not as it was meant."""
    unknown: list[str] = field(default_factory=list)
    """What could not be looked at, in a few words each."""

    def problem(self, what: str, next_step: str = "") -> None:
        """Add a problem."""
        self.problems.append(Finding(what, next_step))

    def warn(self, what: str, next_step: str = "") -> None:
        """Add a warning."""
        self.warnings.append(Finding(what, next_step))

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Turn an error that a run would stop with into a problem, and continue after the block."""
        try:
            yield
        except UserError as error:
            self.problem(error.what, error.next_step)
        except OSError as error:
            self.problem(f"{error.filename or 'a file'}: {error.strerror or error}", "make it readable")


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    title: str
    """Its heading, one word."""
    lines: list[tuple[str, str]]
    """Name and text of each line; an empty name continues the line above."""
