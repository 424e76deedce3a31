"""What goes wrong around a run: another run, a full or locked disk, a launcher that starts too few. One clear line each, and
whatever was finished stays."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, recipe_tree, write_recipe, write_tables
from support.runs import after_step, before_call, cut

from runner.commands.run import main
from runner.data import prepare
from runner.errors import UserError
from runner.model import adapter
from runner.system import files, lock
from runner.system.lock import locked
from runner.training import finetune, trainer
from runner.workspace.paths import Workspace
from runner.workspace.runs import kept_runs

FINISHED = ("saved_model/tiny/adapter_model.safetensors", "result/result_tiny.txt")


def start(workspace: Path, base: Path, *more: str, **changes: Any) -> int:
    return main([str(write_recipe(workspace, recipe_tree(base, **changes))), "--workspace", str(workspace), *more])


def test_two_runs_in_one_place(tmp_path: Path) -> None:
    path = tmp_path / "saved_model/.tiny.lock"
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom pathlib import Path\nfrom runner.system.lock import locked\n"
        f"with locked(Path({str(path)!r})):\n print('held', flush=True)\n input()"
    )
    other = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    held = pytest.raises(UserError, match=rf"another run is at work here: process {other.pid} on \S+\n  next: wait")
    with held, locked(path):
        pass
    other.kill()  # a dead one's lock is gone with it
    other.wait()
    with locked(path), pytest.raises(UserError, match=f"process {os.getpid()} on"), locked(path):
        pass
    with locked(path):
        pass


def test_a_second_run_is_refused_by_the_command(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    with locked(workspace / "saved_model/.tiny.lock"):
        assert start(workspace, tiny_base) == 2
    assert "another run is at work here" in capsys.readouterr().err


def failing(owner: Any, name: str, nth: int, patch: pytest.MonkeyPatch, code: int) -> list[int]:
    """Makes the n-th call of `owner.name` end in a full disk; how many calls there were, in a list."""
    real, calls = getattr(owner, name), [0]

    def fails(*arguments: Any, **named: Any) -> Any:
        reads = name == "open" and not set("wax") & set(str(named.get("mode", arguments[1] if arguments[1:] else "r")))
        calls[0] += not reads
        if calls[0] == nth and not reads:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **named)

    patch.setattr(owner, name, fails)
    return calls


@pytest.mark.parametrize(
    ("owner", "name", "code"),
    [
        (files.os, "fsync", errno.EIO),
        (files.os, "replace", errno.ENOSPC),
        (files.Path, "rename", errno.EIO),
        (adapter.Path, "write_text", errno.ENOSPC),
        (files.Path, "open", errno.EIO),
    ],
)
def test_a_full_disk_costs_nothing_that_was_finished(
    workspace: Path, tiny_base: Path, owner: Any, name: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """At the n-th write of each kind, for every n that a run has."""
    short = {"epochs": 1, "layout": "padded"}
    assert start(workspace, tiny_base, train=short) == 0
    again = [str(workspace / "tiny.yaml"), "--workspace", str(workspace)]
    before = [(workspace / each).read_bytes() for each in FINISHED]
    codes = []
    for nth in range(1, 90):
        with monkeypatch.context() as patch:
            calls = failing(owner, name, nth, patch, code)
            codes.append(main([*again, "--fresh"]))
        err = capsys.readouterr().err
        if calls[0] < nth:
            break
        for each in FINISHED:
            assert (workspace / each).exists(), (nth, each)
        assert codes[-1] in (0, 2)
        assert (os.strerror(code) in err) == (codes[-1] == 2)
        assert "Traceback" not in err
    assert codes.pop() == 0
    assert 2 in codes
    assert start(workspace, tiny_base, train=short) == 0
    assert [(workspace / each).read_bytes() for each in FINISHED] == before


@pytest.mark.parametrize("linked", [False, True])
def test_a_run_killed_between_two_renames_has_lost_nothing(
    workspace: Path, tiny_base: Path, linked: bool, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert start(workspace, tiny_base) == 0
    before, folder = (workspace / FINISHED[0]).read_bytes(), workspace / "saved_model/tiny"
    if linked:
        folder.rename(workspace / "large")
        folder.symlink_to(workspace / "large", target_is_directory=True)
        folder = workspace / "large"
    capsys.readouterr()
    folder.rename(folder.with_name(f".{folder.name}.old"))
    assert start(workspace, tiny_base) == 0
    assert capsys.readouterr().out.count("nothing changed") == 4
    folder.rename(folder.with_name(f".{folder.name}.old"))
    with monkeypatch.context() as patch:
        after_step(patch, {1: cut})
        assert start(workspace, tiny_base, "--fresh") == 130
    assert (workspace / FINISHED[0]).read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_limit_of_file_size_costs_nothing_that_was_finished(workspace: Path, tiny_base: Path) -> None:
    """The system's own limit, of every size up to what the largest file needs; a process each, for it cannot be taken back."""
    import resource

    changed = {"train": {"learning_rate": 0.02}}
    assert start(workspace, tiny_base, **changed) == 0
    after = [(workspace / each).read_bytes() for each in FINISHED]
    assert start(workspace, tiny_base) == 0
    before = [(workspace / each).read_bytes() for each in FINISHED]
    codes = []
    for kilobytes in (1, 2, 4, 8, 16, 64, 1024):
        child = os.fork()
        if child == 0:
            code = 99
            with suppress(BaseException):
                resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, kilobytes << 10))
                code = start(workspace, tiny_base, "--fresh", **changed)
            os._exit(code)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        for each, old, new in zip(FINISHED, before, after):
            assert (workspace / each).read_bytes() in ((old, new) if codes[-1] else (new,))
    assert set(codes) == {0, 2}
    assert start(workspace, tiny_base, "--fresh") == 0
    assert [(workspace / each).read_bytes() for each in FINISHED] == before


@pytest.mark.parametrize("call", [1, 2, 3])
def test_the_users_files_survive_a_kill_between_any_two_renames(
    workspace: Path, tiny_base: Path, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert start(workspace, tiny_base) == 0
    (workspace / "saved_model/tiny/NOTES.md").write_text("mine")
    real, calls = Path.rename, [0]

    def dies(path: Path, target: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            raise KeyboardInterrupt
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dies)
        assert start(workspace, tiny_base, "--fresh") == 130
    assert start(workspace, tiny_base) == 0
    assert (workspace / "saved_model/tiny/NOTES.md").read_text() == "mine"
    assert not (workspace / "saved_model/.tiny.old").exists()


def test_an_adapter_on_another_disk_stays_there(workspace: Path, tiny_base: Path) -> None:
    (workspace / "large").mkdir()
    (workspace / "saved_model").mkdir()
    (workspace / "saved_model/tiny").symlink_to(workspace / "large", target_is_directory=True)
    for _ in range(2):
        assert start(workspace, tiny_base, "--fresh") == 0
    assert (workspace / "saved_model/tiny").is_symlink()
    assert (workspace / "large/adapter_model.safetensors").exists()


@pytest.mark.parametrize("name", ["result", "pre_data", "saved_model/tiny"])
def test_a_file_in_the_way_is_reported_before_anything_is_run(
    workspace: Path, tiny_base: Path, name: str, capsys: Any
) -> None:
    (workspace / name).parent.mkdir(exist_ok=True)
    (workspace / name).write_text("mine")
    assert start(workspace, tiny_base) == 2
    captured = capsys.readouterr()
    assert f"{name}" in captured.err
    assert "expected a folder, found a file" in captured.err
    assert captured.out == "tiny: prepare, finetune, evaluate, predict\n"
    assert (workspace / name).read_text() == "mine"


def test_a_folder_in_the_place_of_a_result_is_named(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    (workspace / "result/result_tiny.txt").mkdir(parents=True)
    assert start(workspace, tiny_base, train={"epochs": 1}) == 2
    assert capsys.readouterr().err.endswith(
        f"{workspace}/result/result_tiny.txt: Is a directory\n"
        "  next: fix the cause and run again; finished stages are kept\n"
    )


@pytest.mark.parametrize("shorter", [True, False])
def test_a_table_that_changes_while_it_is_read_is_reported(
    workspace: Path, tiny_base: Path, shorter: bool, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    real, path = prepare.draw, workspace / "data/tiny_train.tsv"

    def change(*arguments: Any) -> Any:
        text = path.read_text()
        path.write_text(text[:100] if shorter else text.replace("word", "bird"))
        return real(*arguments)

    monkeypatch.setattr(prepare, "draw", change)
    assert start(workspace, tiny_base) == 2
    assert "data/tiny_train.tsv: changed while it was read" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds what is flushed through /proc")
def test_what_has_its_name_is_on_the_disk(workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file before it is renamed and its folder after; the adapter's folder with all that is in it."""
    done: list[str] = []
    sync, rename, replace = os.fsync, Path.rename, os.replace

    def flush(number: int) -> None:
        done.append(os.readlink(f"/proc/self/fd/{number}"))
        sync(number)

    def replacing(source: Path, target: Path) -> None:
        assert done[-1] == str(source)
        done.append(f"> {target}")
        replace(source, target)

    monkeypatch.setattr(files.os, "fsync", flush)
    monkeypatch.setattr(files.os, "replace", replacing)
    monkeypatch.setattr(Path, "rename", lambda path, target: done.append(f">> {target}") or rename(path, target))
    assert start(workspace, tiny_base) == 0
    files_named = [Path(name[2:]) for name in done if name.startswith("> ")]
    assert {"result_tiny.txt", "tiny_train.json", "manifest.json"} <= {path.name for path in files_named}
    assert any(path.suffix == ".checkpoint" for path in files_named)
    assert all(done[done.index(f"> {path}") + 1] == str(path.parent) for path in files_named)
    adapter_named = done.index(f">> {workspace / 'saved_model/tiny'}")
    inside = {Path(name).name for name in done[:adapter_named] if "/.tiny.partial" in name}
    assert {"adapter_model.safetensors", "adapter_config.json", "prompt.json", ".tiny.partial"} <= inside
    assert done[adapter_named + 1] == str(workspace / "saved_model")


def test_an_adapter_that_is_not_finite_is_never_written(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    real = adapter.adapter_state

    def damaged(model: Any) -> dict[str, torch.Tensor]:
        state = real(model)
        next(iter(state.values()))[0, 0] = float("nan")
        return state

    monkeypatch.setattr(trainer, "adapter_state", damaged)
    assert start(workspace, tiny_base) == 2
    assert "holds a value that is not finite; nothing was written" in capsys.readouterr().err
    assert not (workspace / "saved_model/tiny").exists()


def test_an_adapter_that_has_not_changed_is_reported(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    start_state: list[Any] = []
    real = adapter.adapter_state
    monkeypatch.setattr(finetune, "adapter_state", lambda model: start_state.append(real(model)) or start_state[0])
    monkeypatch.setattr(trainer, "adapter_state", lambda model: start_state[0])
    assert start(workspace, tiny_base) == 0
    assert "WARNING: training has not changed the adapter" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["saved_model/.tiny.lock", "pre_data/tiny/.tiny_train.json.partial"])
def test_a_link_is_not_written_through(workspace: Path, tiny_base: Path, name: str, capsys: Any) -> None:
    mine = workspace / "mine.txt"
    mine.write_text("mine")
    (workspace / name).parent.mkdir(parents=True)
    (workspace / name).symlink_to(mine)
    code = start(workspace, tiny_base, "--stages", "prepare")
    assert code == (2 if name.endswith("lock") else 0)
    assert ("expected a file of ours, found a link" in capsys.readouterr().err) == (code == 2)
    assert mine.read_text() == "mine"
    assert not (workspace / "pre_data/tiny/tiny_train.json").is_symlink()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf8(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    """As a Windows archive with Chinese names leaves them. A recipe may have one, and a workspace may not."""
    odd = os.fsdecode(b"\xb2\xcb")
    path = write_recipe(workspace, recipe_tree(tiny_base, train={"epochs": 1})).rename(workspace / f"{odd}.yaml")
    assert main([str(path), "--workspace", str(workspace)]) == 0
    record = json.loads((workspace / "saved_model/tiny/run.json").read_text(encoding="utf-8"))
    assert record["recipe_file"] == str(path)
    (workspace / odd).mkdir()
    capsys.readouterr()
    assert main([str(path), "--workspace", str(workspace / odd)]) == 2
    assert capsys.readouterr().err.endswith(
        "\\udcb2\\udccb: the name is not UTF-8 text\n  next: rename it, or start the run inside it\n"
    )


def test_a_pipe_in_the_place_of_the_lock(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    (workspace / "saved_model").mkdir()
    os.mkfifo(workspace / "saved_model/.tiny.lock")
    assert start(workspace, tiny_base) == 2
    assert "expected a file of ours, found something else" in capsys.readouterr().err


def test_a_disk_without_locks_is_reported_and_used(tmp_path: Path, monkeypatch: Any, caplog: Any) -> None:
    real = lock.fcntl.flock

    def refuses(file: Any, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock.fcntl, "flock", refuses)
    with locked(tmp_path / "lock"):
        pass
    assert "WARNING" in (said := caplog.text)
    assert "No locks available: nothing keeps another run out" in said
    monkeypatch.setattr(lock.fcntl, "flock", real)


def test_a_pipe_or_a_device_is_no_table_and_no_recipe(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    os.mkfifo(workspace / "pipe")
    assert start(workspace, tiny_base, "task.train=pipe") == 2
    assert "pipe: expected a file, found a folder, a pipe or a device" in capsys.readouterr().err
    for name in ("pipe", "/dev/zero"):
        assert main([str(workspace / name), "--check"]) == 2
        assert f"{name}: it is not a file" in capsys.readouterr().err


def test_a_table_is_not_looked_for_above_the_workspace(tmp_path: Path, tiny_base: Path, capsys: Any) -> None:
    """The flat layout is one folder up; not where that folder is the workspace itself."""
    folder = write_tables(tmp_path / "tiny")
    (folder / "data/tiny_train.tsv").rename(tmp_path / "tiny_train.tsv")
    assert start(folder, tiny_base, "task.train=tiny_train.tsv") == 2
    assert "tiny_train.tsv: cannot read it: No such file" in capsys.readouterr().err


def test_a_run_record_goes_when_it_is_no_longer_true(workspace: Path, tiny_base: Path) -> None:
    assert start(workspace, tiny_base) == 0
    assert (workspace / "saved_model/tiny/run.json").exists()
    assert start(workspace, tiny_base, "lora.target_modules=[nope]") == 2  # nothing has changed yet
    assert (workspace / "saved_model/tiny/run.json").exists()
    assert start(workspace, tiny_base, "--stages", "prepare", "samples.seed=7") == 0
    assert not (workspace / "saved_model/tiny/run.json").exists()


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_streams_that_were_closed_from_the_start(workspace: Path, tiny_base: Path, closed: str) -> None:
    recipe = write_recipe(workspace, recipe_tree(tiny_base))
    for arguments, code in ((f"{recipe} --workspace {workspace} --stages prepare", 0), ("nothing.yaml", 2)):
        words = f"{sys.executable} {ROOT / 'runner/main.py'} {arguments} {closed}"
        done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_replaced_adapter_survives_a_kill_at_any_rename(workspace: Path, tiny_base: Path) -> None:
    """SIGKILL before the n-th rename of a run with another setting, for every n that the run has."""
    assert start(workspace, tiny_base) == 0
    before = [(workspace / each).read_bytes() for each in FINISHED]
    shutil.copytree(workspace, workspace.with_name("start"))
    changed = {"train": {"learning_rate": 0.02, "checkpoint_minutes": 60}}
    for nth in range(1, 40):
        shutil.rmtree(workspace)
        shutil.copytree(workspace.with_name("start"), workspace)
        child = os.fork()
        if child == 0:
            code = 99
            with suppress(BaseException):
                kill = lambda: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
                before_call(pytest.MonkeyPatch(), Path, "rename", nth, kill)
                code = start(workspace, tiny_base, **changed)
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, -signal.SIGKILL)
        if code == 0:
            break
        assert start(workspace, tiny_base, **changed) == 0
        (kept,) = kept_runs(Workspace(workspace, "tiny"))
        assert (kept.folder / "adapter_model.safetensors").read_bytes() == before[0]
        assert start(workspace, tiny_base) == 0, "the first setting again"
        assert [(workspace / each).read_bytes() for each in FINISHED] == before
    assert nth > 3
