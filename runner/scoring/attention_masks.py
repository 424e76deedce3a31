"""The attention masks of packed rows, in which several suffixes share one prefix.

They are additive floats of four dimensions: a boolean mask is right under sdpa and silently wrong under eager attention.
"""

from __future__ import annotations

from typing import Any, Optional

import torch


def block_mask(
    owners: torch.Tensor,
    positions: torch.Tensor,
    dtype: torch.dtype,
    window: int = 0,
    lineage: Optional[torch.Tensor] = None,
) -> torch.Tensor:
    """(rows, 1, length, length) of `dtype`: 0 where the query sees the key, the smallest number of the type elsewhere.

    `owners`: (rows, length) 0 for the prefix, n for the row's n-th suffix, -1 for padding. `positions`: (rows, length),
    restarting after the prefix. A suffix sees the prefix and itself, and no token sees a later one. With a `window`, a key
    must also be fewer than that many positions back, counted in the restarted positions. `lineage`: (rows, length, length),
    where a key is on the query's path in the tree of answers; None: the rows have no answers."""
    query, key = owners[:, :, None], owners[:, None, :]
    later = torch.ones(owners.shape[1], owners.shape[1], dtype=torch.bool, device=owners.device).triu(1)
    seen = ((key == query) | (key == 0)) & ~later
    if window:
        seen &= positions[:, :, None] - positions[:, None, :] < window
    if lineage is not None:
        seen &= lineage
    mask = torch.zeros(seen.shape, dtype=dtype, device=owners.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def mask_argument(
    config: Any,
    owners: torch.Tensor,
    positions: torch.Tensor,
    dtype: torch.dtype,
    lineage: Optional[torch.Tensor] = None,
) -> Any:
    """The `attention_mask` argument for such rows, as the decoder body of a model with this `config` takes it.

    Models that mix full and windowed layers (Gemma-2, Gemma-3, Qwen2 with a window) take one mask for each type of layer.
    A model with a window in every layer (Mistral, Phi-3) takes the windowed mask. The others take one without a window."""
    window = getattr(config, "sliding_window", None) or 0
    types = set(getattr(config, "layer_types", None) or ())
    full = block_mask(owners, positions, dtype, 0, lineage)
    if "sliding_attention" in types:
        return {"full_attention": full, "sliding_attention": block_mask(owners, positions, dtype, window, lineage)}
    if window and not types:
        return block_mask(owners, positions, dtype, window, lineage)
    return full
