"""Dev labels score the result and reach nothing before it; labels and names in Chinese work from the table to the grade."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import TRAIN_ROWS, recipe_tree, write_recipe, write_tables

from grading.contract import measure
from grading.score import main as grade
from runner.commands.run import execute
from runner.recipe.loader import load_recipes
from runner.reporting.run_result import RunResult
from runner.workspace.paths import Workspace
from runner.workspace.run_moves import restore
from runner.workspace.runs import kept_runs


def run(folder: Path, base: Path, **changes: Any) -> RunResult:
    return execute(load_recipes([write_recipe(folder, recipe_tree(base, **changes))]), folder)[0]


def dev(flipped: bool) -> list[str]:
    """Labelled dev rows in the training file's form."""
    return [f"{n}\t{(n + flipped) % 2}\t{'ab' if n % 3 else 'ba'} dev {n}" for n in range(5)]


def content(folder: Path, *names: str) -> list[bytes]:
    return [(folder / name).read_bytes() for name in names]


MADE = (
    "pre_data/tiny/tiny_train.json",
    "pre_data/tiny/tiny_holdout.json",
    "pre_data/tiny/tiny_dev.json",
    "saved_model/tiny/adapter_model.safetensors",
    "saved_model/tiny/adapter_config.json",
    "saved_model/tiny/prompt.json",
    "saved_model/tiny/holdout_predictions.jsonl",
    "result/result_tiny.txt",
    "result/predictions_tiny.jsonl",
)
"""What may not depend on the dev labels."""


def test_dev_labels_score_the_result_and_reach_nothing_before_it(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, scores = [], []
    for flipped in (False, True):
        folder = write_tables(tmp_path / str(flipped), dev=dev(flipped))
        statistics = run(folder, tiny_base).statistics["predict"]
        made.append(content(folder, *MADE))
        scores.append(json.loads((folder / "result/score_tiny.json").read_text()))
        predicted = (folder / "result/result_tiny.txt").read_text().split()
        expected = measure([row.split("\t")[1] for row in dev(flipped)], predicted, ["0", "1"])
        assert (scores[-1]["rows"], scores[-1]["correct"]) == (5, expected.correct)
        assert scores[-1]["confusion"] == [list(row) for row in expected.confusion]
        assert (scores[-1]["mcc"], scores[-1]["f1"]) == (expected.mcc, expected.f1)
        assert scores[-1]["interval_95"] == list(expected.interval)
        assert statistics["score"]["accuracy"] == expected.accuracy
        assert f"score on 5 labelled rows: accuracy {expected.accuracy:.2%} (95%: " in capsys.readouterr().out
    assert made[0] == made[1]
    assert scores[0]["correct"] == 5 - scores[1]["correct"]


def test_other_dev_labels_change_the_score_alone(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(write_tables(tmp_path, dev=dev(False)), tiny_base)
    before = content(tmp_path, *MADE)
    first = json.loads((tmp_path / "result/score_tiny.json").read_text())
    capsys.readouterr()
    run(write_tables(tmp_path, dev=dev(True)), tiny_base)
    assert "finetune: nothing changed" in capsys.readouterr().out
    assert content(tmp_path, *MADE) == before
    assert json.loads((tmp_path / "result/score_tiny.json").read_text())["correct"] == 5 - first["correct"]
    # without labels there is no score, not even an old one
    run(write_tables(tmp_path), tiny_base)
    assert not (tmp_path / "result/score_tiny.json").exists()
    assert not (tmp_path / "pre_data/tiny/tiny_dev_answers.json").exists()
    run(tmp_path, tiny_base)
    assert "predict: nothing changed" in capsys.readouterr().out


def test_a_kept_run_keeps_its_score(tmp_path: Path, tiny_base: Path) -> None:
    run(write_tables(tmp_path, dev=dev(False)), tiny_base)
    before = content(tmp_path, "result/result_tiny.txt", "result/score_tiny.json")
    run(tmp_path, tiny_base, task={"columns": ["id", "label", "text"]}, lora={"r": 1})
    (kept,) = kept_runs(Workspace(tmp_path, "tiny"))
    (tmp_path / "result/score_tiny.json").write_text("{}")
    restore(kept)
    assert content(tmp_path, "result/result_tiny.txt", "result/score_tiny.json") == before


def test_one_labelled_file_is_enough(tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tables(tmp_path, train=list(TRAIN_ROWS))
    result = run(tmp_path, tiny_base, task={"dev": None}, samples={"train": 12, "holdout": 4, "test": 6})
    score = json.loads((tmp_path / "result/score_tiny.json").read_text())
    assert score["rows"] == len((tmp_path / "result/result_tiny.txt").read_text().split()) == 6
    assert result.statistics["predict"]["score"]["accuracy"] == score["accuracy"]
    out = capsys.readouterr().out
    assert "6 labelled rows are set aside, to be predicted and scored: there is no task.dev" in out
    run(tmp_path, tiny_base, task={"dev": None}, samples={"train": 12, "holdout": 4, "test": 6})
    assert "predict: nothing changed" in capsys.readouterr().out


def test_chinese_labels_and_names_work_to_the_grade(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/评论.csv").write_text(
        "评论,标签\n"
        + "".join(f"第{n}次{'很好' if n % 2 else '很差'}。,{'正面' if n % 2 else '负面'}\n" for n in range(40)),
        encoding="utf-8",
    )
    task = {"name": "情感", "train": "data/评论.csv", "input": "{评论}", "label": "标签", "labels": ["负面", "正面"]}
    tree = {**recipe_tree(tiny_base, samples={"test": 6}, prompt={"max_length": 200}), "task": task}
    execute(load_recipes([write_recipe(tmp_path, tree, "情感.yaml")]), tmp_path)
    lines = (tmp_path / "result/result_情感.txt").read_text(encoding="utf-8").split("\n")
    assert len(lines) == 7
    assert set(lines[:-1]) <= {"负面", "正面"}
    answers = json.loads((tmp_path / "pre_data/情感/情感_dev_answers.json").read_text(encoding="utf-8"))
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "result_情感_6.txt").write_text("".join(f"{answer}\n" for answer in answers), encoding="utf-8")
    report = tmp_path.with_suffix(".json")
    assert grade(["--submission", str(tmp_path), "--answers", str(keys), "--json", str(report)]) == 0
    parts = {part["part"]: part["points"] for part in json.loads(report.read_text(encoding="utf-8"))["parts"]}
    score = json.loads((tmp_path / "result/score_情感.json").read_text(encoding="utf-8"))
    assert parts == {"pre_data": 10, "saved_model": 20, "result": pytest.approx(70 * score["accuracy"])}
    assert "情感" in capsys.readouterr().out
