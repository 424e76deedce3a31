"""The samplers: where the candidates of a search come from, one row each of `SAMPLERS`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Callable, NamedTuple, Optional, Protocol

from runner.recipe.schema import Recipe
from runner.search.journal import Journal
from runner.search.optuna_sampler import OptunaSampler
from runner.search.plan import STARTS, Planned, Rung
from runner.search.runs import Runs
from runner.search.space import Changes, candidates, space_of
from runner.search.trials import TrialResult
from runner.system.packages import Package, require_packages


class Sampler(Protocol):
    """Proposes the candidates of the first rung, one after another."""

    most: int
    """Most candidates that it has."""

    def join(self, planned: Planned) -> list[Rung]:
        """The plan of the search."""

    def ask(self, place: int) -> Optional[Changes]:
        """The candidate with this number, from 0; None where there is no other one."""

    def tell(self, place: int, result: Optional[TrialResult]) -> None:
        """Take the result of that candidate's trial, None where it has none. A result that it knows changes nothing."""

    def others(self, tried: Sequence[Changes]) -> list[TrialResult]:
        """Results of the same length that other searches have for candidates that were not tried in this one."""


class Drawn:
    """Candidates that are drawn before the first trial."""

    def __init__(self, runs: Runs, journal: Journal) -> None:
        """`journal`: not used, the same candidates are drawn again."""
        recipe = runs.context.recipe
        self.drawn = candidates(space_of(recipe), max(STARTS), recipe.search.seed)
        self.most = len(self.drawn)

    def join(self, planned: Planned) -> list[Rung]:
        """The plan of a search of its own."""
        return planned(None)

    def ask(self, place: int) -> Optional[Changes]:
        """One of them."""
        return self.drawn[place] if place < self.most else None

    def tell(self, place: int, result: Optional[TrialResult]) -> None:
        """They do not depend on results."""

    def others(self, tried: Sequence[Changes]) -> list[TrialResult]:
        """There are no other searches."""
        return []


class Row(NamedTuple):
    """A row of `SAMPLERS`."""

    make: Callable[[Runs, Journal], Sampler]
    """Makes one for a search, or for what is left of it."""
    packages: tuple[Package, ...] = ()
    """What has to be installed."""


SAMPLERS: Mapping[str, Row] = {
    "random": Row(Drawn),
    "optuna": Row(OptunaSampler, (Package("optuna", "optuna", "4"),)),
}
"""Every sampler by its name in `search.sampler`."""


def require_sampler(recipe: Recipe) -> None:
    """Raise UserError, before any work, where the package of a search's sampler is missing or too old."""
    if recipe.search.minutes is not None:
        require_packages(SAMPLERS[recipe.search.sampler].packages)
