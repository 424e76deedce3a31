"""The table of a search: what was tried, what it was worth, and which trials are not distinguishable from the winner."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from grading.contract.metrics import wilson_interval
from runner.search.trials import TrialResult, indistinguishable


def lines(results: Sequence[TrialResult], best: TrialResult) -> Iterator[str]:
    """The table as text, the best trial first, and one sentence about it."""
    equal = {result.trial.number for result in indistinguishable(best, results)}
    yield f"{'trial':>5}  {'rows':>9}  {'accuracy (95 %)':<21}  {'log loss':>8}  {'s':>6}  against the winner  settings"
    for result in ordered(results):
        trial, (low, high) = result.trial, wilson_interval(result.right.count("1"), len(result.right))
        if result is best:
            verdict = "the winner"
        else:
            p_value = f"p = {best.p_value(result):.2g}"
            verdict = f"{'may be equal' if trial.number in equal else 'differs'}, {p_value}"
        yield (
            f"{trial.number:>5}  {trial.rows:>6,} × {trial.epochs}  {result.accuracy:6.1%} ({low:.1%}–{high:.1%})  "
            f"{result.log_loss:8.3f}  {result.seconds:6.0f}  {verdict:<19}  {trial.describe()}"
        )
    yield sentence(results, best)


def sentence(results: Sequence[TrialResult], best: TrialResult) -> str:
    """What the table says about the winner."""
    others = sorted(one.trial.number for one in indistinguishable(best, results) if one is not best)
    words = (
        f"winner: trial {best.trial.number}, {best.trial.describe()}, {best.trial.rows:,} rows × {best.trial.epochs}"
    )
    if not others:
        return words
    listed = ", ".join(map(str, others))
    return (
        f"{words}. Not distinguishable from it on {len(best.right):,} held-out rows: trial{'s' * (len(others) > 1)} {listed}; "
        "of equal trials the one with the most rows wins"
    )


def as_json(results: Sequence[TrialResult], best: TrialResult) -> str:
    """The table for programs."""
    equal = {result.trial.number for result in indistinguishable(best, results)}
    rows: list[dict[str, Any]] = []
    for result in ordered(results):
        trial = result.trial
        low, high = wilson_interval(result.right.count("1"), len(result.right))
        rows.append(
            {
                "trial": trial.number,
                "changes": dict(trial.changes),
                "rows": trial.rows,
                "epochs": trial.epochs,
                "accuracy": result.accuracy,
                "interval": [low, high],
                "log_loss": result.log_loss,
                "seconds": result.seconds,
                "p_value": best.p_value(result),
                "distinguishable": trial.number not in equal,
                "winner": result is best,
            }
        )
    return json.dumps({"schema": "labeltune.search/1", "trials": rows}, indent=1, ensure_ascii=False) + "\n"


def ordered(results: Sequence[TrialResult]) -> list[TrialResult]:
    """The most accurate first."""
    return sorted(results, key=lambda result: (-result.accuracy, result.log_loss))
