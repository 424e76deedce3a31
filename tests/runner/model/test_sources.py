"""A base comes from the first source that matches its name, and its files are hashed once a launch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import recipe_tree, write_recipe

from runner.errors import UserError
from runner.model import base as bases
from runner.model.base import Bases
from runner.model.sources import find_base
from runner.recipe.loader import load_recipes


def test_a_folder_is_found_from_the_workspace(tiny_base: Path) -> None:
    assert find_base(tiny_base.name, tiny_base.parent) == tiny_base
    assert find_base(str(tiny_base), Path("elsewhere")) == tiny_base


def test_a_folder_comes_before_a_hub_id(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "google").mkdir()
    (tmp_path / "google/tiny").symlink_to(tiny_base)
    assert find_base("google/tiny", tmp_path) == tmp_path / "google/tiny"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("models/a/b", r"base: the folder .*/models/a/b does not exist"),
        ("data", r"base: .*/data has no config\.json"),
        ("nobody/nothing", r"base: nobody/nothing is not a folder, and it cannot be downloaded from the hub: "),
    ],
)
def test_a_base_that_is_nowhere_is_reported(workspace: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_base(name, workspace)


def test_the_files_of_a_base_are_hashed_once(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Any] = []
    real = bases.digest_folder

    def counted(folder: Path, patterns: tuple[str, ...]) -> str:
        hashed.append(folder)
        return real(folder, patterns)

    monkeypatch.setattr(bases, "digest_folder", counted)
    recipe = load_recipes([write_recipe(tmp_path, recipe_tree(tiny_base))])[0].recipe
    loader = Bases(tmp_path)
    digest = loader.digest(recipe)
    assert loader.load(recipe, torch.device("cpu")).files.digest == digest == loader.digest(recipe)
    assert hashed == [tiny_base]
