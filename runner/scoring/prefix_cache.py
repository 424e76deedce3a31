"""The prefix cache: the shared prefix is computed once per adapter, so an example predicted alone costs its suffix only."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from runner.model.compat import body, repeated_cache
from runner.scoring.last_layer import mlp_at
from runner.scoring.scorer import LabelScorer


class PrefixCache:
    """The keys and values of the prompt's prefix, for one model with one adapter."""

    def __init__(self, scorer: LabelScorer) -> None:
        """Runs the body over the prefix. Call it without gradient."""
        self.scorer, self.device = scorer, scorer.label_ids.device
        prefix = torch.tensor([scorer.prompt.prefix], device=self.device)
        self.past = body(scorer.model)(input_ids=prefix, use_cache=True).past_key_values

    def label_logits(self, suffix: Sequence[int]) -> torch.Tensor:
        """(labels,) in fp32, for one example."""
        # a newer cache grows in place, and one with a window cannot be cut back: each example gets a copy
        past = self.past if isinstance(self.past, tuple) else copy.deepcopy(self.past)
        ids = torch.tensor([list(suffix)], device=self.device)
        model, row, last = self.scorer.model, ids.new_tensor([0]), ids.new_tensor([len(suffix) - 1])
        with mlp_at(model, row, last):
            output = body(model)(input_ids=ids, past_key_values=past, use_cache=True)
        hidden = output[0][row, last]
        if not self.scorer.tree.tokens:
            return self.scorer.label_logits(hidden[0])
        return self.scorer.label_logits(torch.cat([hidden, self._after(output.past_key_values)]))[0]

    def _after(self, past: Any) -> torch.Tensor:
        """(nodes after node 0, width): the tree of answers, one row for each path, after the suffix in `past`."""
        tree, model = self.scorer.tree, self.scorer.model
        paths = tree.paths
        longest = max(map(len, paths))
        # causal attention: what is after a path's end changes nothing before it
        filled = [[*tree.tokens_of(path), *[0] * (longest - len(path))] for path in paths]
        places = {node: (row, place) for row, path in enumerate(paths) for place, node in enumerate(path)}
        rows, positions = torch.tensor([places[node] for node in range(1, tree.size)], device=self.device).T
        ids = torch.tensor(filled, device=self.device)
        with mlp_at(model, rows, positions):
            output = body(model)(input_ids=ids, past_key_values=repeated_cache(past, len(paths)), use_cache=True)
        return output[0][rows, positions]
