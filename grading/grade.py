"""The grade: what a submission is worth, as plain values."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Optional

from grading.checks.answer_key import AnswerKey
from grading.contract.metrics import Metrics
from grading.rubric import SAVED_MODEL, Check, Verdict, checks_of

AGREES, LOOK, UNKNOWN = "agrees", "look here", "not known"
"""What a piece of advice can say."""


@dataclass(frozen=True)
class Advice:
    """One thing looked at."""

    dataset: str
    check: str
    """What was set beside what."""
    state: str
    """`AGREES`, `LOOK` or `UNKNOWN`."""
    reason: str
    """What was found, in words."""


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
    metrics: Optional[Metrics]
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


def points_text(points: Fraction) -> str:
    """Points in hundredths, rounded down, without idle zeros: 2.99, 1.5, 10."""
    hundredths = math.floor(points * 100)
    return f"{hundredths // 100}.{hundredths % 100:02d}".rstrip("0").rstrip(".")
