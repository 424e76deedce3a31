"""The mean of the last epochs is one more candidate; a run without progress stops; LoRA+ gives B a rate of its own."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import recipe_tree, write_recipe
from safetensors.torch import load_file
from support.runs import cut_after_step, cut_at, outputs
from support.runs import run as run_often

from runner.commands.run import execute
from runner.recipe.loader import load_recipes
from runner.training.evaluation import Evaluator

EVEN = {"schedule": "constant", "warmup": 0}
"""Every epoch is then the same in runs of any length."""


def run(workspace: Path, base: Path, **changes: Any) -> dict[str, Any]:
    path = write_recipe(workspace, recipe_tree(base, **changes))
    execute(load_recipes([path]), workspace, ("prepare", "finetune"))
    return dict(json.loads((workspace / "saved_model/tiny/manifest.json").read_text())["figures"])


def weights(workspace: Path) -> dict[str, torch.Tensor]:
    return load_file(workspace / "saved_model/tiny/adapter_model.safetensors")


def metrics(workspace: Path) -> list[dict[str, Any]]:
    text = (workspace / "saved_model/tiny/metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("lora", "learning_rate", "seed"),
    [({}, 0.05, 2), ({"use_dora": True}, 0.1, 4), ({"init_lora_weights": "pissa"}, 0.05, 1)],
    ids=["lora", "dora", "pissa"],
)
def test_the_average_is_the_mean_of_the_epochs(
    workspace: Path, tiny_base: Path, lora: dict[str, Any], learning_rate: float, seed: int, capsys: Any
) -> None:
    """With settings at which the second epoch is better than the first, and their mean is better still."""
    how = {**EVEN, "layout": "padded", "learning_rate": learning_rate, "seed": seed}
    alone = []
    for epochs in (1, 2):
        figures = run(workspace, tiny_base, lora=lora, train={**how, "epochs": epochs})
        assert figures["kept"] == f"epoch {epochs}"
        alone.append(weights(workspace))
    capsys.readouterr()
    figures = run(workspace, tiny_base, lora=lora, train={**how, "epochs": 2, "average_epochs": 2})
    assert figures["kept"] == "average of epochs 1–2"
    assert figures["tuned"] == figures["average"] != figures["epochs"][1]
    assert "kept: average of epochs 1–2 of 2: " in capsys.readouterr().out
    assert metrics(workspace)[-1]["averaged_epochs"] == 2
    for name, tensor in weights(workspace).items():
        torch.testing.assert_close(tensor, (alone[0][name] + alone[1][name]) / 2, atol=1e-7, rtol=0)


def test_an_average_that_is_not_better_is_not_kept(workspace: Path, tiny_base: Path) -> None:
    how = {**EVEN, "epochs": 3, "learning_rate": 0.003}
    run(workspace, tiny_base, train=how)
    plain = weights(workspace)
    figures = run(workspace, tiny_base, train={**how, "average_epochs": 3})
    assert figures["average"]["loss"] > figures["tuned"]["loss"]
    assert figures["kept"] == f"epoch {figures['best_epoch']}"
    assert all(torch.equal(tensor, plain[name]) for name, tensor in weights(workspace).items())


def test_a_run_without_progress_stops(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    """And was until then the full run: the schedule stays."""
    how = {"epochs": 20, "learning_rate": 0.05}
    full = run(workspace, tiny_base, train=how)
    lines = metrics(workspace)
    figures = run(workspace, tiny_base, train={**how, "patience": 2})
    done = len(figures["epochs"])
    assert done < 20
    assert figures["planned_epochs"] == 20
    assert done == figures["best_epoch"] + 2
    assert figures["epochs"] == full["epochs"][:done]
    text = (
        f"stopped after epoch {done} of 20: none of the last 2 was better on the hold-out than epoch {done - 2} "
        "(train.patience: 2)\n"
    )
    assert text in capsys.readouterr().out
    evaluated = [line for line in metrics(workspace) if "holdout_loss" in line]
    assert evaluated == [line for line in lines if "holdout_loss" in line][:done]


def test_the_first_step_of_lora_plus_moves_b_by_its_own_rate(workspace: Path, tiny_base: Path) -> None:
    """AdamW's first step is as long as the learning rate in every direction; A has no gradient yet, because B is zero."""
    for ratio, lora in ((1, {}), (8, {}), (8, {"use_dora": True})):
        how = {**EVEN, "epochs": 1, "batch_size": 16, "learning_rate": 0.001, "loraplus_lr_ratio": ratio}
        run(workspace, tiny_base, lora=lora, train=how)
        moved = {name: tensor for name, tensor in weights(workspace).items() if "lora_B" in name}
        for tensor in moved.values():
            assert tensor.abs().max().item() == pytest.approx(0.001 * ratio, rel=1e-3)


WAYS: dict[str, dict[str, Any]] = {
    "pissa": {"lora": {"init_lora_weights": "pissa"}},
    "pissa-niter": {"lora": {"init_lora_weights": "pissa_niter_4", "use_rslora": True}},
    "lora+": {"train": {"loraplus_lr_ratio": 8}},
    "average": {"lora": {"use_dora": True}, "train": {"average_epochs": 2, "learning_rate": 0.05}},
    "patience": {"train": {"patience": 1, "learning_rate": 0.05, "epochs": 6}},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_was_cut_resumes_to_the_same_bytes(workspace: Path, tiny_base: Path, way: str, capsys: Any) -> None:
    run_often(workspace, tiny_base, **WAYS[way])
    whole, manifest = outputs(workspace), workspace / "saved_model/tiny/manifest.json"
    before, lines = json.loads(manifest.read_text())["figures"], metrics(workspace)
    for step in (2, 7):
        cut_after_step(step, workspace, tiny_base, fresh=step == 2, **WAYS[way])
    with pytest.MonkeyPatch.context() as patch:
        # the last evaluation of each way: of the average, or of the last epoch
        cut_at(patch, Evaluator, "evaluate", 1 + len(before["epochs"]) + bool(before["average"]) - 1)
        with pytest.raises(KeyboardInterrupt):
            run_often(workspace, tiny_base, **WAYS[way])
    capsys.readouterr()
    run_often(workspace, tiny_base, **WAYS[way])
    assert "resuming after step" in capsys.readouterr().out
    assert outputs(workspace) == whole
    after = json.loads(manifest.read_text())["figures"]
    names = ("kept", "best_epoch", "epochs", "average", "tuned", "skipped_steps")
    assert {name: after[name] for name in names} == {name: before[name] for name in names}
    kept = [{key: value for key, value in line.items() if key != "rows_per_second"} for line in metrics(workspace)]
    assert kept == [{key: value for key, value in line.items() if key != "rows_per_second"} for line in lines]
