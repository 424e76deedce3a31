"""The targets of LoRA: which names of a recipe meet a layer, by PEFT's rules. Nothing heavy is imported."""

from __future__ import annotations

import re
from collections.abc import Sequence

from runner.recipe.schema import Lora


def matches(pattern: str, name: str) -> bool:
    """Whether a key of `rank_pattern` or `alpha_pattern` means the layer: it is its name, or the end of it."""
    try:
        return re.match(rf"(.*\.)?({pattern})$", name) is not None
    except re.error:
        return False


def unmatched(lora: Lora, adapted: Sequence[str]) -> list[str]:
    """The targets, layers and patterns of the recipe that meet no layer: PEFT ignores them without a word.

    `adapted`: names of the layers that get an adapter."""
    found = []
    for target in lora.target_modules if isinstance(lora.target_modules, tuple) else ():
        if not any(name == target or name.endswith(f".{target}") for name in adapted):
            found.append(f"lora.target_modules: {target}")
    for number in lora.layers_to_transform or ():
        if not any(f".{number}." in name for name in adapted):
            found.append(f"lora.layers_to_transform: {number}")
    for key, patterns in (("rank_pattern", lora.rank_pattern), ("alpha_pattern", lora.alpha_pattern)):
        for pattern in patterns or ():
            if not any(matches(pattern, name) for name in adapted):
                found.append(f"lora.{key}: {pattern}")
    return found
