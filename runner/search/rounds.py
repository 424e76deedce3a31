"""The rounds of a search: candidates that were trained on equally many rows, and which of their settings can be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from grading.contract.language import joined
from runner.evaluation.intervals import with_interval
from runner.evaluation.significance import PairedComparison
from runner.language import tr
from runner.search.trials import TrialResult, against, by_accuracy, describe

MOST_NAMED = 5
"""Candidates that the sentence of a round names, besides the most accurate one. The JSON has all of them."""


@dataclass(frozen=True)
class Round:
    """Trials of one length: only their settings differ."""

    results: Sequence[TrialResult]
    """Two or more. Those of other searches have the number 0."""

    @property
    def best(self) -> TrialResult:
        """The most accurate one."""
        return by_accuracy(self.results)[0]

    @cached_property
    def others(self) -> Sequence[tuple[TrialResult, PairedComparison]]:
        """The other ones, the most accurate first, each with its comparison with the best one."""
        best, *others = by_accuracy(self.results)
        return list(zip(others, against(best, others)))

    def sentence(self) -> str:
        """Which candidate is the most accurate, and which ones are not distinguishable from it."""
        best, rows = self.best, len(self.best.right)
        words = tr(
            "of {count} candidates on {length}, {settings} is the most accurate, {accuracy}",
            count=len(self.results),
            length=self._length(),
            settings=best.trial.describe(),
            accuracy=with_interval(best.accuracy, rows),
        )
        tied = [(result, pair) for result, pair in self.others if not pair.distinguishable]
        if not tied:
            return tr(
                "{round}; every other one is worse, by more than the luck of {rows:,} held-out rows",
                round=words,
                rows=rows,
            )
        named = [
            tr("{settings} ({needed})", settings=describe(result.trial.changes), needed=pair.needed())
            for result, pair in tied[:MOST_NAMED]
        ]
        more = [tr("{count} more", count=len(tied) - MOST_NAMED)] if len(tied) > MOST_NAMED else []
        return tr(
            "{round}; not distinguishable from it on {rows:,} held-out rows: {others}",
            round=words,
            rows=rows,
            others=joined("; ", [*named, *more]),
        )

    def as_json(self) -> dict[str, Any]:
        """The round as plain values. Each difference is that to the best one."""
        compared = [
            {
                **_facts(result),
                "difference": pair.difference,
                "difference_interval": list(pair.interval),
                "p_value": pair.p,
                "distinguishable": pair.distinguishable,
                "rows_needed": pair.rows_needed,
            }
            for result, pair in self.others
        ]
        return {"best": _facts(self.best), "others": compared, "sentence": self.sentence()}

    def _length(self) -> str:
        lengths = {(result.trial.rows, result.trial.epochs) for result in self.results}
        if len(lengths) == 1:
            return tr("{rows:,} rows × {epochs}", rows=self.best.trial.rows, epochs=self.best.trial.epochs)
        # the epochs are among the settings
        return tr("up to {passes:,} row passes", passes=max(result.trial.passes for result in self.results))


def _facts(result: TrialResult) -> dict[str, Any]:
    return {"trial": result.trial.number, "changes": dict(result.trial.changes), "accuracy": result.accuracy}
