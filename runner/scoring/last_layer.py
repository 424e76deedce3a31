"""The last layer's MLP, computed only at the positions where an answer is predicted.

No other position of the last layer's output is used. Its keys and values are needed at every position, its MLP is not. The
MLP is nine tenths of a layer of gemma-2b: a twentieth of all work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from runner.model.compat import body


@contextmanager
def mlp_at(model: Any, rows: torch.Tensor, positions: torch.Tensor) -> Iterator[None]:
    """Inside the block, the body's output is right at (rows, positions) and meaningless elsewhere.

    `rows`, `positions`: (places,). Changes nothing in two cases: the layers have no module `mlp` (GPT-2, OPT), or
    gradient checkpointing computes them again in the backward pass, after this block has ended."""
    layers = getattr(body(model), "layers", None)
    mlp = getattr(layers[-1], "mlp", None) if layers is not None else None
    if mlp is None or (model.training and model.is_gradient_checkpointing):
        yield
        return
    whole = mlp.forward

    def at_positions(hidden: torch.Tensor) -> Any:
        found = whole(hidden[rows, positions][None])
        # a mixture of experts may also return its router's choice
        if not torch.is_tensor(found):
            return whole(hidden)
        return torch.zeros_like(hidden).index_put((rows, positions), found[0])

    mlp.forward = at_positions
    try:
        yield
    finally:
        # only the instance's forward: the class keeps its own
        del mlp.forward
