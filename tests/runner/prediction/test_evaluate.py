"""The evaluate stage: what it writes agrees with prediction, and a calibration that helps is used by all that predict."""

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import TRAIN_ROWS, recipe_tree, write_recipe, write_tables
from safetensors.torch import load_file, save_file

import labeltune
from grading.contract import measure
from grading.contract.metrics import wilson_interval
from runner.commands.run import main
from runner.evaluation.holdout import HoldoutPrediction, read_holdout_predictions, row_key
from runner.evaluation.probability_metrics import measure_probabilities

FOLDER = "saved_model/tiny"
LABELS = ("0", "1")
FILES = ("holdout_predictions.jsonl", "evaluation.json", "manifest_evaluate.json")


def noisy_rows(count: int) -> list[str]:
    """Rows whose label is known from the text, but for one in five."""
    draw, rows = random.Random(0), []
    for number in range(count):
        kind = draw.randrange(2)
        rows.append(f"{number}\t{kind if draw.random() < 0.8 else 1 - kind}\t{number} {'aaaa' if kind else 'bbbb'}")
    return rows


def noisy_recipe(base: Path, **changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "samples": {"train": 60, "holdout": 240},
        "train": {"epochs": 6, "batch_size": 20, "learning_rate": 0.02, "loss": "labels"},
        "lora": {"target_modules": "all-linear"},
    }
    return recipe_tree(base, **{**settings, **changes})


def read(workspace: Path, name: str) -> Any:
    return json.loads((workspace / FOLDER / name).read_text())


def start(workspace: Path, tree: dict[str, Any], *more: str) -> int:
    return main([str(write_recipe(workspace, tree)), "--workspace", str(workspace), *more])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A workspace with an adapter that is badly calibrated: its B matrices are twice what was trained, and it prefers a label."""
    workspace = write_tables(tmp_path_factory.mktemp("sure"), noisy_rows(300))
    assert start(workspace, noisy_recipe(tiny_base), "--stages", "prepare,finetune") == 0
    path = workspace / FOLDER / "adapter_model.safetensors"
    weights = {name: value * (2 if "lora_B" in name else 1) for name, value in load_file(path).items()}
    save_file(weights, path, {"format": "pt"})
    manifest, prompt = read(workspace, "manifest.json"), workspace / FOLDER / "prompt.json"
    prompt.write_text(json.dumps({**json.loads(prompt.read_text()), "prior_shift": {"0": 3.0, "1": 0.0}}))
    for changed in (path, prompt):
        manifest["outputs"][f"{FOLDER}/{changed.name}"] = hashlib.sha256(changed.read_bytes()).hexdigest()
    (workspace / FOLDER / "manifest.json").write_text(json.dumps(manifest))
    return workspace


@pytest.fixture
def sure(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "sure")


def test_the_rows_are_those_of_the_holdout_as_prediction_answers_them(
    sure: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(sure, noisy_recipe(tiny_base), "--stages", "evaluate") == 0
    records = json.loads((sure / "pre_data/tiny/tiny_holdout.json").read_text())
    rows = read_holdout_predictions(sure / FOLDER / "holdout_predictions.jsonl")
    with labeltune.Classifier.load(sure / FOLDER) as classifier:
        logits = classifier.label_logits([record["input"] for record in records]).tolist()
    assert len(rows) == len(records) == 240
    for number, (row, record, expected) in enumerate(zip(rows, records, logits), 1):
        label = LABELS[expected.index(max(expected))]
        text = record["input"]
        known = (text, len(text), row.tokens)
        assert row == HoldoutPrediction(number, row_key(text), record["output"], label, row.logits, *known)
        assert row.tokens - len(text) == rows[0].tokens - len(rows[0].text), (
            "a token for each character, and the prompt"
        )
        assert row.logits == pytest.approx(expected, abs=1e-4)
    found = measure([row.target for row in rows], [row.label for row in rows], LABELS)
    evaluation = read(sure, "evaluation.json")
    assert {name: evaluation[name] for name in ("schema", "dataset", "rows", "accuracy", "mcc", "f1")} == {
        "schema": "labeltune.evaluation/1",
        "dataset": "tiny",
        "rows": 240,
        "accuracy": found.accuracy,
        "mcc": found.mcc,
        "f1": found.f1,
    }
    assert evaluation["interval"] == list(wilson_interval(found.correct, 240))
    assert evaluation["holdout"] == hashlib.sha256((sure / "pre_data/tiny/tiny_holdout.json").read_bytes()).hexdigest()
    assert evaluation["uncalibrated"] == {name: evaluation[name] for name in evaluation["uncalibrated"]}
    assert evaluation["calibration"]["reason"] == "decoding.calibration: none"
    assert list(evaluation["baselines"]) == ["majority", "untuned", "bag_of_words"]
    assert evaluation["expected_points"]["rows"] == 5
    assert not (sure / FOLDER / "calibration.json").exists()
    out = capsys.readouterr().out
    assert "tiny evaluate: hold-out accuracy, 95 % intervals: majority 5" in out
    assert "calibration" not in out.replace("calibration error", "")


def test_a_calibration_that_helps_is_used_by_all_that_predict(
    sure: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = noisy_recipe(tiny_base, decoding={"calibration": "auto"})
    assert start(sure, noisy_recipe(tiny_base), "--stages", "evaluate,predict") == 0
    before, plain = read(sure, "evaluation.json"), (sure / "result/predictions_tiny.jsonl").read_text()
    capsys.readouterr()
    assert start(sure, tree, "--stages", "evaluate,predict") == 0
    out = capsys.readouterr().out
    after = read(sure, "evaluation.json")
    assert "tiny evaluate: calibration used: " in out
    shown = [
        f"{words} {before[name]:.3f} → {after[name]:.3f}"
        for name, words in (("log_loss", "log loss"), ("brier", "Brier score"), ("ece", "calibration error"))
    ]
    assert (
        f"tiny evaluate: hold-out probabilities, before calibration → after, cross-validated: {', '.join(shown)}\n"
        in out
    )
    assert "tiny predict: calibrated with calibration.json of the evaluate stage" in out
    assert after["uncalibrated"] == before["uncalibrated"]
    assert after["log_loss"] < before["log_loss"]
    assert after["calibration"]["used"]
    predictions = [json.loads(line) for line in (sure / "result/predictions_tiny.jsonl").read_text().splitlines()]
    assert [each["probabilities"] for each in predictions] != [
        json.loads(line)["probabilities"] for line in plain.splitlines()
    ]
    texts = [record["input"] for record in json.loads((sure / "pre_data/tiny/tiny_dev.json").read_text())]
    with labeltune.Classifier.load(sure / FOLDER) as classifier:
        for each, row in zip(classifier.predict(texts), predictions):
            assert each.probabilities == pytest.approx(row["probabilities"], abs=1e-5)
            assert each.label == row["label"]
        softmax = classifier.label_logits(texts).softmax(1).tolist()
        assert softmax[0] == pytest.approx(list(predictions[0]["probabilities"].values()), abs=1e-5)
    with labeltune.Classifier.load(sure / FOLDER, calibrate=False) as classifier:
        first = classifier.predict(texts)[0].probabilities
        assert first == pytest.approx(json.loads(plain.splitlines()[0])["probabilities"], abs=1e-5)
    # evaluation.json measures what the rows hold, which is out of fold; the logits are those before calibration
    rows = read_holdout_predictions(sure / FOLDER / "holdout_predictions.jsonl")
    assert [row.label for row in rows] == [LABELS[each.probabilities[1] > each.probabilities[0]] for each in rows]
    found = measure([row.target for row in rows], [row.label for row in rows], LABELS)
    numbers = measure_probabilities([row.probabilities for row in rows], [int(row.target) for row in rows])
    measured = {"accuracy": found.accuracy, "mcc": found.mcc, "f1": found.f1, **vars(numbers)}
    assert {name: after[name] for name in measured} == pytest.approx(measured, abs=1e-7)
    assert found.accuracy > before["accuracy"], "the bias changes answers"
    fitted = after["calibration"]
    scaled = [
        [logit / fitted["temperature"] + bias for logit, bias in zip(row.logits, fitted["bias"].values())]
        for row in rows
    ]
    import torch

    inside = measure_probabilities(torch.tensor(scaled).softmax(1).tolist(), [int(row.target) for row in rows])
    assert inside.log_loss < after["log_loss"]
    assert start(sure, tree, "--stages", "evaluate,predict") == 0
    assert capsys.readouterr().out.count("nothing changed") == 2
    (sure / FOLDER / "calibration.json").write_text("{}")
    assert start(sure, tree, "--stages", "predict") == 2
    assert "calibration.json: is not what the evaluate stage wrote" in capsys.readouterr().err
    assert start(sure, noisy_recipe(tiny_base), "--stages", "evaluate,predict") == 0
    assert not (sure / FOLDER / "calibration.json").exists()
    assert (sure / "result/predictions_tiny.jsonl").read_text() == plain


def test_calibrated_predictions_need_the_evaluate_stage(
    sure: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(sure, noisy_recipe(tiny_base), "--stages", "predict") == 0
    capsys.readouterr()
    assert start(sure, noisy_recipe(tiny_base, decoding={"calibration": "auto"}), "--stages", "predict") == 2
    assert capsys.readouterr().err == (
        "tiny: the evaluate stage has not finished\n  next: run it too: leave --stages out; an adapter that is "
        "replaced is kept, and `labeltune runs` lists it\n"
    )


def test_generated_answers_are_evaluated_as_text(workspace: Path, tiny_base: Path) -> None:
    tree = recipe_tree(tiny_base, decoding={"kind": "generate"}, train={"learning_rate": 1e-9, "epochs": 1})
    assert start(workspace, tree) == 0
    rows = read_holdout_predictions(workspace / FOLDER / "holdout_predictions.jsonl")
    evaluation = read(workspace, "evaluation.json")
    assert {row.label for row in rows} <= {*LABELS, "?"}
    assert any(row.label == "?" for row in rows)
    assert evaluation["accuracy"] == sum(row.label == row.target for row in rows) / len(rows)
    assert evaluation["log_loss"] > 0


def test_a_new_adapter_removes_the_evaluation_of_the_old_one(workspace: Path, tiny_base: Path) -> None:
    assert start(workspace, recipe_tree(tiny_base)) == 0
    assert all((workspace / FOLDER / name).exists() for name in FILES)
    (workspace / FOLDER / "calibration.json").write_text("of the old adapter")
    changed = recipe_tree(tiny_base, train={"epochs": 1})
    assert start(workspace, changed, "--stages", "finetune") == 0
    assert not any((workspace / FOLDER / name).exists() for name in (*FILES, "calibration.json"))
    assert labeltune.run(labeltune.load_recipe(workspace / "tiny.yaml"), workspace, ["prepare"]).evaluation is None


def test_an_adapter_that_is_not_better_than_a_baseline_is_reported(
    workspace: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tables(workspace, [row.replace("ba word", "dull").replace("ab word", "fine") for row in TRAIN_ROWS])
    tree = recipe_tree(tiny_base, train={"learning_rate": 1e-9, "epochs": 1, "batch_size": 1})
    assert start(workspace, tree, "--stages", "prepare,finetune,evaluate") == 0
    out = capsys.readouterr().out
    warning = next(line for line in out.splitlines() if "is not better than" in line)
    assert warning.startswith("tiny evaluate: WARNING: the adapter (")
    assert "a bag of words (100.0%) on the hold-out; likeliest cause: train.learning_rate 1e-09 is far below" in warning
    assert warning.endswith("set train.learning_rate: auto, which takes a usual one")
