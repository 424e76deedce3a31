"""The command as users start it: through accelerate, from any folder, in one process or two."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT, recipe_tree, write_recipe
from safetensors.torch import load_file

from runner.commands.run import main


def free_port() -> str:
    """A port that nobody uses: a launch beside ours would hold Accelerate's own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def launch(folder: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", **variables}
    environment.pop("PYTHONPATH", None)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", free_port(), *arguments]
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


def run_alone(folder: Path, *names: str) -> str:
    """Recipes in one process, this one, which has everything loaded. Returns what it printed."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert main([*(str(folder / f"{name}.yaml") for name in names), "--workspace", str(folder)]) == 0
    return printed.getvalue()


def run_by_two(folder: Path, *names: str) -> str:
    """Recipes in two processes, launched by the configuration that we have for two on a CPU. Returns what they printed."""
    command = ("--config_file", str(ROOT / "recipes/accelerate/cpu.yaml"), str(ROOT / "runner/main.py"))
    done = launch(folder, *command, *(f"{name}.yaml" for name in names))
    assert done.returncode == 0, done.stderr
    return done.stdout


ONE_EPOCH = {"samples": {"train": 13}, "train": {"epochs": 1}}
"""The last step has one row: with two processes one of them has none."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A workspace in which `accelerate launch …/runner/main.py tiny.yaml` has been run from that folder."""
    from conftest import write_tables

    folder = write_tables(tmp_path_factory.mktemp("launched"))
    write_recipe(folder, recipe_tree(tiny_base, **ONE_EPOCH))
    done = launch(folder, *ONE, str(ROOT / "runner/main.py"), "tiny.yaml")
    assert done.returncode == 0, done.stderr
    return folder


def test_the_script_finds_its_packages_from_any_folder(finished: Path) -> None:
    assert len((finished / "result/result_tiny.txt").read_text().split()) == 5


def test_the_module_form_works_too(finished: Path) -> None:
    done = launch(ROOT, *ONE, "-m", "runner.main", str(finished / "tiny.yaml"), "--workspace", str(finished))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nothing changed") == 4


HOW: dict[str, dict[str, Any]] = {
    "tiny": ONE_EPOCH,
    "both": {**ONE_EPOCH, "ensemble": {"seeds": [0, 1]}},
    # a last step of one row, and labels of which one is rare
    "rare": {
        "task": {"train": "data/rare_train.tsv"},
        "samples": {"train": 10, "balance": "oversample"},
        "train": {"epochs": 1, "class_weights": {"0": 1, "1": 3}},
    },
    # with PiSSA, whose start is the same for one process and for two
    "rate": {
        "lora": {"init_lora_weights": "pissa"},
        "train": {"learning_rate": "auto", "batch_size": 2, "epochs": 40, "patience": 1, "average_epochs": 2},
    },
}
"""Recipes that one process and two carry out, by their dataset."""


@dataclass(frozen=True)
class Done:
    """A run of all of `HOW`."""

    folder: Path
    printed: str

    def figures(self, name: str) -> dict[str, Any]:
        """Those of the finetune stage."""
        manifest: dict[str, Any] = json.loads((self.folder / f"saved_model/{name}/manifest.json").read_text())
        return dict(manifest["figures"])

    def adapter(self, name: str) -> dict[str, Any]:
        return dict(load_file(self.folder / f"saved_model/{name}/adapter_model.safetensors"))

    def result(self, name: str) -> bytes:
        return (self.folder / f"result/result_{name}.txt").read_bytes()


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> tuple[Done, Done]:
    """All of `HOW` by one process, and by two."""
    from conftest import TRAIN_ROWS, write_tables

    found = []
    for run in (run_alone, run_by_two):
        folder = write_tables(tmp_path_factory.mktemp("processes"))
        rare = [row for number, row in enumerate(TRAIN_ROWS) if number % 2 == 0 or number < 12]
        (folder / "data/rare_train.tsv").write_text("".join(f"{row}\n" for row in rare))
        for name, how in HOW.items():
            task = {"name": name, **how.get("task", {})}
            write_recipe(folder, recipe_tree(tiny_base, **{**how, "task": task}), f"{name}.yaml")
        found.append(Done(folder, run(folder, *HOW)))
    return found[0], found[1]


@pytest.mark.parametrize("name", ["tiny", "rare"])
def test_two_processes_give_the_adapter_of_one(one_and_two: tuple[Done, Done], name: str) -> None:
    one, two = one_and_two
    assert [done.figures(name)["processes"] for done in one_and_two] == [1, 2]
    adapters = one.adapter(name), two.adapter(name)
    assert adapters[0].keys() == adapters[1].keys()
    assert max((adapters[0][key] - adapters[1][key]).abs().max().item() for key in adapters[0]) < 1e-5
    assert one.result(name) == two.result(name)


def test_only_the_main_process_speaks(one_and_two: tuple[Done, Done]) -> None:
    for line in (
        "tiny finetune: 13 rows",
        "0: 25.0% (66.7% in the file, +0.981), 1: 75.0% (33.3% in the file, -0.811)",
        "learning rate: trying 0.0002, 0.0005, 0.001, 0.002, 8 steps each",
    ):
        assert [done.printed.count(line) for done in one_and_two] == [1, 1], line


def test_two_processes_train_the_ensemble_of_one(one_and_two: tuple[Done, Done]) -> None:
    spreads, probabilities = [], []
    for done in one_and_two:
        spreads += [line for line in done.printed.splitlines() if "both ensemble: 2 members: mean " in line]
        rows = (done.folder / "result/predictions_both.jsonl").read_text().splitlines()
        probabilities.append([list(json.loads(row)["probabilities"].values()) for row in rows])
    assert spreads == [spreads[0]] * 2
    for one, two in zip(*probabilities):
        assert two == pytest.approx(one, abs=1e-5)
    again = run_by_two(one_and_two[1].folder, "both")
    for seed in (0, 1):
        assert f"both finetune (seed {seed}): nothing changed" in again
    assert "both predict: nothing changed" in again


def test_two_processes_find_the_learning_rate_of_one(one_and_two: tuple[Done, Done]) -> None:
    one, two = (done.figures("rate") for done in one_and_two)
    assert (one["learning_rate"], one["kept"]) == (two["learning_rate"], two["kept"])
    assert two["learning_rate_losses"] == pytest.approx(one["learning_rate_losses"], abs=1e-5)
    assert two["tuned"]["loss"] == pytest.approx(one["tuned"]["loss"], abs=1e-4)


def test_processes_are_joined_or_refused(finished: Path) -> None:
    """Without being told that it is on a CPU, newer Accelerate joins nothing: every process would be the main one."""
    done = launch(finished, *TWO, str(ROOT / "runner/main.py"), "tiny.yaml", "--fresh", ACCELERATE_USE_CPU="false")
    if done.returncode == 0:
        assert '"processes": 2' in (finished / "saved_model/tiny/manifest.json").read_text()
    else:
        assert "2 processes were started, Accelerate joins 1 on" in done.stderr


def test_a_mistake_is_a_message_without_a_traceback(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("name", ["ddp", "multi-node"])
def test_the_other_configurations_are_accelerates_own(name: str) -> None:
    """Their GPUs are not here; that Accelerate knows every key is what can be asked."""
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(ROOT / f"recipes/accelerate/{name}.yaml"))
    assert (config.distributed_type.value, config.mixed_precision) == ("MULTI_GPU", "no")


def test_a_sharded_base_gives_the_adapter_of_a_whole_one(finished: Path, tmp_path: Path, tiny_base: Path) -> None:
    """The configuration that users have, here on a CPU, over gloo."""
    import torch

    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 7):
        pytest.skip(f"torch {torch.__version__}")
    from conftest import write_tables

    write_tables(tmp_path)
    write_recipe(tmp_path, recipe_tree(tiny_base, **ONE_EPOCH))
    config = str(ROOT / "recipes/accelerate/fsdp.yaml")
    done = launch(tmp_path, "--config_file", config, str(ROOT / "runner/main.py"), "tiny.yaml")
    assert done.returncode == 0, done.stderr
    assert "the base is sharded over 2 processes" in done.stdout
    weights = "saved_model/tiny/adapter_model.safetensors"
    whole, split = load_file(finished / weights), load_file(tmp_path / weights)
    assert max((whole[key] - split[key]).abs().max().item() for key in whole) < 1e-5
    assert (finished / "result/result_tiny.txt").read_bytes() == (tmp_path / "result/result_tiny.txt").read_bytes()


@pytest.mark.parametrize("kind", ["DEEPSPEED", "MEGATRON_LM"])
def test_another_sharding_is_refused(kind: str) -> None:
    from accelerate.utils import DistributedType

    from runner.distributed.sharding import requested_sharding
    from runner.errors import UserError

    launched: Any = SimpleNamespace(distributed_type=DistributedType(kind), num_processes=2)
    with pytest.raises(UserError, match=f"asks for {kind}"):
        requested_sharding(launched)


def test_fsdp_1_is_refused(finished: Path) -> None:
    """Accelerate itself would end it with an error: there is no GPU."""
    asked = ("--use_fsdp", "--num_processes", "2", *ONE[2:])
    done = launch(finished, "-q", *asked, str(ROOT / "runner/main.py"), "tiny.yaml", "--fresh")
    assert done.returncode != 0
    assert done.stderr.count("the launcher asks for FSDP") == 1
    assert "runner/commands/run.py" not in done.stderr, "no traceback of ours"


FULL_ON_ONE = """
import os, sys
sys.path.insert(0, {root!r})
from runner.commands import run as command
from runner.scoring.scorer import LabelScorer
whole = LabelScorer.forward
def forward(scorer, batch):
    if scorer.training and os.environ["RANK"] == "1":
        raise RuntimeError("CUDA out of memory")
    return whole(scorer, batch)
LabelScorer.forward = forward
command.MAIN_FIRST = 1
sys.exit(command.main())
"""


def test_an_error_of_one_process_is_shown_and_ends_all(tmp_path: Path, tiny_base: Path) -> None:
    from conftest import write_tables

    write_tables(tmp_path)
    write_recipe(tmp_path, recipe_tree(tiny_base, **ONE_EPOCH))
    (tmp_path / "full.py").write_text(FULL_ON_ONE.format(root=str(ROOT)))
    done = launch(tmp_path, *TWO, "full.py", "tiny.yaml")
    assert done.returncode != 0
    assert "process 1 of 2:\nout of memory with 1 rows at once: CUDA out of memory\n  next: lower" in done.stderr


def test_an_error_of_all_processes_is_shown_once(tmp_path: Path, tiny_base: Path) -> None:
    from conftest import write_tables

    write_tables(tmp_path)
    write_recipe(tmp_path, recipe_tree(tiny_base, train={"cache_frozen_layers": "perhaps"}))
    done = launch(tmp_path, *TWO, str(ROOT / "runner/main.py"), "tiny.yaml")
    assert done.returncode != 0
    assert done.stderr.count("cache_frozen_layers: expected true or false") == 1


IN_TWO = """
import os, signal, sys, time
sys.path.insert(0, {root!r})
import torch
from runner.training import checkpoint
from runner.commands import run as command
from runner.distributed.accelerator import connect
from runner.distributed import collectives
from runner.distributed.collectives import all_reduce_gradients, all_reduce_max, all_gather, broadcast_parameters
from runner.scoring.scorer import LabelScorer

rank, accelerator = int(os.environ["RANK"]), connect()
weight = torch.full((2,), float(rank))
broadcast_parameters(accelerator, [weight])
assert weight.tolist() == [0, 0]
weight.grad = torch.tensor([1.0, rank])
unmet, here = torch.zeros(3), torch.zeros(1)
here.grad = torch.ones(1) if rank else None
assert all_reduce_gradients(accelerator, [weight, unmet, here], torch.tensor(2.0)) == 4
assert weight.grad.tolist() == [2, 1]
assert unmet.grad is None
assert here.grad.tolist() == [1]
assert all_reduce_max(accelerator, [rank, -rank]) == [1, 0]
assert all_gather(accelerator, ["ab"[rank]]) == ["a", "b"]

written = []
def note(event, arguments):
    changes = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")
    opens = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if (opens or event in changes) and not isinstance(arguments[0], int):  # a file that is open has been looked at
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path.startswith(os.getcwd()):
            written.append([event, path])
sys.addaudithook(note)

whole, calls = LabelScorer.forward, [0]
def forward(scorer, batch):
    calls[0] += scorer.training
    if scorer.training and calls[0] == 2 and rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return whole(scorer, batch)

command.MAIN_FIRST = 0  # nobody ends here when a run does
run = lambda workspace: command.main([workspace + "/tiny.yaml", "--workspace", workspace])
assert run("whole") == 0
LabelScorer.forward = forward
assert run("cut") == 143
assert run("cut") == 0

def no_room(scorer, batch):  # for the proof of the packed layout, on one of them
    if rank == 1 and not scorer.training and "position_ids" in batch.inputs:
        raise RuntimeError("CUDA out of memory")
    return forward(scorer, batch)

LabelScorer.forward, calls[0] = no_room, 0
assert run("layouts") == 143
LabelScorer.forward = whole
assert run("layouts") == 0

def one_row_fits(scorer, batch):
    if rank == 1 and scorer.training and len(batch.rows) > 1:
        raise RuntimeError("CUDA out of memory")
    return whole(scorer, batch)

LabelScorer.forward = one_row_fits
assert run("full") == 0

def stands_still(scorer, batch):
    calls[0] += scorer.training
    if scorer.training and calls[0] == 3 and rank == 1:
        pid = os.getpid()
        if os.fork() == 0:
            time.sleep(2)
            os.kill(pid, signal.SIGCONT)
            os._exit(0)
        os.kill(pid, signal.SIGSTOP)
    return whole(scorer, batch)

LabelScorer.forward, calls[0], patience, collectives.PATIENCE = stands_still, 0, collectives.PATIENCE, 0.5
assert run("still") == 0
collectives.PATIENCE = patience

LabelScorer.forward, calls[0] = forward, 0
assert run("differing") == 143
if rank == 1:  # its own view of the disk
    intact = checkpoint.intact
    checkpoint.intact = lambda path: False
try:
    code = run("differing")
finally:
    assert bool(written) == (rank == 0), written
assert code == 2, code
"""


@dataclass(frozen=True)
class Both:
    """What two processes did that were launched once, as `IN_TWO` says: a folder for each run in there."""

    folder: Path
    out: str
    err: str


@pytest.fixture(scope="module")
def in_two(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Both:
    from conftest import write_tables

    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    folder = tmp_path_factory.mktemp("in-two")
    # each process has its own dropout
    dropout = {"lora": {"lora_dropout": 0.5}}
    for name in ("whole", "cut", "layouts", "differing", "full", "still"):
        (folder / name).mkdir()
        write_tables(folder / name)
        changes = {} if name in ("full", "still") else dropout
        write_recipe(folder / name, recipe_tree(tiny_base, **changes, **ONE_EPOCH))
    (folder / "in_two.py").write_text(IN_TWO.format(root=str(ROOT)))
    done = launch(folder, *TWO, "in_two.py")
    assert "AssertionError" not in done.stdout + done.stderr, done.stdout + done.stderr
    return Both(folder, done.stdout, done.stderr)


def test_two_processes_resume_to_the_same_bytes(in_two: Both) -> None:
    """What they tell each other is looked at one by one, and only the main one writes."""
    assert in_two.err.count("stopped by SIGTERM after step 2 of 4") == 3
    assert in_two.out.count("resuming after step 2 of 4") == 2
    for name in ("saved_model/tiny/adapter_model.safetensors", "result/predictions_tiny.jsonl"):
        assert (in_two.folder / "whole" / name).read_bytes() == (in_two.folder / "cut" / name).read_bytes()


def test_two_processes_take_the_same_layout_and_checkpoint_or_none(in_two: Both) -> None:
    assert "layout padded: packed is not used: it fails on another process" in in_two.out
    assert "layout padded: as set" in in_two.out
    assert (in_two.folder / "layouts/result/result_tiny.txt").exists()
    assert "this process does not read what the main process reads" in in_two.err
    assert not (in_two.folder / "differing/saved_model/tiny").exists()
    assert len(list((in_two.folder / "differing/saved_model/.checkpoints").rglob("*.checkpoint"))) == 1


def test_out_of_memory_in_one_process_concerns_all(finished: Path, in_two: Both) -> None:
    said = "out of memory in training: computing 1 rows at once from now on; a step still has 4 rows"
    assert in_two.out.count(said) == 1
    name = "saved_model/tiny/adapter_model.safetensors"
    one, two = load_file(finished / name), load_file(in_two.folder / "full" / name)
    assert max((one[key] - two[key]).abs().max().item() for key in one) < 1e-5


def test_the_others_wait_for_a_stopped_process_and_say_so(finished: Path, in_two: Both) -> None:
    assert "process 0 of 2 has waited 0.5 s for the others" in in_two.out
    name = "result/result_tiny.txt"
    assert (finished / name).read_bytes() == (in_two.folder / "still" / name).read_bytes()


SAVES_SLOWLY = """
import os, signal, sys, time
sys.path.insert(0, {root!r})
from runner.commands import run as command
from runner.scoring.scorer import LabelScorer
from runner.system.content_store import ContentStore
whole, calls, commit = LabelScorer.forward, [0], ContentStore.commit
def forward(scorer, batch):
    calls[0] += scorer.training
    if calls[0] == 2 and os.environ["RANK"] == "0":
        os.kill(os.getpid(), signal.SIGTERM)
    return whole(scorer, batch)
LabelScorer.forward = forward
ContentStore.commit = lambda *rest: (time.sleep(3), commit(*rest))[1]
command.MAIN_FIRST = 0  # so that the other one ends as soon as it may
sys.exit(command.main())
"""


def test_no_process_ends_before_the_checkpoint_is_written(tmp_path: Path, tiny_base: Path) -> None:
    """One that did would have the launcher end the main one."""
    from conftest import write_tables

    write_tables(tmp_path)
    write_recipe(tmp_path, recipe_tree(tiny_base, **ONE_EPOCH))
    (tmp_path / "slow.py").write_text(SAVES_SLOWLY.format(root=str(ROOT)))
    launch(tmp_path, *TWO, "slow.py", "tiny.yaml")
    assert len(list((tmp_path / "saved_model/.checkpoints").rglob("step-00000002-*.checkpoint"))) == 1


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the processes through /proc")
def test_a_run_whose_launcher_is_gone_stops_with_a_checkpoint(tmp_path: Path, tiny_base: Path) -> None:
    from conftest import write_tables

    write_tables(tmp_path)
    write_recipe(tmp_path, recipe_tree(tiny_base, train={"epochs": 100_000}))
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "accelerate.commands.launch", *ONE, str(ROOT / "runner/main.py"), "tiny.yaml"]
    with (tmp_path / "log").open("wb") as log:
        launcher = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        wait_for((tmp_path / "saved_model/.tiny.partial/metrics.jsonl").exists, 120)
        launcher.kill()
        launcher.wait()
        wait_for(lambda: not workers(tmp_path), 60)
    finally:
        launcher.kill()
        for pid in workers(tmp_path):
            os.kill(pid, signal.SIGKILL)
    said = (tmp_path / "log").read_text()
    assert "the launcher has ended, so this process stops too" in said
    assert "stopped by SIGTERM after step" in said
    assert list((tmp_path / "saved_model/.checkpoints/tiny").glob("*/step-*.checkpoint"))


def test_a_reader_that_goes_away_does_not_end_the_run(tmp_path: Path, tiny_base: Path) -> None:
    from conftest import write_tables

    write_tables(tmp_path)
    write_recipe(tmp_path, recipe_tree(tiny_base, **ONE_EPOCH))
    words = f"{sys.executable} {ROOT / 'runner/main.py'} tiny.yaml 2>&1 | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "result/result_tiny.txt").exists()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the processes through /proc")
def test_one_process_that_dies_ends_all_of_them(tmp_path: Path, tiny_base: Path) -> None:
    from conftest import write_tables

    write_tables(tmp_path)
    write_recipe(tmp_path, recipe_tree(tiny_base, train={"epochs": 100_000}))
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    launching = ["-m", "accelerate.commands.launch", "--main_process_port", free_port()]
    command = [sys.executable, *launching, *TWO, str(ROOT / "runner/main.py"), "tiny.yaml"]
    with (tmp_path / "log").open("wb") as log:
        launcher = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        metrics = tmp_path / "saved_model/.tiny.partial/metrics.jsonl"
        wait_for(metrics.exists, 120)
        second = [pid for pid in workers(tmp_path) if b"\0RANK=1\0" in environment_of(pid)]
        assert len(second) == 1
        os.kill(second[0], signal.SIGKILL)
        started = time.monotonic()
        assert launcher.wait(60) != 0
        assert time.monotonic() - started < 60
        wait_for(lambda: not workers(tmp_path), 10)
    finally:
        launcher.kill()
        launcher.wait()
        for pid in workers(tmp_path):
            os.kill(pid, signal.SIGKILL)
    assert "Signal 9 (SIGKILL)" in (tmp_path / "log").read_text()
    assert not (tmp_path / "saved_model/tiny").exists()


def wait_for(what: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.1)


def environment_of(pid: int) -> bytes:
    try:
        return b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def workers(folder: Path) -> list[int]:
    """The runner's processes that work in `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            mine = process.joinpath("cwd").resolve() == folder.resolve()
            if mine and b"main.py" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found
