"""The leaderboard: a class at a glance, as a table for programs (CSV) and as one page for the examiner (HTML).

Both are made of cards alone: no date, no machine, no answer of the key, not how long it took, so the same submissions give the
same bytes. The page is one file that loads nothing. Its Content-Security-Policy lets run only its own style and script, by
their digests, so that what slipped through escaping would be inert.

How somebody else's text is written (`visible`): a backslash doubled; control and format characters (newlines, bidirectional
overrides, zero-width ones), line separators and lone surrogates as `\\xNN`, `\\uNNNN` or `\\UNNNNNNNN`; all else as it is.
In the CSV such text gets a leading apostrophe where it starts with one of = + - @ (half or full width), tab or carriage
return: a spreadsheet would compute it. See `as_csv` for what that guards.

Submissions with equal points share a rank; those that could not be graded have none. Points are rounded down to hundredths,
as in reports. A submission whose 95 % interval of the accuracy overlaps the first one's on every dataset is marked as not
distinguishable from it: more cautious than a test of the difference (N. Schenker and J. Gentleman, 2001), never less.
"""

import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any, Optional, Union

from grading.classroom.card import Card

Cell = Union[str, int, float, Decimal, None]

FAULTS = {"submission": "the submission", "examiner": "the examiner", "grader": "the grader itself"}
"""Whose mistake it is that there is no grade, in words."""


_FORMULA = tuple("=+-@\t\r＝＋－＠")


@dataclass(frozen=True)
class Row:
    """A submission's place."""

    card: Card
    rank: Optional[int]
    """1 for the most points, shared by equal ones; None where there is no grade."""
    like_first: bool
    """Whether its accuracy is not distinguishable from the first one's."""


def ranked(cards: Sequence[Card]) -> list[Row]:
    """The places, best first; equal ones by name."""
    ordered = sorted(cards, key=lambda card: (_problem(card) is not None, -card.points, card.name))
    rows: list[Row] = []
    for place, card in enumerate(ordered, start=1):
        tied = bool(rows) and rows[-1].card.points == card.points
        rank = None if _problem(card) else rows[-1].rank if tied else place
        rows.append(Row(card, rank, rank is not None and _overlap(ordered[0], card)))
    return rows


def visible(text: str) -> str:
    """The text with escapes for what cannot be seen or would change how the rest is seen."""
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return (
            character.encode("ascii", "backslashreplace").decode() if character > "\x7f" else f"\\x{ord(character):02x}"
        )
    return character


def as_csv(cards: Sequence[Card]) -> str:
    """One line a submission below a header, fields as in RFC 4180 with plain newlines; write it as UTF-8.

    Whoever splits it at commas, semicolons or tabs gets no cell that starts as a formula does, numbers of the grader's own
    (-0.1250) apart. Semicolons of a text are written `\\x3b`: quotes would not do, for where a line is split at semicolons
    they count only at its begin. Not guarded: a program that splits at something else (spaces, a character of the reader's
    choice), drops a leading apostrophe, or computes a text that it was told to take as text."""
    datasets, parts = _datasets(cards), _parts(cards)
    header = ["rank", "name", "points"]
    for dataset in datasets:
        header += [f"{dataset} {column}" for column in (*parts, *_METRICS)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*header, "fault", "problem", "next step"])
    for row in ranked(cards):
        problem = _problem(row.card) or {}
        cells: list[Cell] = [row.rank, _csv_text(row.card.name), _hundredths(row.card.points)]
        for dataset in datasets:
            cells += [_part_points(row.card, dataset, part) for part in parts]
            cells += _metrics(row.card, dataset)
        cells += [_csv_text(str(problem.get(key, ""))) for key in ("fault", "reason", "next_step")]
        writer.writerow(cells)
    return file.getvalue()


def _csv_text(text: str) -> str:
    return ("'" if text.startswith(_FORMULA) else "") + visible(text).replace(";", "\\x3b")


_METRICS = ("accuracy", "accuracy from", "accuracy to", "MCC", "F1")


def _metrics(card: Card, dataset: str) -> list[Optional[str]]:
    found = card.metrics(dataset)
    if not found:
        return [None] * len(_METRICS)
    return [f"{value:.4f}" for value in (found["accuracy"], *found["interval"], found["mcc"], found["f1"])]


def _problem(card: Card) -> Optional[Mapping[str, Any]]:
    return card.report.get("problem")


def _datasets(cards: Iterable[Card]) -> list[str]:
    return sorted({part["dataset"] for card in cards for part in card.report["parts"]})


def _parts(cards: Sequence[Card]) -> list[str]:
    """In the order of the reports, which is the rubric's and the same in all of them."""
    by_name = sorted(cards, key=lambda card: card.name)
    return list(dict.fromkeys(part["part"] for card in by_name for part in card.report["parts"]))


def _part_points(card: Card, dataset: str, part: str) -> Optional[Decimal]:
    for each in card.report["parts"]:
        if (each["dataset"], each["part"]) == (dataset, part):
            return _hundredths(each["points"])
    return None


def _hundredths(points: float) -> Decimal:
    return Decimal(repr(float(points))).quantize(Decimal("0.01"), ROUND_DOWN)


def _overlap(first: Card, card: Card) -> bool:
    pairs = [(first.metrics(dataset), card.metrics(dataset)) for dataset in _datasets([first])]
    return bool(pairs) and all(
        one and other and one["interval"][0] <= other["interval"][1] and other["interval"][0] <= one["interval"][1]
        for one, other in pairs
    )
