"""PiSSA: LoRA that starts with the largest singular values of each weight (Meng et al. 2024, arXiv:2404.02948).

PEFT takes that start, B₀·A₀, out of the base's weights. Here the base stays as it is, and each layer adds
B·A − B₀·A₀ to it: the same function, with the same gradients. It is a plain LoRA of twice the rank, [B, −B₀]·[A; A₀], of which
A and B are trained. So it is saved as one: any PEFT loads it, and it computes there what it computed in training. The start
takes the memory of the adapter once more, in fp32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from runner.errors import UserError
from runner.language import tr


class BesideStart(torch.nn.Module):
    """The A or the B of a LoRA layer, beside its start with which training began and which stays."""

    start: torch.Tensor

    def __init__(self, linear: torch.nn.Linear, values: torch.Tensor, side: str) -> None:
        """`values`: the start, with the shape of `linear`'s weight. `side`: A or B."""
        super().__init__()
        self.weight, self.dim = linear.weight, "AB".index(side)
        self.weight.data = values.contiguous()
        # not in the state: PEFT would not know its name
        self.register_buffer("start", (values if side == "A" else -values).clone(), persistent=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """The product with the trained values and the start."""
        return torch.nn.functional.linear(hidden, self.widened(self.weight))

    def widened(self, trained: torch.Tensor) -> torch.Tensor:
        """The matrix of twice the rank: trained values and start."""
        return torch.cat([trained, self.start.to(trained.device)], self.dim)


@torch.no_grad()
def start_with_singular_values(model: Any, init: str) -> None:
    """Give every LoRA layer of a PeftModel its start.

    `init`: PEFT's name: `pissa`, or `pissa_niter_N` for an approximation in N iterations, which is faster.

    Raises UserError where the rank is larger than a weight."""
    for name, layer in model.named_modules():
        if not hasattr(layer, "lora_A") or "default" not in layer.lora_A:
            continue
        weight = layer.get_base_layer().weight.float()
        # GPT-2's layers hold their weights transposed
        weight = weight.T if getattr(layer, "fan_in_fan_out", False) else weight
        rank = layer.r["default"]
        if rank > min(weight.shape):
            raise UserError(
                tr(
                    "lora.r: {rank} is more than {name} has singular values, {shape}",
                    rank=rank,
                    name=name.rpartition(".")[2],
                    shape=min(weight.shape),
                ),
                tr("lower lora.r, or set lora.init_lora_weights: true"),
            )
        left, values, right = _largest(weight, rank, init)
        values = (values / layer.scaling["default"]).sqrt()
        layer.lora_A["default"] = BesideStart(layer.lora_A["default"], values[:, None] * right, "A")
        layer.lora_B["default"] = BesideStart(layer.lora_B["default"], left * values, "B")


def _largest(weight: torch.Tensor, rank: int, init: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """U (out, rank), S (rank,) and V transposed (rank, in) of the largest singular values."""
    if init == "pissa":
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
        return left[:, :rank], values[:rank], right[:rank]
    left, values, right = torch.svd_lowrank(weight, rank, niter=int(init.rpartition("_")[2]))
    return left, values, right.T


def _sides(model: Any) -> Iterator[tuple[str, BesideStart]]:
    return ((name, module) for name, module in model.named_modules() if isinstance(module, BesideStart))


def starts(model: Any) -> dict[str, torch.Tensor]:
    """The start of every matrix, by its name in the model; empty without PiSSA."""
    return {f"{name}.start": side.start for name, side in _sides(model)}


def as_plain_lora(model: Any, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """An adapter's state, with the start beside every matrix that has one.

    `state`: tensors by the names under which PEFT saves them."""
    sides = {f"{name.rpartition('.')[0]}.weight": side for name, side in _sides(model)}
    return {name: sides[name].widened(tensor) if name in sides else tensor for name, tensor in state.items()}


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of `as_plain_lora`'s state: twice the rank, at the same scale.

    `config`: the content of adapter_config.json, of the rank that was trained."""
    alpha = math.sqrt(2) if config["use_rslora"] else 2
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    return {
        **config,
        "r": 2 * config["r"],
        "lora_alpha": alpha * config["lora_alpha"],
        "rank_pattern": {name: 2 * rank for name, rank in ranks.items()},
        "alpha_pattern": {name: alpha * value for name, value in alphas.items()},
    }
