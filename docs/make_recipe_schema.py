"""Write recipes/schema.json: the JSON Schema of recipes, by which editors complete keys and mark mistakes.

    python docs/make_recipe_schema.py

It is made from the dataclasses in `runner/recipe/schema.py`: types, defaults, ranges, and the sentence below each field. A test
compares the file with them. What depends on several keys, or on files, only `labeltune check` knows."""

from __future__ import annotations

import dataclasses
import json
import sys
import typing
from pathlib import Path
from typing import Any, Literal, Union

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "docs"))

from make_recipe_page import words_of  # noqa: E402  (the paths come first)

from runner.recipe import schema as shapes  # noqa: E402
from runner.recipe.duration import PATTERN, Duration  # noqa: E402
from runner.recipe.rules import TRACKERS  # noqa: E402

LIMITS = {"low": "minimum", "above": "exclusiveMinimum", "high": "maximum", "below": "exclusiveMaximum"}
"""JSON Schema's names of the range rules of `recipe.key`."""

PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}

PATTERNS = {
    # a regular expression of JavaScript: its \\w has no Chinese characters
    "task.name": r"^[^\s_.\-/\\][^\s/\\]*$",
    "prompt.template": r"\{instruction\}[\s\S]*\{input\}|\{input\}[\s\S]*\{instruction\}",
    "task.input": r"\{",
}
"""Texts with a form that an editor can check."""

LENGTHS = {"task.labels": 2, "lora.target_modules": 1, "lora.layers_to_transform": 1}
"""Least items of a list."""


def schema() -> dict[str, Any]:
    """The whole schema."""
    whole = _object(shapes.Recipe, "")
    extends = {
        "type": "string",
        "description": "Another recipe: all its keys that this one does not set itself are taken.",
    }
    whole["properties"] = {"extends": extends, **whole["properties"]}
    # what is missing may be in the recipe that is extended
    required = _required(whole)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "labeltune recipe",
        **whole,
        "if": {"not": {"required": ["extends"]}},
        "then": required,
    }


def _required(whole: dict[str, Any]) -> dict[str, Any]:
    """Takes the lists of required keys out of the objects; returns them as one rule for a recipe that extends no other."""
    names = whole.pop("required")
    below = {name: value.pop("required") for name, value in whole["properties"].items() if "required" in value}
    return {"required": names, "properties": {name: {"required": keys} for name, keys in below.items()}}


def _object(shape: Any, path: str) -> dict[str, Any]:
    hints, words = typing.get_type_hints(shape), words_of(shape)
    properties = {}
    for field in dataclasses.fields(shape):
        here = f"{path}.{field.name}" if path else field.name
        value = _value(hints[field.name], field.metadata, here)
        default = _plain(field.default)
        if default is not dataclasses.MISSING:
            value["default"] = default
        properties[field.name] = {**value, "description": words[field.name]}
    for old, new in shapes.ALIASES.items():
        if new.rpartition(".")[0] == path and path:
            name = new.rpartition(".")[2]
            properties[old.rpartition(".")[2]] = {**properties[name], "deprecated": True}
    required = [field.name for field in dataclasses.fields(shape) if field.default is dataclasses.MISSING]
    # the kind of the first variant may be left out
    required = [name for name in required if name != "kind"]
    found: dict[str, Any] = {"type": "object", "description": " ".join((shape.__doc__ or "").split())}
    found |= {"properties": properties, "additionalProperties": False}
    return {**found, "required": required} if required else found


def _plain(default: Any) -> Any:
    """A default as JSON; MISSING for a required key and for a whole block, whose keys have their own."""
    if default is dataclasses.MISSING or dataclasses.is_dataclass(default):
        return dataclasses.MISSING
    return list(default) if isinstance(default, tuple) else default


def _value(hint: Any, rule: Any, path: str) -> dict[str, Any]:
    members = typing.get_args(hint) if typing.get_origin(hint) is Union else (hint,)
    found = [_member(member, rule, path) for member in members]
    if len(members) > 1 and all(dataclasses.is_dataclass(member) for member in members):
        return _variants(found)
    return found[0] if len(found) == 1 else _joined(found)


def _joined(found: list[dict[str, Any]]) -> dict[str, Any]:
    """One of several types. Fixed words and null become one list of choices, which editors show as such."""
    choices = [each for one in found for each in one.get("enum", [])]
    choices += [None for one in found if one == {"type": "null"}] if choices else []
    others = [one for one in found if "enum" not in one and not (choices and one == {"type": "null"})]
    joined = others + ([{"enum": choices}] if choices else [])
    return joined[0] if len(joined) == 1 else {"anyOf": joined}


def _variants(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Objects that are told apart by `kind`; without it, the first one."""
    for one in found[1:]:
        one["required"] = ["kind"]
    return {"type": "object", "oneOf": found}


def _member(member: Any, rule: Any, path: str) -> dict[str, Any]:
    origin, arguments = typing.get_origin(member), typing.get_args(member)
    limits = {LIMITS[name]: _number(rule[name]) for name in LIMITS if name in rule}
    if dataclasses.is_dataclass(member):
        return _object(member, path)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        least = {"minItems": LENGTHS[path]} if path in LENGTHS else {}
        return {"type": "array", "items": _member(arguments[0], rule, path + "[]"), **least}
    if origin is dict:
        return {"type": "object", "additionalProperties": _member(arguments[1], rule, path + ".*")}
    if member is Duration:
        return {"type": "string", "pattern": f"^{PATTERN}$", "examples": ["90s", "40m", "2h"]}
    if member is Any:
        return {}
    if path == "train.trackers[]":
        return {"enum": list(TRACKERS)}
    pattern = {"pattern": PATTERNS[path]} if member is str and path in PATTERNS else {}
    return {"type": PLAIN[member], **(limits if member in (int, float) else pattern)}


def _number(value: float) -> Any:
    return int(value) if float(value).is_integer() else value


def text() -> str:
    """The file's content."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (ROOT / "recipes/schema.json").write_text(text(), encoding="utf-8")
