"""The layouts: how rows lie in a batch. Each is a function from a prompt and suffixes to a `Batch`, a row of `LAYOUTS`.

A layout changes what a batch costs, never what it says: the scorer asks only where each row's answer is read.
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

SHORTEST_LINE, LONGEST_LINE = 256, 4096
"""Bounds of a packed line's tokens: below, what a line costs by itself counts; above, its mask takes 32 MB and more."""


@dataclass(frozen=True)
class Batch:
    """Rows ready for the decoder."""

    inputs: Mapping[str, Any]
    """Keyword arguments of the decoder body: tensors, or for some masks a dict of them."""
    lines: torch.Tensor
    """(rows,) for each row of ours, the line of the decoder's batch that it lies in."""
    positions: torch.Tensor
    """(rows,) its last position in that line, where the answer is predicted."""
    states: Optional[torch.Tensor] = None
    """(lines, length, width) stored hidden states that replace the lower layers, see `trunk`; None: all layers are run."""

    @property
    def tokens(self) -> int:
        """Tokens that the decoder computes, filling included."""
        return int(self.inputs["input_ids"].numel())


Layout = Callable[[Prompt, Sequence[Sequence[int]]], Batch]


def padded(model: Any) -> Layout:
    """The ordinary batch: a line per row, filled on the right. The reference that every other layout must equal."""
    device = model.device

    def lay(prompt: Prompt, suffixes: Sequence[Sequence[int]]) -> Batch:
        rows = [[*prompt.prefix, *suffix] for suffix in suffixes]
        lengths = torch.tensor([len(row) for row in rows], device=device)
        ids = _filled(rows, 0).to(device)
        mask = (torch.arange(ids.shape[1], device=device) < lengths[:, None]).long()
        return Batch({"input_ids": ids, "attention_mask": mask}, torch.arange(len(rows), device=device), lengths - 1)

    return lay


def packed(model: Any, lines: Optional[int] = None) -> Layout:
    """The prefix once, the suffixes after it side by side: `[prefix][suffix 1][suffix 2]…`, with gradient throughout.

    Positions restart after the prefix and a mask keeps the suffixes apart, so each row says what it says alone. The
    prefix is computed once for all rows of a line: with LoRA dropout they share its one draw. A batch above `line_tokens`
    takes several lines of about equal length. `lines`: how many; None: as many as cost least."""
    take_block_masks(model)
    weights, width = layer_size(model)
    device, dtype, config = model.device, model.dtype, model.config

    def lay(prompt: Prompt, suffixes: Sequence[Sequence[int]]) -> Batch:
        head = len(prompt.prefix)
        ids: list[list[int]] = []
        places: list[list[int]] = []
        owners: list[list[int]] = []
        answers: dict[int, tuple[int, int]] = {}
        room = line_tokens(weights, width, head) - head
        for line, rows in enumerate(_spread([*map(len, suffixes)], room, lines)):
            ids.append(list(prompt.prefix))
            places.append(list(range(head)))
            owners.append([0] * head)
            for number, row in enumerate(rows, 1):
                ids[line].extend(suffixes[row])
                places[line].extend(range(head, head + len(suffixes[row])))
                owners[line].extend([number] * len(suffixes[row]))
                answers[row] = (line, len(ids[line]) - 1)
        positions, owner = _filled(places, 0).to(device), _filled(owners, -1).to(device)
        found = torch.tensor([answers[row] for row in range(len(suffixes))], device=device)
        inputs = {
            "input_ids": _filled(ids, 0).to(device),
            "position_ids": positions,
            "attention_mask": mask_argument(config, owner, positions, dtype),
        }
        return Batch(inputs, found[:, 0], found[:, 1])

    return lay


def line_tokens(weights: int, width: int, prefix: int) -> int:
    """Tokens of the packed line that costs least for a prefix of this many tokens.

    A token costs a layer's `weights` multiplications, and twice `width` (all heads together) for every token of its line,
    seen or masked. A line of L tokens pays that for its prefix too, which is the fraction `prefix` / L of it. The sum is
    least at L = √(prefix · weights / (2 · width)): about 900 for gemma-2b and a prefix of 29."""
    best = math.isqrt(prefix * weights // (2 * width))
    return min(max(best, SHORTEST_LINE, 2 * prefix), LONGEST_LINE)


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


LAYOUTS: Mapping[str, Callable[[Any], Layout]] = {"packed": packed, "padded": padded}
"""Every layout by its name in the recipe, fastest first; each is made for a model."""


def line_room(model: Any, prompt: Prompt) -> int:
    """Tokens of suffixes that a packed line takes, more or less."""
    return line_tokens(*layer_size(model), len(prompt.prefix)) - len(prompt.prefix)


def token_ratio(model: Any, prompt: Prompt, lengths: Sequence[int], batch_size: int) -> float:
    """How many tokens `padded` computes for each one that `packed` computes, where suffixes of these lengths come in batches
    in this order."""
    head, plain, shared = len(prompt.prefix), 0, 0
    room = line_room(model, prompt)
    for start in range(0, len(lengths), batch_size):
        batch = lengths[start : start + batch_size]
        lines = [sum(batch[row] for row in line) for line in _spread(batch, room)]
        plain += len(batch) * (head + max(batch))
        shared += len(lines) * (head + max(lines))
    return plain / shared


def _spread(lengths: Sequence[int], room: int, wanted: Optional[int] = None) -> list[list[int]]:
    """The rows of each line, in as many lines as are wanted: the longest first, each into the line that is shortest so far."""
    count = min(wanted or max(1, -(-sum(lengths) // max(room, 1))), len(lengths))
    lines: list[list[int]] = [[] for _ in range(count)]
    filled = [0] * count
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        line = filled.index(min(filled))
        lines[line].append(row)
        filled[line] += lengths[row]
    return lines


def _filled(rows: Sequence[Sequence[int]], filling: int) -> torch.Tensor:
    """(rows, longest) with `filling` behind the shorter rows. Filling is never seen and never read."""
    table = torch.full((len(rows), max(map(len, rows))), filling, dtype=torch.long)
    for number, row in enumerate(rows):
        table[number, : len(row)] = torch.tensor(row)
    return table
