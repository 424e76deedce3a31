"""The adapter: LoRA layers put into the base through PEFT, saved in the contract's files, and taken out again."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import save
from transformers.pytorch_utils import Conv1D

from grading import contract
from runner.errors import UserError
from runner.language import tr
from runner.model.base import Base
from runner.model.compat import dora_magnitude
from runner.model.lora_targets import unmatched
from runner.model.pissa import as_plain_lora, plain_config, start_with_singular_values, starts
from runner.recipe.schema import Lora
from runner.system.reserve import fill_reserved


class Adapter:
    """LoRA layers in a base model, until `detach` takes them out.

    A context manager: `with new_adapter(base, lora) as model` gives PEFT's model and detaches at the end. Nothing happens on
    garbage collection."""

    def __init__(self, model: Any) -> None:
        """`model`: the PeftModel. Its adapter is cast to fp32: PEFT 0.10 keeps it in the base's type."""
        self.model = model
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.float()

    def detach(self) -> None:
        """Take the LoRA layers out of the base, which is then as it was. A second call does nothing."""
        if self.model is None:
            return
        bare, self.model = self.model.unload(), None
        # newer PEFT leaves it there, and would warn of a second adapter on the next one
        if hasattr(bare, "peft_config"):
            del bare.peft_config

    def __enter__(self) -> Any:
        return self.model

    def __exit__(self, *_: object) -> None:
        self.detach()


def new_adapter(base: Base, lora: Lora) -> Adapter:
    """Put a fresh adapter into the base. Raises UserError where the recipe's targets are not in the model."""
    _require_bare(base)
    try:
        model = get_peft_model(base.model, LoraConfig(task_type="CAUSAL_LM", **_peft_keys(base.model, lora)))
    except (ValueError, re.error) as error:
        raise UserError(
            tr("lora: {error}", error=" ".join(str(error).split())[:300]), _linear_layers(base.model)
        ) from error
    adapter = Adapter(model)
    try:
        adapted = [name for name, module in model.get_base_model().named_modules() if hasattr(module, "lora_A")]
        missing = unmatched(lora, adapted)
        if missing:
            raise UserError(
                tr("{unmatched}: meets no layer of this model", unmatched="; ".join(missing)), _linear_layers(model)
            )
        if _is_pissa(lora):
            start_with_singular_values(model, str(lora.init_lora_weights))
        if lora.use_dora:
            _start_with_own_magnitudes(model)
    except UserError:
        adapter.detach()
        raise
    return adapter


def _is_pissa(lora: Lora) -> bool:
    return str(lora.init_lora_weights).startswith("pissa")


def _peft_keys(model: Any, lora: Lora) -> dict[str, Any]:
    """The keys for PEFT's LoraConfig, without those that are not set."""
    keys = {name: value for name, value in dataclasses.asdict(lora).items() if value is not None}
    keys = {name: list(value) if isinstance(value, tuple) else value for name, value in keys.items()}
    if _is_pissa(lora):
        # PEFT would change the base's weights
        keys["init_lora_weights"] = True
    if lora.layers_to_transform and lora.target_modules == "all-linear":
        # PEFT refuses the two together
        keys["target_modules"] = _linear_names(model, lora.layers_to_transform)
    return keys


@torch.no_grad()
def _start_with_own_magnitudes(model: Any) -> None:
    """Give every DoRA layer the magnitudes of its weight in fp32. PEFT computes them in the base's type: rounded to bf16 they
    would change the untuned model."""
    for layer in model.modules():
        if hasattr(layer, "lora_A") and "default" in layer.lora_A:
            weight = layer.get_base_layer().weight.float()
            dim = 0 if getattr(layer, "fan_in_fan_out", False) else 1
            dora_magnitude(layer).data = torch.linalg.norm(weight, dim=dim)


def saved_adapter(base: Base, folder: Path) -> Adapter:
    """Put the adapter in `folder` into the base. Raises UserError where it does not fit."""
    _require_bare(base)
    next_step = tr("name the base that it was trained on, or train it again: --fresh")
    try:
        with safe_open(str(folder / contract.ADAPTER_WEIGHTS), framework="pt") as file:
            saved = set(file.keys())
        # only now: where that file is missing, PEFT would look for pickled weights, and on the hub
        model = PeftModel.from_pretrained(base.model, folder)
    # damaged or foreign files raise errors of many libraries
    except Exception as error:
        raise UserError(
            tr(
                "the adapter in {folder} does not load into {base_folder}: {error}",
                folder=folder,
                base_folder=base.folder,
                error=" ".join(str(error).split())[:300],
            ),
            next_step,
        ) from error
    adapter = Adapter(model)
    different = sorted(saved ^ set(get_peft_model_state_dict(model, save_embedding_layers=False)))
    if different:
        adapter.detach()
        raise UserError(
            tr(
                "the adapter in {folder} does not fit {base_folder}: {different_count} tensors are "
                "on one side only, such as {different}",
                folder=folder,
                base_folder=base.folder,
                different_count=len(different),
                different=different[0],
            ),
            next_step,
        )
    return adapter


def _require_bare(base: Base) -> None:
    """Raise UserError where the base holds an adapter already: PEFT would replace its values without a word."""
    if any(hasattr(module, "lora_A") for module in base.model.modules()):
        raise UserError(
            tr("the base {folder} is in use: another adapter is in it", folder=base.folder),
            tr("close that classifier, or load the base again"),
        )


def adapter_state(model: Any) -> dict[str, torch.Tensor]:
    """A copy of the adapter's tensors, on the CPU, by the names they are saved under."""
    state = as_plain_lora(model, get_peft_model_state_dict(model, save_embedding_layers=False))
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()}


def adapter_file_size(state: Mapping[str, torch.Tensor]) -> int:
    """Bytes of the file of such an adapter."""
    return len(_file_content(state))


def _file_content(state: Mapping[str, torch.Tensor]) -> bytes:
    return save(dict(state), metadata={"format": "pt"})


def save_adapter(model: Any, state: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Writes the adapter's tensors and configuration into `folder`: the same adapter gives the same bytes."""
    fill_reserved(folder / contract.ADAPTER_WEIGHTS, _file_content(state))
    model.peft_config["default"].save_pretrained(str(folder))
    path = folder / contract.ADAPTER_CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    config["inference_mode"] = True
    if starts(model):
        config = plain_config(config)
    if isinstance(config.get("target_modules"), list):
        # PEFT writes a set, in an order that changes from run to run
        config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _linear_layers(model: Any) -> str:
    """A sentence that names the linear layers of a model, with or without an adapter in it."""
    return tr("the model's linear layers are {linear_names}", linear_names=", ".join(_linear_names(model)))


def _linear_names(model: Any, layers: Sequence[int] = ()) -> list[str]:
    """The last parts of the names of all linear layers but the head, sorted. `layers`: only those in layers with these
    numbers, where there are such layers."""
    names = [
        name
        for name, module in model.named_modules()
        if hasattr(module, "base_layer")
        or (isinstance(module, (torch.nn.Linear, Conv1D)) and "lora_" not in name and not name.endswith(".base_layer"))
    ]
    chosen = [name for name in names if any(f".{number}." in name for number in layers)] or names
    return sorted({name.rpartition(".")[2] for name in chosen} - {"lm_head"})
