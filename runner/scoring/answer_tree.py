"""The tree of answers: the token sequences of all labels' answers, joined where they begin alike.

A label's score is the sum of the log-probabilities of its answer's tokens. Each of them is predicted at a node of the tree:
node 0 is the end of the prompt, and every other node is a token after which some answer continues.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class AnswerTree:
    """The nodes and the answers. Where every answer is one token, there is only node 0 and no steps."""

    tokens: tuple[int, ...] = ()
    """The token of each node after node 0. A node comes after its parent."""
    parents: tuple[int, ...] = ()
    """The parent of each of them."""
    steps: tuple[tuple[tuple[int, int], ...], ...] = ()
    """For each label the steps of its answer: a node and the token that is predicted there."""

    @property
    def size(self) -> int:
        """The number of nodes, node 0 included."""
        return 1 + len(self.tokens)

    @functools.cached_property
    def lineages(self) -> tuple[tuple[int, ...], ...]:
        """For each node the nodes from a child of node 0 down to itself; empty for node 0."""
        found: list[tuple[int, ...]] = [()]
        for node, parent in enumerate(self.parents, 1):
            found.append((*found[parent], node))
        return tuple(found)

    @property
    def paths(self) -> tuple[tuple[int, ...], ...]:
        """The lineages of the nodes without children: together they hold every node."""
        return tuple(lineage for node, lineage in enumerate(self.lineages) if node not in self.parents)

    @property
    def depth(self) -> int:
        """The number of tokens that the longest path adds to a prompt."""
        return max(map(len, self.lineages))

    def tokens_of(self, nodes: Sequence[int]) -> list[int]:
        """The tokens of some nodes after node 0."""
        return [self.tokens[node - 1] for node in nodes]


def answer_tree(sequences: Sequence[Sequence[int]]) -> AnswerTree:
    """The tree of these answers, one sequence of tokens for each label. None may begin with a whole other one."""
    if all(len(ids) == 1 for ids in sequences):
        return AnswerTree()
    nodes: dict[tuple[int, ...], int] = {(): 0}
    for ids in sequences:
        for end in range(1, len(ids)):
            nodes.setdefault(tuple(ids[:end]), len(nodes))
    inner = list(nodes)[1:]
    return AnswerTree(
        tuple(ids[-1] for ids in inner),
        tuple(nodes[ids[:-1]] for ids in inner),
        tuple(tuple((nodes[tuple(ids[:end])], ids[end]) for end in range(len(ids))) for ids in sequences),
    )
