"""The labels of a file: the recipe's label that a value means, and what to write into the recipe where it means none."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Optional

from runner.language import tr
from runner.recipe.schema import Task

MOST_VALUES = 1000
"""Different unknown values that are counted."""

SHOWN_VALUES = 8

_WORDS = {"true": "1", "false": "0", "yes": "1", "no": "0"}


def numbers(task: Task) -> dict[str, int]:
    """The number of the label for each text that the label column may hold. A name in `label_names` comes before a label."""
    places = {label: number for number, label in enumerate(task.labels)}
    return {**places, **{name: places[label] for name, label in (task.label_names or {}).items()}}


def near_label(value: str, labels: Sequence[str]) -> Optional[str]:
    """The label that a value means but for spaces, capitals, a decimal point, or `true` for 1; None where it is no near miss."""
    text = value.strip()
    plain = {text, text.lower(), _WORDS.get(text.lower(), text)}
    for label in labels:
        if plain & {label, label.lower()} or _number(text) == _number(label) is not None:
            return label
    return None


def _number(text: str) -> Optional[float]:
    try:
        return float(text)
    except ValueError:
        return None


def cure(unknown: Mapping[str, int], task: Task, all_rows: bool) -> str:
    """What to add to the recipe for these values of the label column; nothing where they are no labels.

    `unknown`: how often each was found. `all_rows`: whether no row holds a known label."""
    meant = {value: near_label(value, task.labels) for value in unknown}
    if unknown and all(meant.values()):
        return tr("add to the recipe, below task: label_names: {mapping}", mapping=_mapping(meant))
    values = sorted(unknown, key=lambda value: -unknown[value])
    if all_rows and 2 <= len(values) <= 20:
        listed = ", ".join(
            tr("{value!r} ({count:,} rows)", value=value, count=unknown[value]) for value in values[:SHOWN_VALUES]
        )
        example = _mapping(dict(zip(values, task.labels)))
        return tr(
            "the file holds {listed}: write these below task as labels, or say which label each "
            "means, for instance label_names: {example}",
            listed=listed,
            example=example,
        )
    if 1 <= len(values) <= 5 and min(unknown.values()) >= 3 and not all_rows:
        listed = ", ".join(tr("{value!r} ({count:,} rows)", value=value, count=unknown[value]) for value in values)
        return tr("the file also holds {listed}: add it to task.labels, or to label_names", listed=listed)
    return ""


def _mapping(names: Mapping[str, Optional[str]]) -> str:
    shown = dict(list(names.items())[:SHOWN_VALUES])
    return json.dumps(shown, ensure_ascii=False)


def counted(unknown: Counter[str], value: str) -> None:
    """Count a value that is no label."""
    if value in unknown or len(unknown) < MOST_VALUES:
        unknown[value] += 1
