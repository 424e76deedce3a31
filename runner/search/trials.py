"""Trials: the runs of a search, their results, and which of them are better, by paired tests over the same held-out rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.evaluation.significance import LEVEL, exact_mcnemar, holm
from runner.language import tr
from runner.search.space import Changes


@dataclass(frozen=True)
class Trial:
    """One run of a search."""

    number: int
    """From 1, in the order they began; 0 for one of another search."""
    candidate: int
    """The candidate that was trained."""
    changes: Changes
    """Its changes to the recipe."""
    rows: int
    """Training rows."""
    epochs: int
    """Passes over them."""

    @property
    def passes(self) -> int:
        """Training rows, epochs counted."""
        return self.rows * self.epochs

    def describe(self) -> str:
        """Its changes in words."""
        return describe(self.changes)


@dataclass(frozen=True)
class TrialResult:
    """What a trial was worth on the hold-out."""

    trial: Trial
    right: str
    """A `1` or a `0` for each held-out row, in order: whether its label was predicted."""
    log_loss: float
    """Mean of minus the log-probability of the right label among the labels, in nats."""
    seconds: float
    """Time that it took."""
    saved: Mapping[str, float] = field(default_factory=dict)
    """Seconds that it did not take because of earlier trials, by the kind of work."""
    loads: int = 0
    """How often it loaded the base."""
    found: Mapping[str, Any] = field(default_factory=dict)
    """With `learning_rate: auto` the rate that was found and the reason, as the finetune stage's figures have them; else empty."""

    @property
    def accuracy(self) -> float:
        """Share of right answers, 0 to 1."""
        return self.right.count("1") / len(self.right)

    def p_value(self, other: TrialResult) -> float:
        """Two-sided exact McNemar test of the two on the same rows."""
        pairs = list(zip(self.right, other.right))
        return exact_mcnemar(pairs.count(("1", "0")), pairs.count(("0", "1")))


def describe(changes: Changes) -> str:
    """A candidate's changes in words."""
    words = [f"{key} = {_short(value)}" for key, value in changes.items()]
    return ", ".join(words) or tr("the recipe as it is")


def best_first(results: Sequence[TrialResult]) -> list[TrialResult]:
    """Trials of one rung in order: those that are not distinguishable from the most accurate one by their log loss, which
    differs more than the accuracy does on few rows, and then the others."""
    equal = {result.trial.candidate for result in indistinguishable(_most_accurate(results), results)}
    return sorted(results, key=lambda result: (result.trial.candidate not in equal, result.log_loss))


def winner(results: Sequence[TrialResult]) -> TrialResult:
    """The trial to keep: of those that are not distinguishable from the most accurate one, the one that was trained on the
    most rows, then the more accurate one, then the one with the lower log loss."""
    equal = indistinguishable(_most_accurate(results), results)
    return max(equal, key=lambda result: (result.trial.passes, result.accuracy, -result.log_loss))


def indistinguishable(best: TrialResult, results: Sequence[TrialResult]) -> list[TrialResult]:
    """The trials whose difference to `best` may be chance (Holm's correction for so many tests), `best` with them."""
    others = [result for result in results if result is not best]
    p_values = holm([best.p_value(other) for other in others])
    return [best, *(other for other, p_value in zip(others, p_values) if p_value >= LEVEL)]


def _most_accurate(results: Sequence[TrialResult]) -> TrialResult:
    return max(results, key=lambda result: (result.accuracy, -result.log_loss))


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    text = " ".join(value.split()) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:39]}…"


def as_event(result: TrialResult) -> Mapping[str, Any]:
    """A result as an event of the journal."""
    trial = result.trial
    return {
        "event": "trial",
        "number": trial.number,
        "candidate": trial.candidate,
        "changes": dict(trial.changes),
        "rows": trial.rows,
        "epochs": trial.epochs,
        "right": result.right,
        "log_loss": result.log_loss,
        "seconds": result.seconds,
        "saved": dict(result.saved),
        "loads": result.loads,
        "found": dict(result.found),
    }


def from_event(event: Mapping[str, Any]) -> TrialResult:
    """The result in an event that `as_event` made."""
    of_trial = ("number", "candidate", "changes", "rows", "epochs")
    of_result = ("right", "log_loss", "seconds", "saved", "loads")
    # a journal of an earlier version has no found rates
    found = event.get("found", {})
    return TrialResult(Trial(*(event[name] for name in of_trial)), *(event[name] for name in of_result), found)
