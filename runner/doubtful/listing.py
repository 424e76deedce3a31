"""The listing: the doubtful rows with their texts, as a CSV file to decide in and as a short table."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from runner.data.exclusion import INPUT, KEEP, LINE, REASON, as_cell, is_same, read_decisions, short
from runner.errors import DataError
from runner.language import tr
from runner.system.files import digest, write_atomic

CONTRADICTED, SEVERAL_LABELS = "contradicted", "several labels"
"""Why a row is listed. A row for which both are true is in its group."""

HEADER = (KEEP, REASON, "group", LINE, "label", "predicted", "label_probability", "predicted_probability", INPUT)


@dataclass(frozen=True)
class Doubt:
    """A listed row."""

    reason: str
    """`CONTRADICTED` or `SEVERAL_LABELS`."""
    group: Optional[int]
    """The number of its group, from 1, among the groups with the same input and several labels."""
    line: int
    """The line of the training file that it begins on."""
    label: str
    """Its label."""
    predicted: str
    """The label that the adapter predicts; empty for a row that the recipe does not draw."""
    log_probabilities: tuple[float, float]
    """Those of its label and of the predicted one, in nats; not a number for a row that the recipe does not draw."""
    text: str
    """Its input."""

    def probabilities(self) -> tuple[str, str]:
        """Those of its label and of the predicted one, in four digits; empty for a row that the recipe does not draw."""
        found = [math.exp(each) for each in self.log_probabilities]
        first, second = ("" if math.isnan(each) else f"{each:.4f}" for each in found)
        return first, second


def as_csv(doubts: Sequence[Doubt]) -> bytes:
    """The file: UTF-8 with the mark by which Excel knows it, and `yes` in the column `keep` of every row."""
    text = io.StringIO()
    # its line end makes the writer quote a CR in a text, too
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(HEADER)
    for doubt in doubts:
        group = doubt.group or ""
        cells = (doubt.label, doubt.predicted, *doubt.probabilities(), doubt.text)
        writer.writerow(("yes", doubt.reason, group, doubt.line, *map(as_cell, cells)))
    return text.getvalue().encode("utf-8-sig")


def write_listing(path: Path, doubts: Sequence[Doubt]) -> Optional[Path]:
    """Write the file, unless it lists the same rows already: then the decisions in it stay.

    Another list there is moved aside, for it may have decisions; returns where to."""
    aside, new = None, as_csv(doubts)
    if path.exists() and path.read_bytes() != new:
        if _lists(path, doubts):
            return None
        aside = path.with_name(f"{path.stem}_{digest(path)[:8]}{path.suffix}")
        path.replace(aside)
    write_atomic(path, new)
    return aside


def _lists(path: Path, doubts: Sequence[Doubt]) -> bool:
    """Whether the file lists these rows, in any order."""
    try:
        listed = {each.line: each.text for each in read_decisions(path, str(path))}
    except DataError:
        return False
    return listed.keys() == {each.line for each in doubts} and all(is_same(listed[d.line], d.text) for d in doubts)


def table_rows(doubts: Sequence[Doubt]) -> list[tuple[str, ...]]:
    """A head and a row of cells for each doubtful row, with texts cut and made harmless to a terminal."""
    head = (tr("line"), tr("label"), tr("predicted"), tr("probability of the label"), tr("input"))
    return [head, *((str(d.line), d.label, d.predicted, d.probabilities()[0], short(d.text)) for d in doubts)]
