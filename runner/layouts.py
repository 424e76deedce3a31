"""The layouts: how rows lie in a batch. Each is one function from a prompt and suffixes to a `Batch`, a row of `LAYOUTS`.

A layout changes what a batch costs, never what it says: the scorer asks only where each row's answer is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from runner.prompt import Prompt


@dataclass(frozen=True)
class Batch:
    """Rows ready for the decoder."""

    inputs: Mapping[str, torch.Tensor]
    """Keyword arguments of the decoder body; every tensor's first dimension is the decoder's batch."""
    lines: torch.Tensor
    """(rows,) for each row of ours, the line of the decoder's batch that it lies in."""
    positions: torch.Tensor
    """(rows,) its last position in that line, where the answer is predicted."""

    def to(self, device: Any) -> Batch:
        """The same batch on another device."""
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        return Batch(inputs, self.lines.to(device), self.positions.to(device))


def padded(prompt: Prompt, suffixes: Sequence[Sequence[int]]) -> Batch:
    """The ordinary batch: a line per row, filled on the right. The reference that every other layout must equal.

    The filling is never attended to and never read, so its id does not matter; 0 is in every vocabulary."""
    lengths = [len(prompt.prefix) + len(suffix) for suffix in suffixes]
    ids = torch.zeros(len(suffixes), max(lengths), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for line, (suffix, length) in enumerate(zip(suffixes, lengths)):
        ids[line, :length] = torch.tensor([*prompt.prefix, *suffix])
        mask[line, :length] = 1
    inputs = {"input_ids": ids, "attention_mask": mask}
    return Batch(inputs, torch.arange(len(suffixes)), torch.tensor(lengths) - 1)


Layout = Callable[[Prompt, Sequence[Sequence[int]]], Batch]

LAYOUTS: Mapping[str, Layout] = {"padded": padded}
"""Every layout by its name in the recipe, fastest first."""


def choose_layout(name: str) -> tuple[str, Layout]:
    """The layout that a recipe asks for, with its name; `auto` takes the first."""
    chosen = next(iter(LAYOUTS)) if name == "auto" else name
    return chosen, LAYOUTS[chosen]
