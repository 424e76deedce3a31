"""Several settings in one workspace, with a real tiny model: kept, listed, put back without training, and graded alike."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, recipe_tree, write_recipe, write_tables
from support.finished_runs import write_evaluation

from grading import contract, grade
from runner.commands.run import main
from runner.stages import STAGES
from runner.workspace.paths import Workspace
from runner.workspace.runs import kept_runs, run_in_place

OUTPUTS = ("saved_model/tiny/adapter_model.safetensors", "result/result_tiny.txt", "result/predictions_tiny.jsonl")


def outputs(root: Path) -> list[bytes]:
    return [(root / name).read_bytes() for name in OUTPUTS]


def start(root: Path, *more: str) -> int:
    return main([str(root / "tiny.yaml"), "--workspace", str(root), *more])


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A workspace with the tiny recipe, run once."""
    root = write_tables(tmp_path_factory.mktemp("first"))
    write_recipe(root, recipe_tree(tiny_base))
    assert start(root) == 0
    return root


@pytest.fixture
def root(first: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(first, tmp_path / "work"))


def test_another_setting_and_back(root: Path, capsys: Any) -> None:
    before = outputs(root)
    assert start(root, "train.epochs=1") == 0
    (kept,) = kept_runs(Workspace(root, "tiny"))
    assert (
        f"tiny finetune: kept: the adapter that was in place, run {kept.id} (hold-out accuracy {kept.accuracy:.1%}); "
        f"to get it back: labeltune runs restore {kept.id} --workspace {root}\n"
    ) in capsys.readouterr().out
    other = outputs(root)
    assert other[0] != before[0]
    command = [sys.executable, "-m", "labeltune", "runs", str(root)]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "train.epochs 2 (now 1)" in " ".join(listed.split())
    # the first setting again: its adapter is there already
    assert start(root) == 0
    out = capsys.readouterr().out
    assert f"tiny finetune: trained already: run {kept.id} is in place again\n" in out
    assert "tiny finetune: nothing changed\n" in out
    assert "tiny predict: nothing changed\n" in out
    assert outputs(root) == before
    command[4:] = ["restore", kept_runs(Workspace(root, "tiny"))[0].id, "--workspace", str(root)]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert outputs(root) == other


def test_the_written_recipe_runs_alone(root: Path, capsys: Any) -> None:
    written = root / "saved_model/tiny/recipe.yaml"
    assert main([str(written), "--workspace", str(root)]) == 0
    assert capsys.readouterr().out.count("nothing changed") >= 3


def test_fresh_trains_again_and_keeps_nothing(root: Path) -> None:
    before = outputs(root)
    assert start(root, "--fresh") == 0
    assert outputs(root) == before
    assert kept_runs(Workspace(root, "tiny")) == []


def test_a_worse_adapter_does_not_replace_a_better_one(root: Path, capsys: Any) -> None:
    """With hold-out predictions that we write. The same command again gives the same answer, without training."""
    workspace, before = Workspace(root, "tiny"), outputs(root)
    write_evaluation(root / "saved_model/tiny", [True] * 90 + [False] * 10)
    assert start(root, "train.epochs=1", "--stages", "prepare,finetune") == 0
    write_evaluation(root / "saved_model/tiny", [True] * 60 + [False] * 40)
    new = run_in_place(workspace)
    assert new is not None
    capsys.readouterr()
    for again in (False, True):
        assert start(root, "train.epochs=1", "--stages", "prepare,finetune,predict") == 0
        out = capsys.readouterr().out
        assert (f"trained already: run {new.id} is in place again" in out) == again
        assert "tiny evaluate: WARNING: the new adapter is worse and does not replace the one before it" in out
        assert f"labeltune runs restore {new.id} --workspace {root}" in out
        assert "rows →" not in out
        assert outputs(root) == before
    assert start(root) == 0
    assert json.loads((root / "saved_model/tiny/run.json").read_text())["recipe"]["train"]["epochs"] == 2


@pytest.mark.skipif("evaluate" not in STAGES, reason="nothing evaluates the adapters")
def test_a_rate_that_is_too_low_does_not_replace_what_was_learned(tmp_path: Path, tiny_base: Path, capsys: Any) -> None:
    rows = [f"{number}\t{number % 2}\t{'aaaa' if number % 2 else 'bbbb'}{number}" for number in range(240)]
    root = write_tables(tmp_path, rows)
    train = {"epochs": 4, "batch_size": 8, "learning_rate": 0.02}
    lora = {"r": 8, "target_modules": "all-linear"}
    write_recipe(root, recipe_tree(tiny_base, samples={"train": 120, "holdout": 100}, lora=lora, train=train))
    assert start(root) == 0
    before = outputs(root)
    for again in (False, True):
        capsys.readouterr()
        assert start(root, "train.learning_rate=1e-9") == 0
        out = capsys.readouterr().out
        assert "WARNING: the new adapter is worse and does not replace the one before it: it gets " in out
        assert ("trained already" in out) == again
        assert outputs(root) == before
    assert start(root) == 0
    assert capsys.readouterr().out.count("nothing changed") == len(STAGES)


def test_kept_runs_change_no_points(root: Path) -> None:
    folder = root / contract.ANSWER_FOLDER
    folder.mkdir(parents=True)
    (folder / "result_tiny_5.txt").write_text("1\n0\n1\n0\n1\n")
    assert start(root, "train.epochs=1") == 0
    with_runs = grade(root, answers=folder)
    shutil.make_archive(str(root.parent / "submission"), "zip", root)
    packed = grade(root.parent / "submission.zip", answers=folder)
    shutil.rmtree(root / "saved_model/.runs")
    assert with_runs == packed == grade(root, answers=folder)
    assert with_runs.points > 30
