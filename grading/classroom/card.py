"""The card: the examiner's record of one submission of a class, as a JSON object that a child process writes.

It has the report, and the wrong rows, which are needed to compare submissions and which no candidate may see.
"""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from grading.archives.source import OPEN_FLAGS
from grading.classroom.card_rules import require_sound
from grading.contract.language import Translated, english, mark, translated
from grading.report.json_report import failure
from grading.report.text import failure_text

CARD_LIMIT = 32 << 20
"""Most bytes of a card that is read; one of two datasets with 150 rows has about 10 kB."""

SCHEMA = "labeltune.card/1"
"""Version of the JSON object. A card of another version is graded again."""


@dataclass(frozen=True)
class Card:
    """One submission, graded or refused."""

    name: str
    """The name of its folder or archive in the class's folder."""
    report: Mapping[str, Any]
    """The report of `grading.report.json_report.as_json`; its `problem` is not null if nothing was graded."""
    text: str
    """The report for people, without colour."""
    wrong: Mapping[str, Mapping[str, int]] = field(repr=False)
    """For each dataset `DatasetGrade.wrong_rows`: predicted label to the rows it is wrong for, as bits. A dataset without a
    readable result is left out."""
    adapters: Mapping[str, str]
    """Dataset to the SHA-256 of its adapter's tensors: names, types, shapes and values. Only for sound files."""
    results: Mapping[str, str]
    """Dataset to the SHA-256 of its predictions. Only for readable results."""
    seconds: float
    """Wall-clock seconds of grading."""

    @property
    def points(self) -> float:
        """Points of the report, 0 to 100."""
        return float(self.report["points"])

    def metrics(self, dataset: str) -> Mapping[str, Any]:
        """The report's metrics of a dataset; empty if it has none."""
        for each in self.report["datasets"]:
            if each["dataset"] == dataset:
                return each["measures"] or {}
        return {}


def to_json(card: Card) -> dict[str, Any]:
    """The card as a JSON object, with bits in hexadecimal."""
    return {
        "schema": SCHEMA,
        "name": card.name,
        "report": english(dict(card.report)),
        "shown": _shown(card.report["problem"]),
        "text": card.text,
        "wrong": {
            dataset: {label: f"{bits:x}" for label, bits in rows.items()} for dataset, rows in card.wrong.items()
        },
        "adapters": dict(card.adapters),
        "results": dict(card.results),
        "seconds": card.seconds,
    }


def from_json(value: Mapping[str, Any]) -> Card:
    """The card of such a JSON object. Raises KeyError, ValueError or TypeError for anything else, see `card_rules`."""
    if value["schema"] != SCHEMA:
        raise ValueError(f"schema {value['schema']!r}, expected {SCHEMA!r}")
    require_sound(value)
    return Card(
        name=value["name"],
        report=_with_shown(value["report"], value.get("shown")),
        text=value["text"],
        wrong={
            dataset: {label: int(bits, 16) for label, bits in rows.items()} for dataset, rows in value["wrong"].items()
        },
        adapters=value["adapters"],
        results=value["results"],
        seconds=value["seconds"],
    )


def _shown(problem: Optional[Mapping[str, Any]]) -> Optional[dict[str, str]]:
    """Reason and next step in the language of the class; the report has them in English. None if there is no problem."""
    return None if problem is None else {key: str(problem[key]) for key in ("reason", "next_step")}


def _with_shown(report: dict[str, Any], shown: Optional[Mapping[str, str]]) -> dict[str, Any]:
    problem = report["problem"]
    if problem and shown and any(shown[key] != problem[key] for key in shown):
        report["problem"] = {**problem, **{key: Translated(shown[key], problem[key]) for key in shown}}
    return report


GONE = ("submission", mark("it has been removed"), mark("submit it again"))
"""Fault, reason and next step of a submission that was removed while its class was graded."""


def refused(name: str, fault: str, reason: str, next_step: str, seconds: float = 0.0) -> Card:
    """The card of a submission that could not be graded. `fault`: a key of `grading.errors.FAULTS`."""
    report = failure(fault, translated(reason), translated(next_step))
    return Card(name, report, failure_text(report), wrong={}, adapters={}, results={}, seconds=seconds)


def read_json(path: Path) -> Any:
    """The value of a JSON file of a class, at most `CARD_LIMIT` bytes of it. Raises OSError or ValueError; nothing is waited for,
    and no link is followed."""
    with os.fdopen(os.open(path, OPEN_FLAGS), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > CARD_LIMIT:
            raise ValueError("not a regular file, or too large")
        data = file.read(CARD_LIMIT)
    try:
        return json.loads(data, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")
