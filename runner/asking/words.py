"""The words of a text, to be left out one at a time. A Chinese or Japanese character is a word of its own."""

from __future__ import annotations

import re
from typing import NamedTuple

_CHARACTER = "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af]"

_WORD = re.compile(rf"{_CHARACTER}|(?:(?!{_CHARACTER})\S)+")

MOST_WORDS = 200
"""Most parts that a text is split into; in a longer one several words are left out together."""


class Word(NamedTuple):
    """A part of a text."""

    start: int
    """Its first character."""
    end: int
    """The character after its last."""


def words_of(text: str) -> list[Word]:
    """The words of a text in order; more than `MOST_WORDS` are joined in equal runs."""
    found = [Word(*match.span()) for match in _WORD.finditer(text)]
    size = -(-len(found) // MOST_WORDS)
    if size <= 1:
        return found
    runs = [found[first : first + size] for first in range(0, len(found), size)]
    return [Word(run[0].start, run[-1].end) for run in runs]


def without(text: str, word: Word) -> str:
    """The text without a word, and without the space that is then one too many."""
    before, after = text[: word.start], text[word.end :]
    if after[:1].isspace() and (not before or before[-1].isspace()):
        after = after[1:]
    elif not after and before[-1:].isspace():
        before = before[:-1]
    return before + after
