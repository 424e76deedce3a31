"""The rules of a card: what a file of cards must hold before it is believed.

A card is written by a child and read again by `--resume`; a disk, a person or an older version may have changed it. So every
value that is shown or computed with is checked for its kind, its range and its agreement with the others.
"""

import math
import re
from collections.abc import Collection, Mapping
from typing import Any, Callable

from grading.errors import FAULTS
from grading.report.json_report import SCHEMA as REPORT_SCHEMA
from grading.rubric import MAX_POINTS

_DIGEST = re.compile(r"[0-9a-f]{64}")
_BITS = re.compile(r"[0-9a-f]+")
_NEARLY = 1e-6
"""Most difference of a sum of points from its total: each is a fraction that was rounded once."""


def require_sound(card: Mapping[str, Any]) -> None:
    """Raises KeyError, TypeError or ValueError for a card with an impossible value."""
    _require(_is_text(card["name"]), "name")
    _require(_is_text(card["text"]), "text")
    _require(_is_number(card["seconds"], 0, math.inf), "seconds")
    report = card["report"]
    _require(isinstance(report, dict) and report["schema"] == REPORT_SCHEMA, "report")
    _require_problem(report["problem"], report["points"])
    shown = card.get("shown")
    _require(shown is None or _is_table(shown, _is_text, {"reason", "next_step"}), "shown")
    _require_points(report)
    _require(isinstance(report["datasets"], list), "datasets")
    rows = {_required_dataset(each): each["rows"] for each in report["datasets"]}
    _require(len(rows) == len(report["datasets"]), "datasets")
    _require(all(part["dataset"] in rows for part in report["parts"]), "parts")
    _require_measured(report)
    _require(isinstance(report["advice"], list), "advice")
    for each in report["advice"]:
        _require(_is_table(each, _is_text, {"dataset", "check", "state", "reason"}), "advice")
    for name in ("adapters", "results"):
        _require(_is_table(card[name], _is_digest) and card[name].keys() <= rows.keys(), name)
    _require(_is_table(card["wrong"], _is_bit_table) and card["wrong"].keys() <= rows.keys(), "wrong")
    for dataset, by_label in card["wrong"].items():
        seen = 0
        for bits in by_label.values():
            _require(int(bits, 16) >> rows[dataset] == 0 and int(bits, 16) & seen == 0, "wrong")
            seen |= int(bits, 16)


def _require(holds: bool, name: str) -> None:
    if not holds:
        raise ValueError(f"a card with an impossible {name}")


def _require_problem(problem: Any, points: Any) -> None:
    if problem is None:
        return
    _require(_is_table(problem, _is_text, {"fault", "reason", "next_step"}), "problem")
    _require(problem["fault"] in FAULTS and points == 0, "problem")


def _require_points(report: Mapping[str, Any]) -> None:
    most = float(MAX_POINTS)
    _require(report["max_points"] == most and _is_number(report["points"], 0, most), "points")
    parts = report["parts"]
    _require(isinstance(parts, list), "parts")
    for part in parts:
        _require(_is_text(part["dataset"]) and _is_text(part["part"]), "parts")
        _require(_is_number(part["max_points"], 0, most), "parts")
        _require(_is_number(part["points"], 0, part["max_points"] + _NEARLY), "parts")
        _require(isinstance(part["reasons"], list) and all(map(_is_text, part["reasons"])), "parts")
        _require(isinstance(part["checks"], list), "parts")
        for check in part["checks"]:
            _require(_is_number(check["max_points"], 0, part["max_points"]), "checks")
            _require(_is_text(check["check"]) and _is_number(check["points"], 0, check["max_points"]), "checks")
        _require(_is_sum(part["checks"], "points", part["points"]), "checks")
    _require(_is_sum(parts, "points", report["points"]), "points")
    _require(not parts or _is_sum(parts, "max_points", most), "points")


def _require_measured(report: Mapping[str, Any]) -> None:
    """A result without measures could not be read, so it has earned nothing."""
    unread = {each["dataset"] for each in report["datasets"] if each["measures"] is None}
    for part in report["parts"]:
        _require(part["part"] != "result" or part["dataset"] not in unread or part["points"] == 0, "measures")


def _required_dataset(value: Any) -> str:
    """The name of a dataset of the report, whose values are sound."""
    _require(
        _is_text(value["dataset"]) and _is_text(value["answer_key"]) and _is_count(value["rows"], 1 << 40), "dataset"
    )
    _require(isinstance(value["labels"], list) and all(map(_is_text, value["labels"])), "labels")
    measures = value["measures"]
    if measures is None:
        return str(value["dataset"])
    _require(isinstance(measures, dict) and _is_count(measures["correct"], value["rows"]), "measures")
    for name in ("accuracy", "f1", "majority"):
        _require(_is_number(measures[name], 0, 1), name)
    _require(_is_number(measures["mcc"], -1, 1), "mcc")
    _require(abs(measures["accuracy"] * value["rows"] - measures["correct"]) < 0.5, "accuracy")
    interval = measures["interval"]
    _require(
        isinstance(interval, list) and len(interval) == 2 and all(_is_number(each, 0, 1) for each in interval),
        "interval",
    )
    for row in measures.get("confusion") or ():
        _require(isinstance(row, list) and all(_is_count(each, value["rows"]) for each in row), "confusion")
    return str(value["dataset"])


def _is_sum(values: list[Any], name: str, total: float) -> bool:
    return abs(sum(each[name] for each in values) - total) < _NEARLY


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any, least: float, most: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return least - _NEARLY <= value <= most + _NEARLY and not (isinstance(value, float) and math.isnan(value))


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _is_bit_table(value: Any) -> bool:
    return _is_table(value, lambda bits: isinstance(bits, str) and _BITS.fullmatch(bits) is not None)


def _is_table(value: Any, is_sound: Callable[[Any], bool], keys: Collection[str] = ()) -> bool:
    return isinstance(value, dict) and set(keys) <= value.keys() and all(map(is_sound, value.values()))
