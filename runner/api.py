"""The Python API of the runner: load a recipe, run it. `labeltune` exports it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Union

from runner.errors import UserError
from runner.language import tr
from runner.recipe.loader import LoadedRecipe, is_override, load_recipes
from runner.workspace.paths import STAGE_NAMES

if TYPE_CHECKING:
    from runner.reporting.run_result import RunResult


def load_recipe(path: Union[str, Path], *overrides: str) -> LoadedRecipe:
    """Load a recipe file.

    Args:
        path: a YAML file, such as `recipes/qqp.yaml`.
        overrides: changes to its keys, such as `"train.epochs=1"`.

    Returns:
        The recipe, as `run` takes it; its values are in `.recipe`.

    Raises:
        RecipeError: a UserError with every mistake in the recipe, one a line.
    """
    for override in overrides:
        if not isinstance(override, str) or not is_override(override):
            raise UserError(tr("{override!r}: expected a change such as train.epochs=1", override=override))
    (loaded,) = load_recipes([Path(path)], overrides)
    return loaded


def run(
    recipe: LoadedRecipe, workspace: Union[str, Path] = ".", stages: Iterable[str] = STAGE_NAMES, fresh: bool = False
) -> RunResult:
    """Run a recipe in this process: prepare the data, fine-tune and evaluate the adapter, predict the dev rows.

    A stage whose inputs have not changed since it finished is not run. Progress is logged to the `labeltune` logger.

    Args:
        recipe: from `load_recipe`.
        workspace: the folder that holds the data and takes all that is written.
        stages: some of `prepare`, `finetune`, `evaluate` and `predict`; they run in this order.
        fresh: run a stage even if nothing has changed.

    Returns:
        The metrics of the run and its history.

    Raises:
        UserError: for what you can fix; the message says what, where and what to do next.
    """
    if not isinstance(recipe, LoadedRecipe):
        raise UserError(
            tr("recipe: expected a loaded recipe, found {recipe!r:.80}", recipe=recipe),
            tr("write run(load_recipe(path))"),
        )
    wanted, folder = list(stages), Path(workspace)
    unknown = [name for name in wanted if name not in STAGE_NAMES]
    if unknown:
        raise UserError(
            tr("stages: {unknown!r} is not a stage", unknown=unknown[0]),
            tr("name some of {stages}", stages=", ".join(STAGE_NAMES)),
        )
    if not folder.is_dir():
        raise UserError(
            tr("workspace {folder}: no such folder", folder=folder),
            tr("make it, or name the one that holds your data/"),
        )
    from runner import pipeline

    (result,) = pipeline.run([recipe], folder, wanted, fresh)
    return result
