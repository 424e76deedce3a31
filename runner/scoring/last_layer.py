"""Pruning: the last layer's feed-forward is computed only where an answer is read.

Nothing looks at what the last layer says of any other position. Its keys and values are needed everywhere, its
feed-forward is not, and that is nine tenths of a layer of gemma-2b: a twentieth of all work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from runner.model.compat import body


@contextmanager
def mlp_at(model: Any, lines: torch.Tensor, positions: torch.Tensor) -> Iterator[None]:
    """For the length of the block, the body's output is right at (lines, positions) and meaningless elsewhere.

    `lines`, `positions`: (rows,). Changes nothing where the layers keep their feed-forward under another name than the
    Llama family's (GPT-2, OPT), or are computed again in the backward pass, when this block is over."""
    layers = getattr(body(model), "layers", None)
    feed = getattr(layers[-1], "mlp", None) if layers is not None else None
    if feed is None or (model.training and model.is_gradient_checkpointing):
        yield
        return
    whole = feed.forward

    def pruned(hidden: torch.Tensor) -> Any:
        found = whole(hidden[lines, positions][None])
        if not torch.is_tensor(found):  # a mixture of experts that also returns its router's choice
            return whole(hidden)
        return torch.zeros_like(hidden).index_put((lines, positions), found[0])

    feed.forward = pruned
    try:
        yield
    finally:
        del feed.forward  # the instance's own; the class's stays
