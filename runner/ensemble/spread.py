"""The spread of an ensemble on the hold-out: each member's accuracy, their mean and standard deviation, and what all members
together get right, in `ensemble.json` beside the first member's adapter."""

from __future__ import annotations

import dataclasses
import json
import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.ensemble.in_place import naming
from runner.ensemble.mean import mean_log_probabilities
from runner.ensemble.members import Member, members_of
from runner.ensemble.shortfall import below_baselines, below_first
from runner.errors import DataError
from runner.evaluation.diagnosis import training_facts
from runner.evaluation.expected_points import expected_points
from runner.evaluation.holdout import HoldoutPrediction, read_holdout_predictions
from runner.evaluation.intervals import accuracy_interval, with_interval
from runner.evaluation.log_probabilities import best, log_softmax
from runner.evaluation.significance import PairedComparison, compare
from runner.language import tr
from runner.stages import EVALUATE, FINETUNE, PREPARE, Stage, StageContext, require
from runner.system.files import write_atomic
from runner.system.fingerprint import Fingerprint
from runner.workspace.history import read_history
from runner.workspace.paths import ENSEMBLE, HOLDOUT_PREDICTIONS

log = logging.getLogger("labeltune.ensemble")

SCHEMA = "labeltune.ensemble/1"

Rows = Sequence[HoldoutPrediction]


class Spread:
    """The job of the ensemble stage: the hold-out predictions of all members → ensemble.json."""

    def __init__(self, context: StageContext) -> None:
        self.context, self.members = context, members_of(context)
        evaluated = []
        for member in self.members:
            with naming(member, context.recipe.ensemble):
                evaluated.append(require(EVALUATE, member.context))
        name = f"{context.workspace.adapter}/{HOLDOUT_PREDICTIONS}"
        self.adapters = [manifest.inputs["adapter"] for manifest in evaluated]
        self.baselines = {key: each["accuracy"] for key, each in evaluated[0].figures["baselines"].items()}
        dev_rows = evaluated[0].inputs["dev_rows"]
        self.dev_rows = int(dev_rows)
        self.inputs: Mapping[str, str] = {
            "recipe": context.recipe.digest(*SPREAD.recipe_keys),
            "adapter": self.adapters[0],
            "dev_rows": dev_rows,
            "members": Fingerprint(
                adapters=self.adapters, predictions=[manifest.outputs[name] for manifest in evaluated]
            ).digest,
        }

    def is_unfinished(self) -> bool:
        """Never: it starts over."""
        return False

    def run(self) -> Mapping[str, Any]:
        """Compare the members and write ensemble.json."""
        workspace = self.context.workspace
        predictions = [read_holdout_predictions(_path(member)) for member in self.members]
        _require_same_rows(self.members, predictions)
        tree = self._tree(predictions)
        text = json.dumps(tree, indent=1, ensure_ascii=False) + "\n"
        write_atomic(workspace.at(workspace.adapter) / ENSEMBLE, text.encode())
        return tree

    def clean_up(self, ran: bool) -> None:
        """There is nothing to remove."""

    def _tree(self, predictions: Sequence[Rows]) -> dict[str, Any]:
        """The content of ensemble.json, which is logged too."""
        labels, rows = self.context.recipe.task.labels, len(predictions[0])
        right = [[each.label == each.target for each in one] for one in predictions]
        together = [labels[best(mean)] == row.target for mean, row in zip(_means(predictions), predictions[0])]
        accuracies = [sum(one) / rows for one in right]
        mean, deviation = statistics.fmean(accuracies), statistics.stdev(accuracies)
        paired = compare(right[0], together)
        self._report(accuracies, sum(together) / rows, paired)
        self._warn(sum(together) / rows, accuracies[0], paired)
        return {
            "schema": SCHEMA,
            "dataset": self.context.workspace.dataset,
            "answer": self.context.recipe.ensemble.answer,
            "rows": rows,
            "members": [self._member(*each, rows) for each in zip(self.members, self.adapters, accuracies)],
            "mean": mean,
            "standard_deviation": deviation,
            "together": self._together(sum(together) / rows, rows),
            "against_first": {
                "only_first": paired.only_first,
                "only_together": paired.only_second,
                "difference": paired.difference,
                "interval": list(paired.interval),
                "p": paired.p,
                "distinguishable": paired.distinguishable,
            },
        }

    def _member(self, member: Member, adapter: str, accuracy: float, rows: int) -> dict[str, Any]:
        recipe = member.context.recipe
        return {
            "seed": recipe.train.seed,
            "instruction": recipe.instruction,
            "adapter": adapter,
            **_with_interval(accuracy, rows),
        }

    def _together(self, accuracy: float, rows: int) -> dict[str, Any]:
        points = expected_points(accuracy, rows, self.dev_rows)
        return {**_with_interval(accuracy, rows), "expected_points": dataclasses.asdict(points)}

    def _report(self, accuracies: Sequence[float], together: float, paired: PairedComparison) -> None:
        ensemble, rows = self.context.recipe.ensemble, paired.rows
        for member, accuracy in zip(self.members, accuracies):
            shown = with_interval(accuracy, rows)
            log.info(
                tr(
                    "member {number} ({settings}): hold-out accuracy {shown}",
                    number=member.number,
                    settings=member.describe(ensemble),
                    shown=shown,
                )
            )
        mean, deviation = statistics.fmean(accuracies), statistics.stdev(accuracies)
        log.info(
            tr(
                "{accuracies_count} members: mean {mean:.1%}, standard deviation {deviation:.1f} points",
                accuracies_count=len(accuracies),
                mean=mean,
                deviation=100 * deviation,
            )
        )
        log.info(
            tr(
                "all members together: {together}; against the first member (exact McNemar test): {sentence}",
                together=with_interval(together, rows),
                sentence=paired.sentence(tr("the first member"), tr("the ensemble")),
            )
        )

    def _warn(self, together: float, first: float, paired: PairedComparison) -> None:
        """Say where the ensemble's answers are not better than plainer ones, if they are used."""
        if not self.context.recipe.ensemble.answers_by_mean:
            return
        place = self.members[0].context
        trained, prepared = require(FINETUNE, place).figures, require(PREPARE, place).figures
        history = read_history(place.workspace.at(place.workspace.adapter))
        facts = training_facts(trained, prepared, history)
        count = len(self.members)
        warnings = below_baselines(count, together, self.baselines, facts), below_first(count, together, first, paired)
        for text in filter(None, warnings):
            log.warning(text)


def _path(member: Member) -> Path:
    workspace = member.context.workspace
    return workspace.at(workspace.adapter) / HOLDOUT_PREDICTIONS


def _require_same_rows(members: Sequence[Member], predictions: Sequence[Rows]) -> None:
    """Raise DataError where a member has held out other rows than the first one."""
    rows = [[(each.key, each.target) for each in one] for one in predictions]
    for member, own in zip(members, rows):
        if own != rows[0] or not own:
            raise DataError(
                tr("{path}: not the hold-out rows of the first member", path=_path(member)),
                tr("run the ensemble again: leave --stages out"),
            )


def _means(predictions: Sequence[Rows]) -> list[list[float]]:
    """The mean log-probabilities of each row."""
    return [mean_log_probabilities([log_softmax(each.logits) for each in row]) for row in zip(*predictions)]


def _with_interval(accuracy: float, rows: int) -> dict[str, Any]:
    return {"accuracy": accuracy, "interval": list(accuracy_interval(accuracy, rows))}


SPREAD = Stage(
    "ensemble",
    ("task.labels", "instruction", "train.seed", "ensemble"),
    lambda context: [f"{context.workspace.adapter}/{ENSEMBLE}"],
    Spread,
    loads_model=False,
)
"""The ensemble stage."""
