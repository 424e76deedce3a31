"""The report as JSON; `docs/reference/grading.md` explains each key. If grading failed, the report says whose fault that was."""

from typing import Any

from grading.contract.language import english
from grading.contract.records import MOST_NAMED
from grading.grades import DatasetGrade, PartGrade, Report, points_text
from grading.report.disclosure import is_open, shown_measures
from grading.rubric import MAX_POINTS, Check, Verdict

SCHEMA = "labeltune.grade/1"
"""Version of the JSON object: it rises when a key is removed or changes its meaning, not when one is added."""


def as_json(report: Report) -> dict[str, Any]:
    """The report as a JSON object. Shares (accuracy, interval, majority) are 0 to 1; `measures` may be null."""
    return {
        "schema": SCHEMA,
        "points": float(report.points),
        "max_points": float(MAX_POINTS),
        "problem": None,
        "parts": [_part_json(part) for dataset in report.datasets for part in dataset.parts],
        "datasets": [_dataset_json(dataset) for dataset in report.datasets],
        "advice": [
            english({"dataset": found.dataset, "check": found.check, "state": found.state, "reason": found.reason})
            for found in report.advice
        ],
    }


def failure(fault: str, reason: str, next_step: str) -> dict[str, Any]:
    """The JSON object if nothing could be graded. `fault`: a key of `errors.FAULTS`. Its words are those of the arguments."""
    problem = {"fault": fault, "reason": reason, "next_step": next_step}
    return {
        "schema": SCHEMA,
        "points": 0.0,
        "max_points": float(MAX_POINTS),
        "problem": problem,
        "parts": [],
        "datasets": [],
        "advice": [],
    }


def _part_json(part: PartGrade) -> dict[str, Any]:
    checks = []
    for check, verdict in part.rows():
        most = check.points * part.weight
        checks.append({"check": english(check.name), "points": float(most * verdict.share), "max_points": float(most)})
    return {
        "dataset": part.dataset,
        "part": part.part,
        "points": float(part.points),
        "max_points": float(part.max_points),
        "reasons": [_reason(part, check, verdict) for check, verdict in part.rows()],
        "checks": checks,
    }


def _reason(part: PartGrade, check: Check, verdict: Verdict) -> str:
    most = check.points * part.weight
    step = f". Next: {english(verdict.next_step)}" if verdict.next_step else ""
    return f"{check.name} {points_text(most * verdict.share)}/{points_text(most)}: {english(verdict.reason)}{step}"


def _dataset_json(grade: DatasetGrade) -> dict[str, Any]:
    """What a candidate may read of a key; `disclosure` says how much that is."""
    metrics, labels = grade.metrics, grade.key.labels
    mcc, f1 = (0.0, 0.0) if metrics is None else shown_measures(grade.key, metrics)
    return {
        "dataset": grade.key.dataset,
        "answer_key": grade.key.file_name,
        "labels": list(labels) if len(labels) <= MOST_NAMED else [],
        "rows": len(grade.key.answers),
        "measures": None
        if metrics is None
        else {
            "correct": metrics.correct,
            "accuracy": metrics.accuracy,
            "interval": list(metrics.interval),
            "mcc": mcc,
            "f1": f1,
            "majority": metrics.majority,
            "confusion": [list(row) for row in metrics.confusion] if is_open(grade.key) else None,
        },
    }
