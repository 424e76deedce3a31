"""Experiment trackers: run names, the same metric names everywhere, and files outside what is handed in.

TensorBoard is run for real, the others where they are installed, without a network."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import recipe_tree, write_recipe

from runner.commands.run import execute
from runner.distributed.trackers import METRICS, TRACKERS, require_trackers, run_name
from runner.errors import RecipeError, UserError
from runner.recipe import rules
from runner.recipe.loader import load_recipes
from runner.recipe.schema import Recipe

NAME = r"tiny_tiny-gemma\d+_r2_lr0\.01_3ep_seed0_\d{8}-\d{6}"


def recipe(workspace: Path, base: Path, **changes: Any) -> Recipe:
    return load_recipes([write_recipe(workspace, recipe_tree(base, **changes))])[0].recipe


def train(workspace: Path, base: Path, *trackers: str) -> None:
    tree = recipe_tree(base, train={"epochs": 3, "trackers": list(trackers)})
    execute(load_recipes([write_recipe(workspace, tree)]), workspace, ("prepare", "finetune"))


def test_every_tracker_has_a_row() -> None:
    assert set(TRACKERS) == set(rules.TRACKERS)


def test_tensorboard_gets_the_metrics_of_the_table(workspace: Path, tiny_base: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(workspace, tiny_base, "tensorboard")
    (folder,) = (workspace / "trackers/tensorboard/tiny").iterdir()
    assert re.fullmatch(NAME, folder.name)
    events = EventAccumulator(str(folder)).Reload()
    names = set(events.Tags()["scalars"])
    assert names == set(METRICS) - {"averaged_epochs"}
    assert [event.value for event in events.Scalars("epoch") if event.step in (4, 8, 12)] == [1.0, 2.0, 3.0]
    assert len(events.Scalars("holdout_accuracy")) == 3
    handed_in = [
        path for name in ("pre_data", "saved_model", "result") for path in (workspace / name).rglob("*tfevents*")
    ]
    assert handed_in == []


@pytest.mark.parametrize(
    ("name", "there"), [("wandb", "wandb/offline-run-*"), ("mlflow", "mlflow/*"), ("swanlab", "swanlab/*")]
)
def test_the_other_trackers_write_beside_what_is_handed_in(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, name: str, there: str
) -> None:
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("SWANLAB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (workspace / "trackers/mlflow").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    before = set(workspace.iterdir())
    train(workspace, tiny_base, name)
    assert list((workspace / "trackers").glob(there))
    assert {path.name for path in set(workspace.iterdir()) - before} <= {
        "trackers", "pre_data", "saved_model", "result", "tiny.yaml",
    }  # fmt: skip
    assert {path.name for path in (workspace / "saved_model/tiny").iterdir()} >= {"metrics.jsonl"}


def test_a_run_is_named_by_task_base_settings_and_time(workspace: Path) -> None:
    found = recipe(workspace, Path("google/gemma-2b"), lora={"r": 16}, train={"learning_rate": "auto", "seed": 3})
    assert run_name(found, "20261128-140145") == "tiny_gemma-2b_r16_lrauto_2ep_seed3_20261128-140145"


def test_an_unknown_tracker_is_a_mistake_in_the_recipe(workspace: Path, tiny_base: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"'tensorbord' is not a known tracker; known are tensorboard, .*; did you mean tensorboard"
    ):
        recipe(workspace, tiny_base, train={"trackers": ["tensorbord"]})
    with pytest.raises(RecipeError, match="tensorboard is there twice"):
        recipe(workspace, tiny_base, train={"trackers": ["tensorboard", "tensorboard"]})


@pytest.mark.skipif(find_spec("mlflow") is not None, reason="mlflow is installed")
def test_a_missing_package_is_named_before_any_work(workspace: Path, tiny_base: Path) -> None:
    with pytest.raises(UserError, match=r"the package mlflow is not installed .*\n  next: .* -m pip install mlflow"):
        train(workspace, tiny_base, "mlflow")
    assert not (workspace / "pre_data").exists()


def test_swanlab_needs_a_newer_accelerate(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the metadata of an older version found first."""
    old = tmp_path / "older"
    for name, version in (("accelerate", "1.7.0"), ("swanlab", "0.6")):
        (old / name).mkdir(parents=True)
        (old / name / "__init__.py").touch()
        (old / f"{name}-{version}.dist-info").mkdir()
        (old / f"{name}-{version}.dist-info/METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
    monkeypatch.syspath_prepend(str(old))
    with pytest.raises(UserError, match=r"accelerate 1\.7\.0 is older than 1\.8\.0"):
        require_trackers(recipe(workspace, tiny_base, train={"trackers": ["swanlab"]}))
