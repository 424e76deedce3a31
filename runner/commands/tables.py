"""The text table: aligned columns and wrapped lists for a terminal of 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Optional

from grading.contract.language import padded, width
from runner.language import tr

COLUMNS = 100
"""Most columns of a line."""


def table(rows: Sequence[Sequence[str]], gap: str = "  ") -> list[str]:
    """The rows as lines; the cells of a column begin at one place."""
    widths = [max(map(width, column)) for column in zip(*rows)]
    return [gap.join(padded(cell, columns) for cell, columns in zip(row, widths)).rstrip() for row in rows]


def wrapped(text: str, indent: str, first: Optional[str] = None) -> str:
    """The text in lines of at most `COLUMNS` characters. `first`: the indent of the first line."""
    begin = indent if first is None else first
    # a Chinese character takes two columns
    columns = COLUMNS * len(text) // max(1, width(text))
    return textwrap.fill(text, columns, initial_indent=begin, subsequent_indent=indent, break_on_hyphens=False)


def percent_interval(accuracy: Optional[float], interval: Optional[Sequence[float]]) -> str:
    """An accuracy with its interval, such as `83.0% (79.4 to 86.1)`; empty where it is not known."""
    if accuracy is None:
        return ""
    return f"{accuracy:.1%}" + (
        tr(" ({interval:.1f} to {interval_2:.1f})", interval=100 * interval[0], interval_2=100 * interval[1])
        if interval
        else ""
    )
