"""Rows of JSON: one object a line (JSONL), or an array of objects."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator
from typing import Any, NamedTuple, Optional

from runner.errors import DataError
from runner.language import mark, tr

Values = dict[str, Optional[str]]
"""The values of a row by the names of their columns; None for a list or an object."""


class NamedRow(NamedTuple):
    """A row whose values have names."""

    line: int
    """Line in the file that it begins on, or its number where the file has no lines; from 1."""
    values: Values
    """Its values; empty where the row cannot be read."""
    problem: str
    """The problem of a bad row: expected and found. Empty for a good row."""


def is_object(line: bytes) -> bool:
    """Whether a line holds one JSON object."""
    return line.lstrip().startswith(b"{") and not _parsed(1, line).problem


def is_list(line: bytes) -> bool:
    """Whether a line holds a whole JSON list that is not one of objects."""
    if not line.lstrip().startswith(b"["):
        return False
    try:
        value = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return False
    return bool(value) and not isinstance(value[0], dict)


def json_lines(lines: Iterable[bytes], only: Optional[Container[int]] = None) -> Iterator[NamedRow]:
    """A row for each line; or `only` for these lines."""
    for number, line in enumerate(lines, 1):
        if only is None or number in only:
            yield _parsed(number, line) if line.strip() else NamedRow(number, {}, BLANK)


BLANK = mark("expected a row, found a blank line")
"""The problem of a line without text."""


def json_array(text: str, shown: str, only: Optional[Container[int]] = None) -> Iterator[NamedRow]:
    """A row for each object of an array; or `only` for those that begin on these lines.

    Raises DataError where the text cannot be read as an array: what follows has no place."""
    decoder = json.JSONDecoder(object_pairs_hook=_Pairs, parse_int=str, parse_float=str)
    place, line = text.index("[") + 1, text.count("\n", 0, text.index("[") + 1) + 1
    while True:
        start = place
        while text[place : place + 1].isspace() or text[place : place + 1] == ",":
            place += 1
        line += text.count("\n", start, place)
        if text[place : place + 1] == "]":
            return
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            raise DataError(
                tr(
                    "{shown}:{line}: cannot be read as JSON from here: {text!r}",
                    shown=shown,
                    line=line,
                    text=text[place : place + 40],
                ),
                tr("correct the file, or save it again"),
            ) from None
        if only is None or line in only:
            yield _row(line, value)
        line += text.count("\n", place, end)
        place = end


class _Pairs(list):  # type: ignore[type-arg]
    """The members of an object in order, repeated names included."""


def _parsed(number: int, line: bytes) -> NamedRow:
    try:
        text = line.decode("utf-8")
        return _row(number, json.loads(text, object_pairs_hook=_Pairs, parse_int=str, parse_float=str))
    except UnicodeDecodeError as error:
        return NamedRow(
            number,
            {},
            tr(
                "expected text, found byte 0x{byte:02x} at byte {offset}",
                byte=line[error.start],
                offset=error.start + 1,
            ),
        )
    except (ValueError, RecursionError):
        return NamedRow(
            number, {}, tr("expected a JSON object, found {text!r}", text=line.decode("utf-8", "replace").strip()[:80])
        )


def _row(number: int, value: Any) -> NamedRow:
    if not isinstance(value, _Pairs):
        return NamedRow(number, {}, tr("expected a JSON object, found {value!r}", value=str(value)[:80]))
    values: Values = {}
    for name, each in value:
        if name in values:
            return NamedRow(number, {}, tr("the key {name!r} is there twice", name=name))
        values[name] = as_text(each)
    return NamedRow(number, values, "")


def as_text(value: Any) -> Optional[str]:
    """A value as the text that a table would hold; None for a list or an object. Numbers are as the file writes them."""
    if isinstance(value, str):
        # half a character (a bare surrogate) can be in JSON, and in no other file
        return value if value.isascii() or value.encode("utf-8", "ignore").decode() == value else None
    # NaN stands for a missing value: pandas writes it so
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return None if isinstance(value, (list, dict, bytes)) else str(value)
