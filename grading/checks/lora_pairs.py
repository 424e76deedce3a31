"""LoRA pairs: the lora_A and lora_B of each adapted module, checked against the configuration and the base model.

lora_A has shape (rank, in, ...) and lora_B (out, rank, ...), as PEFT saves linear, embedding and convolution layers; a
magnitude vector of DoRA has `out` values. Other tensors (`lora_B.bias`, whole modules) are allowed.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from grading import contract
from grading.checks import safetensors_file as weights
from grading.checks.adapter_config import Config, endings
from grading.checks.base_shapes import MODULES, BaseShapes
from grading.checks.safetensors_file import Tensor
from grading.contract.language import tr
from grading.errors import quoted

_SIDE = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(?:\.weight)?", re.DOTALL)
_MAGNITUDE = re.compile(r"(?P<module>.+)\.lora_magnitude_vector(?:\.weight)?", re.DOTALL)
_PREFIX = "base_model.model."
"""What PEFT puts before a module's own name."""


class PairsError(ValueError):
    """Tensors that are not a complete LoRA. The message names the tensor, what was expected and what was found."""


@dataclass(frozen=True)
class Pair:
    """Both sides of one adapted module."""

    module: str
    """The module's name in the file, with PEFT's prefix."""
    a: Tensor
    b: Tensor

    @property
    def rank(self) -> int:
        """The inner dimension."""
        return self.a.shape[0]

    @property
    def name(self) -> str:
        """The module's name in its model."""
        return self.module[len(_PREFIX) :]


def find_pairs(tensors: Sequence[Tensor]) -> list[Pair]:
    """The pairs, in the file's order. Raises PairsError if one is not complete, or there is none."""
    sides: dict[tuple[str, str], Tensor] = {}
    embeddings: dict[str, Optional[str]] = {}
    for tensor in tensors:
        match = _SIDE.fullmatch(tensor.name)
        if not match:
            continue
        if not tensor.name.startswith(_PREFIX):
            raise PairsError(
                tr(
                    "tensor {name} does not start with {prefix}, as PEFT's names do",
                    name=quoted(tensor.name),
                    prefix=_PREFIX,
                )
            )
        _require_float(tensor)
        if len(tensor.shape) < 2 or 0 in tensor.shape:
            shape = list(tensor.shape)
            raise PairsError(
                tr(
                    "tensor {name} has shape {shape}, expected two dimensions, each > 0",
                    name=quoted(tensor.name),
                    shape=shape,
                )
            )
        place = (match["module"], match["side"])
        if place in sides:
            raise PairsError(
                tr(
                    "tensors {name} and {tensor_name} are the same side of a pair",
                    name=quoted(sides[place].name),
                    tensor_name=quoted(tensor.name),
                )
            )
        sides[place] = tensor
        if embeddings.setdefault(match["module"], match["embedding"]) != match["embedding"]:
            raise PairsError(
                tr("{module} has one side of a linear layer and one of an embedding", module=quoted(match["module"]))
            )
    if not sides:
        raise PairsError(tr("has no lora_A or lora_B with PEFT's names (...q_proj.lora_A.weight)"))
    pairs = []
    for (module, side), tensor in sides.items():
        other = sides.get((module, "B" if side == "A" else "A"))
        if other is None:
            raise PairsError(
                tr(
                    "tensor {name} has no matching lora_{other}",
                    name=quoted(tensor.name),
                    other="B" if side == "A" else "A",
                )
            )
        if side == "A":
            _require_dimensions(module, tensor, other)
            if tensor.shape[0] != other.shape[1]:
                raise PairsError(
                    tr(
                        "{module}: lora_A has rank {rank_a}, lora_B {rank_b}",
                        module=quoted(module),
                        rank_a=tensor.shape[0],
                        rank_b=other.shape[1],
                    )
                )
            pairs.append(Pair(module, tensor, other))
    return pairs


def _require_dimensions(module: str, a: Tensor, b: Tensor) -> None:
    """Raises PairsError unless both have the dimensions of a layer: two for linear layers and embeddings, three to five for
    convolutions, whose lora_B is 1 wide in all but two. The modules that are linear in every base model have two."""
    linear = module.rpartition(".")[2] in MODULES
    alike = len(a.shape) == len(b.shape) <= (2 if linear else 5)
    if not alike or any(size != 1 for size in b.shape[2:]):
        raise PairsError(
            tr(
                "{module}: lora_A has shape {a}, lora_B {b}; expected two dimensions, or those of a convolution",
                module=quoted(module),
                a=list(a.shape),
                b=list(b.shape),
            )
        )


def _require_float(tensor: Tensor) -> None:
    if tensor.dtype not in weights.FRACTION_BITS:
        kinds = ", ".join(weights.FRACTION_BITS)
        raise PairsError(
            tr(
                "tensor {name} is {dtype}, expected one of {kinds}",
                name=quoted(tensor.name),
                dtype=tensor.dtype,
                kinds=kinds,
            )
        )


def require_config(pairs: Sequence[Pair], tensors: Sequence[Tensor], config: Config) -> tuple[str, ...]:
    """Those of `target_modules` that have no pair: PEFT passes over names that the base model lacks, and those that are excluded.

    Raises PairsError if ranks, target modules or magnitude vectors are not the configuration's."""
    for pair in pairs:
        ranks = config.ranks_of(pair.name)
        if pair.rank not in ranks:
            stated = str(ranks[0]) if len(ranks) == 1 else config.ranks_text()
            raise PairsError(
                tr(
                    "{module} has rank {rank}, {adapter_config} states {stated}",
                    module=quoted(pair.module),
                    rank=pair.rank,
                    adapter_config=contract.ADAPTER_CONFIG,
                    stated=stated,
                )
            )
    unused = () if config.targets is None else _require_targets(pairs, config.targets, config)
    magnitudes = _magnitudes(tensors)
    for pair in pairs:
        vector = magnitudes.pop(pair.module, None)
        if config.dora and vector is None:
            raise PairsError(
                tr("{module} has no lora_magnitude_vector, which use_dora needs", module=quoted(pair.module))
            )
        if vector is not None:
            _require_float(vector)
        if config.dora and vector is not None and math.prod(vector.shape) != pair.b.shape[0]:
            found = tr("has shape {shape}, expected {size} values", shape=list(vector.shape), size=pair.b.shape[0])
            raise PairsError(tr("tensor {name} {found}", name=quoted(vector.name), found=found))
        if not config.dora and vector is not None:
            raise PairsError(
                tr(
                    "tensor {name} belongs to DoRA, but {adapter_config} does not set use_dora",
                    name=quoted(vector.name),
                    adapter_config=contract.ADAPTER_CONFIG,
                )
            )
    for vector in magnitudes.values():
        raise PairsError(tr("tensor {name} belongs to no pair", name=quoted(vector.name)))
    return unused


def require_base(pairs: Sequence[Pair], base: BaseShapes, unused: Sequence[str] = ()) -> int:
    """The number of pairs on modules whose shape in the base model is known. `unused`: targets without a pair.

    Raises PairsError if one has another shape or layer than the base model, if none is known, or if the base model has a module
    that should have a pair."""
    for target in unused:
        if target in base.modules:
            raise PairsError(tr("no pair for {target} of target_modules", target=quoted(target)))
    known = 0
    for pair in pairs:
        layer = re.search(r"\.layers\.(\d{1,9})\.", f".{pair.name}")
        if layer and int(layer[1]) >= base.layers:
            raise PairsError(
                tr(
                    "{module}: the base model has {layers} layers, counted from 0",
                    module=quoted(pair.module),
                    layers=base.layers,
                )
            )
        expected = base.modules.get(pair.name.rpartition(".")[2])
        found = (pair.a.shape[1], pair.b.shape[0])
        if expected is not None and found != expected:
            raise PairsError(
                tr(
                    "{module} maps {rows} values to {columns}, in the base model {expected_rows} to {expected_columns}",
                    module=quoted(pair.module),
                    rows=found[0],
                    columns=found[1],
                    expected_rows=expected[0],
                    expected_columns=expected[1],
                )
            )
        known += expected is not None
    if not known:
        raise PairsError(
            tr("{module} is not a module of the base model, and neither is any other", module=quoted(pairs[0].module))
        )
    return known


def _require_targets(pairs: Sequence[Pair], targets: Sequence[str], config: Config) -> tuple[str, ...]:
    """The targets without a pair that are not excluded. A target means every module with this name, or with this name after a dot
    at its end, as in PEFT; and so does an excluded one."""
    known, used, excluded = set(targets), set[str](), set(config.excluded)
    for pair in pairs:
        matching = known.intersection(endings(pair.name))
        if not matching:
            raise PairsError(
                tr(
                    "{module} is not in target_modules {targets}",
                    module=quoted(pair.module),
                    targets=quoted(list(targets)),
                )
            )
        if excluded.intersection(endings(pair.name)):
            raise PairsError(tr("{module} is excluded by exclude_modules", module=quoted(pair.module)))
        # PEFT looks for the layer only where the target is not the whole name
        if config.layers is not None and pair.name not in matching and not config.layers & _numbers(pair.name):
            raise PairsError(tr("{module} is in no layer of layers_to_transform", module=quoted(pair.module)))
        used |= matching
    return tuple(target for target in targets if target not in used and not excluded.intersection(endings(target)))


def _numbers(name: str) -> set[int]:
    """The numbers among the parts of a module's name."""
    return {int(part) for part in name.split(".") if re.fullmatch(r"[0-9]{1,9}", part)}


def _magnitudes(tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for tensor in tensors:
        match = _MAGNITUDE.fullmatch(tensor.name)
        if match:
            found[match["module"]] = tensor
    return found


def side_names(tensors: Sequence[Tensor], side: str) -> frozenset[str]:
    """Names of the tensors that are one side, `A` or `B`, of a pair, whether the pair is complete or not."""
    matches = ((_SIDE.fullmatch(tensor.name), tensor.name) for tensor in tensors)
    return frozenset(name for match, name in matches if match and match["side"] == side)
