"""A run over other dev rows does not lose the result that is handed in."""

from pathlib import Path

import pytest
from conftest import DEV_ROWS, recipe_tree, write_recipe, write_tables

from runner.commands.run import main


def test_the_result_for_other_dev_rows_is_kept(
    workspace: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = [str(write_recipe(workspace, recipe_tree(tiny_base, train={"epochs": 1}))), "--workspace", str(workspace)]
    assert main(run) == 0
    handed_in = (workspace / "result/result_tiny.txt").read_bytes()
    predictions = (workspace / "result/predictions_tiny.jsonl").read_bytes()
    assert not (workspace / "result/.older").exists()
    write_tables(workspace, dev=["9\tA sentence to try .", *DEV_ROWS[1:]])
    capsys.readouterr()
    assert main(run) == 0
    folders = list((workspace / "result/.older/tiny").iterdir())
    assert len(folders) == 1
    assert (folders[0] / "result_tiny.txt").read_bytes() == handed_in
    assert (folders[0] / "predictions_tiny.jsonl").read_bytes() == predictions
    assert f"the earlier rows is kept in result/.older/tiny/{folders[0].name}" in capsys.readouterr().out
    # a new adapter for the same rows has a kept run of its own
    assert main([*run, "train.learning_rate=0.02"]) == 0
    assert len(list((workspace / "result/.older/tiny").iterdir())) == 1
