"""Training on other label shares than the file's: rows are weighted as asked, and the changed shares are undone."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import recipe_tree, tiny_tokenizer, write_recipe, write_tables
from safetensors.torch import load_file
from support.shapes import model

import labeltune
from runner.commands.run import execute
from runner.errors import UserError
from runner.model.adapter import new_adapter
from runner.model.base import load_base
from runner.recipe.loader import load_recipes
from runner.recipe.schema import PromptShape, Recipe, Train
from runner.scoring.collator import Collator
from runner.scoring.dataset import encode_records
from runner.scoring.layouts import LAYOUTS, padded
from runner.scoring.prompt import build_prompt
from runner.scoring.proof import prove_head, subject_of
from runner.scoring.scorer import LabelScorer
from runner.training.class_balance import class_balance, class_weights

PROMPT = build_prompt(PromptShape(), "Which?", ("0", "1"), tiny_tokenizer())
TARGETS = [1, 0, 0, 0, 1, 0]
ROWS = encode_records(
    PROMPT,
    [{"instruction": "Which?", "input": f"row {n}", "output": str(t)} for n, t in enumerate(TARGETS)],
    "training",
)
SHIFT = {"0": math.log(2), "1": math.log(1 / 4)}


def recipe(folder: Path, base: Path, **changes: Any) -> Recipe:
    return load_recipes([write_recipe(folder, recipe_tree(base, **changes))])[0].recipe


def run(workspace: Path, base: Path, **changes: Any) -> dict[str, Any]:
    """Runs all stages and returns fine-tuning's figures."""
    execute(load_recipes([write_recipe(workspace, recipe_tree(base, **changes))]), workspace)
    return json.loads((workspace / "saved_model/tiny/manifest.json").read_text())["figures"]


@pytest.mark.parametrize(
    ("wanted", "weights"),
    [("none", None), ("balanced", [0.75, 1.5]), ({"0": 1.0, "1": 4.0}, [0.5, 2.0]), ({"1": 3.0, "0": 3.0}, [1.0, 1.0])],
)
def test_weights_have_a_mean_of_one_over_the_rows(wanted: Any, weights: Any) -> None:
    found = class_weights(Train(class_weights=wanted), ROWS)
    assert found == pytest.approx(weights)
    assert found is None or sum(found[target] for target in TARGETS) / len(TARGETS) == pytest.approx(1)


def test_the_shift_is_the_log_of_the_shares(tmp_path: Path, tiny_base: Path) -> None:
    file_counts = {"0": 90, "1": 10}
    plain = class_balance(recipe(tmp_path, tiny_base), ROWS, file_counts)
    assert (plain.is_changed, plain.prior_shift) == (False, None)
    drawn = class_balance(recipe(tmp_path, tiny_base, samples={"balance": "equal"}), ROWS, file_counts)
    assert drawn.shares == pytest.approx({"0": 2 / 3, "1": 1 / 3})
    assert drawn.prior_shift == pytest.approx({"0": math.log(0.9 / (2 / 3)), "1": math.log(0.1 / (1 / 3))})
    weighted = class_balance(recipe(tmp_path, tiny_base, train={"class_weights": "balanced"}), ROWS, file_counts)
    assert weighted.shares == pytest.approx({"0": 0.5, "1": 0.5})
    assert weighted.prior_shift == pytest.approx({"0": math.log(1.8), "1": math.log(0.2)})


def test_a_label_that_has_no_row_left_is_named() -> None:
    one = encode_records(PROMPT, [{"instruction": "Which?", "input": "a", "output": "1"}], "training")
    with pytest.raises(UserError, match="no training row of label '0' is left"):
        class_weights(Train(class_weights="balanced"), one)


@pytest.mark.parametrize("loss", ["vocabulary", "labels"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_shift_moves_evaluation_and_leaves_training_alone(layout: str, loss: str) -> None:
    own = model("Gemma")
    scorer = LabelScorer(own, PROMPT, loss)
    batch = Collator(ROWS, LAYOUTS[layout](own, PROMPT))(range(len(ROWS)))
    raw, trained = scorer.eval()(batch), scorer.train()(batch)
    scorer.undo_prior(SHIFT)
    shift = torch.tensor([*SHIFT.values()])
    assert torch.equal(scorer.train()(batch).losses, trained.losses)
    assert torch.equal(scorer.train()(batch).label_logits, trained.label_logits)
    moved = scorer.eval()(batch)
    assert torch.equal(moved.label_logits, raw.label_logits + shift)
    assert not moved.losses.equal(raw.losses)
    if loss == "labels":
        expected = torch.nn.functional.cross_entropy(raw.label_logits + shift, batch.targets, reduction="none")
    else:
        logits = own(**padded(own, PROMPT)(ROWS.suffixes).inputs).logits
        plain = padded(own, PROMPT)(ROWS.suffixes)
        logits = logits[plain.rows, plain.positions].float()
        logits[:, list(PROMPT.label_ids)] += shift
        expected = torch.nn.functional.cross_entropy(logits, scorer.label_ids[batch.targets], reduction="none")
    torch.testing.assert_close(moved.losses, expected, atol=1e-5, rtol=1e-5)
    prove_head(subject_of(scorer), ROWS.suffixes[:1])
    scorer.undo_prior(None)
    assert torch.equal(scorer.eval()(batch).label_logits, raw.label_logits)


def test_one_step_has_the_gradient_of_the_weighted_loss(workspace: Path, tiny_base: Path) -> None:
    """The adapter after an epoch is that of the same steps by hand, one row at a time with its weight."""
    how = {
        "samples": {"train": 16, "holdout": 4},
        "lora": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]},
        "train": {
            "epochs": 1, "batch_size": 5, "learning_rate": 0.01, "schedule": "constant", "warmup": 0.0,
            "class_weights": {"0": 1, "1": 5}, "max_grad_norm": 1e6,
        },
    }  # fmt: skip
    run(workspace, tiny_base, **how)
    found = load_file(workspace / "saved_model/tiny/adapter_model.safetensors")
    records = json.loads((workspace / "pre_data/tiny/tiny_train.json").read_text())
    targets = [int(record["output"]) for record in records]
    weights = [1 / 3, 5 / 3]  # eight rows each
    base = load_base(tiny_base, "fp32", torch.device("cpu"))
    from accelerate.utils import set_seed

    set_seed(0)
    with new_adapter(base, recipe(workspace, tiny_base, **how).lora) as adapter:
        prompt = build_prompt(PromptShape(max_length=64), "Which?", ("0", "1"), base.tokenizer)
        rows = encode_records(prompt, records, "training")
        wanted = {name: each for name, each in base.model.named_parameters() if each.requires_grad}
        optimizer = torch.optim.AdamW(wanted.values(), lr=0.01, weight_decay=0.0)
        order = torch.randperm(16, generator=torch.Generator().manual_seed(1)).tolist()
        for start in range(0, 16, 5):
            some = order[start : start + 5]
            optimizer.zero_grad()
            for row in some:
                ids = torch.tensor([[*prompt.prefix, *rows.suffixes[row]]])
                logits = base.model(input_ids=ids).logits[0, -1]
                loss = -logits.log_softmax(0)[prompt.label_ids[targets[row]]]
                (loss * weights[targets[row]] / len(some)).backward()
            optimizer.step()
        by_hand = {name.replace(".default", ""): each.detach() for name, each in wanted.items()}
        assert adapter is not None
    assert len(found) == len(by_hand)
    for name, tensor in found.items():
        ours = next(each for key, each in by_hand.items() if name.endswith(key) or key.endswith(name))
        torch.testing.assert_close(tensor, ours, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("size", [1, 3, 16])
def test_a_weighted_step_is_the_same_in_any_number_of_parts(workspace: Path, tiny_base: Path, size: int) -> None:
    how = {"epochs": 1, "class_weights": {"0": 1, "1": 5}}
    run(workspace, tiny_base, train={**how, "batch_size": 16, "accumulation": 1})
    whole = load_file(workspace / "saved_model/tiny/adapter_model.safetensors")
    run(workspace, tiny_base, train={**how, "batch_size": size, "accumulation": -(-16 // size)})
    parts = load_file(workspace / "saved_model/tiny/adapter_model.safetensors")
    for name, tensor in whole.items():
        torch.testing.assert_close(tensor, parts[name], atol=2e-5, rtol=1e-3)


RANDOM = random.Random(0)
IMBALANCED = [f"{n}\t{int(n % 5 == 0)}\tword {RANDOM.randrange(10**6)}" for n in range(200)]
"""Four of five rows have the label 0, and nothing in the text shows which."""


@pytest.mark.parametrize(
    "change",
    [
        {"samples": {"balance": "equal", "train": 60}},
        {"samples": {"balance": "oversample", "train": 120}},
        {"samples": {"train": 120}, "train": {"class_weights": "balanced"}},
    ],
    ids=["equal", "oversample", "weights"],
)
def test_a_changed_prior_is_undone(
    workspace: Path, tiny_base: Path, change: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the text says nothing, each row's probability is the label's share: the file's, not that of the training."""
    write_tables(workspace, train=IMBALANCED, dev=[f"{n}\tword {RANDOM.randrange(10**6)}" for n in range(40)])
    train = {"epochs": 8, "learning_rate": 0.01, "loss": "labels", "batch_size": 20, **change.get("train", {})}
    figures = run(workspace, tiny_base, samples={"holdout": 20, "dev": 40, **change["samples"]}, train=train)
    assert figures["training_shares"] == pytest.approx({"0": 0.5, "1": 0.5})
    assert figures["prior_shift"] == pytest.approx({"0": math.log(1.6), "1": math.log(0.4)})
    out = capsys.readouterr().out
    assert (
        "label shares in training, and what is added to the label's logit to undo them: "
        "0: 50.0% (80.0% in the file, +0.470), 1: 50.0% (20.0% in the file, -0.916)\n"
    ) in out
    found = [json.loads(line) for line in (workspace / "result/predictions_tiny.jsonl").read_text().splitlines()]
    mean = sum(one["probabilities"]["1"] for one in found) / len(found)
    assert mean == pytest.approx(0.2, abs=0.1)
    # the loss on the hold-out is that of the file's shares: 0.50 nats; that of equal shares is 0.69
    assert figures["tuned"]["loss"] < 0.62


def test_the_shift_is_saved_and_applied_wherever_the_adapter_is_loaded(workspace: Path, tiny_base: Path) -> None:
    write_tables(workspace, train=IMBALANCED)
    run(workspace, tiny_base, samples={"balance": "equal", "train": 20})
    folder = workspace / "saved_model/tiny"
    described = json.loads((folder / "prompt.json").read_text())
    shift = torch.tensor([described["prior_shift"][label] for label in ("0", "1")])
    assert shift.tolist() == pytest.approx([math.log(1.6), math.log(0.4)])
    texts = ["word 1", "another word"]
    with labeltune.Classifier.load(folder) as classifier:
        with_shift = classifier.label_logits(texts)
    first = json.loads((workspace / "result/predictions_tiny.jsonl").read_text().splitlines()[0])
    dev = json.loads((workspace / "pre_data/tiny/tiny_dev.json").read_text())[0]["input"]
    with labeltune.Classifier.load(folder) as classifier:
        assert classifier.predict([dev])[0].probabilities == pytest.approx(first["probabilities"], abs=1e-6)
    # an adapter of an older version has no shift
    (folder / "prompt.json").write_text(json.dumps({k: v for k, v in described.items() if k != "prior_shift"}))
    with labeltune.Classifier.load(folder) as classifier:
        assert torch.equal(classifier.label_logits(texts) + shift, with_shift)
    for damage in ({"0": 1.0}, {"0": 1.0, "1": "x"}, 3, {"0": 1.0, "1": float("nan")}):
        (folder / "prompt.json").write_text(json.dumps({**described, "prior_shift": damage}))
        with pytest.raises(UserError, match="prior_shift: expected a finite number for each label, found"):
            labeltune.Classifier.load(folder)


def test_without_these_keys_no_shift_is_saved(workspace: Path, tiny_base: Path) -> None:
    figures = run(workspace, tiny_base)
    assert figures["prior_shift"] is None
    assert "prior_shift" not in json.loads((workspace / "saved_model/tiny/prompt.json").read_text())
