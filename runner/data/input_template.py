"""The input template: how the columns of a row become a record's input, in the file's order or with two columns exchanged."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Optional

Fill = Callable[[Sequence[str]], str]
"""From a row's fields to an input."""


class InputTemplate:
    """`task.input` for one table. The functions are made once, because every row of the file calls them."""

    def __init__(self, template: str, columns: Sequence[str], swap: Sequence[str] = ()) -> None:
        """`columns`: those of the table. `swap`: the two that may be exchanged, or none."""
        parts = [(text, name) for text, name, _, _ in string.Formatter().parse(template)]
        names = [name for _, name in parts if name is not None]
        other = dict(zip(swap, reversed(swap)))
        self.columns = [columns.index(name) for name in names]
        """The columns in the template, by their places in the table."""
        pattern = "".join(text.replace("%", "%%") + ("" if name is None else "%s") for text, name in parts)
        self.fill: Fill = _filler(pattern, self.columns)
        """The input of a row."""
        self.fill_swapped: Optional[Fill] = None
        """The input of a row with the two columns exchanged; None: there are no such columns."""
        if swap:
            self.fill_swapped = _filler(pattern, [columns.index(other.get(name, name)) for name in names])
        self._parts, self._names, self._other = parts, names, other

    def key(self, fields: Sequence[str]) -> int:
        """A hash of a row's input, equal for equal inputs in this process, and equal for both orders."""
        key = hash(self.fill(fields))
        return key if self.fill_swapped is None else min(key, hash(self.fill_swapped(fields)))

    def swapped_text(self, text: str) -> Optional[str]:
        """An input with the two columns exchanged, from the input alone; None where it can be split in no way or in several."""
        first, last = (re.fullmatch(self._regex(repeat), text, re.DOTALL) for repeat in (".*?", ".*"))
        # the shortest and the longest first column: equal only if there is no other way to split
        if first is None or last is None or first.groupdict() != last.groupdict():
            return None
        values = {name: first[f"c{self._names.index(name)}"] for name in self._names}
        return "".join(
            literal + ("" if name is None else values[self._other.get(name, name)]) for literal, name in self._parts
        )

    def _regex(self, repeat: str) -> str:
        """The template as a regular expression: a group for each column, and a back reference where it comes again."""
        pattern, seen = "", set()
        for literal, name in self._parts:
            pattern += re.escape(literal)
            if name is not None:
                group = f"c{self._names.index(name)}"
                pattern += f"(?P={group})" if name in seen else f"(?P<{group}>{repeat})"
                seen.add(name)
        return pattern


def _filler(pattern: str, columns: Sequence[int]) -> Fill:
    if len(columns) == 1:
        return lambda fields: pattern % fields[columns[0]]
    pick = itemgetter(*columns)
    return lambda fields: pattern % pick(fields)
