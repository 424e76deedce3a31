"""The hold-out's rows in a report: how right and how sure each answer is, and which of them are worth reading."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from runner.evaluation.contradiction import ScoredRow, contradicted
from runner.evaluation.holdout import HoldoutPrediction
from runner.evaluation.log_probabilities import log_softmax
from runner.language import mark

MOST_MARKED = 50
"""Most rows of each kind."""

MOST_SHOWN = 1000
"""Most rows that a page shows with their text."""

KINDS = {
    "hardest": mark("hardest"),
    "unsure": mark("least sure"),
    "doubtful": mark("doubtful label"),
}
"""Kinds of rows that are worth reading: the least probable right labels, the smallest differences between the two likeliest
labels, and the labels that the adapter contradicts with confidence."""


@dataclass(frozen=True)
class Row:
    """One row of the hold-out."""

    number: int
    """Its number in the hold-out, from 1."""
    target: str
    """Its label."""
    label: str
    """The predicted one; `?` where there is none."""
    probabilities: tuple[float, ...]
    """Each label's, in the order of the labels, after calibration; out of fold, where the run has them."""
    right: float
    """The probability of its label."""
    text: str
    """Its input, as far as it is kept; empty where it is not."""
    characters: int
    """Characters of the whole input; 0 where they are not known."""
    tokens: int
    """Tokens of its prompt; 0 where they are not known."""
    kinds: tuple[str, ...] = ()
    """Those of `KINDS` that it is of."""

    @property
    def is_right(self) -> bool:
        """Whether its label is predicted."""
        return self.label == self.target

    @property
    def lead(self) -> float:
        """The probability of the likeliest label minus that of the next one."""
        first, second = sorted(self.probabilities)[-1:-3:-1]
        return first - second


def probabilities(
    logits: Sequence[float], temperature: float = 1.0, bias: Optional[Sequence[float]] = None
) -> tuple[float, ...]:
    """Each label's probability, from its logit before calibration."""
    moved = [logit / temperature + more for logit, more in zip(logits, bias or [0.0] * len(logits))]
    return tuple(map(math.exp, log_softmax(moved)))


def rows_of(
    predictions: Sequence[HoldoutPrediction], labels: Sequence[str], calibration: Mapping[str, object]
) -> list[Row]:
    """All rows, with their kinds. `calibration`: that of evaluation.json, for files of earlier versions."""
    temperature, biases = calibration.get("temperature"), calibration.get("bias")
    scale = float(temperature) if isinstance(temperature, (int, float)) else 1.0
    bias = [float(biases.get(label, 0.0)) for label in labels] if isinstance(biases, dict) else None
    rows = []
    for each in predictions:
        found = each.probabilities or probabilities(each.logits, scale, bias)
        rows.append(
            Row(
                number=each.row,
                target=each.target,
                label=each.label,
                probabilities=found,
                right=found[labels.index(each.target)] if each.target in labels else 0.0,
                text=each.text,
                characters=each.characters,
                tokens=each.tokens,
            )
        )
    kinds = _kinds(rows, predictions, labels)
    return [dataclasses.replace(row, kinds=kinds.get(place, ())) for place, row in enumerate(rows)]


def shown(rows: Sequence[Row]) -> list[Row]:
    """The rows that a page shows: all of a small hold-out; of a large one those of a kind, and others evenly spaced. The least
    probable right labels come first."""
    chosen = list(rows)
    if len(rows) > MOST_SHOWN:
        marked = [row for row in rows if row.kinds]
        others = [row for row in rows if not row.kinds]
        room = MOST_SHOWN - len(marked)
        chosen = marked + [others[place * len(others) // room] for place in range(room)]
    return sorted(chosen, key=lambda row: (row.right, row.number))


def _kinds(
    rows: Sequence[Row], predictions: Sequence[HoldoutPrediction], labels: Sequence[str]
) -> dict[int, tuple[str, ...]]:
    """The kinds of each row that has one, by its place."""
    places = range(len(rows))
    scored = [
        ScoredRow(place, labels.index(each.target), tuple(log_softmax(each.logits)))
        for place, each in enumerate(predictions)
        if each.target in labels
    ]
    found = {
        "hardest": sorted(places, key=lambda place: (rows[place].right, place)),
        "unsure": sorted(places, key=lambda place: (rows[place].lead, place)),
        "doubtful": [row.line for row in contradicted(scored)],
    }
    # a quarter of a small hold-out at most
    most = max(1, min(MOST_MARKED, len(rows) // 4))
    kinds: dict[int, tuple[str, ...]] = {}
    for name, ordered in found.items():
        for place in ordered[:most]:
            kinds[place] = (*kinds.get(place, ()), name)
    return kinds
