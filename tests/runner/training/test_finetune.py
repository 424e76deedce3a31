"""A fine-tune is repeatable, keeps the best epoch, leaves the base alone, and means the same however it is batched."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import recipe_tree, tiny_tokenizer, write_recipe
from safetensors.torch import load_file

from runner import stages
from runner.commands.run import execute
from runner.errors import DataError, UserError
from runner.recipe.loader import load_recipes
from runner.scoring.scorer import LabelScorer
from runner.training.metrics import LabelMetric


def run(
    workspace: Path, base: Path, stages: tuple[str, ...] = ("prepare", "finetune"), **changes: Any
) -> dict[str, Any]:
    """Runs the stages and returns fine-tuning's figures."""
    path = write_recipe(workspace, recipe_tree(base, **changes))
    execute(load_recipes([path]), workspace, stages)
    return json.loads((workspace / "saved_model/tiny/manifest.json").read_text())["figures"]


def weights(workspace: Path) -> dict[str, torch.Tensor]:
    return load_file(workspace / "saved_model/tiny/adapter_model.safetensors")


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


def test_a_seed_decides_the_bytes(workspace: Path, tiny_base: Path) -> None:
    folder = workspace / "saved_model/tiny"
    found = []
    for seed in (0, 0, 1):
        (folder / "manifest.json").unlink(missing_ok=True)
        run(workspace, tiny_base, train={"seed": seed}, lora={"lora_dropout": 0.1})
        found.append([(folder / name).read_bytes() for name in ("adapter_model.safetensors", "adapter_config.json")])
    assert found[0] == found[1]
    assert found[0][0] != found[2][0]


def test_training_lowers_the_loss_and_saves_the_best_epoch(workspace: Path, tiny_base: Path) -> None:
    how = {"train": {"epochs": 4, "learning_rate": 0.05}, "lora": {"target_modules": "all-linear"}}
    figures = run(workspace, tiny_base, **how)
    assert figures["tuned"]["loss"] < figures["untuned"]["loss"] - 1
    best = max(figures["epochs"], key=lambda epoch: (epoch["accuracy"], -epoch["loss"]))
    assert figures["tuned"] == best == figures["epochs"][figures["best_epoch"] - 1]


def test_the_saved_adapter_scores_as_it_did_in_training(workspace: Path, tiny_base: Path) -> None:
    """The hold-out accuracy and loss of the file, counted by other means: PEFT's own model on whole rows, one at a time."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    figures = run(workspace, tiny_base)
    prompt = json.loads((workspace / "saved_model/tiny/prompt.json").read_text())
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_base), workspace / "saved_model/tiny"
    ).eval()
    records = json.loads((workspace / "pre_data/tiny/tiny_holdout.json").read_text())
    right, loss = 0, 0.0
    for record in records:
        ids = [
            *prompt["prefix"],
            *tiny_tokenizer()(record["input"], add_special_tokens=False)["input_ids"],
            *prompt["tail"],
        ]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
        label = prompt["labels"].index(record["output"])
        right += int(logits[prompt["label_ids"]].argmax()) == label
        loss -= logits.log_softmax(0)[prompt["label_ids"][label]].item()
    assert figures["tuned"]["accuracy"] == right / len(records)
    assert figures["tuned"]["loss"] == pytest.approx(loss / len(records), abs=1e-5)


@pytest.mark.parametrize(
    "change",
    [{"batch_size": 2, "accumulation": 4}, {"batch_size": 3, "accumulation": 3}, {"gradient_checkpointing": True}],
    ids=str,
)
def test_how_a_batch_is_computed_does_not_change_the_adapter(
    workspace: Path, tiny_base: Path, change: dict[str, Any]
) -> None:
    size = change.get("batch_size", 8) * change.get("accumulation", 1)  # 16 rows do not divide by 9: a short last step
    run(workspace, tiny_base, train={"batch_size": size, "epochs": 1})
    whole = weights(workspace)
    run(workspace, tiny_base, train={"batch_size": size, "epochs": 1, **change})
    assert largest_difference(whole, weights(workspace)) < 2e-5


def test_the_adapter_is_fp32_and_the_base_stays_as_it_was(workspace: Path, tiny_base: Path) -> None:
    from runner.model.adapter import new_adapter
    from runner.model.base import load_base

    loaded = load_recipes([write_recipe(workspace, recipe_tree(tiny_base, lora={"use_dora": True}))])[0].recipe
    base = load_base(tiny_base, "bf16", torch.device("cpu"))
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    for _ in range(2):
        with new_adapter(base, loaded.lora):
            trained = {name: p.dtype for name, p in base.model.named_parameters() if p.requires_grad}
            assert trained
            assert set(trained.values()) == {torch.float32}
    after = base.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) and after[name].dtype == torch.bfloat16 for name in before)
    assert not any(parameter.requires_grad for parameter in base.model.parameters())
    run(workspace, tiny_base, train={"precision": "bf16", "epochs": 1})
    assert {tensor.dtype for tensor in weights(workspace).values()} == {torch.float32}


def test_lora_keys_reach_peft_unchanged(workspace: Path, tiny_base: Path) -> None:
    lora = {
        "r": 3,
        "lora_alpha": 5,
        "lora_dropout": 0.25,
        "target_modules": ["q_proj", "down_proj"],
        "layers_to_transform": [1],
        "use_rslora": True,
        "init_lora_weights": "gaussian",
        "rank_pattern": {"q_proj": 2},
        "alpha_pattern": {"q_proj": 7},
    }
    run(workspace, tiny_base, lora=lora, train={"epochs": 1})
    config = json.loads((workspace / "saved_model/tiny/adapter_config.json").read_text())
    assert {name: config[name] for name in lora} == {**lora, "target_modules": ["down_proj", "q_proj"]}
    shapes = {
        name.split("layers.")[1]: tuple(tensor.shape) for name, tensor in weights(workspace).items() if "lora_A" in name
    }
    assert shapes == {"1.self_attn.q_proj.lora_A.weight": (2, 32), "1.mlp.down_proj.lora_A.weight": (3, 64)}


def test_all_linear_leaves_the_head_alone(workspace: Path, tiny_base: Path) -> None:
    run(workspace, tiny_base, lora={"target_modules": "all-linear"}, train={"epochs": 1})
    modules = {name.split(".")[-3] for name in weights(workspace)}
    assert modules == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_targets_that_are_not_in_the_model_are_named(workspace: Path, tiny_base: Path) -> None:
    """With those that are."""
    with pytest.raises(UserError, match=r"(?s)lora: .*query.*next: the model's linear layers are down_proj, .*q_proj"):
        run(workspace, tiny_base, lora={"target_modules": ["query"]})
    assert not (workspace / "saved_model/tiny").exists()


def test_metrics_are_logged_for_every_epoch(workspace: Path, tiny_base: Path) -> None:
    run(workspace, tiny_base, train={"epochs": 3})
    lines = [json.loads(line) for line in (workspace / "saved_model/tiny/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if "holdout_accuracy" in line] == [1, 2, 3]
    assert [line["step"] for line in lines if "loss" in line] == [10]


def test_rows_too_long_are_reported_before_any_training(workspace: Path, tiny_base: Path) -> None:
    rows = (workspace / "data/tiny_dev.tsv").read_text().replace("dev 4", "dev " + "long " * 20)
    (workspace / "data/tiny_dev.tsv").write_text(rows)
    with pytest.raises(DataError, match=r"dev: 1 record is longer than prompt\.max_length = 64 tokens"):
        run(workspace, tiny_base)


def spoil_losses(monkeypatch: pytest.MonkeyPatch, training: bool, start: int = 1) -> None:
    """Makes losses NaN in training, or on the hold-out from its `start`-th evaluation on."""
    real, calls = LabelScorer.forward, [0]

    def spoiled(scorer: Any, batch: Any) -> Any:
        scores = real(scorer, batch)
        if batch.targets is None or scorer.training != training:
            return scores
        calls[0] += 1
        return scores._replace(losses=scores.losses * float("nan")) if calls[0] >= start else scores

    monkeypatch.setattr(LabelScorer, "forward", spoiled)


def test_losses_that_are_not_finite_stop_the_run(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_losses(monkeypatch, training=True)
    with pytest.raises(UserError, match=r"the loss or its gradient was not finite in 5 steps in a row, up to step 5"):
        run(workspace, tiny_base)
    assert not (workspace / "saved_model/tiny").exists()


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        (1, "the hold-out loss is nan before training: the base model produces non-finite values"),
        (2, "the hold-out loss is nan after epoch 1"),
    ],
)
def test_a_hold_out_loss_that_is_not_finite_stops_the_run(
    workspace: Path, tiny_base: Path, evaluation: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_losses(monkeypatch, training=False, start=evaluation)
    with pytest.raises(UserError, match=f"^{message}\n  next: "):
        run(workspace, tiny_base)
    assert not (workspace / "saved_model/tiny").exists()


def test_the_hold_outs_metrics_are_the_graders() -> None:
    """Whatever the order of the labels in the recipe; labels that no row has do not count."""
    found = LabelMetric(("no", "yes", "maybe")).compute(references=[0, 1, 1, 1], predictions=[0, 1, 2, 1])
    assert found == {"accuracy": 0.75, "mcc": pytest.approx(5 / 60**0.5), "f1": pytest.approx(0.8)}
    assert LabelMetric(("1", "0")).compute(references=[1, 1, 0], predictions=[1, 0, 0])["f1"] == pytest.approx(2 / 3)


CHANGES: list[dict[str, Any]] = [
    {"learning_rate": 0.02},
    {"max_grad_norm": 1e-3},
    {"weight_decay": 0.9},
    {"warmup": 0.9},
    {"schedule": "constant"},
    {"accumulation": 2},
    {"batch_size": 8},
    {"epochs": 3},
    {"loss": "labels"},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_setting_of_the_loop_has_its_effect(workspace: Path, tiny_base: Path, change: dict[str, Any]) -> None:
    run(workspace, tiny_base, train={"epochs": 2})
    plain = weights(workspace)
    run(workspace, tiny_base, train={"epochs": 2, **change})
    assert largest_difference(plain, weights(workspace)) > 1e-6


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"target_modules": ["q_proj", "v_porj"]}, r"lora\.target_modules: v_porj: meets no layer"),
        ({"layers_to_transform": [1, 99]}, r"lora\.layers_to_transform: 99: meets no layer"),
        ({"rank_pattern": {"q_prj": 8}, "alpha_pattern": {"[": 8}}, "lora"),
        ({"rank_pattern": {"q_prj": 8}}, r"lora\.rank_pattern: q_prj: meets no layer"),
    ],
)
def test_lora_keys_that_meet_no_layer_are_named(
    workspace: Path, tiny_base: Path, lora: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(workspace, tiny_base, lora=lora)


def test_a_new_adapter_replaces_its_records_and_no_other_file(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(workspace, tiny_base)
    folder = workspace / "saved_model/tiny"
    (folder / "notes.txt").write_text("mine")
    assert {"manifest.json", "run.json"} <= {path.name for path in folder.iterdir()}

    def cut(*rest: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "finish", cut)
    with pytest.raises(KeyboardInterrupt):
        run(workspace, tiny_base, train={"seed": 5})
    assert (folder / "notes.txt").read_text() == "mine"
    assert not {"manifest.json", "run.json"} & {path.name for path in folder.iterdir()}


def test_an_adapter_that_predicts_one_label_only_is_reported(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    seen = []
    for epochs in (1, 8):
        answers = run(workspace, tiny_base, train={"epochs": epochs})["tuned"]["answers"]
        seen.append(sum(count > 0 for count in answers.values()))
        assert ("every hold-out row the same label" in capsys.readouterr().out) == (seen[-1] == 1)
    assert seen == [2, 1]
