"""The layouts: how examples are placed in a batch. A row of `LAYOUTS` makes a layout for a model and a prompt.

A layout changes the cost of a batch, never its results: the scorer needs only the position where each answer is predicted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import torch

from runner.model.compat import body, take_block_masks
from runner.scoring.attention_masks import mask_argument
from runner.scoring.prompt import Prompt

SHORTEST_ROW, LONGEST_ROW = 256, 4096
"""Bounds of a packed row's tokens. Below, the fixed cost of a row counts; above, its mask takes 32 MB and more."""


@dataclass(frozen=True)
class Batch:
    """Examples ready for the decoder."""

    inputs: Mapping[str, Any]
    """Keyword arguments of the decoder body: tensors, or for some masks a dict of them."""
    rows: torch.Tensor
    """(examples,) the row of the decoder's batch that each example is in."""
    positions: torch.Tensor
    """(examples,) the last position of each example in that row, where the answer is predicted."""
    targets: Optional[torch.Tensor] = None
    """(examples,) the number of the right label of each example; None: the examples have no labels."""
    states: Optional[torch.Tensor] = None
    """(rows, length, width) cached outputs of the frozen layers, see `frozen_layers`; None: all layers are computed."""

    @property
    def tokens(self) -> int:
        """Tokens that the decoder computes, padding included."""
        return int(self.inputs["input_ids"].numel())


Layout = Callable[[Sequence[Sequence[int]]], Batch]
"""From the suffixes of some examples to their batch."""


def padded(model: Any, prompt: Prompt) -> Layout:
    """The ordinary batch: one row for each example, padded on the right. Every other layout must give the same results."""
    device = model.device

    def layout(suffixes: Sequence[Sequence[int]]) -> Batch:
        examples = [[*prompt.prefix, *suffix] for suffix in suffixes]
        lengths = torch.tensor([len(ids) for ids in examples], device=device)
        ids = _table(examples, 0).to(device)
        mask = (torch.arange(ids.shape[1], device=device) < lengths[:, None]).long()
        rows = torch.arange(len(examples), device=device)
        return Batch({"input_ids": ids, "attention_mask": mask}, rows, lengths - 1)

    return layout


def packed(model: Any, prompt: Prompt, rows: Optional[int] = None) -> Layout:
    """The prefix once, then the suffixes one after the other: `[prefix][suffix 1][suffix 2]…`, with gradient throughout.

    Positions restart after the prefix and a mask separates the suffixes, so each example gets the result that it gets alone.
    All examples of a row share one computation of the prefix, and so one draw of LoRA dropout on it. A batch with more than
    `row_tokens` takes several rows of about equal length. `rows`: how many; None: the cheapest number."""
    take_block_masks(model)
    weights, width = layer_size(model)
    device, dtype, config = model.device, model.dtype, model.config
    head = len(prompt.prefix)

    def layout(suffixes: Sequence[Sequence[int]]) -> Batch:
        ids: list[list[int]] = []
        places: list[list[int]] = []
        owners: list[list[int]] = []
        ends: dict[int, tuple[int, int]] = {}
        room = row_tokens(weights, width, head) - head
        for row, examples in enumerate(_spread([*map(len, suffixes)], room, rows)):
            ids.append(list(prompt.prefix))
            places.append(list(range(head)))
            owners.append([0] * head)
            for number, example in enumerate(examples, 1):
                suffix = suffixes[example]
                ids[row].extend(suffix)
                places[row].extend(range(head, head + len(suffix)))
                owners[row].extend([number] * len(suffix))
                ends[example] = (row, len(ids[row]) - 1)
        positions, owner = _table(places, 0).to(device), _table(owners, -1).to(device)
        found = torch.tensor([ends[example] for example in range(len(suffixes))], device=device)
        inputs = {
            "input_ids": _table(ids, 0).to(device),
            "position_ids": positions,
            "attention_mask": mask_argument(config, owner, positions, dtype),
        }
        return Batch(inputs, found[:, 0], found[:, 1])

    return layout


LAYOUTS: Mapping[str, Callable[[Any, Prompt], Layout]] = {"packed": packed, "padded": padded}
"""Every layout by its name in the recipe, the fastest first."""


def row_tokens(weights: int, width: int, prefix: int) -> int:
    """Tokens of the cheapest packed row for a prefix of this many tokens.

    A token costs a layer's `weights` multiplications, and twice `width` (all heads together) for every token of its row,
    seen or masked. A row of L tokens pays that for its prefix too, which is the fraction `prefix` / L of it. The sum is
    smallest at L = √(prefix · weights / (2 · width)): about 900 for gemma-2b and a prefix of 29."""
    best = math.isqrt(prefix * weights // (2 * width))
    return min(max(best, SHORTEST_ROW, 2 * prefix), LONGEST_ROW)


def layer_size(model: Any) -> tuple[int, int]:
    """Weights of one decoder layer, without any adapter, and the width of its attention."""
    config = model.config
    named = ((name, weight.shape) for name, weight in body(model).named_parameters())
    weights = sum(
        shape.numel() for name, shape in named if len(shape) == 2 and "embed" not in name and "lora_" not in name
    )
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    return weights // config.num_hidden_layers, width


def row_room(model: Any, prompt: Prompt) -> int:
    """About how many tokens of suffixes fit in a packed row."""
    return row_tokens(*layer_size(model), len(prompt.prefix)) - len(prompt.prefix)


def token_ratio(model: Any, prompt: Prompt, lengths: Sequence[int], batch_size: int) -> float:
    """How many tokens `padded` computes for each one that `packed` computes. `lengths`: of the suffixes, in their order."""
    head, plain, shared = len(prompt.prefix), 0, 0
    room = row_room(model, prompt)
    for start in range(0, len(lengths), batch_size):
        batch = lengths[start : start + batch_size]
        rows = [sum(batch[example] for example in row) for row in _spread(batch, room)]
        plain += len(batch) * (head + max(batch))
        shared += len(rows) * (head + max(rows))
    return plain / shared


def _spread(lengths: Sequence[int], room: int, wanted: Optional[int] = None) -> list[list[int]]:
    """The examples of each row, in `wanted` rows: the longest first, each into the row that is shortest so far."""
    count = min(wanted or max(1, -(-sum(lengths) // max(room, 1))), len(lengths))
    rows: list[list[int]] = [[] for _ in range(count)]
    filled = [0] * count
    for example in sorted(range(len(lengths)), key=lambda example: -lengths[example]):
        row = filled.index(min(filled))
        rows[row].append(example)
        filled[row] += lengths[example]
    return rows


def _table(rows: Sequence[Sequence[int]], padding: int) -> torch.Tensor:
    """(rows, longest) with `padding` after the shorter rows. Padding is never seen and its output never used."""
    table = torch.full((len(rows), max(map(len, rows))), padding, dtype=torch.long)
    for number, row in enumerate(rows):
        table[number, : len(row)] = torch.tensor(row)
    return table
