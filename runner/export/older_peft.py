"""The adapter for an older PEFT: adapter_config.json with the keys that PEFT 0.10 knows, where that changes nothing.

PEFT 0.10 refuses a configuration with a key that it does not know. A newer key is left out where its value is neutral: the
adapter then computes what it computes without the key. The tensors have the same names in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from runner.errors import UserError
from runner.language import tr

KNOWN = (
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layer_replication",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_dropout",
    "megatron_config",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "r",
    "rank_pattern",
    "revision",
    "target_modules",
    "task_type",
    "use_dora",
    "use_rslora",
)
"""Keys of LoRA in PEFT 0.10."""

ANY = object()
"""Every value of a key."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "peft_version": (ANY,),
    # these choose the initial values, which the saved ones have replaced
    "eva_config": (ANY,),
    "corda_config": (ANY,),
    "lora_ga_config": (ANY,),
    # read only with use_qalora
    "qalora_group_size": (ANY,),
    "use_qalora": (False, None),
    # the saved target_modules are what is left after it; PEFT 0.10 could find the others again, so only the default
    "exclude_modules": (None, [], ""),
    "lora_bias": (False, None),
    "alora_invocation_tokens": (None,),
    "arrow_config": (None,),
    "ensure_weight_tying": (False, None),
    "kasa_config": (None,),
    "monteclora_config": (None,),
    "target_parameters": (None, []),
    "trainable_token_indices": (None,),
    "use_bdlora": (None, False),
    "velora_config": (None,),
}
"""Newer keys, each with the values that are neutral."""

INITIAL_VALUES = (True, False, "gaussian", "eva", "orthogonal", "mini")
"""Values of `init_lora_weights` that say only how training began. Others, such as `pissa`, change the base's weights when PEFT
loads the adapter."""


def for_older_peft(config: Mapping[str, Any], tensors: Iterable[str]) -> dict[str, Any]:
    """The configuration as PEFT 0.10 reads it.

    Args:
        config: the content of adapter_config.json.
        tensors: the names of the adapter's tensors.

    Raises:
        UserError: PEFT 0.10 would compute something else.
    """
    problems = [*_newer_keys(config), *_other_meaning(config), *_other_scales(config, tensors)]
    if problems:
        raise UserError(
            tr("PEFT 0.10 cannot compute this adapter: {problems}", problems="; ".join(problems)),
            tr("export the merged model, which needs no PEFT: leave --adapter-only out"),
        )
    found = {name: config[name] for name in KNOWN if name in config}
    if "init_lora_weights" in found:
        # 0.10 does not know all names of initial values
        found["init_lora_weights"] = True
    return found


def _newer_keys(config: Mapping[str, Any]) -> Iterable[str]:
    for name, value in sorted(config.items()):
        if name in KNOWN:
            continue
        neutral = NEUTRAL.get(name, ())
        if ANY not in neutral and not any(value == each and type(value) is type(each) for each in neutral):
            yield tr("it does not know {name}: {value!r:.80}", name=name, value=value)


def _other_meaning(config: Mapping[str, Any]) -> Iterable[str]:
    """Keys that PEFT 0.10 knows, with values that it does not know or reads differently."""
    if config.get("peft_type") != "LORA":
        yield tr("it is of the type {peft_type}, not LORA", peft_type=config.get("peft_type"))
    init = config.get("init_lora_weights", True)
    if init not in INITIAL_VALUES:
        yield tr("init_lora_weights: {init} changes the base's weights", init=init)
    if config.get("use_dora") and config.get("fan_in_fan_out"):
        yield tr("use_dora on layers that hold their weights transposed")
    if config.get("modules_to_save"):
        yield tr("modules_to_save is not only LoRA")


def _other_scales(config: Mapping[str, Any], tensors: Iterable[str]) -> Iterable[str]:
    """The first layer to which PEFT 0.10 gives another rank or scale, by rank_pattern and alpha_pattern."""
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    for layer in sorted({name.removeprefix("base_model.model.").partition(".lora_")[0] for name in tensors}):
        # newer: each pattern by itself
        rank = ranks.get(_newer_key(ranks, layer), config.get("r"))
        alpha = alphas.get(_newer_key(alphas, layer), config.get("lora_alpha"))
        # 0.10: one key for both
        key = _older_key([*ranks, *alphas], layer)
        older = ranks.get(key, config.get("r")), alphas.get(key, config.get("lora_alpha"))
        if older != (rank, alpha):
            yield tr(
                "rank_pattern and alpha_pattern give {layer} the rank {rank} and the alpha {alpha}; there it "
                "would have {older_rank} and {older_alpha}",
                layer=layer,
                rank=rank,
                alpha=alpha,
                older_rank=older[0],
                older_alpha=older[1],
            )
            return


def _newer_key(patterns: Iterable[str], layer: str) -> str:
    return next((key for key in patterns if re.match(rf"(.*\.)?({key})$", layer)), layer)


def _older_key(patterns: Iterable[str], layer: str) -> str:
    return next((key for key in patterns if re.match(rf".*\.{key}$", layer)), layer)
