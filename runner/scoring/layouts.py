"""The layouts: how examples are placed in a batch. A row of `LAYOUTS` makes a layout for a model and a prompt.

A layout changes the cost of a batch, never its results: the scorer needs only the positions where answers are predicted.
Where answers have several tokens, the nodes of their tree come after each suffix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional

import torch

from runner.model.compat import body, take_block_masks
from runner.scoring.answer_tree import AnswerTree
from runner.scoring.attention_masks import mask_argument
from runner.scoring.prompt import Prompt

SHORTEST_ROW, LONGEST_ROW = 256, 4096
"""Bounds of a packed row's tokens. Below, the fixed cost of a row counts; above, its mask takes 32 MB and more."""


class Placement(NamedTuple):
    """A suffix in a row of a batch, and nodes of the tree of answers directly after it."""

    example: int
    """The number of the suffix."""
    row: int
    """The row."""
    start: int
    """The position of the suffix's first token in that row."""
    nodes: Sequence[int]
    """The nodes after it."""

    def columns(self, length: int) -> slice:
        """Its positions in the row, for a suffix of this length."""
        return slice(self.start, self.start + length + len(self.nodes))

    def tokens(self, length: int) -> list[int]:
        """Its tokens, counted in the suffix followed by all nodes."""
        return [*range(length), *(length + node - 1 for node in self.nodes)]


@dataclass(frozen=True)
class Batch:
    """Examples ready for the decoder."""

    inputs: Mapping[str, Any]
    """Keyword arguments of the decoder body: tensors, or for some masks a dict of them."""
    rows: torch.Tensor
    """(examples × nodes,) the row of the decoder's batch that each node of each example is in. Without answers of several
    tokens there is one node."""
    positions: torch.Tensor
    """(examples × nodes,) its position in that row, where a token of an answer is predicted; for node 0 the suffix's last."""
    placements: Sequence[Placement]
    """Where each suffix is; a suffix may be there several times."""
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
    """The ordinary batch: one row for each example, padded on the right. Every other layout must give the same results.

    Where answers have several tokens, an example has a row for each path in their tree."""
    device, tree, head = model.device, prompt.tree, len(prompt.prefix)

    def layout(suffixes: Sequence[Sequence[int]]) -> Batch:
        paths = [(example, path) for example in range(len(suffixes)) for path in tree.paths]
        filled = [[*prompt.prefix, *suffixes[example], *tree.tokens_of(path)] for example, path in paths]
        lengths = torch.tensor([len(ids) for ids in filled], device=device)
        ids = _table(filled, 0).to(device)
        mask = (torch.arange(ids.shape[1], device=device) < lengths[:, None]).long()
        placements = [Placement(example, row, head, path) for row, (example, path) in enumerate(paths)]
        return Batch(
            {"input_ids": ids, "attention_mask": mask}, *_nodes(placements, suffixes, tree, device), placements
        )

    return layout


def packed(model: Any, prompt: Prompt, rows: Optional[int] = None) -> Layout:
    """The prefix once, then the suffixes one after the other: `[prefix][suffix 1][suffix 2]…`, with gradient throughout.

    Positions restart after the prefix and a mask separates the suffixes, so each example gets the result that it gets alone.
    Where answers have several tokens, the nodes of their tree come after each suffix; each sees its own path only.
    All examples of a row share one computation of the prefix, and so one draw of LoRA dropout on it. A batch with more than
    `row_tokens` takes several rows of about equal length. `rows`: how many; None: the cheapest number."""
    take_block_masks(model)
    weights, width = layer_size(model)
    device, dtype, config = model.device, model.dtype, model.config
    head, tree = len(prompt.prefix), prompt.tree
    depths = [len(lineage) for lineage in tree.lineages[1:]]

    def layout(suffixes: Sequence[Sequence[int]]) -> Batch:
        ids: list[list[int]] = []
        places: list[list[int]] = []
        owners: list[list[int]] = []
        placements: list[Placement] = []
        room = row_tokens(weights, width, head) - head
        for row, examples in enumerate(_spread(_lengths(suffixes, tree), room, rows)):
            ids.append(list(prompt.prefix))
            places.append(list(range(head)))
            owners.append([0] * head)
            for number, example in enumerate(examples, 1):
                suffix = suffixes[example]
                end = head + len(suffix)
                placements.append(Placement(example, row, len(ids[row]), range(1, tree.size)))
                ids[row].extend([*suffix, *tree.tokens])
                places[row].extend([*range(head, end), *(end - 1 + depth for depth in depths)])
                owners[row].extend([number] * (len(suffix) + len(depths)))
        positions, owner = _table(places, 0).to(device), _table(owners, -1).to(device)
        lineage = _lineage(placements, suffixes, tree, owner) if tree.tokens else None
        inputs = {
            "input_ids": _table(ids, 0).to(device),
            "position_ids": positions,
            "attention_mask": mask_argument(config, owner, positions, dtype, lineage),
        }
        return Batch(inputs, *_nodes(placements, suffixes, tree, device), placements)

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
    head, tree, plain, shared = len(prompt.prefix), prompt.tree, 0, 0
    room = row_room(model, prompt)
    for start in range(0, len(lengths), batch_size):
        batch = [length + len(tree.tokens) for length in lengths[start : start + batch_size]]
        rows = [sum(batch[example] for example in row) for row in _spread(batch, room)]
        plain += len(batch) * len(tree.paths) * (head + max(batch) - len(tree.tokens) + tree.depth)
        shared += len(rows) * (head + max(rows))
    return plain / shared


def _lengths(suffixes: Sequence[Sequence[int]], tree: AnswerTree) -> list[int]:
    """The number of tokens of each suffix with the nodes after it."""
    return [len(suffix) + len(tree.tokens) for suffix in suffixes]


def _nodes(
    placements: Sequence[Placement], suffixes: Sequence[Sequence[int]], tree: AnswerTree, device: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows and the positions of each example's nodes, both (examples × nodes,)."""
    places: dict[tuple[int, int], tuple[int, int]] = {}
    for example, row, start, nodes in placements:
        last = start + len(suffixes[example]) - 1
        places.update({(example, node): (row, place) for place, node in enumerate([0, *nodes], last)})
    found = [places[example, node] for example in range(len(suffixes)) for node in range(tree.size)]
    both = torch.tensor(found, device=device)
    return both[:, 0], both[:, 1]


def _lineage(
    placements: Sequence[Placement], suffixes: Sequence[Sequence[int]], tree: AnswerTree, owners: torch.Tensor
) -> torch.Tensor:
    """(rows, length, length): where the key is not a node, or a node on the path to the query's node."""
    nodes = torch.zeros_like(owners)
    for example, row, start, after in placements:
        end = start + len(suffixes[example])
        nodes[row, end : end + len(after)] = torch.tensor(after, device=owners.device)
    seen = torch.zeros(tree.size, tree.size, dtype=torch.bool, device=owners.device)
    for node, lineage in enumerate(tree.lineages):
        seen[node, [0, *lineage]] = True
    return seen[nodes[:, :, None], nodes[:, None, :]]


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
