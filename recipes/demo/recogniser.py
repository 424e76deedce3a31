"""The recogniser: says whether a line of words is a sentence of the demo language.

Its rules are a table of their own, and more generous than what `grammar` builds: commands, bare plurals (`dogs sleep`), relatives
without `that`, adjectives used as nouns (`the poor sleep`) are English too, and a word dropped by chance must not
turn a sentence into one of these and be called unacceptable. So: what the recogniser refuses is unacceptable.

    python recipes/demo/recogniser.py the dogs that the cat fears sleep .

Standard library only.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from vocabulary import (
    ADJECTIVES,
    INTRANSITIVE,
    MANNERS,
    MODALS,
    NOUNS,
    PREPOSITIONS,
    TIMES,
    TRANSITIVE,
)

# A symbol to its right-hand sides, one string each; a word that is no symbol stands for itself, `x?` may be missing, and
# `x*` may repeat. Where `#` stands, the rule is written twice: for the singular and for the plural.
_RULES: dict[str, Sequence[str]] = {
    "TEXT": ("CLAUSE .", "CLAUSE ?"),
    "CLAUSE": ("FRONT? STATEMENT", "FRONT? QUESTION", "FRONT? COMMAND"),
    "FRONT": ("TIME ,?", "MANNER ,?", "PLACE ,?"),
    "STATEMENT": ("NP-sg PRED-sg", "NP-pl PRED-pl"),
    "COMMAND": ("ADV* ACTION END*", "do not ADV* ACTION END*"),
    # What is said of a subject.
    "PRED-#": (
        "ADV* VT-# NP END*",
        "ADV* VI-# END*",
        "DO-# not? ADV* ACTION END*",
        "MODAL not? ADV* ACTION END*",
        "ADV* BE-# not? ADV* STATE END*",
    ),
    "ACTION": ("VT-base NP", "VI-base", "be ADV* STATE"),
    "STATE": ("VT-past BYWHOM?", "ADJ", "PLACE", "NP"),
    "BYWHOM": ("ADV* by NP",),
    # Questions; those with `which` as their subject have a statement's word order.
    "QUESTION": (
        "DO-# not? NP-# not? ADV* ACTION END*",
        "MODAL not? NP not? ADV* ACTION END*",
        "BE-# not? NP-# not? ADV* STATE END*",
        "ASKED DO-# not? NP-# not? ADV* LACK END*",
        "ASKED MODAL not? NP not? ADV* LACK END*",
        "ASKED BE-# not? NP-# not? ADV* LACKSTATE END*",
        "PREP ASKED DO-# NP-# not? ADV* ACTION END*",
        "by ASKED BE-# NP-# not? ADV* STATE END*",
        "by ASKED MODAL NP not? ADV* be ADV* STATE END*",
    ),
    "ASKED": ("NP",),
    # Predicates from which a noun phrase is missing: behind `which dog does the cat …`, `the dog that the cat …`.
    "LACK": ("VT-base", "VI-base PREP", "be ADV* LACKSTATE"),
    "LACKSTATE": ("VT-past ADV* by", "PREP"),
    "LACKPRED-#": (
        "ADV* VT-#",
        "ADV* VI-# PREP",
        "DO-# not? ADV* LACK",
        "MODAL not? ADV* LACK",
        "ADV* BE-# not? ADV* LACKSTATE",
    ),
    # Noun phrases.
    "NP": ("NP-sg", "NP-pl"),
    "NP-sg": ("not? DET-sg ADJ* N-sg NMOD-sg*", "not? ALONE-sg NMOD-sg*"),
    "NP-pl": (
        "not? DET-pl ADJ* N-pl NMOD-pl*",
        "not? ADJ* N-pl NMOD-pl*",
        "not? ALONE-pl NMOD-pl*",
        "not? the ADJ ADJ* NMOD-pl*",
    ),
    "DET-sg": ("the", "a", "this", "that", "every", "some", "which"),
    "DET-pl": ("the", "these", "some", "many", "which", "the many", "these many", "which many"),
    "ALONE-sg": ("this", "that", "which", "some"),
    "ALONE-pl": ("these", "some", "many", "which"),
    "NMOD-#": (
        "PLACE",
        "THAT PRED-#",
        "THAT? NP-sg LACKPRED-sg END*",
        "THAT? NP-pl LACKPRED-pl END*",
        "ADV* VT-past BYWHOM? END*",
        "TIME",
    ),
    "THAT": ("that", "which"),
    "PLACE": ("PREP NP",),
    # What may stand before a verb, and at the end of a predicate.
    "ADV": ("MANNER", "TIME"),
    "END": ("MANNER", "TIME", "PLACE"),
    # Words.
    "DO-sg": ("does", "did"),
    "DO-pl": ("do", "did"),
    "BE-sg": ("is", "was"),
    "BE-pl": ("are", "were"),
    "MODAL": MODALS,
    "PREP": (*PREPOSITIONS, "by"),
    "ADJ": ADJECTIVES,
    "MANNER": MANNERS,
    "TIME": tuple(" ".join(time) for time in TIMES),
    "N-sg": tuple(noun.singular for noun in NOUNS),
    "N-pl": tuple(noun.plural for noun in NOUNS),
    "VT-sg": tuple(form for verb in TRANSITIVE for form in (verb.third, verb.past)),
    "VT-pl": tuple(form for verb in TRANSITIVE for form in (verb.base, verb.past)),
    "VT-base": tuple(verb.base for verb in TRANSITIVE),
    "VT-past": tuple(verb.past for verb in TRANSITIVE),
    "VI-sg": tuple(form for verb in INTRANSITIVE for form in (verb.third, verb.past)),
    "VI-pl": tuple(form for verb in INTRANSITIVE for form in (verb.base, verb.past)),
    "VI-base": tuple(verb.base for verb in INTRANSITIVE),
}


@dataclass(frozen=True)
class _Part:
    """One symbol on the right-hand side of a rule."""

    symbol: str
    optional: bool
    repeats: bool


_Side = tuple[_Part, ...]


def _part(text: str) -> _Part:
    symbol = text if len(text) == 1 else text.rstrip("?*")  # the mark `?` itself is a word
    return _Part(symbol, optional=symbol != text, repeats=text.endswith("*"))


def _expanded() -> dict[str, tuple[_Side, ...]]:
    rules: dict[str, list[_Side]] = {}
    for symbol, sides in _RULES.items():
        for side in sides:
            for number in ("sg", "pl") if "#" in symbol + side else ("",):
                parts = tuple(_part(text) for text in side.replace("#", number).split())
                rules.setdefault(symbol.replace("#", number), []).append(parts)
    return {symbol: tuple(sides) for symbol, sides in rules.items()}


RULES = _expanded()


def _first_words() -> dict[str, frozenset[str]]:
    """The words that each symbol can begin with, so that the search leaves out what cannot fit. No symbol is empty."""
    first: dict[str, frozenset[str]] = {symbol: frozenset() for symbol in RULES}
    while True:
        grown = {symbol: frozenset().union(*(_beginnings(side, first) for side in RULES[symbol])) for symbol in RULES}
        if grown == first:
            return first
        first = grown


def _beginnings(side: _Side, first: dict[str, frozenset[str]]) -> frozenset[str]:
    found: frozenset[str] = frozenset()
    for part in side:
        found |= first.get(part.symbol, frozenset((part.symbol,)))
        if not part.optional:
            break
    return found


_FIRST = _first_words()
_BY_WORD: dict[str, dict[str, tuple[_Side, ...]]] = {
    symbol: {
        word: tuple(side for side in RULES[symbol] if word in _beginnings(side, _FIRST)) for word in _FIRST[symbol]
    }
    for symbol in RULES
}
"""From a symbol and the word at hand to the rules that can apply."""


def is_sentence(words: Sequence[str]) -> bool:
    """Whether `words`, final mark included, are a sentence of the language. Every rule consumes a word before it comes
    back to itself, so that the search ends; each symbol is searched once at each place."""
    line = [*words, ""]  # no rule begins with the empty word
    known: dict[tuple[str, int], frozenset[int]] = {}

    def ends(symbol: str, start: int) -> frozenset[int]:
        """The places where a `symbol` that begins at `start` can end."""
        if symbol not in RULES:
            return frozenset((start + 1,)) if line[start] == symbol else frozenset()
        found = known.get((symbol, start))
        if found is None:
            sides = _BY_WORD[symbol].get(line[start], ())
            found = known[symbol, start] = frozenset(end for side in sides for end in behind(side, start))
        return found

    def behind(side: _Side, start: int) -> set[int]:
        places = {start}
        for part in side:
            reached = {end for place in places for end in ends(part.symbol, place)}
            fresh = reached
            while part.repeats and fresh:
                fresh = {end for place in fresh for end in ends(part.symbol, place)} - reached
                reached |= fresh
            places = places | reached if part.optional else reached
            if not places:
                break
        return places

    return len(words) in ends("TEXT", 0)


if __name__ == "__main__":
    print("a sentence" if is_sentence(sys.argv[1:]) else "no sentence")
