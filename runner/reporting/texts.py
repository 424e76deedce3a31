"""The texts of a page: strangers' inputs, cut so that all of them together stay small."""

from __future__ import annotations

from collections.abc import Sequence

from runner.reporting.visible import visible

CHARACTERS = (600, 300, 150, 80)
"""Most characters of a text: the first of these with which all texts together are small enough."""

MOST_BYTES = 1_200_000
"""Most bytes of all texts of a page."""


def kept_texts(texts: Sequence[str]) -> tuple[list[str], int]:
    """The texts as a page shows them, each with a mark where it is cut, and after how many characters that is."""
    from markupsafe import escape

    for most in CHARACTERS:
        found = [visible(text, most) + ("…" if len(text) > most else "") for text in texts]
        if sum(len(str(escape(text)).encode("utf-8", "replace")) for text in found) <= MOST_BYTES:
            break
    return found, most
