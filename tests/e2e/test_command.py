"""The `labeltune` command: the runner's own exit codes and messages, without the launcher's traceback."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, recipe_tree, write_recipe, write_tables

COMMAND = "import sys; sys.path.insert(0, sys.argv.pop(1)); from labeltune.__main__ import main; sys.exit(main())"


def labeltune(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", COMMAND, str(ROOT), *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_a_run_ends_as_the_runner_does(tmp_path: Path, tiny_base: Path) -> None:
    write_recipe(write_tables(tmp_path), recipe_tree(tiny_base))
    done = labeltune(tmp_path, "run", "tiny.yaml", "train.epochs=1", "--processes", "2")
    assert done.returncode == 0, done.stderr
    assert "tiny predict: 5 rows → result/result_tiny.txt" in done.stdout
    run = json.loads((tmp_path / "saved_model/tiny/run.json").read_text())
    assert run["stages"]["finetune"]["figures"]["processes"] == 2


def test_doubtful_rows_are_looked_for_by_all_processes(tmp_path: Path, tiny_base: Path) -> None:
    write_recipe(write_tables(tmp_path), recipe_tree(tiny_base))
    done = labeltune(tmp_path, "doubtful", "tiny.yaml", "train.epochs=1", "--folds", "2", "--processes", "2")
    assert done.returncode == 0, done.stderr
    assert "0 inputs have several labels, in 0 rows" in done.stdout
    (fold,) = (tmp_path / "saved_model/.doubtful/tiny").glob("*/fold-2/saved_model/tiny/manifest.json")
    assert json.loads(fold.read_text())["figures"]["processes"] == 2
    assert (tmp_path / "pre_data/tiny/doubtful.csv").exists()


def test_a_mistake_is_reported_once_and_without_a_traceback(tmp_path: Path, tiny_base: Path) -> None:
    write_recipe(write_tables(tmp_path), recipe_tree(tiny_base))
    again = labeltune(tmp_path, "run", "tiny.yaml", "--processes", "2", "lora.target_modules=[nothing]")
    assert again.returncode == 2
    message, next_step = again.stderr.strip().splitlines()[-2:]
    assert message.startswith("lora: Target modules {'nothing'} not found")
    assert next_step.startswith("  next: the model's linear layers are ")
    assert "Traceback" not in again.stderr


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_signal_to_the_command_stops_the_run_after_its_step(tmp_path: Path, tiny_base: Path, processes: str) -> None:
    tree = recipe_tree(tiny_base, train={"epochs": 10_000})
    write_recipe(write_tables(tmp_path), tree)
    command = [sys.executable, "-c", COMMAND, str(ROOT), "run", "tiny.yaml", "--processes", processes]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    # its first line comes after some steps
    while running.poll() is None and not list((tmp_path / "saved_model").rglob("metrics.jsonl")):
        time.sleep(0.1)
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM, err
    assert err.splitlines()[-1].startswith("stopped by SIGTERM ")
    assert "Traceback" not in err
    assert list((tmp_path / "saved_model/.checkpoints/tiny").glob("*/step-*.checkpoint"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="finds the run through /proc")
def test_a_run_whose_command_is_killed_stops_with_a_checkpoint(tmp_path: Path, tiny_base: Path) -> None:
    write_recipe(write_tables(tmp_path), recipe_tree(tiny_base, train={"epochs": 10_000}))
    command = [sys.executable, "-c", COMMAND, str(ROOT), "run", "tiny.yaml"]
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    while running.poll() is None and not list((tmp_path / "saved_model").rglob("metrics.jsonl")):
        time.sleep(0.1)
    run = json.loads((tmp_path / "saved_model/.tiny.lock").read_text())["pid"]
    running.kill()
    running.wait()
    until = time.monotonic() + 60
    while Path(f"/proc/{run}").exists():
        assert time.monotonic() < until, "the run continues"
        time.sleep(0.1)
    assert "stopped by SIGTERM after step" in (tmp_path / "log").read_text()
    assert list((tmp_path / "saved_model/.checkpoints/tiny").glob("*/step-*.checkpoint"))


@pytest.mark.parametrize(
    ("arguments", "code", "out", "err"),
    [
        (["--help"], 0, "labeltune run RECIPE", ""),
        (["--version"], 0, "labeltune 0", ""),
        (["run", "--help"], 0, "Runs recipes", ""),
        (["check", "tiny.yaml"], 0, "tiny.yaml: fine", ""),
        (["check", "tiny.yaml", "train.epochs=0"], 2, "", "train.epochs"),
        (["run", "--check", "tiny.yaml"], 0, "tiny.yaml: fine", ""),
        (["run", "--check=timed", "tiny.yaml"], 0, "whole run", ""),
        (["check", "tiny.yaml", "base=nowhere"], 2, "tiny.yaml: a run would fail: 1 problem", ""),
        (["check", "tiny.yaml", "--workspace", "nowhere"], 2, "", "--workspace nowhere: no such folder"),
        (["doctor"], 0, "this machine: fine", ""),
        (["run", "nothing.yaml"], 2, "", "nothing.yaml"),
        (["run", "tiny.yaml", "--stages", "fit"], 2, "", "expected some of prepare, finetune, evaluate, predict"),
        (["run", "tiny.yaml", "--processes", "0"], 2, "", "expected a whole number above 0"),
        (["runs"], 0, "no run in /", ""),
        (["runs", "--help"], 0, "put a kept run in place", ""),
        (["compare", "--help"], 0, "hold-out rows that all of them have", ""),
        (["compare", "one"], 2, "", "expected 2 to 100 runs, found 1"),
        (["grade", "--rubric"], 0, "pre_data", ""),
        (["grade", "--answers", "nowhere"], 2, "", "nowhere"),
        (["train"], 2, "", "invalid choice: 'train'"),
    ],
    ids=str,
)
def test_commands_and_mistakes(
    arguments: list[str], code: int, out: str, err: str, tmp_path: Path, tiny_base: Path
) -> None:
    write_recipe(write_tables(tmp_path), recipe_tree(tiny_base))
    done = labeltune(tmp_path, *arguments)
    assert done.returncode == code, done.stderr
    assert out in done.stdout
    assert err in done.stderr
    assert "Traceback" not in done.stderr
