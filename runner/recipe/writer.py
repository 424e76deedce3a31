"""The written recipe: all values of a recipe as plain YAML that runs alone, and read back for comparing."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.recipe.schema import Recipe
from runner.recipe.yaml_nodes import parse, plain

_BREAKS = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
"""Characters that JSON leaves as they are, and that YAML takes for line ends or refuses."""


def recipe_text(recipe: Recipe, comment: str = "") -> str:
    """The recipe as YAML: each block's keys on lines of their own, each value as JSON. `comment`: the first lines, without #."""
    lines = [f"# {line}" for line in comment.splitlines()]
    for name, value in dataclasses.asdict(recipe).items():
        if isinstance(value, dict) and value:
            lines += [f"{name}:", *(f"  {key}: {yaml_value(each)}" for key, each in value.items())]
        else:
            lines.append(f"{name}: {yaml_value(value)}")
    return "\n".join(lines) + "\n"


def read_flat_recipe(path: Path) -> dict[str, Any]:
    """The values of a written recipe by their dotted keys, such as `lora.r`; empty where it cannot be read.

    They are not checked: the recipe may be of another version."""
    try:
        parsed = parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, ValueError):
        return {}
    values = None if parsed.root is None or parsed.problems else plain(parsed.root)
    return flat_values(values) if isinstance(values, dict) else {}


def differing_keys(first: Mapping[str, Any], *others: Mapping[str, Any]) -> list[str]:
    """The keys that have not the same value in all flat recipes, in their order."""
    keys = dict.fromkeys(key for recipe in (first, *others) for key in recipe)
    return [key for key in keys if any(other.get(key) != first.get(key) for other in others)]


def yaml_value(value: Any) -> str:
    """A value as it is written in a recipe, on one line."""
    text = json.dumps(value, ensure_ascii=False)
    return _BREAKS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def flat_values(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a recipe's tree by their dotted keys: one level of blocks."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found.update(
            {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
        )
    return found
