"""The texts of a page: strangers' inputs, cut so that all of them together stay small."""

from __future__ import annotations

from collections.abc import Sequence

from runner.reporting.visible import visible

CHARACTERS = (600, 300, 150, 80)
"""Most characters of a text: the first of these with which all texts together are small enough."""

MOST_BYTES = 1_200_000
"""Most bytes of all texts of a page."""


def kept_texts(texts: Sequence[str], lengths: Sequence[int]) -> tuple[list[str], int]:
    """The texts as a page shows them, each with a mark where it is cut, and the most characters of one.

    Args:
        texts: As far as they are stored.
        lengths: Characters of each whole text.
    """
    from markupsafe import escape

    for most in CHARACTERS:
        cut = [text[:most] for text in texts]
        found = [visible(text) + "…" * (len(text) < length) for text, length in zip(cut, lengths)]
        if sum(len(str(escape(text)).encode("utf-8", "replace")) for text in found) <= MOST_BYTES:
            break
    return found, max(map(len, cut), default=0)
