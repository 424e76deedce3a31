"""The report: a grade, as text for people and as a JSON object for programs.

Points are fractions until they are written, so that nothing is lost to rounding and the parts add up. The text rounds
down to hundredths: it never shows more than was earned. Nothing in a report depends on the machine or the time.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Optional

from grading.answers import AnswerKey
from grading.measures import Measures
from grading.rubric import MAX_POINTS, Check, Verdict, checks_of

SCHEMA = "labeltune.grade/1"
"""Version of the JSON object: a new key leaves it as it is, one that goes or changes its meaning raises it."""

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

    @property
    def points(self) -> Fraction:
        """All points, 0 to 100."""
        return sum((part.points for dataset in self.datasets for part in dataset.parts), Fraction(0))


def as_json(report: Report) -> dict[str, Any]:
    """The report as a JSON object. Shares (accuracy, interval, majority) are 0 to 1; `measures` may be null."""
    return {
        "schema": SCHEMA,
        "points": float(report.points),
        "max_points": float(MAX_POINTS),
        "parts": [_part_json(part) for dataset in report.datasets for part in dataset.parts],
        "datasets": [_dataset_json(dataset) for dataset in report.datasets],
    }


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
        },
    }


def _measures_text(measures: Measures) -> str:
    low, high = measures.interval
    return (
        f"accuracy {measures.correct}/{measures.rows} = {100 * measures.accuracy:.1f} % "
        f"(95 % interval {100 * low:.1f}-{100 * high:.1f} %), MCC {measures.mcc:.2f}, F1 {measures.f1:.2f}; "
        f"majority class would give {100 * measures.majority:.1f} %"
    )


def _amount(points: Fraction) -> str:
    """Points in hundredths, rounded down, without idle zeros: 2.99, 1.5, 10."""
    hundredths = math.floor(points * 100)
    return f"{hundredths // 100}.{hundredths % 100:02d}".rstrip("0").rstrip(".")


def _paint(tone: str, text: str) -> str:
    return f"{_COLOURS[tone]}{text}{_PLAIN}"


def _no_paint(tone: str, text: str) -> str:
    return text
