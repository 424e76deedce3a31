"""The masks of packed rows: who sees whom where several suffixes share one prefix, in the form that a model takes.

Always additive floats in four dimensions: a boolean mask is right under sdpa and silently wrong under eager attention.
"""

from __future__ import annotations

from typing import Any

import torch


def block_mask(owners: torch.Tensor, positions: torch.Tensor, dtype: torch.dtype, window: int = 0) -> torch.Tensor:
    """(lines, 1, length, length) of `dtype`: 0 where the query sees the key, the type's least number elsewhere.

    `owners`: (lines, length) 0 for the prefix, n for the line's n-th suffix, -1 for filling. `positions`: (lines, length),
    restarting behind the prefix. A suffix sees the prefix and itself, and nothing looks ahead. With a `window`, a key must
    also be less than that many positions back, counted by the restarted positions."""
    query, key = owners[:, :, None], owners[:, None, :]
    ahead = torch.ones(owners.shape[1], owners.shape[1], dtype=torch.bool, device=owners.device).triu(1)
    seen = ((key == query) | (key == 0)) & ~ahead
    if window:
        seen &= positions[:, :, None] - positions[:, None, :] < window
    mask = torch.zeros(seen.shape, dtype=dtype, device=owners.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def mask_argument(config: Any, owners: torch.Tensor, positions: torch.Tensor, dtype: torch.dtype) -> Any:
    """What the decoder body of a model with this `config` takes as `attention_mask` for such rows.

    Models that mix full and windowed layers (Gemma-2, Gemma-3, Qwen2 where it slides) take a mask for each type of layer;
    a model whose every layer slides (Mistral, Phi-3) takes the windowed one; the others take one without a window."""
    window = getattr(config, "sliding_window", None) or 0
    types = set(getattr(config, "layer_types", None) or ())
    full = block_mask(owners, positions, dtype)
    if "sliding_attention" in types:
        return {"full_attention": full, "sliding_attention": block_mask(owners, positions, dtype, window)}
    if window and not types:
        return block_mask(owners, positions, dtype, window)
    return full
