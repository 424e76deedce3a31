"""The runs of a search of the tiny recipe."""

from pathlib import Path
from typing import Any

from conftest import recipe_tree, write_recipe, write_tables

from runner.model.base import Bases
from runner.recipe.loader import load_recipes
from runner.search.runs import Runs
from runner.stages import StageContext
from runner.workspace.paths import Workspace


def runs_of(root: Path, base: Path, **changes: Any) -> Runs:
    """Runs of a search with the tiny recipe and these changes, in a new workspace."""
    path = write_recipe(write_tables(root), recipe_tree(base, search={"minutes": 30}, **changes))
    recipe = load_recipes([path])[0].recipe
    return Runs(StageContext(recipe, Workspace(root, "tiny"), Bases(root), False), root / "search")
