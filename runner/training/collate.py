"""The collator: rows of an encoded data set become a batch and its targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from runner.scoring.layouts import Batch, Layout
from runner.scoring.prompt import Encoded, Prompt

Collate = Callable[[Encoded, Sequence[int]], tuple[Batch, torch.Tensor]]
"""From a data set and row numbers to a batch, and the number of the right label for each row: the scorer's arguments."""


def collator(prompt: Prompt, layout: Layout, device: torch.device) -> Collate:
    """A collator that lays rows in this layout and puts their targets on this device."""

    def collate(dataset: Encoded, indices: Sequence[int]) -> tuple[Batch, torch.Tensor]:
        batch = layout(prompt, [dataset.suffixes[index] for index in indices])
        return batch, torch.tensor([dataset.targets[index] for index in indices], device=device)

    return collate
