"""The grade of a submission, as plain values: verdicts by part and dataset, metrics, advice."""

import hashlib
import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Optional

from grading.contract.language import mark
from grading.contract.metrics import Metrics
from grading.rubric import SAVED_MODEL, Check, Verdict, checks_of

AGREES, LOOK, UNKNOWN = mark("agrees"), mark("look here"), mark("not known")
"""The states of a piece of advice."""


@dataclass(frozen=True)
class AnswerKey:
    """One dataset's answers."""

    dataset: str
    file_name: str
    """The key's name in its folder; reports name it."""
    answers: tuple[str, ...] = field(repr=False)
    """Answer *i* belongs to dev row *i*; at least one. A report must show none of them."""
    labels: tuple[str, ...]
    """The labels that records and predictions may use, see `contract.label_set`."""


@dataclass(frozen=True)
class Advice:
    """One thing that was compared for the examiner, without points."""

    dataset: str
    check: str
    """Which two things were compared."""
    state: str
    """`AGREES`, `LOOK` or `UNKNOWN`."""
    reason: str
    """The finding in a sentence."""


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
    """The grade for one dataset."""

    key: AnswerKey
    parts: tuple[PartGrade, ...]
    """In the rubric's order."""
    metrics: Optional[Metrics]
    """None where no result file could be read."""
    predictions: Optional[tuple[Optional[str], ...]] = field(repr=False)
    """The label predicted for each row of the key, None where there is no valid one; None where no result file could be read."""
    adapter_digest: Optional[str]
    """SHA-256 of the adapter's tensors: names, types, shapes and values; None where there is no sound file."""

    @property
    def has_sound_adapter(self) -> bool:
        """Whether the adapter has passed every check."""
        return all(part.points == part.max_points for part in self.parts if part.part == SAVED_MODEL)

    @property
    def result_digest(self) -> Optional[str]:
        """SHA-256 of the predictions; None where no result file could be read."""
        if self.predictions is None:
            return None
        return hashlib.sha256("\n".join(label or "" for label in self.predictions).encode("utf-8")).hexdigest()

    def wrong_rows(self) -> dict[str, int]:
        """For each label, the rows that it was wrongly predicted for: a number whose bit i is set for row i, counted from 0.

        A row without a valid label is in none of them: nobody copies a missing line. Labels without such a row are left out."""
        rows: dict[str, list[int]] = {}
        for row, (answer, label) in enumerate(zip(self.key.answers, self.predictions or ())):
            if label is not None and label != answer:
                rows.setdefault(label, []).append(row)
        return {label: _bits(rows[label]) for label in self.key.labels if label in rows}


@dataclass(frozen=True)
class Report:
    """A submission's grade. It holds the answer keys, so never pickle it for a candidate."""

    datasets: tuple[DatasetGrade, ...]
    advice: tuple[Advice, ...] = ()
    """Findings outside the rubric, without points."""

    @property
    def points(self) -> Fraction:
        """All points, 0 to 100."""
        return sum((part.points for dataset in self.datasets for part in dataset.parts), Fraction(0))


def _bits(rows: list[int]) -> int:
    """The number whose bit i is set for each row i; the rows are ascending."""
    found = bytearray(rows[-1] // 8 + 1)
    for row in rows:
        found[row // 8] |= 1 << row % 8
    return int.from_bytes(found, "little")


def points_text(points: Fraction) -> str:
    """Points in hundredths, rounded down, without trailing zeros: 2.99, 1.5, 10."""
    hundredths = math.floor(points * 100)
    return f"{hundredths // 100}.{hundredths % 100:02d}".rstrip("0").rstrip(".")
