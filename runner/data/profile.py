"""The profile of a column: a few numbers that say what kind of values it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner.data.header import is_number


@dataclass(frozen=True)
class Profile:
    """What a column's values look like. Shares are 0 to 1, of the values that are not empty."""

    rows: int
    """Values, empty ones included."""
    empty: int
    """Empty ones."""
    numeric: float
    """Share of numbers."""
    spaced: float
    """Share with several words."""
    digits: float
    """Share with a digit."""
    labels: float
    """Share that are labels of the task."""
    different: int
    """Different values."""
    lengths: tuple[int, int, int]
    """Characters: a tenth of the values are shorter than the first, half than the second, nine tenths than the third."""
    example: str
    """The first value that is not empty."""

    @property
    def filled(self) -> int:
        """Values that are not empty."""
        return self.rows - self.empty


def profile(values: Sequence[str], labels: Sequence[str]) -> Profile:
    """The profile of some values of a column. `labels`: those of the task."""
    filled = [value for value in map(str.strip, values) if value]
    count = len(filled) or 1
    sizes = sorted(map(len, filled)) or [0]
    low, middle, high = (sizes[int(share * (len(sizes) - 1))] for share in (0.1, 0.5, 0.9))
    return Profile(
        rows=len(values),
        empty=len(values) - len(filled),
        numeric=sum(map(is_number, filled)) / count,
        spaced=sum(" " in value for value in filled) / count,
        digits=sum(any(map(str.isdigit, value)) for value in filled) / count,
        labels=sum(value in labels for value in filled) / count,
        different=len(set(filled)),
        lengths=(low, middle, high),
        example=filled[0][:40] if filled else "",
    )
