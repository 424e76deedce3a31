"""The report: a grade, as text for people, as a JSON object for programs and as Gradescope's `results.json`.

`docs/grading.md` says what each key means. Where grading failed there is a report too: it says whose fault that was.
Points are fractions until they are written, so that nothing is lost to rounding and the parts add up. The text rounds
down to hundredths: it never shows more than was earned. Nothing in a report depends on the machine or the time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Optional

from grading.advice import Advice
from grading.answers import AnswerKey
from grading.measures import Measures
from grading.rubric import MAX_POINTS, SAVED_MODEL, Check, Verdict, checks_of

SCHEMA = "labeltune.grade/1"
"""Version of the JSON object: a new key leaves it as it is, one that goes or changes its meaning raises it."""

FAULTS: Mapping[str, str] = {
    "submission": "the submission's fault",
    "examiner": "the examiner's mistake",
    "grader": "the grader's own fault",
}
"""Whose fault it can be that nothing was graded, in words."""

_MOST_LABELS = 8  # whose confusion matrix a terminal still shows

_COLOURS = {"good": "\x1b[32m", "bad": "\x1b[31m", "title": "\x1b[1m"}
_PLAIN = "\x1b[0m"


@dataclass(frozen=True)
class PartGrade:
    """One part of the rubric for one dataset."""

    dataset: str
    part: str
    weight: Fraction
    """The dataset's share of the rubric's points: 1 over the number of datasets."""
    verdicts: tuple[Verdict, ...]
    """One for each of the part's checks."""

    def rows(self) -> list[tuple[Check, Verdict]]:
        """The part's checks in the rubric's order, each with its verdict."""
        by_check = {verdict.check: verdict for verdict in self.verdicts}
        return [(check, by_check[check.name]) for check in checks_of(self.part)]

    @property
    def points(self) -> Fraction:
        """Points earned, of the 100 over all datasets."""
        return sum((check.points * verdict.share * self.weight for check, verdict in self.rows()), Fraction(0))

    @property
    def max_points(self) -> Fraction:
        """Points that could be earned."""
        return sum((check.points * self.weight for check, _ in self.rows()), Fraction(0))


@dataclass(frozen=True)
class DatasetGrade:
    """Everything about one dataset."""

    key: AnswerKey
    parts: tuple[PartGrade, ...]
    """In the rubric's order."""
    measures: Optional[Measures]
    """None where no result file could be read."""


@dataclass(frozen=True)
class Report:
    """A submission's grade."""

    datasets: tuple[DatasetGrade, ...]
    advice: tuple[Advice, ...] = ()
    """What was looked at beside the rubric; no points hang on it."""

    @property
    def points(self) -> Fraction:
        """All points, 0 to 100."""
        return sum((part.points for dataset in self.datasets for part in dataset.parts), Fraction(0))

    def sound_adapters(self) -> dict[str, bool]:
        """For each dataset, whether its adapter has passed every check."""
        parts = (part for dataset in self.datasets for part in dataset.parts if part.part == SAVED_MODEL)
        return {part.dataset: part.points == part.max_points for part in parts}


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
            {"dataset": found.dataset, "check": found.check, "state": found.state, "reason": found.reason}
            for found in report.advice
        ],
    }


def failure(fault: str, reason: str, next_step: str) -> dict[str, Any]:
    """The JSON object where nothing could be graded. `fault`: a key of `FAULTS`."""
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


def failure_text(report: Mapping[str, Any]) -> str:
    """A report whose `problem` is not null, for people."""
    problem = report["problem"]
    return f"not graded, {FAULTS[problem['fault']]}: {problem['reason']}\n  next: {problem['next_step']}\n"


def as_gradescope(report: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Gradescope's `results.json` of a report's JSON object: a test for each check, the text as the output.

    Format: https://gradescope-autograders.readthedocs.io/en/latest/specs/. A report with a problem has no test and no
    points, and its output says that this is no verdict."""
    tests = [
        {
            "name": f"{part['dataset']}: {part['part']}: {check['check']}",
            "score": check["points"],
            "max_score": check["max_points"],
            "output": reason,
            "output_format": "text",
            "visibility": "visible",
        }
        for part in report["parts"]
        for check, reason in zip(part["checks"], part["reasons"])
    ]
    return {"score": report["points"], "output": text, "output_format": "text", "visibility": "visible", "tests": tests}


def as_text(report: Report, colour: bool = False) -> str:
    """The report for people, ending with the line `points: P / 100`."""
    paint = _paint if colour else _no_paint
    lines: list[str] = []
    for dataset in report.datasets:
        share = f" (counts 1/{len(report.datasets)})" if len(report.datasets) > 1 else ""
        lines.append(paint("title", f"{dataset.key.dataset}{share}, answer key {dataset.key.file_name}"))
        for part in dataset.parts:
            lines.append(paint("title", f"  {part.part:<24}{_amount(part.points):>7} / {_amount(part.max_points)}"))
            for check, verdict in part.rows():
                most = check.points * part.weight
                tone = "good" if verdict.share == 1 else "bad"
                amount = paint(tone, f"{_amount(most * verdict.share):>7} / {_amount(most):<6}")
                lines.append(f"    {check.name:<22}{amount} {verdict.reason}")
                if verdict.next_step:
                    lines.append(f"{'':<43}next: {verdict.next_step}")
        if dataset.measures:
            lines.append(f"  {_measures_text(dataset.measures)}")
            lines += _confusion_lines(dataset.key.labels, dataset.measures)
        lines.append("")
    if report.advice:
        lines.append(paint("title", "for the examiner to look at, no points"))
        lines += [f"  {found.dataset} {found.check}: {found.state}: {found.reason}" for found in report.advice]
        lines.append("")
    lines.append(paint("title", f"points: {_amount(report.points)} / {MAX_POINTS}"))
    return "\n".join(lines) + "\n"


def _part_json(part: PartGrade) -> dict[str, Any]:
    checks = []
    for check, verdict in part.rows():
        most = check.points * part.weight
        checks.append({"check": check.name, "points": float(most * verdict.share), "max_points": float(most)})
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
    step = f". Next: {verdict.next_step}" if verdict.next_step else ""
    return f"{check.name} {_amount(most * verdict.share)}/{_amount(most)}: {verdict.reason}{step}"


def _dataset_json(grade: DatasetGrade) -> dict[str, Any]:
    measures = grade.measures
    return {
        "dataset": grade.key.dataset,
        "answer_key": grade.key.file_name,
        "labels": list(grade.key.labels),
        "rows": len(grade.key.answers),
        "measures": None
        if measures is None
        else {
            "correct": measures.correct,
            "accuracy": measures.accuracy,
            "interval": list(measures.interval),
            "mcc": measures.mcc,
            "f1": measures.f1,
            "majority": measures.majority,
            "confusion": [list(row) for row in measures.confusion],
        },
    }


def _measures_text(measures: Measures) -> str:
    low, high = measures.interval
    return (
        f"accuracy {measures.correct}/{measures.rows} = {100 * measures.accuracy:.1f} % "
        f"(95 % interval {100 * low:.1f}-{100 * high:.1f} %), MCC {measures.mcc:.2f}, F1 {measures.f1:.2f}; "
        f"majority class would give {100 * measures.majority:.1f} %"
    )


def _confusion_lines(labels: Sequence[str], measures: Measures) -> list[str]:
    if len(labels) > _MOST_LABELS:
        return []
    wide = max(8, *(len(label) + 2 for label in labels))
    heads = "".join(f"{label:>{wide}}" for label in labels)
    lines = [f"    {'answer, predicted as':<20}{heads}{'no label':>{max(wide, 10)}}"]
    for label, row in zip(labels, measures.confusion):
        counts = "".join(f"{count:>{wide},}" for count in row[:-1])
        lines.append(f"    {label:>18}  {counts}{row[-1]:>{max(wide, 10)},}")
    return lines


def _amount(points: Fraction) -> str:
    """Points in hundredths, rounded down, without idle zeros: 2.99, 1.5, 10."""
    hundredths = math.floor(points * 100)
    return f"{hundredths // 100}.{hundredths % 100:02d}".rstrip("0").rstrip(".")


def _paint(tone: str, text: str) -> str:
    return f"{_COLOURS[tone]}{text}{_PLAIN}"


def _no_paint(tone: str, text: str) -> str:
    return text
