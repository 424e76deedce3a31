"""Reading: the label logits of rows to predict, one at a time after the cached prefix, or many at once.

Each way is used only where it gives what the padded rows give, on rows at hand; where it does not, that is said.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import torch

from runner.scoring.layout_choice import packed_ways
from runner.scoring.prefix_cache import PrefixCache
from runner.scoring.prompt import Encoded, Prompt
from runner.scoring.proof import Answers, Subject, Way, padded_rows, prove
from runner.scoring.scorer import LabelScorer

log = logging.getLogger("labeltune.scoring")


def read(
    subject: Subject,
    suffixes: Sequence[Sequence[int]],
    size: int,
    start: int,
) -> Iterator[torch.Tensor]:
    """(labels,) in fp32 for each row from number `start`, in order; `size` rows are computed at once. Call it without
    gradient. The rows before `start` are proved on too, so that the way is the same wherever one goes on."""
    rows = Encoded(suffixes, [], 0, 0)  # type: ignore[arg-type]
    return _one_by_one(subject, rows, start) if size == 1 else _in_batches(subject, rows, size, start)


def _one_by_one(subject: Subject, rows: Encoded, start: int) -> Iterator[torch.Tensor]:
    answers = _proved(subject, (after_the_prefix(subject.prompt),), rows, "one row after the cached prefix")
    for suffix in rows.suffixes[start:]:
        yield answers([suffix])[0]


def _in_batches(subject: Subject, rows: Encoded, size: int, start: int) -> Iterator[torch.Tensor]:
    answers = _proved(subject, packed_ways(subject, size), rows, "packed")
    for first in range(start, len(rows.suffixes), size):
        yield from answers(rows.suffixes[first : first + size])


def _proved(subject: Subject, ways: Sequence[Way], rows: Encoded, name: str) -> Answers:
    """The first of the ways for the whole model; padded rows, with a word to the user, where the proof does not hold."""
    proof = prove(subject, ways, rows)
    subject.release()
    if proof.holds:
        return ways[0](subject.scorer)
    log.info(f"predicting with padded rows, which is slower: {name} is not used, {proof.words()}")
    return padded_rows(subject.prompt)(subject.scorer)


def after_the_prefix(prompt: Prompt) -> Way:
    """Each row for itself, after the prefix that is computed once."""

    def way(scorer: LabelScorer) -> Answers:
        cache = PrefixCache(scorer, prompt)
        return lambda suffixes: torch.stack([cache.label_logits(suffix) for suffix in suffixes])

    return way
