"""The command as users start it: through accelerate, from any folder, in one process or two."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, recipe_tree, write_recipe
from safetensors.torch import load_file


def launch(folder: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", **variables}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-m", "accelerate.commands.launch", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


ONE = ("--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")
TWO = (
    "--multi_gpu",
    "--num_processes",
    "2",
    "--num_machines",
    "1",
    "--mixed_precision",
    "no",
    "--dynamo_backend",
    "no",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A workspace in which `accelerate launch …/runner/main.py tiny.yaml` has been run from that folder."""
    from conftest import write_tables

    folder = write_tables(tmp_path_factory.mktemp("launched"))
    write_recipe(folder, recipe_tree(tiny_base, train={"epochs": 1}))
    done = launch(folder, *ONE, str(ROOT / "runner/main.py"), "tiny.yaml")
    assert done.returncode == 0, done.stderr
    return folder


def test_the_script_finds_its_packages_from_any_folder(finished: Path) -> None:
    assert len((finished / "result/result_tiny.txt").read_text().split()) == 5


def test_the_module_form_works_too(finished: Path) -> None:
    done = launch(ROOT, *ONE, "-m", "runner.main", str(finished / "tiny.yaml"), "--workspace", str(finished))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nothing changed") == 3


def test_two_processes_give_the_adapter_of_one(finished: Path, tmp_path: Path, tiny_base: Path) -> None:
    from conftest import write_tables

    write_tables(tmp_path)
    write_recipe(tmp_path, recipe_tree(tiny_base, train={"epochs": 1}))
    done = launch(tmp_path, *TWO, str(ROOT / "runner/main.py"), "tiny.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tiny finetune: 16 rows") == 1, "only the main process speaks"
    name = "saved_model/tiny/adapter_model.safetensors"
    one, two = load_file(finished / name), load_file(tmp_path / name)
    assert one.keys() == two.keys()
    assert max((one[key] - two[key]).abs().max().item() for key in one) < 1e-5
    assert (finished / "result/result_tiny.txt").read_bytes() == (tmp_path / "result/result_tiny.txt").read_bytes()
    assert '"processes": 2' in (tmp_path / "saved_model/tiny/manifest.json").read_text()


def test_processes_are_joined_or_refused_but_never_run_beside_each_other(finished: Path) -> None:
    """Without being told that it is on a CPU, newer Accelerate joins nothing: every process would be the main one."""
    done = launch(finished, *TWO, str(ROOT / "runner/main.py"), "tiny.yaml", "--fresh", ACCELERATE_USE_CPU="false")
    if done.returncode == 0:
        assert '"processes": 2' in (finished / "saved_model/tiny/manifest.json").read_text()
    else:
        assert "2 processes were started, Accelerate joins 1 on" in done.stderr


def test_a_mistake_is_said_in_words_and_without_a_traceback_of_ours(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("task: 3\n")
    done = subprocess.run(
        [sys.executable, str(ROOT / "runner/main.py"), "bad.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("bad.yaml:1:1: instruction: required key is missing\n")
    assert "Traceback" not in done.stderr


def test_a_termination_ends_with_143(finished: Path) -> None:
    code = (
        "import os, signal, sys; sys.path.insert(0, '.')\n"
        "from runner import command, pipeline\n"
        "pipeline.run = lambda *_: os.kill(os.getpid(), signal.SIGTERM)\n"
        f"raise SystemExit(command.main([{str(finished / 'tiny.yaml')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 143
    assert "terminated; finished stages stay" in done.stderr
