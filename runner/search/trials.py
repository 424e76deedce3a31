"""Trials: the runs of a search, their results, and which of them are better, by paired tests over the same held-out rows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.evaluation.significance import PairedComparison, compare, holm
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
    """With `learning_rate: auto` the rate that was found and the reason, as in the finetune stage's figures; else empty."""

    @property
    def accuracy(self) -> float:
        """Share of right answers, 0 to 1."""
        return self.right.count("1") / len(self.right)


def describe(changes: Changes) -> str:
    """A candidate's changes in words."""
    words = [f"{key} = {_short(value)}" for key, value in changes.items()]
    return ", ".join(words) or tr("the recipe as it is")


def best_first(results: Sequence[TrialResult]) -> list[TrialResult]:
    """Trials of one rung in order: those that are not distinguishable from the most accurate one by their log loss, which
    differs more than the accuracy does on few rows, and then the others."""
    equal = {result.trial.candidate for result in indistinguishable(by_accuracy(results)[0], results)}
    return sorted(results, key=lambda result: (result.trial.candidate not in equal, result.log_loss))


def winner(results: Sequence[TrialResult]) -> TrialResult:
    """The trial to keep: of those that are not distinguishable from the most accurate one, the one that was trained on the
    most rows, then the more accurate one, then the one with the lower log loss."""
    equal = indistinguishable(by_accuracy(results)[0], results)
    return max(equal, key=lambda result: (result.trial.passes, result.accuracy, -result.log_loss))


def indistinguishable(best: TrialResult, results: Sequence[TrialResult]) -> list[TrialResult]:
    """The trials whose difference to `best` may be chance, `best` with them."""
    others = [result for result in results if result is not best]
    return [best, *(other for other, pair in zip(others, against(best, others)) if not pair.distinguishable)]


def against(best: TrialResult, others: Sequence[TrialResult]) -> list[PairedComparison]:
    """Each of the others compared with `best` on the same rows; the p-values are corrected for so many tests (Holm)."""
    pairs = [compare(_right(best), _right(other)) for other in others]
    corrected = holm([pair.p for pair in pairs])
    return [dataclasses.replace(pair, p=p, tests=len(pairs)) for pair, p in zip(pairs, corrected)]


def by_accuracy(results: Sequence[TrialResult]) -> list[TrialResult]:
    """The most accurate first; of equal ones the one with the lowest log loss."""
    return sorted(results, key=lambda result: (-result.accuracy, result.log_loss))


def _right(result: TrialResult) -> list[bool]:
    return [each == "1" for each in result.right]


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
    of_result = ("right", "log_loss", "seconds", "saved", "loads", "found")
    return TrialResult(Trial(*(event[name] for name in of_trial)), *(event[name] for name in of_result))
