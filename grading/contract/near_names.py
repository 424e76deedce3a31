"""Near misses: names that are probably meant to be another name, such as `cola` for `CoLA`."""

import re
import unicodedata

SHORTEST = 4
"""Shortest name in which one wrong letter is still a near miss: `QQP` and `QNP` may be two datasets."""


def squashed(name: str) -> str:
    """A name without what people mix up: case, spaces, hyphens, underscores, dots and full-width characters."""
    return re.sub(r"[\s_.-]+", "", unicodedata.normalize("NFKC", name).casefold())


def differs_in_spelling_only(expected: str, found: str) -> bool:
    """Whether two names differ, but only in case, spaces, hyphens, underscores, dots or full-width characters."""
    return expected != found and squashed(expected) == squashed(found)


def is_near(expected: str, found: str) -> bool:
    """Whether `found` is not `expected` and is spelled so alike that it may be meant."""
    if expected == found:
        return False
    one, other = squashed(expected), squashed(found)
    numberless = squashed(re.sub(r"[_ (-]+\d{1,9}\)?$", "", found))
    return one in (other, numberless) or (min(len(one), len(other)) >= SHORTEST and _one_edit_apart(one, other))


def _one_edit_apart(one: str, other: str) -> bool:
    """Whether one letter was changed, added or left out, or two neighbours exchanged."""
    at = 0
    while at < min(len(one), len(other)) and one[at] == other[at]:
        at += 1
    left, right = one[at:], other[at:]
    return (
        left[1:] == right[1:]
        or left == right[1:]
        or left[1:] == right
        or (left[:2] == right[:2][::-1] and left[2:] == right[2:])
    )
