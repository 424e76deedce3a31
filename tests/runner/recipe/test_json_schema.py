"""The JSON Schema of recipes: current, and of the same opinion as the recipe reader about shipped recipes and usual mistakes."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, recipe_tree

from runner.recipe.editor import schema_line
from runner.recipe.loader import load_recipes
from runner.recipe.writer import recipe_text
from runner.recipe.yaml_nodes import parse, plain

sys.path.insert(0, str(ROOT / "docs"))

import make_recipe_schema

jsonschema = pytest.importorskip("jsonschema")

SCHEMA = ROOT / "recipes/schema.json"
LINE = "# yaml-language-server: $schema=schema.json\n"
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def values(text: str) -> Any:
    """A recipe's text as plain values, by the rules of YAML 1.2."""
    root = parse(text, "recipe").root
    assert root is not None
    return plain(root)


def as_json(tree: Any) -> Any:
    return json.loads(json.dumps(tree))


def test_the_schema_is_current() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == make_recipe_schema.text(), "run python docs/make_recipe_schema.py"


def test_every_key_has_a_description(validator: Any) -> None:
    def keys(tree: Any) -> list[Any]:
        found = []
        if isinstance(tree, dict):
            found += list(tree.get("properties", {}).values()) if isinstance(tree.get("properties"), dict) else []
            for name, value in tree.items():
                found += keys(value) if name != "then" else []
        elif isinstance(tree, list):
            for value in tree:
                found += keys(value)
        return found

    found = keys(validator.schema)
    assert len(found) > 60
    assert all(key.get("description") for key in found)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_shipped_recipes_begin_with_the_line_and_are_valid(validator: Any, path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(LINE)
    validator.validate(as_json(values(text)))
    # with all values, as a search writes it
    validator.validate(as_json(values(recipe_text(load_recipes([path])[0].recipe))))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_recipes_in_the_documents_begin_with_the_line_and_are_valid(validator: Any, page: Path) -> None:
    for block in re.findall(r"^ *```yaml\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        assert block.lstrip().startswith(LINE.strip())
        validator.validate(as_json(values(block)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"samples": {"train": "40m"}},
        {"samples": {"train": "all", "dev": "all"}},
        {"train": {"learning_rate": "auto", "keep_trunk": False, "class_weights": {"0": 1, "1": 2.5}}},
        {"lora": {"init_lora_weights": "pissa", "layers_to_transform": [1]}},
        {"task": {"name": "数据-1", "header": "auto", "dev_columns": [["a"], ["a", "b"]]}},
        {"decoding": {"kind": "generate", "max_new_tokens": 8}},
        {"search": {"minutes": 20, "space": {"train.learning_rate": [1e-4], "instruction": ["x"]}}},
        {"ensemble": {"seeds": [1, 2]}},
    ],
    ids=str,
)
def test_what_the_reader_takes_is_valid(validator: Any, changes: dict[str, Any]) -> None:
    validator.validate(tree(changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"train": {"epoch": 1}},
        {"train": {"epochs": 0}},
        {"train": {"epochs": "3"}},
        {"train": {"schedule": "cosin"}},
        {"train": {"learning_rate": "fast"}},
        {"train": {"warmup": 1}},
        {"train": None},
        {"samples": {"train": "40 minutes"}},
        {"samples": {"balance": "yes"}},
        {"task": {"labels": [0, 1]}},
        {"task": {"labels": ["1"]}},
        {"task": {"name": "_x"}},
        {"task": {"input": "no column"}},
        {"prompt": {"template": "{input}"}},
        {"lora": {"target_modules": "q_proj"}},
        {"lora": {"r": 1.5}},
        {"decoding": {"kind": "sample"}},
        {"decoding": {"max_new_tokens": 3}},
        {"offline": "yes"},
        {"base": None},
        {"learning_rate": 1e-4},
    ],
    ids=str,
)
def test_usual_mistakes_are_marked(validator: Any, changes: dict[str, Any]) -> None:
    assert not validator.is_valid(tree(changes))


def test_a_missing_key_is_marked_unless_a_recipe_is_extended(validator: Any) -> None:
    whole = tree({})
    for block, name in (("task", "label"), ("", "base")):
        less = {key: dict(value) if isinstance(value, dict) else value for key, value in whole.items()}
        del (less[block] if block else less)[name]
        assert not validator.is_valid(less)
        assert validator.is_valid({"extends": "other.yaml", **less})


def tree(changes: dict[str, Any]) -> Any:
    whole = as_json(recipe_tree(Path("base")))
    for name, value in changes.items():
        plain_block = isinstance(value, dict) and isinstance(whole.get(name), dict) and name != "decoding"
        whole[name] = {**whole[name], **value} if plain_block else value
    return whole


def test_the_line_of_a_new_recipe_leads_to_the_schema(tmp_path: Path) -> None:
    line = schema_line(tmp_path)
    path = line.removeprefix("# yaml-language-server: $schema=").strip()
    assert (tmp_path / path).resolve() == SCHEMA
    assert schema_line(ROOT / "recipes") == LINE
