"""The layout of a report: aligned lines for a terminal, and numbers with units."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from grading.contract.language import padded, width
from runner.language import tr, trn
from runner.lookahead.findings import Finding, Findings, Section

COLUMNS = 116
"""Most columns of a line, but for paths."""

INDENT = 11
"""Columns of a section's title, and of a line's name."""


def report_lines(sections: Sequence[Section], findings: Findings) -> list[str]:
    """The sections, then the problems and the warnings, each with its next step."""
    lines = [line for section in sections for line in _section_lines(section)]
    for title, found in ((tr("PROBLEM"), findings.problems), (tr("WARNING"), findings.warnings)):
        lines += [line for finding in found for line in _finding_lines(title, finding)]
    return lines


def size(number: float) -> str:
    """A number of bytes."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if number >= unit:
            return f"{number / unit:,.1f} {name}"
    return tr("{number:,.1f} kB", number=number / 1000.0)


def millions(number: int) -> str:
    """A number of weights."""
    return tr("{number:,.0f} million", number=number / 1e6) if number >= 10e6 else f"{number:,}"


def duration(seconds: float) -> str:
    """A time."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:,.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:,.1f} h"


def problem_count(number: int) -> str:
    """`1 problem`, `2 problems`."""
    return trn("{count:,} problem", "{count:,} problems", number)


def warning_count(number: int) -> str:
    """`1 warning`, `2 warnings`."""
    return trn("{count:,} warning", "{count:,} warnings", number)


def thread_count(number: int) -> str:
    """`1 thread`, `2 threads`."""
    return trn("{count:,} thread", "{count:,} threads", number)


def _section_lines(section: Section) -> list[str]:
    lines = []
    for place, (name, text) in enumerate(section.lines):
        title = section.title if place == 0 else ""
        head = padded(title, INDENT) + padded(name, INDENT)
        lines += _wrapped(text, head, " " * (2 * INDENT))
    return lines


def _finding_lines(title: str, finding: Finding) -> list[str]:
    lines = []
    for place, line in enumerate(finding.what.split("\n")):
        lines += _wrapped(line, padded(title if place == 0 else "", INDENT), " " * INDENT)
    return lines + (
        _wrapped(finding.next_step, padded("  " + tr("next"), INDENT), " " * INDENT) if finding.next_step else []
    )


def _wrapped(text: str, head: str, indent: str) -> list[str]:
    if text.startswith("|") or width(head) + width(text) <= COLUMNS:
        return [f"{head}{text}".rstrip()]
    if not text.isascii():
        return _wrapped_wide(text, head, indent)
    return textwrap.wrap(
        text, COLUMNS, initial_indent=head, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


# a line may end before any Chinese character, but none begins with a closing mark
_CLOSING = "，。；：、！？）》"
_PIECES = re.compile(rf"(?:[^\s\u2e80-\uffff]+|[（《]*[\u2e80-\uffff])[{_CLOSING}]*\s*")


def _wrapped_wide(text: str, head: str, indent: str) -> list[str]:
    """The same for a text with characters that take two columns, and no spaces between its words."""
    lines = [head]
    for piece in _PIECES.findall(text):
        if width(lines[-1]) + width(piece.rstrip()) > COLUMNS and lines[-1] not in (head, indent):
            lines.append(indent)
        lines[-1] += piece
    return [line.rstrip() for line in lines]
