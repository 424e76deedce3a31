"""The demo whole, through the command: both tasks are learned, and the grader agrees with a count by hand."""

import json
from pathlib import Path

import pytest
from conftest import ROOT

from grading.score import main as grade
from runner.commands.run import main

RECIPES = ("demo-acceptability", "demo-paraphrase")


@pytest.mark.slow
def test_both_tasks_are_learned_and_graded(tmp_path: Path) -> None:
    assert main([*(str(ROOT / f"recipes/{name}.yaml") for name in RECIPES), "--workspace", str(tmp_path)]) == 0
    answers, report = ROOT / "recipes/demo/data/questionBAnswer", tmp_path.with_suffix(".json")
    assert grade(["--submission", str(tmp_path), "--answers", str(answers), "--json", str(report)]) == 0
    points = {(part["dataset"], part["part"]): part["points"] for part in json.loads(report.read_text())["parts"]}
    for name in ("acceptability", "paraphrase"):
        figures = json.loads((tmp_path / f"saved_model/{name}/manifest.json").read_text())["figures"]
        assert figures["tuned"]["accuracy"] > max(figures["majority"], figures["untuned"]["accuracy"]) + 0.15
        key = (answers / f"result_{name}.txt").read_text().split()
        lines = (tmp_path / f"result/result_{name}.txt").read_text().split()
        assert len(lines) == len(key) == 150
        right = sum(line == answer for line, answer in zip(lines, key))
        assert (points[name, "pre_data"], points[name, "saved_model"]) == (5, 10)
        assert points[name, "result"] == pytest.approx(35 * right / 150)
