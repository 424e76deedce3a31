"""Similar submissions of a class: identical adapters or results, and pairs with more equal errors than the class explains.

The model is a Rasch model of errors, scaled by the class itself; `docs/explanation/similarity.md` explains it, with its error
rates. A finding is a reason to look and not a proof.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import NormalDist
from typing import Callable, Optional

from grading.classroom.card import Card
from grading.contract.language import mark, tr

LEVEL = 0.01
"""Largest accepted chance that any pair is named in a class in which everybody worked alone."""

LEAST_SHARED = 5
"""Fewest shared errors for naming a pair: a few rows convince nobody."""

LEAST_RESULTS = 5
"""Fewest different results for estimating the difficulty of rows. With fewer, only identical files are found."""

NEAR = 0.75
"""Pairs are computed exactly from this share of the standard deviations that the level needs for normal counts."""

CAVEAT = mark(
    "A reason to look and not a proof: the same recipe with the same seed, a file that the course handed out or two "
    "computations on one adapter look the same. It does not show who copied from whom. Ask before you conclude."
)
"""Shown with every list of findings."""


@dataclass(frozen=True)
class Kind:
    """A kind of finding."""

    name: str
    """The value of `Finding.kind`."""
    title: str
    """The heading above findings of the kind."""
    meaning: str
    """What it can and cannot mean."""


SAME_ADAPTER, SAME_RESULTS, SHARED_ERRORS, TOO_FEW = "same adapter", "same results", "shared errors", "too few"

KINDS: tuple[Kind, ...] = (
    Kind(
        SAME_ADAPTER,
        mark("Identical adapters"),
        mark(
            "The same tensors, value for value. Training again gives the same bytes only with "
            "the same recipe, seed and machine."
        ),
    ),
    Kind(
        SAME_RESULTS,
        mark("Identical predictions"),
        mark(
            "The same label on every row, wrong ones included. A result that gives one label "
            "throughout needs no copying."
        ),
    ),
    Kind(
        SHARED_ERRORS,
        mark("More shared errors than the class explains"),
        mark(
            "The same wrong label on more rows than the difficulty of the rows and the number of "
            "errors of both account for."
        ),
    ),
    Kind(
        TOO_FEW,
        mark("Not compared"),
        mark("The difficulty of a row is known from how many get it wrong; too small a class cannot tell it."),
    ),
)


@dataclass(frozen=True)
class Finding:
    """A remarkable fact about a group of submissions, or about a class."""

    names: tuple[str, ...]
    """The submissions, sorted: two, or more with the same file; none if the finding is about the class."""
    dataset: str
    kind: str
    """The `name` of a row of `KINDS`."""
    shared: Optional[int]
    """Rows on which all of them give the same wrong label; None if that was not counted."""
    expected: Optional[float]
    """The number expected from the difficulty of the rows; None if it was not estimated."""
    p: Optional[float]
    """The chance that one pair that works alone shares so many, not corrected for the number of pairs; or None."""
    words: str
    """The finding in a sentence, without the names."""


@dataclass(frozen=True)
class _Result:
    """One of the different results of a dataset."""

    names: tuple[str, ...]
    rows: tuple[int, ...]
    """The wrong rows as bits, by label."""
    bits: int
    """The same in one number, label after label, so that a pair is compared in one step."""
    counts: tuple[int, ...]
    """Errors by label."""


@dataclass(frozen=True)
class _Pair:
    """Two results that share enough errors for the exact computation."""

    first: _Result
    second: _Result
    shared: int
    expected: float
    """Mean of the shared errors."""
    deviation: float
    """Their standard deviation, before the class sets the scale."""


def find(cards: Sequence[Card]) -> tuple[Finding, ...]:
    """The findings of a class in the order of `KINDS`, the most remarkable first. No two cards have the same name."""
    datasets = sorted({dataset for card in cards for dataset in chain(card.wrong, card.adapters)})
    results = {dataset: _different_results(cards, dataset) for dataset in datasets}
    enough = {dataset: found for dataset, found in results.items() if len(found) >= LEAST_RESULTS}
    pairs = sum(len(found) * (len(found) - 1) // 2 for found in enough.values())
    found: list[Finding] = []
    for dataset in datasets:
        found += _same_adapters(cards, dataset)
        found += _same_results(results[dataset], dataset)
        if dataset in enough:
            found += _shared_errors(enough[dataset], dataset, pairs)
        elif len(results[dataset]) > 1:
            words = tr(
                "{results_count} different results of {dataset}, expected at least {least_results} "
                "to estimate how hard its rows are: only identical files were looked for",
                results_count=len(results[dataset]),
                dataset=dataset,
                least_results=LEAST_RESULTS,
            )
            found.append(Finding((), dataset, TOO_FEW, None, None, None, words))
    order = {kind.name: place for place, kind in enumerate(KINDS)}
    return tuple(
        sorted(found, key=lambda each: (order[each.kind], each.p or 0, -len(each.names), each.dataset, each.names))
    )


def _groups(keys: Mapping[str, object]) -> Iterator[tuple[str, ...]]:
    """The names under the same key, each group sorted."""
    groups: dict[object, list[str]] = {}
    for name in sorted(keys):
        groups.setdefault(keys[name], []).append(name)
    return (tuple(names) for names in groups.values())


def _same_adapters(cards: Sequence[Card], dataset: str) -> Iterator[Finding]:
    digests = {card.name: card.adapters[dataset] for card in cards if dataset in card.adapters}
    for names in _groups(digests):
        if len(names) > 1:
            words = tr(
                "{names_count} submissions hold the same adapter of {dataset} (SHA-256 {digests})",
                names_count=len(names),
                dataset=dataset,
                digests=digests[names[0]][:12],
            )
            yield Finding(names, dataset, SAME_ADAPTER, None, None, None, words)


def _same_results(results: Sequence[_Result], dataset: str) -> Iterator[Finding]:
    for result in results:
        errors = sum(result.counts)
        if len(result.names) > 1 and errors:  # without errors, equal results are normal
            words = tr(
                "{names_count} submissions give the same predictions for {dataset}, {errors} of them wrong",
                names_count=len(result.names),
                dataset=dataset,
                errors=errors,
            )
            yield Finding(result.names, dataset, SAME_RESULTS, errors, None, None, words)


def _different_results(cards: Sequence[Card], dataset: str) -> list[_Result]:
    wrong = {card.name: card.wrong[dataset] for card in cards if dataset in card.wrong}
    digests = {card.name: card.results.get(dataset, card.name) for card in cards if dataset in card.wrong}
    labels = sorted({label for rows in wrong.values() for label in rows})
    width = max((bits.bit_length() for rows in wrong.values() for bits in rows.values()), default=0)
    found = []
    for names in _groups(digests):
        rows = tuple(wrong[names[0]].get(label, 0) for label in labels)
        bits = sum(each << (place * width) for place, each in enumerate(rows))
        found.append(_Result(names, rows, bits, tuple(_ones(each) for each in rows)))
    return found


def _shared_errors(results: Sequence[_Result], dataset: str, pairs: int) -> Iterator[Finding]:
    errors = _Errors(results)
    far = NEAR * NormalDist().inv_cdf(1 - LEVEL / pairs)
    scores = array("d")
    outliers: list[_Pair] = []
    for place, first in enumerate(results):
        bits, moments = first.bits, errors.moments(first.counts)
        for second in results[place + 1 :]:
            shared = _ones(bits & second.bits)
            expected, deviation = moments[second.counts]
            z = (shared - expected) / deviation if deviation else 0.0
            scores.append(z)
            if z >= far and shared >= LEAST_SHARED:
                outliers.append(_Pair(first, second, shared, expected, deviation))
    if not outliers:
        return
    ordered = sorted(scores)
    lower, median, upper = (ordered[len(ordered) * quarter // 4] for quarter in (1, 2, 3))
    centre, spread = max(0.0, median), max(1.0, (upper - lower) / 2 / NormalDist().inv_cdf(0.75))
    for pair in outliers:
        beyond = (pair.shared - pair.expected - centre * pair.deviation) / spread
        if beyond < far * pair.deviation:
            continue
        least = math.floor(pair.expected + beyond + 1e-9)  # the shared errors themselves where the scale is 1
        chance = max(errors.tail(pair.first, pair.second, least), errors.tail(pair.second, pair.first, least))
        if chance * pairs <= LEVEL:
            yield _pair_finding(pair, dataset, pair.expected + centre * pair.deviation, chance, pairs)


def _pair_finding(pair: _Pair, dataset: str, expected: float, chance: float, pairs: int) -> Finding:
    names = tuple(sorted((pair.first.names[0], pair.second.names[0])))
    copies = len(pair.first.names) + len(pair.second.names) - 2
    also = tr("; {copies} more submissions have the file of one of them", copies=copies) if copies else ""
    words = tr(
        "the same wrong answer on {shared} rows of {dataset}, of {first_wrong} and "
        "{second_wrong} wrong ones; the class explains {expected:.1f}. Of pairs that work "
        "alone fewer than 1 in 10^{exponent} share so many, and {pairs:,} pairs were "
        "compared{also}",
        shared=pair.shared,
        dataset=dataset,
        first_wrong=sum(pair.first.counts),
        second_wrong=sum(pair.second.counts),
        expected=expected,
        exponent=math.floor(-math.log10(max(chance, 1e-99))),
        pairs=pairs,
        also=also,
    )
    return Finding(names, dataset, SHARED_ERRORS, pair.shared, expected, chance, words)


class _Errors:
    """The errors expected of submissions with given numbers of errors by label. Nothing is computed twice."""

    def __init__(self, results: Sequence[_Result]) -> None:
        self._signatures = sorted({result.counts for result in results})
        self._rows: list[list[int]] = []
        self._odds: list[list[float]] = []
        for column in zip(*(result.rows for result in results)):
            counts = Counter(row for bits in column for row in _rows(bits))
            self._rows.append(sorted(counts))
            self._odds.append([(counts[row] + 0.5) / (len(results) - counts[row] + 0.5) for row in sorted(counts)])
        self._chances: dict[tuple[int, int], list[float]] = {}
        self._sums: dict[tuple[int, int, int], tuple[float, float]] = {}
        self._moments: dict[tuple[int, ...], dict[tuple[int, ...], tuple[float, float]]] = {}

    def moments(self, first: tuple[int, ...]) -> dict[tuple[int, ...], tuple[float, float]]:
        """Mean and standard deviation of the errors shared with a submission, for each of the class's counts of errors."""
        if first not in self._moments:
            found = {}
            for second in self._signatures:
                sums = [self._sum(label, *sorted(pair)) for label, pair in enumerate(zip(first, second))]
                mean = math.fsum(mean for mean, _ in sums)
                found[second] = mean, math.sqrt(math.fsum(variance for _, variance in sums))
            self._moments[first] = found
        return self._moments[first]

    def tail(self, known: _Result, other: _Result, least: int) -> float:
        """The chance that `other` shares at least `least` of the errors that `known` has."""
        counts = [1.0]
        for label, errors in enumerate(other.counts):
            inside: list[float] = []
            outside: list[float] = []
            for row, chance in zip(self._rows[label], self._of(label, errors)):
                (inside if known.rows[label] >> row & 1 else outside).append(chance)
            counts = _convolved(counts, shared_given(inside, outside, errors))
        return min(1.0, math.fsum(counts[least:]))

    def _sum(self, label: int, one: int, other: int) -> tuple[float, float]:
        key = (label, one, other)
        if key not in self._sums:
            self._sums[key] = shared_errors(self._of(label, one), self._of(label, other))
        return self._sums[key]

    def _of(self, label: int, errors: int) -> list[float]:
        key = (label, errors)
        if key not in self._chances:
            self._chances[key] = chances_of_errors(self._odds[label], errors)
        return self._chances[key]


def _rows(bits: int) -> Iterator[int]:
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def chances_of_errors(odds: Sequence[float], errors: int) -> list[float]:
    """The chance of an error for each row, in proportion to its `odds`, so that they add up to `errors`."""
    if errors == 0 or errors >= len(odds):
        return [float(errors > 0)] * len(odds)
    low, high = -60.0, 60.0  # logarithms of t; odds are within e**±16
    for _ in range(60):
        middle = (low + high) / 2
        scale = math.exp(middle)
        if math.fsum(scale * each / (1 + scale * each) for each in odds) < errors:
            low = middle
        else:
            high = middle
    return [scale * each / (1 + scale * each) for each in odds]


def shared_errors(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Mean and variance of the errors shared by two with these chances of an error for each row, given how many each has.

    Given its number of errors, the errors of one have the covariance v_i·[i = j] - v_i·v_j / sum(v) with v = p·(1 - p): that
    of independent draws whose sum is known, to first order."""
    vs, ws = [p * (1 - p) for p in one], [q * (1 - q) for q in other]
    v_sum, w_sum = math.fsum(vs) or 1.0, math.fsum(ws) or 1.0  # a sum of 0 divides only zeros
    both = _dot(vs, ws)
    variance = both - _dot(vs, vs, ws) / v_sum - _dot(vs, ws, ws) / w_sum + both * both / (v_sum * w_sum)
    variance += _dot(ws, one, one) - _dot(ws, one) ** 2 / w_sum
    variance += _dot(vs, other, other) - _dot(vs, other) ** 2 / v_sum
    return _dot(one, other), max(0.0, variance)


def _dot(*factors: Sequence[float]) -> float:
    return math.fsum(map(math.prod, zip(*factors)))


def shared_given(inside: Sequence[float], outside: Sequence[float], errors: int) -> list[float]:
    """The chances of 0, 1, 2, ... errors in the rows `inside`, given `errors` in all rows.

    `inside` and `outside` are chances of an error for each row; so many errors must be possible."""
    among, others = _counts(inside, errors), _counts(outside, errors)
    ways = [chance * others[errors - count] for count, chance in enumerate(among)]
    total = math.fsum(ways)
    return [each / total for each in ways]


def _counts(chances: Sequence[float], most: int) -> list[float]:
    """The chances of 0 to `most` errors in independent draws, the Poisson binomial distribution."""
    counts = [1.0] + [0.0] * most
    for chance in chances:
        for place in range(most, 0, -1):
            counts[place] = counts[place] * (1 - chance) + counts[place - 1] * chance
        counts[0] *= 1 - chance
    return counts


def _convolved(one: Sequence[float], other: Sequence[float]) -> list[float]:
    found = [0.0] * (len(one) + len(other) - 1)
    for place, chance in enumerate(one):
        for further, more in enumerate(other):
            found[place + further] += chance * more
    return found


def _count_in_text(bits: int) -> int:
    return bin(bits).count("1")


_ones: Callable[[int], int] = getattr(int, "bit_count", _count_in_text)
"""How many bits are set; `int.bit_count` is Python 3.10."""
