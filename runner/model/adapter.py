"""The adapter: LoRA layers put into the base through PEFT, saved as the contract wants them, and taken out again."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import save

from grading import contract
from runner.errors import UserError
from runner.model.base import Base
from runner.recipe.schema import Lora


@contextmanager
def new_adapter(base: Base, lora: Lora) -> Iterator[Any]:
    """The base with a fresh adapter in it, as a PeftModel, for the length of the block.

    Raises UserError where the recipe's targets are not in the model."""
    keys = {name: value for name, value in dataclasses.asdict(lora).items() if value is not None}
    keys = {name: list(value) if isinstance(value, tuple) else value for name, value in keys.items()}
    try:
        model = get_peft_model(base.model, LoraConfig(task_type="CAUSAL_LM", **keys))
    except (ValueError, re.error) as error:
        raise UserError(f"lora: {' '.join(str(error).split())[:300]}", _linear_layers(base.model)) from error
    _check_targets(model, lora)
    yield from _attached(model)


@contextmanager
def saved_adapter(base: Base, folder: Path) -> Iterator[Any]:
    """The base with the adapter in `folder` in it, for the length of the block. Raises UserError where it does not fit."""
    try:
        with safe_open(str(folder / contract.ADAPTER_WEIGHTS), framework="pt") as file:
            saved = set(file.keys())
        # behind it: where that file is missing, PEFT would look for pickled weights, and for its own on a hub
        model = PeftModel.from_pretrained(base.model, folder)
    except Exception as error:  # damaged or foreign files raise errors of many libraries' own
        raise UserError(
            f"the adapter in {folder} does not load into {base.folder}: {' '.join(str(error).split())[:300]}",
            "name the base that it was trained on, or train it again: --fresh",
        ) from error
    wanted = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if saved != wanted:
        odd = sorted(saved ^ wanted)
        raise UserError(
            f"the adapter in {folder} does not fit {base.folder}: {len(odd)} tensors on one side only, such as {odd[0]}",
            "name the base that it was trained on, or train it again: --fresh",
        )
    yield from _attached(model)


def _check_targets(model: Any, lora: Lora) -> None:
    """Raises UserError for a target, layer or pattern of the recipe that met no layer: PEFT passes over it in silence."""
    adapted = [name for name, module in model.get_base_model().named_modules() if hasattr(module, "lora_A")]
    unmet = []
    for target in lora.target_modules if isinstance(lora.target_modules, tuple) else ():
        if not any(name == target or name.endswith(f".{target}") for name in adapted):
            unmet.append(f"lora.target_modules: {target}")
    for number in lora.layers_to_transform or ():
        if not any(f".{number}." in name for name in adapted):
            unmet.append(f"lora.layers_to_transform: {number}")
    for key, pattern in (("rank_pattern", lora.rank_pattern), ("alpha_pattern", lora.alpha_pattern)):
        for part in pattern or ():
            if not any(re.match(rf"(.*\.)?({part})$", name) for name in adapted):
                unmet.append(f"lora.{key}: {part}")
    if unmet:
        raise UserError(f"{'; '.join(unmet)}: meets no layer of this model", _linear_layers(model.get_base_model()))


def _attached(model: Any) -> Iterator[Any]:
    # peft 0.10 keeps the adapter in the base's type; it is trained and applied in fp32 on both ends
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
    try:
        yield model
    finally:
        bare = model.unload()
        if hasattr(bare, "peft_config"):
            del bare.peft_config  # left behind by newer PEFT, which would warn of a second adapter on the next one


def adapter_state(model: Any) -> dict[str, torch.Tensor]:
    """A copy of the adapter's tensors, on the CPU, by the names they are saved under."""
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()}


def save_adapter(model: Any, state: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Writes the adapter's tensors and configuration into `folder`: the same adapter gives the same bytes."""
    (folder / contract.ADAPTER_WEIGHTS).write_bytes(save(dict(state), metadata={"format": "pt"}))
    model.peft_config["default"].save_pretrained(str(folder))
    path = folder / contract.ADAPTER_CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    config["inference_mode"] = True
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()  # PEFT writes a set, in an order that changes from run to run
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _linear_layers(model: Any) -> str:
    """A line that names them, with an adapter in them or not."""
    names = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "lora_" not in name and not name.endswith(".base_layer")
    }
    names |= {name.rpartition(".")[2] for name, module in model.named_modules() if hasattr(module, "base_layer")}
    return f"the model's linear layers are {', '.join(sorted(names - {'lm_head'}))}"
