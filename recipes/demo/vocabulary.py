"""The demo language's vocabulary: about 150 English words with the forms that its grammar needs.

Regular and irregular words alike are written out, so that a form is looked up and never guessed. Every word here is
one token of the demo's tokenizer. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """A verb in the four forms that the grammar asks for."""

    base: str
    """The plain form: after `do`, after a modal, and with a plural subject in the present."""
    third: str
    """With a singular subject in the present: `greets`."""
    past: str
    """The simple past: `greeted`."""
    transitive: bool
    """True: needs an object and has a passive, whose participle is `past`. False: takes no object."""


@dataclass(frozen=True)
class Noun:
    """A countable noun."""

    singular: str
    plural: str
    place: bool = False
    """True: stands behind a preposition only. False: a person or an animal, which can do and undergo everything."""


TRANSITIVE: tuple[Verb, ...] = (
    Verb("greet", "greets", "greeted", True),
    Verb("thank", "thanks", "thanked", True),
    Verb("blame", "blames", "blamed", True),
    Verb("avoid", "avoids", "avoided", True),
    Verb("visit", "visits", "visited", True),
    Verb("invite", "invites", "invited", True),
    Verb("praise", "praises", "praised", True),
    Verb("fear", "fears", "feared", True),
    Verb("chase", "chases", "chased", True),
    Verb("pursue", "pursues", "pursued", True),
    Verb("spot", "spots", "spotted", True),
    Verb("notice", "notices", "noticed", True),
)

INTRANSITIVE: tuple[Verb, ...] = (
    Verb("sleep", "sleeps", "slept", False),
    Verb("laugh", "laughs", "laughed", False),
    Verb("arrive", "arrives", "arrived", False),
    Verb("sneeze", "sneezes", "sneezed", False),
    Verb("vanish", "vanishes", "vanished", False),
    Verb("disappear", "disappears", "disappeared", False),
)

VERBS: tuple[Verb, ...] = TRANSITIVE + INTRANSITIVE

BEINGS: tuple[Noun, ...] = (
    Noun("doctor", "doctors"),
    Noun("physician", "physicians"),
    Noun("child", "children"),
    Noun("kid", "kids"),
    Noun("farmer", "farmers"),
    Noun("teacher", "teachers"),
    Noun("woman", "women"),
    Noun("king", "kings"),
    Noun("friend", "friends"),
    Noun("soldier", "soldiers"),
    Noun("dog", "dogs"),
    Noun("cat", "cats"),
    Noun("horse", "horses"),
)

PLACES: tuple[Noun, ...] = (
    Noun("house", "houses", True),
    Noun("river", "rivers", True),
    Noun("garden", "gardens", True),
    Noun("shop", "shops", True),
    Noun("store", "stores", True),
)

NOUNS: tuple[Noun, ...] = BEINGS + PLACES

ADJECTIVES: tuple[str, ...] = ("big", "large", "glad", "happy", "smart", "clever", "young", "tall", "poor", "strange")
MANNERS: tuple[str, ...] = ("quickly", "rapidly", "quietly", "silently", "gladly", "rarely")
TIMES: tuple[tuple[str, ...], ...] = (
    ("today",),
    ("at", "night"),
    ("in", "winter"),
    ("in", "summer"),
    ("on", "sunday"),
    ("on", "monday"),
)
PREPOSITIONS: tuple[str, ...] = ("near", "behind", "beside")

DEFINITE: tuple[tuple[str, str], ...] = (("the", "the"), ("the", "the"), ("this", "these"))
"""Determiners as (singular, plural); a repeated one is picked more often."""

QUANTIFIED: tuple[tuple[str, str], ...] = (("a", "some"), ("every", "many"), ("some", "some"))

MODALS: tuple[str, ...] = ("will", "can", "must")
FUNCTION_WORDS: tuple[str, ...] = ("do", "does", "did", "is", "are", "was", "were", "be", "not", "by", "that", "which")
PUNCTUATION: tuple[str, ...] = (",", ".", "?")

SYNONYMS: tuple[tuple[str, str], ...] = (
    ("chase", "pursue"),
    ("spot", "notice"),
    ("vanish", "disappear"),
    ("doctor", "physician"),
    ("child", "kid"),
    ("shop", "store"),
    ("big", "large"),
    ("glad", "happy"),
    ("smart", "clever"),
    ("quickly", "rapidly"),
    ("quietly", "silently"),
)
"""Words of one meaning, by their dictionary form. The language knows no others: `tall` and `big` differ in meaning."""


def _every_word() -> tuple[str, ...]:
    words = [form for verb in VERBS for form in (verb.base, verb.third, verb.past)]
    words += [form for noun in NOUNS for form in (noun.singular, noun.plural)]
    words += [*ADJECTIVES, *MANNERS, *PREPOSITIONS, *MODALS, *FUNCTION_WORDS]
    words += [word for time in TIMES for word in time]
    words += [form for pair in DEFINITE + QUANTIFIED for form in pair]
    return tuple(dict.fromkeys(words))  # each once, in this order: a set's order would change from run to run


WORDS: tuple[str, ...] = _every_word()
"""Every word of the language once, punctuation not counted."""

SYNONYM: dict[str, str] = dict(SYNONYMS) | {b: a for a, b in SYNONYMS}
"""From a word to the other word of its meaning."""

CANONICAL: dict[str, str] = {second: first for first, second in SYNONYMS}
"""From the second word of a synonym pair to the first, which stands for both where meanings are compared."""

VERB_OF: dict[str, Verb] = {verb.base: verb for verb in VERBS}
NOUN_OF: dict[str, Noun] = {noun.singular: noun for noun in NOUNS}
