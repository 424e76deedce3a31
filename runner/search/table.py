"""The table of a search: what was tried, what it was worth, and which settings of each round can be told apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from grading.contract.language import english, padded
from grading.contract.metrics import wilson_interval
from runner.language import mark, tr, trn
from runner.search.rounds import Round
from runner.search.trials import TrialResult, by_accuracy, indistinguishable


def lines(results: Sequence[TrialResult], best: TrialResult, rounds: Sequence[Round]) -> Iterator[str]:
    """The table as text, the most accurate trial first, and a sentence about each round and about the winner, `best`."""
    yield _row([tr(head) for head in HEADS])
    for result in by_accuracy(results):
        trial, (low, high) = result.trial, wilson_interval(result.right.count("1"), len(result.right))
        yield _row(
            [
                str(trial.number),
                f"{trial.rows:>6,} × {trial.epochs}",
                f"{result.accuracy:6.1%} ({low:.1%}–{high:.1%})",
                f"{result.log_loss:8.3f}",
                f"{result.seconds:6.0f}",
                tr("the winner") if result is best else _verdict(result, rounds),
                trial.describe(),
            ]
        )
    for each in rounds:
        yield each.sentence()
    yield sentence(results, best)


HEADS = (
    mark("trial"),
    mark("rows"),
    mark("accuracy (95 %)"),
    mark("log loss"),
    mark("s"),
    mark("in its round"),
    mark("settings"),
)
"""The heads of the columns."""

_WIDTHS = ((5, True), (9, True), (21, False), (8, True), (6, True), (19, False), (0, False))
"""Columns of the terminal for each, and whether the cell is at the right."""


def _verdict(result: TrialResult, rounds: Sequence[Round]) -> str:
    """The trial against the most accurate one of its last round; empty where it has no round. Trials of other lengths differ by
    their rows, so they say nothing about its settings."""
    for each in reversed(rounds):
        if result is each.best:
            return tr("the most accurate")
        for other, pair in each.others:
            if other is result:
                if pair.distinguishable:
                    return tr("differs, p = {p:.2g}", p=pair.p)
                return tr("may be equal, p = {p:.2g}", p=pair.p)
    return ""


def _row(cells: Sequence[str]) -> str:
    return "  ".join(padded(cell, columns, right) for cell, (columns, right) in zip(cells, _WIDTHS))


def sentence(results: Sequence[TrialResult], best: TrialResult) -> str:
    """What the table says about the winner, and which trials are as accurate or more, but not distinguishable from it."""
    tied = [one for one in indistinguishable(best, results) if one is not best and one.accuracy >= best.accuracy]
    others = sorted(one.trial.number for one in tied)
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
        "most rows wins, and of those the one with the lower log loss",
        "{winner}. Not distinguishable from it on {rows:,} held-out rows: trials {others}; of equal trials the one with the "
        "most rows wins, and of those the one with the lower log loss",
        len(others),
        winner=words,
        rows=len(best.right),
        others=", ".join(map(str, others)),
    )


def as_json(results: Sequence[TrialResult], best: TrialResult, rounds: Sequence[Round]) -> str:
    """The table for programs."""
    rows: list[dict[str, Any]] = []
    for result in by_accuracy(results):
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
                "winner": result is best,
            }
        )
    found = {"schema": "labeltune.search/2", "trials": rows, "rounds": [each.as_json() for each in rounds]}
    return json.dumps(english(found), indent=1, ensure_ascii=False) + "\n"
