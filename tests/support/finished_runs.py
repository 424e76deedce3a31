"""Finished runs as files, without a model: what the stages of the tiny recipe leave, with answers that the test chooses."""

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from conftest import recipe_tree, write_recipe

from runner.data.records import inputs_digest, write_records
from runner.evaluation.holdout import HoldoutPrediction, row_key, write_holdout_predictions
from runner.recipe.loader import load_recipes
from runner.recipe.writer import recipe_text
from runner.system.files import atomic_folder
from runner.workspace.manifest import Manifest, finish
from runner.workspace.paths import EVALUATION, HOLDOUT_PREDICTIONS, RECIPE, Workspace
from runner.workspace.run_moves import OWN_RECORDS, mark_replaced, recover, retired
from runner.workspace.runs import DEV_INPUTS

FILES = ("adapter_model.safetensors", "adapter_config.json")


def tiny(root: Path) -> Workspace:
    return Workspace(root, "tiny")


def write_dev(root: Path, texts: Sequence[str] = ("a", "b")) -> None:
    """The dev records of the tiny recipe."""
    records = [{"instruction": "Which?", "input": text} for text in texts]
    write_records(root / tiny(root).dev, records)


def predictions(right: Sequence[bool], seed: str = "") -> list[HoldoutPrediction]:
    """Hold-out predictions: for each row whether it is right. Another `seed`: other rows."""
    found = []
    for row, correct in enumerate(right, 1):
        target = str(row % 2)
        label = target if correct else str(1 - row % 2)
        logits = (float(label == "0"), float(label == "1"))
        found.append(HoldoutPrediction(row, row_key(f"{seed}row {row}"), target, label, logits))
    return found


def write_evaluation(folder: Path, right: Sequence[bool], seed: str = "", **baselines: float) -> None:
    """What the evaluate stage leaves beside an adapter."""
    write_holdout_predictions(folder / HOLDOUT_PREDICTIONS, predictions(right, seed))
    tree = {
        "accuracy": sum(right) / len(right),
        "rows": len(right),
        "log_loss": 0.5,
        "brier": 0.25,
        "baselines": {name: {"accuracy": value} for name, value in baselines.items()},
    }
    (folder / EVALUATION).write_text(json.dumps(tree))


@cache
def recipe_of(rank: int) -> str:
    """The tiny recipe with this rank, as it is written beside an adapter."""
    with TemporaryDirectory() as folder:
        tree = recipe_tree(Path("/base"), lora={"r": rank})
        return recipe_text(load_recipes([write_recipe(Path(folder), tree)])[0].recipe)


def fill(folder: Path, rank: int) -> None:
    """An adapter of this rank."""
    for name in FILES:
        (folder / name).write_text(f"{name} of rank {rank}")
    (folder / RECIPE).write_text(recipe_of(rank), encoding="utf-8")


def inputs_of(rank: int) -> dict[str, str]:
    return {"recipe": f"rank {rank}", "holdout": "h"}


def train(root: Path, rank: int, day: int = 1) -> Workspace:
    """What the finetune stage does on disk: a new adapter replaces the one in place."""
    workspace = tiny(root)
    recover(workspace)
    with atomic_folder(workspace.at(workspace.adapter), OWN_RECORDS, retired(workspace)) as folder:
        fill(folder, rank)
        mark_replaced(workspace, folder, inputs_of(rank))
    finished = {"finished": f"2026-11-{day:02}T08:44:19Z", "train_seconds": 90.0 * rank, "peak_host_bytes": 2 * 10**9}
    tuned = {"accuracy": 0.75, "answers": {"0": 2, "1": 2}}
    manifest = Manifest("finetune", inputs_of(rank), {}, {**finished, "tuned": tuned, "majority": 0.5})
    outputs = [f"{workspace.adapter}/{name}" for name in FILES]
    finish(manifest, workspace.manifest("finetune"), root, outputs)
    return workspace


def predict(root: Path, labels: str) -> None:
    """What the predict stage leaves: one character for each dev row."""
    workspace = tiny(root)
    (root / "result").mkdir(exist_ok=True)
    (root / workspace.result).write_text("".join(f"{label}\n" for label in labels))
    (root / workspace.predictions).write_text("{}\n" * len(labels))
    weights = (root / workspace.adapter / FILES[0]).read_bytes()
    inputs = {"adapter": hashlib.sha256(weights).hexdigest()}
    dev: Any = root / workspace.dev
    figures = {DEV_INPUTS: inputs_digest(json.loads(dev.read_text()))} if dev.exists() else {}
    outputs = (workspace.result, workspace.predictions)
    finish(Manifest("predict", inputs, {}, figures), workspace.manifest("predict"), root, outputs)
