"""PyYAML's errors in plain words, with the place that the user has to look at.

PyYAML names the place where it could not continue. For a list that is not closed, that is some line below.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, Optional

import yaml
from yaml.reader import ReaderError

from runner.language import mark, tr


class YamlFault(NamedTuple):
    """What is wrong with a text as YAML."""

    line: int
    """Line, counted from 1."""
    column: int
    """Column, counted from 1."""
    text: str
    """What is wrong and what to write."""


class _Row(NamedTuple):
    pattern: str
    """Matches PyYAML's context and problem, with ` | ` between them."""
    at_context: bool
    """Whether the fault is where the context begins."""
    text: str
    """The words; `{0}` is the pattern's group."""


_NO_COLON = mark("expected `key: value`, or `key:` above a block")

_ROWS = (
    _Row(
        "flow sequence",
        True,
        mark("the list that begins here is not closed: write `]` at its end, and `, ` between its values"),
    ),
    _Row(
        "flow mapping",
        True,
        mark("the mapping that begins here is not closed: write `}` at its end, and `, ` between its keys"),
    ),
    _Row("quoted scalar .*end of (stream|document)", True, mark("the quote that begins here is not closed")),
    _Row(
        "unknown escape character '(.)'",
        False,
        mark("`\\{0}` means nothing between double quotes: write `\\\\` for a backslash, or use single quotes"),
    ),
    _Row("scanning an alias", True, mark("a text may not begin with `*`: put it in straight quotes")),
    _Row("scanning an anchor", True, mark("a text may not begin with `&`: put it in straight quotes")),
    _Row(
        "scanning a block scalar",
        True,
        mark(
            "a text may not begin with `|` or `>`, which announce a text in the lines below: put it in straight quotes"
        ),
    ),
    _Row("mapping keys are not allowed", False, mark("a text may not begin with `? `: put it in straight quotes")),
    _Row("sequence entries are not allowed", False, mark("a text may not begin with `- `: put it in straight quotes")),
    _Row("expected '<document start>'", False, mark("this line is indented less than the first line of the file")),
    _Row("undefined alias", False, mark("a text may not begin with `*`: put it in straight quotes")),
    _Row("character '\\\\t' that cannot start", False, mark("there is a tab: YAML is indented with spaces")),
    _Row(
        "character '(.)' that cannot start", False, mark("a text may not begin with `{0}`: put it in straight quotes")
    ),
    _Row(
        "expected the node content, but found '(.)'",
        False,
        mark("a text may not begin with `{0}`: put it in straight quotes"),
    ),
    _Row("simple key .*could not find expected ':'", True, _NO_COLON),
    _Row("<block end>, but found '<block", False, mark("this line is indented differently from the keys of its block")),
    _Row(
        "<block end>, but found '(<scalar>|[\\]},])'",
        False,
        mark(
            "there is more after the end of the value: put the whole text in straight quotes, "
            "and write a quote in it twice"
        ),
    ),
    _Row("another document", False, mark("`---` begins a second document: a recipe is one")),
)


def fault_of(error: yaml.YAMLError, lines: Sequence[str]) -> YamlFault:
    """The fault behind an error of PyYAML, in a text of these lines."""
    if isinstance(error, ReaderError):
        before = "\n".join(lines)[: error.position]
        text = tr(
            "not YAML: the character U+{character:04X} may not be in it; remove it", character=int(error.character)
        )
        return YamlFault(before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1, text)
    if not isinstance(error, yaml.MarkedYAMLError):
        return YamlFault(1, 1, tr("not YAML: {error}", error=" ".join(str(error).split())))
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return YamlFault(1, 1, tr("not YAML: {problem}", problem=error.problem or error.context))
    if "mapping values are not allowed" in str(error.problem):
        return _second_colon(mark.line, mark.column, lines)
    unclosed = _unclosed_quote(mark.line, lines) if "<scalar>" in str(error.problem) else None
    if unclosed:
        return unclosed
    found = f"{error.context} | {error.problem}"
    for row in _ROWS:
        match = re.search(row.pattern, found)
        if match:
            place = (error.context_mark if row.at_context else None) or mark
            group = match.group(1) if match.groups() else ""
            return YamlFault(
                place.line + 1, place.column + 1, tr("not YAML: {problem}", problem=tr(row.text).replace("{0}", group))
            )
    return YamlFault(mark.line + 1, mark.column + 1, tr("not YAML: {problem}", problem=error.problem or error.context))


def _unclosed_quote(before: int, lines: Sequence[str]) -> Optional[YamlFault]:
    """A quote that is not closed in its line: it ends at the next quote, lines below, and what follows makes no sense."""
    for number, line in enumerate(lines[:before]):
        found = re.search(r""":\s+(?P<quote>["'])(?:(?!(?P=quote)).)*$""", line)
        if found:
            return YamlFault(
                number + 1, found.start("quote") + 1, tr("not YAML: the quote that begins here is not closed")
            )
    return None


def _second_colon(line: int, column: int, lines: Sequence[str]) -> YamlFault:
    """A colon where no key can be: in a text, below a value, or below a line that lacks its own."""
    if re.search(r":\s", lines[line][:column]):
        return YamlFault(
            line + 1, column + 1, tr("not YAML: a second `: ` in one line; put the text in straight quotes")
        )
    above = next((number for number in range(line - 1, -1, -1) if lines[number].strip()), line)
    if above < line and ":" not in lines[above]:
        start = len(lines[above]) - len(lines[above].lstrip())
        return YamlFault(above + 1, start + 1, tr("not YAML: {no_colon}", no_colon=_NO_COLON))
    start = len(lines[line]) - len(lines[line].lstrip())
    text = tr("not YAML: this line is indented deeper than the line above, which has a value already")
    return YamlFault(line + 1, start + 1, text)
