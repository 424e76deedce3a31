"""The coloured text: the words of a row, by what leaving each of them out does to the answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from grading.contract.language import padded, width
from runner.asking.asker import Effect, Reasons
from runner.language import tr

LISTED = 8
"""Most words that are listed below the text."""

STEPS = (0.25, 1.0, 3.0)
"""Changes of the log-odds, in nats, from which a word is coloured weakly, clearly and strongly."""

FOR, AGAINST = ("\x1b[32m", "\x1b[1;32m", "\x1b[30;42m"), ("\x1b[31m", "\x1b[1;31m", "\x1b[30;41m")
"""Colours of a terminal for words without which the label is less likely, and more likely."""

END = "\x1b[0m"

LEAST = 1e-12
"""The smallest probability whose log-odds are computed."""


def shown_reasons(reasons: Reasons, columns: Sequence[str], colour: bool) -> list[str]:
    """The texts with their words coloured, and the words with the largest effects. Without colour the list alone tells."""
    strong = sorted(reasons.effects, key=lambda effect: -abs(_log_odds_change(reasons, effect)))
    lines = [
        tr(
            "each word was left out once; what is shown is how the probability of {label} changes without it",
            label=reasons.label,
        )
    ]
    if colour:
        lines += [f"  {name}: {_coloured(reasons, column)}" for column, name in enumerate(columns)]
        lines.append(f"  {FOR[1]}{tr('less likely without it')}{END}  {AGAINST[1]}{tr('more likely without it')}{END}")
    lines += _listed(reasons, strong[:LISTED], columns)
    lines.append(
        tr(
            "this is the effect of leaving a word out, not a cause: words that say the same thing hide each other, "
            "and the text without a word may be no sentence"
        )
    )
    return lines


def _listed(reasons: Reasons, effects: Sequence[Effect], names: Sequence[str]) -> list[str]:
    # the same word may be in both texts of a pair
    before = [f"{names[effect.column]}: " if len(names) > 1 else "" for effect in effects]
    words = [f"{name}{_word(reasons, effect)}" for name, effect in zip(before, effects)]
    columns = max(map(width, words), default=0)
    lines = []
    for word, effect in zip(words, effects):
        probability = effect.without.probabilities[reasons.label]
        other = max(effect.without.probabilities, key=effect.without.probabilities.__getitem__)
        turned = tr("; the answer is then {label}", label=other) if other != reasons.label else ""
        lines.append(f"  {padded(word, columns)}  {probability:.4f} ({0.0 - reasons.change(effect):+.4f}){turned}")
    return lines


def _word(reasons: Reasons, effect: Effect) -> str:
    text = harmless(reasons.fields[effect.column][effect.word.start : effect.word.end])
    return text if len(text) <= 40 else f"{text[:39]}…"


def _coloured(reasons: Reasons, column: int) -> str:
    text, place, parts = reasons.fields[column], 0, []
    for effect in reasons.effects:
        if effect.column != column:
            continue
        start, end = effect.word
        change = _log_odds_change(reasons, effect)
        strength = sum(abs(change) >= step for step in STEPS)
        word = harmless(text[start:end])
        colours = FOR if change > 0 else AGAINST
        parts += [harmless(text[place:start]), f"{colours[strength - 1]}{word}{END}" if strength else word]
        place = end
    return "".join([*parts, harmless(text[place:])])


def _log_odds_change(reasons: Reasons, effect: Effect) -> float:
    """By how much the log-odds of the label fall without the word: near 0 and 1, probabilities hardly move."""
    whole, shorter = reasons.prediction.probabilities[reasons.label], effect.without.probabilities[reasons.label]
    return _log_odds(whole) - _log_odds(shorter)


def _log_odds(probability: float) -> float:
    return math.log(max(probability, LEAST)) - math.log(max(1 - probability, LEAST))


def harmless(text: str) -> str:
    """The text with escapes for all that a terminal would obey instead of showing it."""
    return "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in text)
