"""The demo's grammar: clauses as meanings, the sentences that say them, and what can go wrong with either.

A `Clause` is what is meant: who does what to whom, when, how. A `Form` is one way to say it: active or passive, the
time first or last. From the two come the demo's tasks:

* `damaged` breaks a sentence (agreement, word order, a missing or a stray word …); `recogniser` guarantees that the outcome
  is no sentence.
* `restated` says the same clause otherwise: another form, other words of the same meaning.
* `altered` changes the meaning and keeps nearly all words: roles swapped, an adjective moved, a noun exchanged.

Everything is drawn from the `random.Random` it is given, in an order that does not depend on the Python version.
Standard library only. To see some of it:

    python recipes/demo/grammar.py
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Callable, Optional, Union

from recogniser import is_sentence
from vocabulary import (
    ADJECTIVES,
    BEINGS,
    CANONICAL,
    DEFINITE,
    INTRANSITIVE,
    MANNERS,
    MODALS,
    NOUN_OF,
    NOUNS,
    PLACES,
    PREPOSITIONS,
    QUANTIFIED,
    SYNONYM,
    TIMES,
    TRANSITIVE,
    VERB_OF,
    VERBS,
)

Words = list[str]


@dataclass(frozen=True)
class Place:
    """`near the garden`, said of a noun."""

    preposition: str
    where: Phrase


@dataclass(frozen=True)
class Relative:
    """`that greets the dog` (the noun acts), `that the dog greets` (the noun undergoes), `that sleeps` (no other)."""

    verb: str
    """Base form."""
    tense: str
    """`present`, `past` or a modal."""
    other: Optional[Phrase]
    """The other one; None where the verb takes no object."""
    acts: bool
    """True: the noun is the one that acts."""


@dataclass(frozen=True)
class Phrase:
    """A noun phrase."""

    determiner: tuple[str, str]
    """As (singular, plural)."""
    adjective: Optional[str]
    noun: str
    """Singular form."""
    plural: bool
    about: Union[Place, Relative, None] = None
    """What else is said of it, behind the noun."""


@dataclass(frozen=True)
class Clause:
    """A meaning: who does what to whom, when and how, stated or asked."""

    agent: Phrase
    """Who acts."""
    verb: str
    """Base form."""
    patient: Optional[Phrase]
    """Who undergoes it; None where the verb takes no object."""
    tense: str
    """`present`, `past` or a modal."""
    negated: bool
    manner: Optional[str]
    time: Optional[tuple[str, ...]]
    asks: str
    """`nothing` (a statement), `whether` (yes or no), `agent` or `patient` (`which …`)."""


@dataclass(frozen=True)
class Form:
    """One way to say a clause."""

    passive: bool = False
    time_first: bool = False
    """`at night , the dog sleeps` instead of `the dog sleeps at night`."""
    manner_first: bool = False
    """`the dog quietly sleeps` instead of `the dog sleeps quietly`."""


WHICH = ("which", "which")


# Meanings, drawn at random.


def _chance(rng: random.Random, probability: float) -> bool:
    return rng.random() < probability


def _phrase(rng: random.Random, nouns: Sequence[str], determiners: Sequence[tuple[str, str]]) -> Phrase:
    return Phrase(
        determiner=rng.choice(determiners),
        adjective=rng.choice(ADJECTIVES) if _chance(rng, 0.3) else None,
        noun=rng.choice(nouns),
        plural=_chance(rng, 0.5),
    )


def _tense(rng: random.Random) -> str:
    draw = rng.random()
    return "present" if draw < 0.6 else "past" if draw < 0.8 else rng.choice(MODALS)


def _about(rng: random.Random, beings: Sequence[str]) -> Union[Place, Relative]:
    if _chance(rng, 0.5):
        where = _phrase(rng, [noun.singular for noun in PLACES], DEFINITE)
        return Place(rng.choice(PREPOSITIONS), replace(where, adjective=None))
    if _chance(rng, 0.3):
        return Relative(rng.choice(INTRANSITIVE).base, _tense(rng), None, True)
    other = replace(_phrase(rng, beings, DEFINITE), adjective=None)
    return Relative(rng.choice(TRANSITIVE).base, _tense(rng), other, _chance(rng, 0.5))


def clause(rng: random.Random, asks: Sequence[str] = ("nothing", "whether"), transitive: float = 0.7) -> Clause:
    """A random meaning. `asks` holds what it may ask, `transitive` is the share of verbs with an object.

    No noun occurs twice, not even as a synonym: `the doctor greets the physician` would say nothing definite. At most
    one phrase is quantified, and none under a negation, where `every` and `not` would mean something else in the passive."""
    beings: list[str] = []
    for noun in rng.sample([noun.singular for noun in BEINGS], len(BEINGS)):
        if SYNONYM.get(noun) not in beings:
            beings.append(noun)
    has_object = _chance(rng, transitive)
    question = rng.choice(asks)
    if question == "patient" and not has_object:
        question = "agent"
    negated = _chance(rng, 0.15)
    quantified = None if negated or _chance(rng, 0.5) else rng.choice(("agent", "patient"))

    def phrase(role: str, noun: str) -> Phrase:
        determiners = QUANTIFIED if role == quantified else DEFINITE
        return _phrase(rng, [noun], [WHICH] if role == question else determiners)

    agent = phrase("agent", beings[0])
    patient = phrase("patient", beings[1]) if has_object else None
    draw = rng.random()
    if draw < 0.22:
        agent = replace(agent, about=_about(rng, beings[2:]))
    elif draw < 0.3 and patient:
        patient = replace(patient, about=_about(rng, beings[2:]))
    return Clause(
        agent=agent,
        verb=rng.choice(TRANSITIVE if has_object else INTRANSITIVE).base,
        patient=patient,
        tense=_tense(rng),
        negated=negated,
        manner=rng.choice(MANNERS) if _chance(rng, 0.2) else None,
        time=rng.choice(TIMES) if _chance(rng, 0.25) else None,
        asks=question,
    )


def form(rng: random.Random, meaning: Clause) -> Form:
    """A random way to say `meaning`; settings that would change nothing stay at False."""
    return Form(
        passive=meaning.patient is not None and _chance(rng, 0.4),
        time_first=meaning.time is not None and _chance(rng, 0.4),
        manner_first=meaning.manner is not None and _chance(rng, 0.5),
    )


# Meanings said in words.


def _say_phrase(phrase: Phrase) -> Words:
    noun = NOUN_OF[phrase.noun]
    words = [phrase.determiner[phrase.plural]]
    words += [phrase.adjective] if phrase.adjective else []
    words.append(noun.plural if phrase.plural else noun.singular)
    about = phrase.about
    if isinstance(about, Place):
        words += [about.preposition, *_say_phrase(about.where)]
    elif isinstance(about, Relative):
        other = _say_phrase(about.other) if about.other else []
        acting = phrase if about.acts or not about.other else about.other
        said = _say_verb(about.verb, about.tense, acting.plural)
        words += ["that", *said, *other] if about.acts else ["that", *other, *said]
    return words


def _say_verb(verb: str, tense: str, plural: bool) -> Words:
    forms = VERB_OF[verb]
    if tense == "present":
        return [forms.base if plural else forms.third]
    return [forms.past] if tense == "past" else [tense, forms.base]


def _split_verb(meaning: Clause, passive: bool, plural: bool, helped: bool) -> tuple[Words, Words]:
    """The auxiliary, which questions move and `not` follows, and the rest of the verb. `helped`: use `do` if need be."""
    forms = VERB_OF[meaning.verb]
    if passive:
        if meaning.tense in MODALS:
            return [meaning.tense], ["be", forms.past]
        be = ("is", "are") if meaning.tense == "present" else ("was", "were")
        return [be[plural]], [forms.past]
    if meaning.tense in MODALS:
        return [meaning.tense], [forms.base]
    if helped:
        return ["did" if meaning.tense == "past" else "do" if plural else "does"], [forms.base]
    return [], _say_verb(meaning.verb, meaning.tense, plural)


def say(meaning: Clause, way: Form = Form()) -> Words:
    """The words of `meaning`, final mark included. Raises ValueError for a passive without anyone who undergoes it."""
    if way.passive and meaning.patient is None:
        raise ValueError(f"{meaning.verb!r} has no object, so there is no passive of it")
    subject, other = (meaning.patient, meaning.agent) if way.passive else (meaning.agent, meaning.patient)
    assert subject is not None
    asked = meaning.agent if meaning.asks == "agent" else meaning.patient if meaning.asks == "patient" else None
    inverted = meaning.asks == "whether" or (asked is not None and asked is not subject)
    helper, verb = _split_verb(meaning, way.passive, subject.plural, inverted or meaning.negated)
    last = _say_phrase(other) if other and other is not asked else []
    last = ["by", *last] if way.passive else last
    manner = [meaning.manner] if meaning.manner else []
    time = list(meaning.time) if meaning.time else []
    # A manner behind a relative would belong to the relative's verb, a time too: then both come earlier.
    ends_open = (other if last and other else subject).about is not None and not (asked is other and asked is not None)
    manner_first = way.manner_first or ends_open
    time_first = way.time_first or ends_open
    words = [*time, ","] if time and time_first else []
    if asked is not None and asked is not subject:
        words += _say_phrase(asked)
    words += helper if inverted else []
    words += _say_phrase(subject)
    words += [] if inverted else helper
    words += ["not"] if meaning.negated else []
    words += manner if manner_first else []
    words += verb
    words += last
    words += [] if manner_first else manner
    words += [] if time_first else time
    return [*words, "." if meaning.asks == "nothing" else "?"]


# The same meaning otherwise.


def canonical(meaning: Clause) -> Clause:
    """The clause with one word for each pair of synonyms: two clauses mean the same where this is equal."""
    return _worded(meaning, lambda word: CANONICAL.get(word, word))


def _worded(meaning: Clause, reword: Callable[[str], str]) -> Clause:
    def phrase(part: Phrase) -> Phrase:
        about = part.about
        if isinstance(about, Place):
            about = replace(about, where=phrase(about.where))
        elif isinstance(about, Relative):
            other = phrase(about.other) if about.other else None
            about = replace(about, verb=reword(about.verb), other=other)
        adjective = reword(part.adjective) if part.adjective else None
        return replace(part, noun=reword(part.noun), adjective=adjective, about=about)

    return replace(
        meaning,
        agent=phrase(meaning.agent),
        verb=reword(meaning.verb),
        patient=phrase(meaning.patient) if meaning.patient else None,
        manner=reword(meaning.manner) if meaning.manner else None,
    )


def restated(rng: random.Random, meaning: Clause, way: Form, synonyms: float = 0.25) -> tuple[Clause, Form]:
    """The same meaning in another form: voice, place of the time and of the manner change at random, and each word that
    has a synonym is exchanged with probability `synonyms`. May come out as it went in where there is nothing to change."""
    other = Form(
        passive=way.passive != _chance(rng, 0.6) if meaning.patient else False,
        time_first=way.time_first != _chance(rng, 0.5) if meaning.time else False,
        manner_first=way.manner_first != _chance(rng, 0.5) if meaning.manner else False,
    )
    return _worded(meaning, lambda word: SYNONYM[word] if word in SYNONYM and _chance(rng, synonyms) else word), other


# Another meaning in nearly the same words. Each takes the clause and returns a changed one, or None where it does not apply.


def _swap_roles(rng: random.Random, meaning: Clause) -> Optional[Clause]:
    if meaning.patient is None:
        return None
    asks = {"agent": "patient", "patient": "agent"}.get(meaning.asks, meaning.asks)
    return replace(meaning, agent=meaning.patient, patient=meaning.agent, asks=asks)


def _swap_nouns(rng: random.Random, meaning: Clause) -> Optional[Clause]:
    if meaning.patient is None:
        return None
    agent, patient = meaning.agent, meaning.patient
    return replace(meaning, agent=replace(agent, noun=patient.noun), patient=replace(patient, noun=agent.noun))


def _move_adjective(rng: random.Random, meaning: Clause) -> Optional[Clause]:
    if meaning.patient is None or meaning.agent.adjective == meaning.patient.adjective:
        return None
    agent = replace(meaning.agent, adjective=meaning.patient.adjective)
    return replace(meaning, agent=agent, patient=replace(meaning.patient, adjective=meaning.agent.adjective))


def _turn_relative(rng: random.Random, meaning: Clause) -> Optional[Clause]:
    for role in ("agent", "patient"):
        phrase = getattr(meaning, role)
        if phrase and isinstance(phrase.about, Relative) and phrase.about.other:
            return _with(meaning, role, replace(phrase, about=replace(phrase.about, acts=not phrase.about.acts)))
    return None


def _exchange_noun(rng: random.Random, meaning: Clause) -> Optional[Clause]:
    taken = {CANONICAL.get(word, word) for word in _nouns(meaning)}
    free = [noun.singular for noun in BEINGS if CANONICAL.get(noun.singular, noun.singular) not in taken]
    role = rng.choice(("agent", "patient")) if meaning.patient else "agent"
    return _with(meaning, role, replace(getattr(meaning, role), noun=rng.choice(free)))


def _exchange_verb(rng: random.Random, meaning: Clause) -> Optional[Clause]:
    verbs = TRANSITIVE if meaning.patient else INTRANSITIVE
    return replace(meaning, verb=_another(rng, [verb.base for verb in verbs], meaning.verb))


def _exchange_adjective(rng: random.Random, meaning: Clause) -> Optional[Clause]:
    for role in ("agent", "patient") if _chance(rng, 0.5) else ("patient", "agent"):
        phrase = getattr(meaning, role)
        if phrase and phrase.adjective:
            return _with(meaning, role, replace(phrase, adjective=_another(rng, ADJECTIVES, phrase.adjective)))
    return None


def _exchange_number(rng: random.Random, meaning: Clause) -> Optional[Clause]:
    role = rng.choice(("agent", "patient")) if meaning.patient else "agent"
    return _with(meaning, role, replace(getattr(meaning, role), plural=not getattr(meaning, role).plural))


def _exchange_time(rng: random.Random, meaning: Clause) -> Optional[Clause]:
    if meaning.time is None:
        return None
    return replace(meaning, time=rng.choice([time for time in TIMES if time != meaning.time]))


def _exchange_tense(rng: random.Random, meaning: Clause) -> Optional[Clause]:
    tenses = [tense for tense in ("present", "past", *MODALS) if tense != meaning.tense]
    return replace(meaning, tense=rng.choice(tenses))


def _negate(rng: random.Random, meaning: Clause) -> Optional[Clause]:
    quantified = [part for part in (meaning.agent, meaning.patient) if part and part.determiner in QUANTIFIED]
    return None if quantified else replace(meaning, negated=not meaning.negated)


def _with(meaning: Clause, role: str, phrase: Phrase) -> Clause:
    return replace(meaning, agent=phrase) if role == "agent" else replace(meaning, patient=phrase)


def _another(rng: random.Random, words: Sequence[str], word: str) -> str:
    """One of `words` that means something else than `word`."""
    return rng.choice([other for other in words if CANONICAL.get(other, other) != CANONICAL.get(word, word)])


def _nouns(meaning: Clause) -> Words:
    phrases = [meaning.agent] + ([meaning.patient] if meaning.patient else [])
    others = [phrase.about.other for phrase in phrases if isinstance(phrase.about, Relative) and phrase.about.other]
    return [phrase.noun for phrase in phrases + others]


Alteration = Callable[[random.Random, Clause], Optional[Clause]]

ALTERATIONS: tuple[tuple[Alteration, int], ...] = (
    (_swap_roles, 6),  # these four keep the very words: only their order tells
    (_swap_nouns, 2),
    (_move_adjective, 2),
    (_turn_relative, 1),
    (_exchange_noun, 5),
    (_exchange_verb, 5),
    (_exchange_adjective, 4),
    (_exchange_number, 2),
    (_exchange_time, 2),
    (_exchange_tense, 2),
    (_negate, 2),
)
"""What changes a meaning, and how often it is tried."""


def altered(rng: random.Random, meaning: Clause) -> Clause:
    """Another meaning, close in words; never the same one, synonyms counted as one word."""
    while True:
        change = _weighted(rng, ALTERATIONS)
        other = change(rng, meaning)
        if other is not None and canonical(other) != canonical(meaning):
            return other


# Sentences broken. Each takes the words and a place, and returns the words with that place broken, or None where it does
# not apply.

_FIXED = frozenset([*MANNERS, *ADJECTIVES, *(word for time in TIMES for word in time), ",", ".", "?"])
"""Words that may stand at several places or repeat, so that moving or doubling them breaks nothing that is certain."""

_PARTNERS: dict[str, str] = {}
for _one, _many in [(verb.third, verb.base) for verb in VERBS] + [("is", "are"), ("was", "were"), ("does", "do")]:
    _PARTNERS[_one], _PARTNERS[_many] = _many, _one

_NUMBERS: dict[str, str] = {"this": "these", "these": "this", "every": "many", "many": "every", "a": "some"}
for _noun in NOUNS:
    _NUMBERS[_noun.singular], _NUMBERS[_noun.plural] = _noun.plural, _noun.singular

_FORMS: dict[str, tuple[str, ...]] = {
    form: tuple(other for other in (verb.base, verb.third, verb.past) if other != form)
    for verb in VERBS
    for form in (verb.base, verb.third, verb.past)
}

_OTHER_KIND: dict[str, tuple[str, ...]] = {}
for _verbs, _others in ((TRANSITIVE, INTRANSITIVE), (INTRANSITIVE, TRANSITIVE)):
    for _verb in _verbs:
        for _field in ("base", "third", "past"):
            _OTHER_KIND[getattr(_verb, _field)] = tuple(getattr(other, _field) for other in _others)

_HELPERS = ("do", "does", "did", "is", "are", "was", "were", *MODALS)
_STRAY = ("the", "by", "not", "that", "is", "are", "does", "did", "be", "will")


def _disagree(rng: random.Random, words: Words, place: int) -> Optional[Words]:
    return _put(words, place, _PARTNERS.get(words[place]))


def _wrong_number(rng: random.Random, words: Words, place: int) -> Optional[Words]:
    return _put(words, place, _NUMBERS.get(words[place]))


def _wrong_form(rng: random.Random, words: Words, place: int) -> Optional[Words]:
    return _put(words, place, rng.choice(_FORMS[words[place]]) if words[place] in _FORMS else None)


def _wrong_verb(rng: random.Random, words: Words, place: int) -> Optional[Words]:
    return _put(words, place, rng.choice(_OTHER_KIND[words[place]]) if words[place] in _OTHER_KIND else None)


def _wrong_helper(rng: random.Random, words: Words, place: int) -> Optional[Words]:
    return _put(words, place, rng.choice(_HELPERS) if words[place] in _HELPERS else None)


def _swap(rng: random.Random, words: Words, place: int) -> Optional[Words]:
    if place + 1 >= len(words) or words[place] in _FIXED or words[place + 1] in _FIXED - set(ADJECTIVES):
        return None
    return [*words[:place], words[place + 1], words[place], *words[place + 2 :]]


def _drop(rng: random.Random, words: Words, place: int) -> Optional[Words]:
    return None if words[place] in _FIXED else words[:place] + words[place + 1 :]


def _double(rng: random.Random, words: Words, place: int) -> Optional[Words]:
    return None if words[place] in _FIXED else words[: place + 1] + words[place:]


def _stray(rng: random.Random, words: Words, place: int) -> Optional[Words]:
    return [*words[:place], rng.choice(_STRAY), *words[place:]]


def _put(words: Words, place: int, word: Optional[str]) -> Optional[Words]:
    return None if word is None else [*words[:place], word, *words[place + 1 :]]


Damage = Callable[[random.Random, Words, int], Optional[Words]]

DAMAGES: tuple[tuple[Damage, int], ...] = (
    (_disagree, 6),  # the classic: nothing but the grammar tells, the words are all in order
    (_wrong_number, 2),
    (_wrong_form, 3),
    (_wrong_verb, 2),
    (_wrong_helper, 2),
    (_swap, 5),
    (_drop, 4),
    (_stray, 2),
    (_double, 1),
)
"""What breaks a sentence, and how often it is tried."""


def damaged(rng: random.Random, words: Sequence[str]) -> Words:
    """The sentence with one thing broken, so that it is none any more. The recogniser has the last word: what it still
    accepts (an adjective dropped, a plural for a singular) is drawn again."""
    while True:
        damage = _weighted(rng, DAMAGES)
        for _ in range(3 * len(words)):
            broken = damage(rng, list(words), rng.randrange(len(words)))
            if broken is not None and broken != list(words) and not is_sentence(broken):
                return broken


def _weighted(rng: random.Random, table: Sequence[tuple[Callable, int]]) -> Callable:  # type: ignore[type-arg]
    draw = rng.randrange(sum(weight for _, weight in table))
    reached = accumulate(weight for _, weight in table)
    return next(row for (row, _), end in zip(table, reached) if draw < end)


def text(words: Sequence[str]) -> str:
    """The line as it is printed: words and marks with a space between, all in small letters."""
    return " ".join(words)


if __name__ == "__main__":
    chosen = random.Random()
    for _ in range(8):
        what = clause(chosen, ("nothing", "whether", "agent", "patient"))
        how = form(chosen, what)
        sentence = say(what, how)
        print("sentence:", text(sentence))
        print(" damaged:", text(damaged(chosen, sentence)))
        print("restated:", text(say(*restated(chosen, what, how))))
        near = altered(chosen, what)
        print(" altered:", text(say(*restated(chosen, near, how))), "\n")
