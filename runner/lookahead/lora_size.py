"""The size of an adapter: which layers of a base a recipe adapts, and how many parameters that trains.

The layers come from the names and shapes of the base's tensors, so no model is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runner.language import tr
from runner.lookahead.base_report import EMBEDDINGS, part
from runner.lookahead.findings import Findings
from runner.lookahead.weight_files import Tensor
from runner.model.lora_targets import matches, unmatched
from runner.recipe.schema import Lora

NOT_LINEAR = (
    *EMBEDDINGS,
    "lm_head",
    "embed_out",
    "wpe",
    "embed_positions",
    "position_embeddings",
    "token_type_embeddings",
)
"""Last parts of the names of tables and output heads, which no recipe adapts."""


@dataclass(frozen=True)
class Linear:
    """A linear layer of the base."""

    name: str
    outputs: int
    inputs: int


@dataclass(frozen=True)
class LoraSize:
    """What a recipe adapts, and its size."""

    layers: Sequence[Linear]
    """All linear layers of the base but the output head."""
    ranks: Mapping[str, int]
    """The rank of each adapted layer, by its name."""
    trainable: int
    """Parameters that are trained."""
    saved: int
    """Parameters in the adapter's file: PiSSA's file has twice as many."""

    @property
    def adapted(self) -> list[Linear]:
        """The adapted layers."""
        return [layer for layer in self.layers if layer.name in self.ranks]

    @property
    def weights(self) -> int:
        """Weights of all linear layers: a token costs twice as many operations in a forward pass."""
        return sum(layer.outputs * layer.inputs for layer in self.layers)


def linear_layers(tensors: Mapping[str, Tensor]) -> list[Linear]:
    """The linear layers of a base, by its tensors. GPT-2's are stored the other way round, which changes no size."""
    return [
        Linear(name[: -len(".weight")], *tensor.shape)
        for name, tensor in tensors.items()
        if name.endswith(".weight") and len(tensor.shape) == 2 and part(name, -2) not in NOT_LINEAR
    ]


def size_of(lora: Lora, tensors: Mapping[str, Tensor], findings: Findings) -> LoraSize:
    """What this adapter has on that base. Adds a problem for each target that names no layer."""
    layers = linear_layers(tensors)
    chosen = [layer for layer in layers if _is_target(lora, layer.name)]
    ranks = {layer.name: _rank(lora, layer.name) for layer in chosen}
    trainable = sum(ranks[layer.name] * (layer.inputs + layer.outputs) for layer in chosen)
    magnitudes = sum(layer.outputs for layer in chosen) if lora.use_dora else 0
    doubled = 2 if str(lora.init_lora_weights).startswith("pissa") else 1
    for key in unmatched(lora, [layer.name for layer in chosen]):
        names = ", ".join(sorted({part(layer.name, -1) for layer in layers}))
        findings.problem(
            tr("{key}: meets no layer of this base", key=key), tr("the base's linear layers are {names}", names=names)
        )
    return LoraSize(layers, ranks, trainable + magnitudes, doubled * trainable + magnitudes)


def _is_target(lora: Lora, name: str) -> bool:
    if lora.layers_to_transform and not any(f".{number}." in name for number in lora.layers_to_transform):
        return False
    if lora.target_modules == "all-linear":
        return True
    return any(name == target or name.endswith(f".{target}") for target in lora.target_modules)


def _rank(lora: Lora, name: str) -> int:
    """As PEFT finds it: the first pattern that is the name or its ending."""
    matching = (rank for key, rank in (lora.rank_pattern or {}).items() if matches(key, name))
    return next(matching, lora.r)
