"""The adapter's configuration for PEFT 0.10: newer keys are left out where that changes nothing, and refused else."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig
from support.answered import answered_run

from runner.errors import UserError
from runner.export.older_peft import KNOWN, NEUTRAL, for_older_peft

LAYERS = [
    f"base_model.model.model.layers.{n}.self_attn.{name}.lora_A.weight" for n in (0, 1) for name in ("q_proj", "v_proj")
]
PLAIN = {"peft_type": "LORA", "r": 4, "lora_alpha": 8.0, "target_modules": ["q_proj", "v_proj"]}


def test_every_key_of_the_installed_peft_has_a_rule() -> None:
    names = {field.name for field in dataclasses.fields(LoraConfig)} - {"runtime_config"}
    assert names <= {*KNOWN, *NEUTRAL}


def test_what_a_run_saves_is_cut_to_the_known_keys(tiny_base: Path) -> None:
    path = answered_run(tiny_base, "plain") / "saved_model/tiny/adapter_config.json"
    config = json.loads(path.read_text())
    older = for_older_peft(config, LAYERS)
    assert set(older) <= set(KNOWN)
    assert all(config[name] == value for name, value in older.items())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"lora_bias": True}, "it does not know lora_bias: True"),
        ({"trainable_token_indices": [1]}, r"it does not know trainable_token_indices: \[1\]"),
        ({"use_qalora": True}, "it does not know use_qalora: True"),
        ({"exclude_modules": ["k_proj"]}, "it does not know exclude_modules"),
        ({"of_tomorrow": None}, "it does not know of_tomorrow: None"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights: pissa changes the base's weights"),
        ({"init_lora_weights": "olora"}, "init_lora_weights: olora changes the base's weights"),
        ({"use_dora": True, "fan_in_fan_out": True}, "use_dora on layers that hold their weights transposed"),
        ({"peft_type": "IA3"}, "it is of the type IA3, not LORA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is not only LoRA"),
        # 0.10 looks up both by the first pattern that fits
        (
            {"rank_pattern": {"q_proj": 8}, "alpha_pattern": {"self_attn.q_proj": 32.0}},
            r"give model\.layers\.0\.self_attn\.q_proj the rank 8 and the alpha 32\.0; there it would have 8 and 8\.0",
        ),
        # newer ones read an alternative as a whole
        ({"rank_pattern": {"k_proj|v_proj": 8}}, r"v_proj the rank 8 .*; there it would have 4"),
    ],
    ids=str,
)
def test_what_would_change_the_adapter_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=f"PEFT 0.10 cannot compute this adapter: .*{problem}"):
        for_older_peft({**PLAIN, **changes}, LAYERS)


@pytest.mark.parametrize(
    "changes",
    [
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "eva", "eva_config": {"rho": 2}},
        {"peft_version": "9.9", "qalora_group_size": 4, "use_qalora": False},
        {"rank_pattern": {"q_proj": 8}, "alpha_pattern": {"q_proj": 32.0}},
        {"rank_pattern": {"layers.0.self_attn.q_proj": 8}},
    ],
    ids=str,
)
def test_neutral_values_are_left_out(changes: dict[str, Any]) -> None:
    older = for_older_peft({**PLAIN, **changes}, LAYERS)
    assert set(older) <= set(KNOWN)
    assert {name: older[name] for name in PLAIN} == PLAIN
    assert older.get("init_lora_weights", True) is True
