"""A written recipe is the recipe: every shipped one, and one with everything that YAML could take for something else."""

import dataclasses
from pathlib import Path

import pytest
from conftest import ROOT, recipe_tree, write_recipe

from runner.recipe.loader import load_recipes
from runner.recipe.writer import differing_keys, read_flat_recipe, recipe_text


@pytest.mark.parametrize("name", [path.name for path in sorted((ROOT / "recipes").glob("*.yaml"))])
def test_every_shipped_recipe_comes_back(name: str, tmp_path: Path) -> None:
    (recipe,) = load_recipes([ROOT / "recipes" / name])
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_text(recipe.recipe, "as it ran"), encoding="utf-8")
    assert path.read_text(encoding="utf-8").startswith("# as it ran\ntask:\n  name: ")
    assert load_recipes([path])[0].recipe == recipe.recipe


@pytest.mark.parametrize("text", ["1e5", "no", "a: b # c", 'quo"te', "zwei\nZeilen\t", "行尾\u2028\x85\ufeff🙂", " "])
def test_texts_come_back(text: str, tmp_path: Path) -> None:
    (loaded,) = load_recipes([write_recipe(tmp_path, recipe_tree(tmp_path))])
    task = dataclasses.replace(loaded.recipe.task, labels=("1e5", "no"))
    recipe = dataclasses.replace(loaded.recipe, task=task, instruction=f"Which? {text}")
    path = tmp_path / "written.yaml"
    path.write_text(recipe_text(recipe), encoding="utf-8")
    assert load_recipes([path])[0].recipe == recipe


def test_flat_recipes_are_compared_by_key(tmp_path: Path) -> None:
    flat = []
    for name, rank in (("one", 2), ("two", 8)):
        (recipe,) = load_recipes([write_recipe(tmp_path, recipe_tree(tmp_path, lora={"r": rank}))])
        path = tmp_path / f"{name}.yaml"
        path.write_text(recipe_text(recipe.recipe), encoding="utf-8")
        flat.append(read_flat_recipe(path))
    assert flat[0]["lora.r"] == 2
    assert flat[0]["task.labels"] == ("0", "1")
    assert differing_keys(*flat) == ["lora.r"]
    assert read_flat_recipe(tmp_path / "none.yaml") == {}
    (tmp_path / "one.yaml").write_text("a: [", encoding="utf-8")
    assert read_flat_recipe(tmp_path / "one.yaml") == {}
