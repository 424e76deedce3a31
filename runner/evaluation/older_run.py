"""The older run: a new adapter that is clearly worse does not replace the one before it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from runner.data.records import inputs_digest, records_of
from runner.errors import DataError
from runner.evaluation.holdout import HoldoutPrediction, read_holdout_predictions
from runner.evaluation.intervals import accuracy_interval
from runner.evaluation.significance import compare, shown_p
from runner.language import mark, tr
from runner.workspace.paths import EVALUATION, HOLDOUT_PREDICTIONS, Workspace
from runner.workspace.run_moves import compare_with, recover, restore, restore_command, settle
from runner.workspace.runs import DEV_INPUTS, Run, kept_runs, read_object, run_in_place

log = logging.getLogger("labeltune.evaluation")

BASELINES = {"majority": mark("the majority"), "untuned": mark("the untuned base")}
"""What any adapter has to beat, by the names in evaluation.json."""


@dataclass(frozen=True)
class Evaluated:
    """A run's predictions for the hold-out, and what it has to beat there."""

    predictions: Sequence[HoldoutPrediction]
    """One for each hold-out row."""
    baselines: Mapping[str, float]
    """Accuracy of each of `BASELINES` that is known, 0 to 1."""

    @property
    def accuracy(self) -> float:
        """Share of correct predictions, 0 to 1."""
        return sum(each.label == each.target for each in self.predictions) / len(self.predictions)

    @property
    def strongest_baseline(self) -> str:
        """The name of the baseline with the highest accuracy; empty where none is known."""
        return max(self.baselines, key=lambda name: self.baselines[name], default="")

    @property
    def beats_baselines(self) -> bool:
        """Whether it is better than each baseline that is known."""
        return all(self.accuracy > baseline for baseline in self.baselines.values())

    @property
    def clearly_beats_baselines(self) -> bool:
        """Whether all of its 95 % interval is above each baseline that is known."""
        low, _ = accuracy_interval(self.accuracy, len(self.predictions))
        return all(low > baseline for baseline in self.baselines.values())


def read_evaluated(run: Run) -> Evaluated:
    """Read what the evaluate stage wrote beside an adapter. Raises DataError where it is missing or damaged."""
    predictions = read_holdout_predictions(run.folder / HOLDOUT_PREDICTIONS)
    if not predictions:
        raise DataError(
            tr("{folder}: has no row", folder=run.folder / HOLDOUT_PREDICTIONS), tr("run the evaluate stage again")
        )
    found = read_object(run.folder / EVALUATION).get("baselines")
    baselines = {name: _accuracy(found, name) or _accuracy(run.statistics, name) for name in BASELINES}
    return Evaluated(predictions, {name: value for name, value in baselines.items() if value})


def reason_to_keep(old: Evaluated, new: Evaluated) -> str:
    """Why the older adapter should stay in place; empty: the new one may replace it.

    It is clearly better on the rows that both have held out (on another row, one of them may have been trained), or it is clearly
    better than the baselines and the new one is not. Runs without a common row are of other data."""
    rows = {(each.key, each.target): each.label == each.target for each in old.predictions}
    common = [each for each in new.predictions if (each.key, each.target) in rows]
    if not common:
        return ""
    found = compare([rows[each.key, each.target] for each in common], [each.label == each.target for each in common])
    if found.distinguishable and found.difference < 0:
        return tr(
            "it gets {accuracy:.1%} of the {rows:,} rows that both have held out right, the one before it "
            "{old_accuracy:.1%} (exact McNemar test, {shown_p})",
            accuracy=fmean(each.label == each.target for each in common),
            rows=found.rows,
            old_accuracy=fmean(rows[each.key, each.target] for each in common),
            shown_p=shown_p(found.p),
        )
    if new.accuracy >= old.accuracy or new.beats_baselines or not old.clearly_beats_baselines:
        return ""
    name = new.strongest_baseline
    return tr(
        "it gets {accuracy:.1%} of its {rows:,} hold-out rows right, the one before it {old_accuracy:.1%} of its "
        "{old_rows:,}, and unlike that one it is not better than {baselines} ({new_baselines:.1%})",
        accuracy=new.accuracy,
        rows=len(new.predictions),
        old_accuracy=old.accuracy,
        old_rows=len(old.predictions),
        baselines=tr(BASELINES[name]),
        new_baselines=new.baselines[name],
    )


def older_stays(workspace: Workspace, labels: Sequence[str], predicts: bool) -> bool:
    """Compare the adapter in place with the one that it replaced, once; put that one back, and say so, where it is better.

    `predicts`: whether predictions are asked for. Then the older adapter needs its own for the same dev rows."""
    recover(workspace)
    name, new = compare_with(workspace), run_in_place(workspace)
    if not name or new is None or not new.is_evaluated:
        return False
    old = next((run for run in kept_runs(workspace) if run.id == name and run.is_intact()), None)
    try:
        reason = reason_to_keep(read_evaluated(old), read_evaluated(new)) if old else ""
    except DataError:
        reason = ""
    if old is None or not reason:
        settle(workspace)
        return False
    if predicts and not _answers_the_dev_rows(old, labels):
        settle(workspace)
        log.warning(
            tr(
                "the new adapter is worse: {reason}. It is in place anyway, because run {id} has no "
                "predictions for these dev rows; to get that adapter back: {restore_command}",
                reason=reason,
                id=old.id,
                restore_command=restore_command(workspace, old.id),
            )
        )
        return False
    restore(old)
    log.warning(
        tr(
            "the new adapter is worse and does not replace the one before it: {reason}. "
            "{adapter} and {result} are those of run {id} again; nothing new is predicted. To "
            "take the new adapter anyway: {restore_command}",
            reason=reason,
            adapter=workspace.adapter,
            result=workspace.result,
            id=old.id,
            restore_command=restore_command(workspace, new.id),
        )
    )
    return True


def _answers_the_dev_rows(old: Run, labels: Sequence[str]) -> bool:
    """Whether a kept run has predictions for the dev rows that are prepared now, with whatever instruction."""
    manifest = old.result_manifest()
    return manifest is not None and manifest.figures.get(DEV_INPUTS) == inputs_digest(
        records_of(old.workspace, labels).dev
    )


def _accuracy(tree: Any, name: str) -> float:
    """An accuracy in evaluation.json or in a manifest; 0.0 where it is not known."""
    value = tree.get(name) if isinstance(tree, dict) else None
    value = value.get("accuracy") if isinstance(value, dict) else value
    return float(value) if isinstance(value, (int, float)) else 0.0
