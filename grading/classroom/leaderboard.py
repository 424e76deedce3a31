"""The leaderboard: a class as a table for programs (CSV); `leaderboard_html` makes the page for the examiner.

Both are made from cards only, without date, machine, answers or grading times, so the same submissions give the same bytes.

Names are those of `told_apart`: as they are written, with escapes for what cannot be seen. In the CSV a text gets a leading
apostrophe if it starts with one of = + - @ (half or full width), because a spreadsheet would compute it, or if a spreadsheet
would change it into a number or a date: `007`, `1-2`, `1e5`. `as_csv` says how far that protects.

Submissions with equal points share a rank; those that could not be graded have none. Points are rounded down to hundredths,
as in reports. A submission is marked as not distinguishable from the first if the 95 % intervals of their accuracies overlap
on every dataset: never less cautious than a test of the difference (N. Schenker and J. Gentleman, 2001).
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any, Optional, Union

from grading.classroom.card import Card
from grading.contract.display import one_line, told_apart
from grading.contract.language import english, mark

Cell = Union[str, int, float, Decimal, None]

FAULTS = {"submission": mark("the submission"), "examiner": mark("the examiner"), "grader": mark("the grader itself")}
"""Whose fault it is that there is no grade, for the page."""

BYTE_ORDER_MARK = "\ufeff"
"""At the start of the CSV file; without it Excel reads UTF-8 as the system's old encoding."""

_FORMULA = tuple("=+-@\t\r＝＋－＠")

_KEPT_NUMBER = re.compile(r"0|[1-9][0-9]{0,14}")
"""Numbers that stay the same in a spreadsheet."""

_CHANGED = re.compile(
    r"(?=.*\d)(?:[\d\s.,:/()%$€£¥+\-eE年月日时時分秒]+"
    r"|(?:\d+[ -]?)?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*[\d ,/-]*)|true|false",
    re.IGNORECASE,
)
"""Texts that a spreadsheet would take for a number, a date, a time or a truth value."""


@dataclass(frozen=True)
class Row:
    """A submission's place in the class."""

    card: Card
    rank: Optional[int]
    """1 for the most points, shared by equal ones; None without a grade."""
    like_first: bool
    """Whether its accuracy is not distinguishable from the first one's."""


def ranked(cards: Sequence[Card]) -> list[Row]:
    """The places, best first; equal ones by name."""
    ordered = sorted(cards, key=lambda card: (problem_of(card) is not None, -card.points, card.name))
    rows: list[Row] = []
    for place, card in enumerate(ordered, start=1):
        tied = bool(rows) and rows[-1].card.points == card.points
        rank = None if problem_of(card) else rows[-1].rank if tied else place
        rows.append(Row(card, rank, rank is not None and _overlap(ordered[0], card)))
    return rows


def as_csv(cards: Sequence[Card]) -> str:
    """A header and a line for each submission, fields as in RFC 4180 with plain newlines. Its file begins with
    `BYTE_ORDER_MARK`.

    Split at commas, semicolons or tabs, no cell starts like a formula, except the grader's own numbers (-0.1250). Semicolons
    in a text are written `\\x3b`, because quotes inside a line do not protect them when it is split at semicolons. Not
    protected: a program that splits at other characters, drops a leading apostrophe, or computes what is marked as text."""
    datasets, parts, names = datasets_of(cards), parts_of(cards), told_apart(card.name for card in cards)
    header = ["rank", "name", "points"]
    for dataset in datasets:
        header += [f"{dataset} {column}" for column in (*parts, *_METRICS)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*header, "fault", "problem", "next step"])
    for row in ranked(cards):
        problem = problem_of(row.card) or {}
        cells: list[Cell] = [row.rank, _csv_text(names[row.card.name]), hundredths(row.card.points)]
        for dataset in datasets:
            cells += [part_points(row.card, dataset, part) for part in parts]
            cells += _metrics(row.card, dataset)
        cells += [_csv_text(one_line(english(problem.get(key, "")))) for key in ("fault", "reason", "next_step")]
        writer.writerow(cells)
    return file.getvalue()


def _csv_text(text: str) -> str:
    is_changed = _CHANGED.fullmatch(text) and not _KEPT_NUMBER.fullmatch(text)
    return ("'" if text.startswith(_FORMULA) or is_changed else "") + text.replace(";", "\\x3b")


_METRICS = ("accuracy", "accuracy from", "accuracy to", "MCC", "F1")


def _metrics(card: Card, dataset: str) -> list[Optional[str]]:
    found = card.metrics(dataset)
    if not found:
        return [None] * len(_METRICS)
    return [f"{value:.4f}" for value in (found["accuracy"], *found["interval"], found["mcc"], found["f1"])]


def problem_of(card: Card) -> Optional[Mapping[str, Any]]:
    """Why there is no grade; None if there is one."""
    return card.report.get("problem")


def datasets_of(cards: Iterable[Card]) -> list[str]:
    """The datasets of a class by name."""
    return sorted({part["dataset"] for card in cards for part in card.report["parts"]})


def parts_of(cards: Sequence[Card]) -> list[str]:
    """The parts in the order of the rubric, as in every report."""
    by_name = sorted(cards, key=lambda card: card.name)
    return list(dict.fromkeys(part["part"] for card in by_name for part in card.report["parts"]))


def part_points(card: Card, dataset: str, part: str) -> Optional[Decimal]:
    """The points of one part; None without a grade."""
    for each in card.report["parts"]:
        if (each["dataset"], each["part"]) == (dataset, part):
            return hundredths(each["points"])
    return None


def hundredths(points: float) -> Decimal:
    """Points rounded down to hundredths."""
    return Decimal(repr(float(points))).quantize(Decimal("0.01"), ROUND_DOWN)


def _overlap(first: Card, card: Card) -> bool:
    pairs = [(first.metrics(dataset), card.metrics(dataset)) for dataset in datasets_of([first])]
    return bool(pairs) and all(
        one and other and one["interval"][0] <= other["interval"][1] and other["interval"][0] <= one["interval"][1]
        for one, other in pairs
    )
