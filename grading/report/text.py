"""The report as text for people.

Points are fractions until they are written, so that the parts add up exactly. The text rounds down to hundredths: it never
shows more than was earned. Nothing in a report depends on the machine or the time.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from grading.contract.display import one_line, printed
from grading.contract.language import padded, tr
from grading.contract.metrics import Metrics
from grading.errors import FAULTS
from grading.grades import DatasetGrade, Report, points_text
from grading.report.disclosure import is_open
from grading.rubric import MAX_POINTS

_COLOURS = {"good": "\x1b[32m", "bad": "\x1b[31m", "title": "\x1b[1m"}
_PLAIN = "\x1b[0m"


def failure_text(report: Mapping[str, Any]) -> str:
    """The text of a report whose `problem` is not null."""
    problem = report["problem"]
    words = tr(
        "not graded, {fault}: {reason}\n  next: {next_step}\n",
        fault=FAULTS[problem["fault"]],
        reason=problem["reason"],
        next_step=problem["next_step"],
    )
    return printed(words)


def as_text(report: Report, colour: bool = False) -> str:
    """The report for people, ending with the line `points: P / 100`."""
    paint = _paint if colour else _no_paint
    lines: list[str] = []
    for dataset in report.datasets:
        lines.append(paint("title", _heading(report, dataset)))
        for part in dataset.parts:
            lines.append(
                paint("title", f"  {part.part:<24}{points_text(part.points):>7} / {points_text(part.max_points)}")
            )
            for check, verdict in part.rows():
                most = check.points * part.weight
                tone = "good" if verdict.share == 1 else "bad"
                amount = paint(tone, f"{points_text(most * verdict.share):>7} / {points_text(most):<6}")
                lines.append(f"    {padded(tr(check.name), 22)}{amount} {one_line(verdict.reason)}")
                if verdict.next_step:
                    lines.append(" " * 43 + one_line(tr("next: {step}", step=verdict.next_step)))
        if dataset.metrics:
            lines.append(f"  {_metrics_text(dataset.metrics)}")
            if is_open(dataset.key):
                lines += _confusion_lines(dataset.key.labels, dataset.metrics)
        lines.append("")
    if report.advice:
        lines.append(paint("title", tr("for the examiner to look at, no points")))
        lines += [
            one_line(f"  {found.dataset} {tr(found.check)}: {tr(found.state)}: {tr(found.reason)}")
            for found in report.advice
        ]
        lines.append("")
    total = tr("points: {points} / {most}", points=points_text(report.points), most=MAX_POINTS)
    lines.append(paint("title", total))
    return "\n".join(lines) + "\n"


def _heading(report: Report, dataset: DatasetGrade) -> str:
    name, file, count = dataset.key.dataset, dataset.key.file_name, len(report.datasets)
    if count == 1:
        return tr("{dataset}, answer key {file}", dataset=name, file=file)
    return tr("{dataset} (counts 1/{count}), answer key {file}", dataset=name, count=count, file=file)


def _metrics_text(metrics: Metrics) -> str:
    low, high = metrics.interval
    return tr(
        "accuracy {correct}/{rows} = {accuracy:.1f} % (95 % interval {low:.1f}-{high:.1f} %), MCC {mcc:.2f}, F1 {f1:.2f}; "
        "majority class would give {majority:.1f} %",
        correct=metrics.correct,
        rows=metrics.rows,
        accuracy=100 * metrics.accuracy,
        low=100 * low,
        high=100 * high,
        mcc=metrics.mcc,
        f1=metrics.f1,
        majority=100 * metrics.majority,
    )


def _confusion_lines(labels: Sequence[str], metrics: Metrics) -> list[str]:
    wide = max(8, *(len(label) + 2 for label in labels))
    heads = "".join(f"{label:>{wide}}" for label in labels)
    no_label = padded(tr("no label"), max(wide, 10), right=True)
    lines = [f"    {padded(tr('answer, predicted as'), 20)}{heads}{no_label}"]
    for label, row in zip(labels, metrics.confusion):
        counts = "".join(f"{count:>{wide},}" for count in row[:-1])
        lines.append(f"    {label:>18}  {counts}{row[-1]:>{max(wide, 10)},}")
    return [printed(line) for line in lines]


def _paint(tone: str, text: str) -> str:
    return f"{_COLOURS[tone]}{printed(text)}{_PLAIN}"


def _no_paint(tone: str, text: str) -> str:
    return printed(text)
