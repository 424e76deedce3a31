"""The verdict: what a run is worth in one sentence, what it is better than, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from grading.contract.language import joined
from runner.evaluation import diagnosis
from runner.evaluation.diagnosis import BASELINES
from runner.evaluation.expected_points import ExpectedPoints
from runner.evaluation.intervals import accuracy_interval, with_interval
from runner.language import tr
from runner.reporting.run_files import RunFiles

BETTER, UNCLEAR, WORSE = VERDICTS = ("better", "unclear", "worse")
"""What the accuracy says about a baseline: better than it, better but within the 95 % interval, not better."""

RISE = 1.05
"""A hold-out loss that ends above this many times its lowest value has risen."""


@dataclass(frozen=True)
class Baseline:
    """A plain way to answer, to compare with."""

    name: str
    """In the language of messages."""
    accuracy: float
    """On the hold-out, 0 to 1."""
    interval: tuple[float, float]
    """Its 95 % Wilson interval."""
    verdict: str
    """One of `VERDICTS`."""


@dataclass(frozen=True)
class Verdict:
    """What a run is worth."""

    accuracy: float
    """On the hold-out, 0 to 1."""
    interval: tuple[float, float]
    """Its 95 % Wilson interval."""
    sentence: str
    """The answer: accuracy, what it is better than, points."""
    steps: tuple[str, ...]
    """What to do next, the most useful first."""
    baselines: tuple[Baseline, ...]
    """What it is compared with."""
    state: str
    """The worst of `VERDICTS` among the baselines."""
    members: int = 1
    """How many adapters the accuracy is of: all those of an ensemble that answer together."""


def verdict_of(files: RunFiles) -> Verdict:
    """The verdict about a run, by its hold-out."""
    evaluation, rows = files.evaluation, len(files.predictions)
    together, members = files.ensemble.get("together"), files.ensemble.get("members")
    accuracy = _number(evaluation.get("accuracy"))
    if accuracy is None:
        accuracy = sum(each.label == each.target for each in files.predictions) / rows
    points = evaluation.get("expected_points")
    whose, count = tr("Hold-out accuracy"), 1
    if files.ensemble.get("answer") == "mean" and isinstance(together, dict) and isinstance(members, list):
        # the dev rows have their answers, not those of the first member
        accuracy, points = together["accuracy"], together["expected_points"]
        count = len(members)
        whose = tr("Hold-out accuracy of the {count} members together", count=count)
    baselines = tuple(_baselines(evaluation.get("baselines"), accuracy, rows))
    words = {"whose": whose, "accuracy": with_interval(accuracy, rows), "rows": rows}
    compared = joined(tr("; "), _comparisons(baselines))
    if compared:
        sentence = tr("{whose} {accuracy} on {rows:,} rows: {compared}.", compared=compared, **words)
    else:
        sentence = tr("{whose} {accuracy} on {rows:,} rows.", **words)
    if isinstance(points, dict):
        sentence = tr("{sentence} {points}", sentence=sentence, points=_points(ExpectedPoints(**points)))
    state = min((each.verdict for each in baselines), key=[WORSE, UNCLEAR, BETTER].index, default=BETTER)
    steps = tuple(_steps(files, accuracy, baselines, state))
    return Verdict(accuracy, accuracy_interval(accuracy, rows), sentence, steps, baselines, state, count)


def _points(found: ExpectedPoints) -> str:
    low, high = found.interval
    return tr(
        "Expect {points:.0f} of {most} points for accuracy on {rows:,} graded rows ({low:.0f} to {high:.0f} in 95 of 100 "
        "cases).",
        points=found.points,
        most=found.max_points,
        rows=found.rows,
        low=low,
        high=high,
    )


def _baselines(found: object, accuracy: float, rows: int) -> Iterator[Baseline]:
    low = accuracy_interval(accuracy, rows)[0]
    for name, each in found.items() if isinstance(found, dict) else ():
        value = _number(each.get("accuracy")) if isinstance(each, dict) else None
        if name in BASELINES and value is not None:
            verdict = WORSE if accuracy <= value else BETTER if low > value else UNCLEAR
            yield Baseline(tr(BASELINES[name]), value, accuracy_interval(value, rows), verdict)


def _comparisons(baselines: Sequence[Baseline]) -> list[str]:
    """One phrase for each verdict, with the baselines that it is about."""
    found = []
    for verdict in VERDICTS:
        names = [diagnosis.with_accuracy(each.name, each.accuracy) for each in baselines if each.verdict == verdict]
        if names:
            listed = joined(tr(" and "), filter(None, (joined(tr(", "), names[:-1]), names[-1])))
            found.append(_comparison(verdict, listed))
    return found


def _comparison(verdict: str, names: str) -> str:
    if verdict == BETTER:
        return tr("clearly better than {names}", names=names)
    if verdict == UNCLEAR:
        return tr("better than {names}, but this may be luck", names=names)
    return tr("not better than {names}", names=names)


def _steps(files: RunFiles, accuracy: float, baselines: Sequence[Baseline], state: str) -> Iterator[str]:
    """What to do next."""
    if state == WORSE:
        yield tr("Fix the training first. Likeliest cause: {cause}.", cause=_cause(files))
    if state == UNCLEAR:
        yield tr(
            "Make sure that it has learned something: raise samples.train or train.epochs, or raise samples.holdout to "
            "measure more exactly."
        )
    losses = [each["holdout_loss"] for each in files.history if _is_epoch(each)]
    if state != WORSE and len(losses) > 1 and losses[-1] > RISE * min(losses):
        yield tr(
            "The hold-out loss rises after epoch {epoch}: more rows (samples.train) will help more than more epochs.",
            epoch=losses.index(min(losses)) + 1,
        )
    elif state != WORSE and len(losses) > 1 and losses[-1] == min(losses):
        yield _longer(len(losses), files.run.statistics.get("planned_epochs"))
    if state == BETTER:
        yield tr("Read the hardest rows below: they show what the adapter has not understood.")
    yield tr(
        "Change one thing at a time, and let a test decide: labeltune compare. Choose by the hold-out and never by the "
        "graded rows."
    )


def _longer(epochs: int, planned: object) -> str:
    """How to train for longer where the last epoch was the best. `planned`: the recipe's `train.epochs`, if it is known."""
    if isinstance(planned, int) and epochs < planned:
        return tr(
            "The last epoch has the lowest hold-out loss, and train.patience stopped the training after epoch {epochs} of "
            "{planned}: it may learn more with a higher train.patience.",
            epochs=epochs,
            planned=planned,
        )
    return tr(
        "The last epoch has the lowest hold-out loss: it may learn more with train.epochs={more}.",
        more=epochs + 1,
    )


def _is_epoch(line: Mapping[str, Any]) -> bool:
    return _number(line.get("holdout_loss")) is not None and "averaged_epochs" not in line


def _cause(files: RunFiles) -> str:
    """The likeliest cause of a bad result, as the run's own warning says it."""
    prepared = files.prepared if files.prepared.get("train") else {"train": _label_counts(files)}
    try:
        return diagnosis.cause(diagnosis.training_facts(files.run.statistics, prepared, files.history))
    # statistics of an earlier version
    except (KeyError, TypeError, ValueError):
        return tr("not known; read the training log")


def _label_counts(files: RunFiles) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for each in files.predictions:
        counts[each.target] = counts.get(each.target, 0) + 1
    return counts


def _number(value: object) -> Optional[float]:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
