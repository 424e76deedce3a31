"""The table of a search: what was tried, what it was worth, and which trials are not distinguishable from the winner."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from grading.contract.language import padded
from grading.contract.metrics import wilson_interval
from runner.language import mark, tr, trn
from runner.search.trials import TrialResult, indistinguishable


def lines(results: Sequence[TrialResult], best: TrialResult) -> Iterator[str]:
    """The table as text, the best trial first, and one sentence about it."""
    equal = {result.trial.number for result in indistinguishable(best, results)}
    yield _row([tr(head) for head in HEADS])
    for result in ordered(results):
        trial, (low, high) = result.trial, wilson_interval(result.right.count("1"), len(result.right))
        if result is best:
            verdict = tr("the winner")
        elif trial.number in equal:
            verdict = tr("may be equal, p = {p:.2g}", p=best.p_value(result))
        else:
            verdict = tr("differs, p = {p:.2g}", p=best.p_value(result))
        yield _row(
            [
                str(trial.number),
                f"{trial.rows:>6,} × {trial.epochs}",
                f"{result.accuracy:6.1%} ({low:.1%}–{high:.1%})",
                f"{result.log_loss:8.3f}",
                f"{result.seconds:6.0f}",
                verdict,
                trial.describe(),
            ]
        )
    yield sentence(results, best)


HEADS = (
    mark("trial"),
    mark("rows"),
    mark("accuracy (95 %)"),
    mark("log loss"),
    mark("s"),
    mark("against the winner"),
    mark("settings"),
)
"""The heads of the columns."""

_WIDTHS = ((5, True), (9, True), (21, False), (8, True), (6, True), (19, False), (0, False))
"""Columns of the terminal for each, and whether the cell is at the right."""


def _row(cells: Sequence[str]) -> str:
    return "  ".join(padded(cell, columns, right) for cell, (columns, right) in zip(cells, _WIDTHS))


def sentence(results: Sequence[TrialResult], best: TrialResult) -> str:
    """What the table says about the winner."""
    others = sorted(one.trial.number for one in indistinguishable(best, results) if one is not best)
    words = tr(
        "winner: trial {number}, {settings}, {rows:,} rows × {epochs}",
        number=best.trial.number,
        settings=best.trial.describe(),
        rows=best.trial.rows,
        epochs=best.trial.epochs,
    )
    if not others:
        return words
    return trn(
        "{winner}. Not distinguishable from it on {rows:,} held-out rows: trial {others}; of equal trials the one with the "
        "most rows wins",
        "{winner}. Not distinguishable from it on {rows:,} held-out rows: trials {others}; of equal trials the one with the "
        "most rows wins",
        len(others),
        winner=words,
        rows=len(best.right),
        others=", ".join(map(str, others)),
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
                **result.found,
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
