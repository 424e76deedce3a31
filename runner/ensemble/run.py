"""The run of an ensemble, after that of its first member: the other members one after another on the same base, the spread of
all, and their predictions."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Mapping

from runner.distributed.processes import is_main_process
from runner.ensemble.answers import ANSWERS
from runner.ensemble.members import Member, members_of
from runner.ensemble.spread import SPREAD
from runner.language import tr
from runner.recipe.schema import Recipe
from runner.side_run import run_aside
from runner.stages import EVALUATE, FINETUNE, PREDICT, PREPARE, STAGES, Stage, StageContext, run_stage
from runner.system.console import log_context, quiet
from runner.system.signals import raise_if_asked
from runner.workspace.paths import ENSEMBLE, Workspace

log = logging.getLogger("labeltune.ensemble")


def stages_of(recipe: Recipe) -> Mapping[str, Stage]:
    """The stages of a recipe by name: with an ensemble, one more, and another predict stage where all members answer."""
    before = {name: stage for name, stage in STAGES.items() if stage is not PREDICT}
    spread = {SPREAD.name: SPREAD} if recipe.ensemble.is_asked_for else {}
    return {**before, **spread, PREDICT.name: ANSWERS if recipe.ensemble.answers_by_mean else PREDICT}


def run_members(context: StageContext, wanted: Collection[str]) -> None:
    """Run the wanted stages of all members but the first, whose run is the recipe's own, and what needs all of them.

    A recipe without an ensemble has one member. Then only the record of an earlier ensemble is removed."""
    members, asked = members_of(context), {EVALUATE.name, PREDICT.name} & set(wanted)
    if len(members) == 1:
        if asked and is_main_process():
            _forget(context.workspace)
        return
    for member in members[1:]:
        _log(context, member, len(members), "")
        _run(member, wanted)
    if asked:
        run_stage(SPREAD, context)
    if PREDICT.name in asked and context.recipe.ensemble.answers_by_mean:
        for member in members:
            _log(context, member, len(members), tr(": the dev rows"))
            # its result is not the run's result
            with quiet():
                run_stage(PREDICT, member.prediction_context)
            raise_if_asked()


def _run(member: Member, wanted: Collection[str]) -> None:
    run_aside([stage for stage in (PREPARE, FINETUNE, EVALUATE) if stage.name in wanted], member.context)
    if is_main_process():
        workspace = member.context.workspace
        # its caches are of no more use
        shutil.rmtree(workspace.at(workspace.store), ignore_errors=True)


def _log(context: StageContext, member: Member, count: int, what: str) -> None:
    with log_context(f"{context.workspace.dataset} ensemble"):
        log.info(
            tr(
                "member {number} of {count} ({settings}){what}",
                number=member.number,
                count=count,
                settings=member.describe(context.recipe.ensemble),
                what=what,
            )
        )


def _forget(workspace: Workspace) -> None:
    """Remove what an earlier run has written about an ensemble: its other members have no part in this run."""
    workspace.manifest(SPREAD.name).unlink(missing_ok=True)
    (workspace.at(workspace.adapter) / ENSEMBLE).unlink(missing_ok=True)
