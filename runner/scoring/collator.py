"""The collator: some examples of a dataset become a batch with its targets, as in `torch.utils.data`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from runner.scoring.dataset import EncodedDataset
from runner.scoring.layouts import Batch, Layout


class Collator:
    """Makes batches of one dataset in one layout."""

    def __init__(self, dataset: EncodedDataset, layout: Layout) -> None:
        self.dataset, self.layout = dataset, layout

    def __call__(self, indices: Sequence[int]) -> Batch:
        """The batch of the examples with these numbers, with targets where the dataset has labels."""
        batch = self.layout([self.dataset.suffixes[index] for index in indices])
        if not self.dataset.targets:
            return batch
        targets = [self.dataset.targets[index] for index in indices]
        return dataclasses.replace(batch, targets=torch.tensor(targets, device=batch.rows.device))
