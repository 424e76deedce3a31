"""The members in place: whether the folders of an ensemble's members have the adapters that belong together.

Only the first member's adapter is kept and restored with a run. A later run of another setting may have replaced the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from grading import contract
from runner.ensemble.members import Member, members_of
from runner.errors import UserError
from runner.language import tr
from runner.recipe.schema import Ensemble
from runner.stages import EVALUATE, FINETUNE, PREDICT, StageContext, require
from runner.system.files import digest
from runner.workspace.ensemble_record import EnsembleRecord, read_ensemble


def require_members(context: StageContext, wanted: Collection[str]) -> None:
    """Raise UserError where the wanted stages use the members' adapters, train none, and one is of another setting.

    It comes before the stages, for they write about all members."""
    members = members_of(context)
    if len(members) == 1 or FINETUNE.name in wanted or not {EVALUATE.name, PREDICT.name} & set(wanted):
        return
    require(FINETUNE, members[0].context)
    record = read_ensemble(context.workspace.at(context.workspace.adapter))
    if record is not None:
        require_recorded(members, adapters_of(members), record, tr("leave --stages out: that trains the member again"))
    for member in members[1:]:
        with naming(member, context.recipe.ensemble):
            require(FINETUNE, member.context)


def adapters_of(members: Sequence[Member]) -> list[Path]:
    """The folders of the members' adapters."""
    places = (member.context.workspace for member in members)
    return [place.at(place.adapter) for place in places]


def require_recorded(
    members: Sequence[Member], folders: Sequence[Path], record: EnsembleRecord, next_step: str
) -> None:
    """Raise UserError where a member's adapter is not the recorded one.

    A member that is not recorded is a new one, and one without an adapter has not been trained."""
    for member, folder in zip(members, folders):
        recipe = member.context.recipe
        expected = record.adapter_of(recipe.train.seed, recipe.instruction)
        weights = folder / contract.ADAPTER_WEIGHTS
        found = digest(weights) if weights.is_file() else expected
        if expected is not None and found != expected:
            raise UserError(
                tr(
                    "{folder}: member {number} of the ensemble ({settings}) is not here: ensemble.json names the adapter "
                    "{expected:.8}, found {found:.8}, which another run has put there",
                    folder=folder,
                    number=member.number,
                    settings=member.describe(record.ensemble),
                    expected=expected,
                    found=found,
                ),
                next_step,
            )


@contextmanager
def naming(member: Member, ensemble: Ensemble) -> Iterator[None]:
    """Name the member in a UserError of the block. The first member's messages are those of the recipe's own run."""
    try:
        yield
    except UserError as error:
        if member.number == 1:
            raise
        raise UserError(
            tr(
                "member {number} of the ensemble ({settings}): {problem}",
                number=member.number,
                settings=member.describe(ensemble),
                problem=error.what,
            ),
            error.next_step,
        ) from error
