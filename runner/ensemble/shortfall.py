"""The shortfall: what an ensemble is warned about whose answers are not better than a baseline, or than its first member's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from runner.evaluation.diagnosis import TrainingFacts, cause, not_worse
from runner.evaluation.significance import PairedComparison
from runner.language import tr


def below_baselines(count: int, accuracy: float, baselines: Mapping[str, float], facts: TrainingFacts) -> Optional[str]:
    """The warning about members that together are not better than some baselines; None where they are better than all.

    Args:
        count: The members.
        accuracy: What they get right together on the hold-out, 0 to 1.
        baselines: The accuracies of some of `diagnosis.BASELINES`.
        facts: The training of the first member.
    """
    names = not_worse(accuracy, baselines)
    if not names:
        return None
    return tr(
        "the {count} members together ({accuracy:.1%}) are not better than {names} on the hold-out; likeliest cause, by the "
        "training of the first member: {cause}",
        count=count,
        accuracy=accuracy,
        names=names,
        cause=cause(facts),
    )


def below_first(count: int, accuracy: float, first: float, paired: PairedComparison) -> Optional[str]:
    """The warning about members that together are not better than the first one; None where they are, or make no mistake.

    `paired`: the comparison of the first member with all together."""
    if accuracy > first or accuracy == 1:
        return None
    return tr(
        "the {count} members together ({accuracy:.1%}) are not better than the first member ({first:.1%}) on the hold-out "
        "(exact McNemar test: {sentence}); with ensemble.answer: first, the first member answers alone",
        count=count,
        accuracy=accuracy,
        first=first,
        sentence=paired.sentence(tr("the first member"), tr("the ensemble")),
    )
