"""The duration: a time as recipes write it, such as `40m`."""

from __future__ import annotations

import re

PATTERN = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smh])"
"""A duration as a regular expression."""

_FORM = re.compile(PATTERN)

_SECONDS = {"s": 1, "m": 60, "h": 3600}


class Duration(str):
    """A text such as `90s`, `40m` or `1.5h`, more than zero."""

    __slots__ = ()

    @staticmethod
    def is_valid(text: str) -> bool:
        """Whether a text is a duration."""
        found = _FORM.fullmatch(text)
        return found is not None and float(found[1]) > 0

    @property
    def seconds(self) -> float:
        """The time in seconds."""
        return float(self[:-1]) * _SECONDS[self[-1]]
