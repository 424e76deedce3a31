"""What a run tells its user: at its start, after every epoch, and at its end, also when there was nothing left to do."""

import re
from pathlib import Path

import pytest
from conftest import recipe_tree, write_recipe

from runner.commands.run import main
from runner.workspace.paths import STAGE_NAMES


def test_a_run_says_what_it_does_and_what_it_has_done(
    workspace: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(workspace, recipe_tree(tiny_base, train={"epochs": 2, "layout": "auto"}))
    assert main([str(path), "--workspace", str(workspace), "--verbose"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == f"tiny: {', '.join(STAGE_NAMES)}"
    assert any(line.startswith("tiny finetune: loading the base ") for line in lines)
    assert sum(bool(re.match(r"tiny finetune: epoch [12] of 2: hold-out accuracy \d", line)) for line in lines) == 2
    assert any("F1 of 1 " in line for line in lines)
    assert any(line.startswith("tiny finetune: layout packed: same results") for line in lines)
    # two epochs of 18 training rows and 4 held-out ones, all counted
    assert re.search(r"finetune: 100%\|\S* *\| (\d+)/\1 ", captured.err)
    assert "epoch=2" in captured.err
    assert lines[-1] == (
        f"next: python -m grading.score --datasets tiny --submission {workspace} --answers FOLDER-OF-THE-ANSWER-KEYS"
    )

    key = workspace / "data/questionBAnswer/result_tiny_5.txt"
    key.parent.mkdir(parents=True)
    key.write_text("1\n0\n1\n0\n1\n")
    assert main([str(path), "--workspace", str(workspace)]) == 0
    again = capsys.readouterr().out.splitlines()
    assert again[1:5] == [f"tiny {stage}: nothing changed" for stage in STAGE_NAMES]
    assert again[-3:-1] == lines[-3:-1], "the second run prints the accuracy, too"
    assert re.match(r"tiny: hold-out accuracy \d+\.\d% \(.*\); expected: ", again[-3])
    assert again[-2] == (
        "tiny: adapter saved_model/tiny/, answers result/result_tiny.txt, probabilities result/predictions_tiny.jsonl"
    )
    assert again[-1] == f"next: python -m grading.score --datasets tiny --submission {workspace}"


def test_what_needs_no_decision_is_not_printed(
    workspace: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(workspace, recipe_tree(tiny_base, train={"epochs": 1, "layout": "auto"}))
    assert main([str(path), "--workspace", str(workspace), "--stages", "prepare,finetune"]) == 0
    out = capsys.readouterr().out
    assert "same results as padded" not in out
    assert out.splitlines()[-1] == "tiny: adapter saved_model/tiny/"
