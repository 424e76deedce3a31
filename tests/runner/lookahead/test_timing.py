"""The timing: real steps of the tiny recipe, measured, and nothing written."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.lookahead import look, problems, snapshot, words_of

from runner.lookahead.timing import Times, add_times


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "train": {"layout": "padded", "gradient_checkpointing": True, "learning_rate": "auto"},
            "decoding": {"batch": 4},
        },
        {"train": {"loss": "vocabulary"}, "decoding": {"kind": "generate"}},
    ],
    ids=["packed", "padded", "generate"],
)
def test_a_few_steps_are_measured_and_nothing_is_written(changes: Any, workspace: Path, tiny_base: Path) -> None:
    found = look(workspace, tiny_base, **changes)
    before, level = snapshot(workspace, tiny_base), logging.getLogger("labeltune").level
    add_times(found, workspace)
    assert not found.findings.problems
    text = words_of(found)
    assert "measured device cpu; at most " in text
    assert "rows/s training " in text
    assert ": 16 rows x 2 epochs, the hold-out after each, evaluation and prediction" in text
    assert snapshot(workspace, tiny_base) == before
    # what is logged afterwards is heard
    assert logging.getLogger("labeltune").level == level


def test_an_error_of_the_measurement_is_a_problem(workspace: Path, tiny_base: Path) -> None:
    base = Path(shutil.copytree(tiny_base, workspace / "base"))
    found = look(workspace, base)
    shutil.rmtree(base)
    add_times(found, workspace)
    assert f"base: the folder {base} does not exist" in problems(found)
    assert "measured" not in words_of(found)


def test_the_time_of_a_run_is_the_sum_of_its_parts(workspace: Path, tiny_base: Path) -> None:
    recipe = look(workspace, tiny_base).loaded.recipe
    times = Times("cpu", "packed", load=10.0, train=4.0, evaluate=8.0, predict=2.0, memory=None)
    # two epochs of 16 rows, three evaluations of 4, prediction of 4 and 5 rows
    assert times.seconds(recipe, 16, 4, 5) == 10.0 + 2 * 4.0 + 3 * 0.5 + 4.5
