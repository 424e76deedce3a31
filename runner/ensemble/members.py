"""The members of an ensemble: ordinary runs that differ in the seed or the instruction only.

The first member is the recipe's own run, in its ordinary place. Each other one has a workspace of its own in
`saved_model/.ensemble`, named by its seed and instruction: a new member does not change the others.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from itertools import product

from runner.language import tr
from runner.recipe.schema import Ensemble, Recipe
from runner.stages import StageContext
from runner.workspace.paths import Workspace

SHOWN = 40
"""Most characters of an instruction in a message."""


@dataclass(frozen=True)
class Member:
    """One run of an ensemble."""

    number: int
    """From 1; the first one is the recipe's own run."""
    context: StageContext
    """Its recipe, which has no ensemble, and its workspace."""

    @property
    def prediction_context(self) -> StageContext:
        """Where it predicts when all members answer together: the result is theirs, so the first member's own predictions are
        elsewhere."""
        if self.number > 1:
            return self.context
        workspace = self.context.workspace
        elsewhere = dataclasses.replace(workspace, results_below=f"{workspace.ensemble}/first")
        return dataclasses.replace(self.context, workspace=elsewhere)

    def describe(self, ensemble: Ensemble) -> str:
        """What the ensemble changes in it, in words."""
        recipe, words = self.context.recipe, []
        if ensemble.seeds:
            words.append(tr("seed {seed}", seed=recipe.train.seed))
        if ensemble.instructions:
            text = " ".join(recipe.instruction.split())
            words.append(f"“{text if len(text) <= SHOWN else text[: SHOWN - 1] + '…'}”")
        return ", ".join(words)


def members_of(context: StageContext) -> list[Member]:
    """The members of a recipe's ensemble; the recipe's own run alone where it asks for none."""
    recipe = context.recipe
    # a dict keeps the order and each value once
    instructions = dict.fromkeys([recipe.instruction, *recipe.ensemble.instructions])
    seeds = dict.fromkeys([recipe.train.seed, *recipe.ensemble.seeds])
    found = []
    for number, (instruction, seed) in enumerate(product(instructions, seeds), 1):
        train = dataclasses.replace(recipe.train, seed=seed)
        own = dataclasses.replace(recipe, instruction=instruction, train=train, ensemble=Ensemble())
        place = context if number == 1 else _place(context, own)
        member = Member(number, dataclasses.replace(place, recipe=own))
        named = dataclasses.replace(member.context, member=member.describe(recipe.ensemble))
        found.append(dataclasses.replace(member, context=named))
    return found


def _place(context: StageContext, recipe: Recipe) -> StageContext:
    """The context of another member than the first: its own workspace, with the data of the whole ensemble.

    An adapter of an earlier setting is not kept there: `labeltune runs` does not list it."""
    whole = context.workspace
    key = hashlib.sha256(recipe.instruction.encode()).hexdigest()[:8]
    own = Workspace(whole.at(whole.ensemble) / f"seed-{recipe.train.seed}-{key}", whole.dataset, whole.root)
    return dataclasses.replace(context, workspace=own, keeps_runs=False)
