"""Visible text: strangers' texts as a page shows them, with nothing in them that is invisible or moves other text."""

from __future__ import annotations

import unicodedata

KEPT = "\n\t\u200c\u200d"
"""Characters without a shape that belong to ordinary texts: scripts and emoji join by the last two."""

ESCAPED = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of characters without a shape: controls, marks of direction, surrogates, separators."""


def visible(text: str, most: int = 0) -> str:
    """The text with escapes such as `\\u202e` for what could not be seen; cut to `most` characters, if that is not 0."""
    cut = text[:most] if most and len(text) > most else text
    if cut.isascii() and cut.isprintable():
        return cut
    return "".join(map(_visible, cut))


def shortened(text: str, most: int) -> str:
    """The same with a mark at the end where it is cut."""
    return visible(text, most) + ("…" if len(text) > most else "")


def _visible(character: str) -> str:
    if character in KEPT or unicodedata.category(character) not in ESCAPED:
        return character
    return f"\\u{ord(character):04x}" if character > "\xff" else f"\\x{ord(character):02x}"
