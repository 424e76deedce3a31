"""Runs of the tiny recipe that are cut, stopped and resumed, and what they leave."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import recipe_tree, write_recipe

from runner.commands.run import execute
from runner.recipe.loader import load_recipes
from runner.training.trainer import Trainer

ADAPTER = "saved_model/tiny/adapter_model.safetensors"
RESULTS = ("result/result_tiny.txt", "result/predictions_tiny.jsonl")
OFTEN = {"lora": {"lora_dropout": 0.1}, "train": {"epochs": 3, "batch_size": 4, "checkpoint_minutes": 1e-9}}
"""Three epochs of four steps, with a checkpoint after each step."""


def run(workspace: Path, base: Path, fresh: bool = False, **changes: Any) -> None:
    """Runs all stages of the tiny recipe, with the settings of `OFTEN`."""
    how = {name: {**OFTEN.get(name, {}), **changes.get(name, {})} for name in {*OFTEN, *changes}}
    path = write_recipe(workspace, recipe_tree(base, **how))
    execute(load_recipes([path]), workspace, fresh=fresh)


def outputs(workspace: Path) -> list[bytes]:
    """The adapter and the results."""
    return [(workspace / name).read_bytes() for name in (ADAPTER, *RESULTS)]


def in_saved_model(workspace: Path) -> dict[str, bytes]:
    """All files in saved_model except the lock."""
    files = (path for path in (workspace / "saved_model").rglob("*") if path.is_file() and "lock" not in path.name)
    return {str(path): path.read_bytes() for path in files}


def checkpoints(workspace: Path) -> list[Path]:
    """The checkpoints of unfinished runs, oldest first."""
    return sorted((workspace / "saved_model/.checkpoints/tiny").glob("*/step-*"))


def before_call(patch: pytest.MonkeyPatch, owner: Any, name: str, call: int, action: Callable[[], Any]) -> None:
    """Does something before the given call of `owner.name`."""
    real, calls = getattr(owner, name), [0]

    def counted(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            action()
        return real(*arguments, **named)

    patch.setattr(owner, name, counted)


def cut_at(patch: pytest.MonkeyPatch, owner: Any, name: str, call: int, error: Any = KeyboardInterrupt) -> None:
    """Makes the given call of `owner.name` raise an error."""

    def cut() -> None:
        raise error

    before_call(patch, owner, name, call, cut)


def after_step(patch: pytest.MonkeyPatch, actions: dict[int, Callable[[], Any]]) -> list[int]:
    """Does something after training steps, by their numbers; returns the list of the steps that were done."""
    steps: list[int] = []

    def act(state: Any) -> None:
        steps.append(state.global_step)
        actions.get(state.global_step, lambda: None)()

    patch.setattr(Trainer, "on_step_end", (act,))
    return steps


def cut() -> None:
    """As if the process ended here."""
    raise KeyboardInterrupt


def cut_after_step(step: int, workspace: Path, base: Path, **changes: Any) -> list[Path]:
    """A run that is cut after this step, before its checkpoint; the checkpoints that it leaves, oldest first."""
    with pytest.MonkeyPatch.context() as patch:
        after_step(patch, {step: cut})
        with pytest.raises(KeyboardInterrupt):
            run(workspace, base, **changes)
    return checkpoints(workspace)
