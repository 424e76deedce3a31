"""The layout of a report: aligned lines for a terminal, and numbers with units."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from runner.lookahead.findings import Finding, Findings, Section

COLUMNS = 116
"""Most columns of a line, but for paths."""

INDENT = 11
"""Columns of a section's title, and of a line's name."""


def report_lines(sections: Sequence[Section], findings: Findings) -> list[str]:
    """The sections, then the problems and the warnings, each with its next step."""
    lines = [line for section in sections for line in _section_lines(section)]
    for title, found in (("PROBLEM", findings.problems), ("WARNING", findings.warnings)):
        lines += [line for finding in found for line in _finding_lines(title, finding)]
    return lines


def size(number: float) -> str:
    """A number of bytes."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if number >= unit:
            return f"{number / unit:,.1f} {name}"
    return f"{number / 1e3:,.1f} kB"


def millions(number: int) -> str:
    """A number of weights."""
    return f"{number / 1e6:,.0f} million" if number >= 10e6 else f"{number:,}"


def duration(seconds: float) -> str:
    """A time."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:,.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:,.1f} h"


def counted(number: int, noun: str) -> str:
    """`1 warning`, `2 warnings`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _section_lines(section: Section) -> list[str]:
    lines = []
    for place, (name, text) in enumerate(section.lines):
        title = section.title if place == 0 else ""
        head = f"{title:<{INDENT}}{name:<{INDENT}}"
        lines += _wrapped(text, head, " " * (2 * INDENT))
    return lines


def _finding_lines(title: str, finding: Finding) -> list[str]:
    lines = []
    for place, line in enumerate(finding.what.split("\n")):
        lines += _wrapped(line, f"{title if place == 0 else '':<{INDENT}}", " " * INDENT)
    return lines + (_wrapped(finding.next_step, f"{'  next':<{INDENT}}", " " * INDENT) if finding.next_step else [])


def _wrapped(text: str, head: str, indent: str) -> list[str]:
    if text.startswith("|") or len(head) + len(text) <= COLUMNS:
        return [f"{head}{text}".rstrip()]
    return textwrap.wrap(
        text, COLUMNS, initial_indent=head, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
