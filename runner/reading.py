"""Reading: the label logits of rows to predict, one at a time behind the cached prefix, or many at once.

Each way is used only where it gives what the padded rows give, on rows at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional

import torch

from runner.layout_choice import MODEL_REFUSALS, TOLERANCES, choose_layout
from runner.layouts import padded
from runner.prefix_cache import PrefixCache
from runner.prompt import Encoded, Prompt
from runner.scorer import LabelScorer
from runner.stopping import raise_if_asked


def read(
    scorer: LabelScorer, prompt: Prompt, suffixes: Sequence[Sequence[int]], size: int, start: int = 0
) -> Iterator[torch.Tensor]:
    """(labels,) in fp32 for each row from number `start`, in order; `size` rows are computed at once. Call it without
    gradient. The rows before `start` are proved on too, so that the way is the same wherever one goes on."""
    return (
        _one_by_one(scorer, prompt, suffixes, start)
        if size == 1
        else _in_batches(scorer, prompt, suffixes, size, start)
    )


def _one_by_one(
    scorer: LabelScorer, prompt: Prompt, suffixes: Sequence[Sequence[int]], start: int
) -> Iterator[torch.Tensor]:
    layout = padded(scorer.model)
    cache = _exact_cache(scorer, prompt, max(suffixes, key=len))
    for suffix in suffixes[start:]:
        yield cache.label_logits(suffix) if cache else scorer(layout(prompt, [suffix])).label_logits[0]


def _exact_cache(scorer: LabelScorer, prompt: Prompt, suffix: Sequence[int]) -> Optional[PrefixCache]:
    """The prefix cache, or None where it does not give this row's label logits: the model has no such cache."""
    expected = scorer(padded(scorer.model)(prompt, [suffix])).label_logits[0]
    try:
        cache = PrefixCache(scorer, prompt)
        found = cache.label_logits(suffix)
    except MODEL_REFUSALS:
        raise_if_asked()  # a signal can look like that
        return None
    tolerance = TOLERANCES[scorer.model.dtype]
    return cache if torch.allclose(found, expected, rtol=tolerance, atol=tolerance) else None


def _in_batches(
    scorer: LabelScorer, prompt: Prompt, suffixes: Sequence[Sequence[int]], size: int, first: int
) -> Iterator[torch.Tensor]:
    layout = choose_layout("auto", scorer, prompt, Encoded(list(map(list, suffixes)), [], 0, 0)).layout
    for start in range(first, len(suffixes), size):
        yield from scorer(layout(prompt, suffixes[start : start + size])).label_logits
