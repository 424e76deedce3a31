"""Runs that replace each other: none is lost, each can be put back, wherever the process is killed."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.finished_runs import FILES, inputs_of, predict, tiny, train, write_evaluation

from runner.errors import UserError
from runner.workspace import run_moves
from runner.workspace.manifest import finished
from runner.workspace.run_moves import compare_with, recover, remove, restore
from runner.workspace.runs import RESULTS, all_runs, find_run, kept_runs, run_in_place


def rank_in(folder: Path) -> int:
    """The rank of the adapter in a folder, all of whose files must be of it."""
    ranks = {(folder / name).read_text().rpartition(" ")[2] for name in FILES}
    assert len(ranks) == 1
    return int(ranks.pop())


def ranks(root: Path) -> tuple[int, list[int]]:
    """The rank of the adapter in place, and those of the kept ones, oldest first."""
    return rank_in(root / "saved_model/tiny"), [rank_in(run.folder) for run in kept_runs(tiny(root))]


def result(root: Path) -> str:
    path = root / "result/result_tiny.txt"
    return path.read_text().replace("\n", "") if path.exists() else ""


def test_another_setting_keeps_the_adapter_and_its_results(tmp_path: Path) -> None:
    train(tmp_path, rank=2, day=1)
    predict(tmp_path, "01")
    (tmp_path / "saved_model/tiny/NOTES.md").write_text("mine")
    workspace = train(tmp_path, rank=4, day=2)
    assert ranks(tmp_path) == (4, [2])
    (kept,) = kept_runs(workspace)
    assert kept.id.startswith("20261101-084419-")
    assert len(kept.id) == 24
    assert kept.is_intact()
    assert (kept.folder / RESULTS / "result_tiny.txt").read_text() == "0\n1\n"
    assert result(tmp_path) == "01", "they stay until the new adapter has predicted"
    assert (tmp_path / "saved_model/tiny/NOTES.md").read_text() == "mine"
    assert not (kept.folder / "NOTES.md").exists()


def test_the_accuracy_of_a_run_is_that_of_its_evaluation(tmp_path: Path) -> None:
    """With decoding.average: swap or a calibration it is not that of the training."""
    train(tmp_path, rank=2)
    run = run_in_place(tiny(tmp_path))
    assert run is not None
    write_evaluation(run.folder, [True, False])
    assert run.accuracy == 0.5
    (run.folder / "evaluation.json").unlink()
    assert run.accuracy == run.statistics["tuned"]["accuracy"] == 0.75


def test_the_same_run_again_replaces_itself(tmp_path: Path) -> None:
    train(tmp_path, rank=2)
    train(tmp_path, rank=2, day=2)
    assert ranks(tmp_path) == (2, [])
    assert not (tmp_path / "saved_model/tiny/replaced.json").exists()


def test_a_run_is_put_back_with_its_results(tmp_path: Path) -> None:
    train(tmp_path, rank=2, day=1)
    predict(tmp_path, "01")
    workspace = train(tmp_path, rank=4, day=2)
    predict(tmp_path, "11")
    (tmp_path / "saved_model/tiny/NOTES.md").write_text("mine")
    (old,) = kept_runs(workspace)
    new = run_in_place(workspace)
    assert new is not None
    assert restore(old) == new.id
    assert ranks(tmp_path) == (2, [4])
    assert result(tmp_path) == "01"
    assert finished(workspace.manifest("finetune"), tmp_path, inputs_of(2)) is not None
    again = run_in_place(workspace)
    assert again is not None
    assert again.id == old.id, "the id stays the same"
    assert compare_with(workspace) == ""
    restore(kept_runs(workspace)[0])
    assert ranks(tmp_path) == (4, [2])
    assert result(tmp_path) == "11"
    assert (tmp_path / "saved_model/tiny/NOTES.md").read_text() == "mine"
    assert not list(tmp_path.rglob("*.old"))
    assert not (tmp_path / "saved_model/tiny" / RESULTS).exists()


def test_results_of_another_adapter_do_not_stay_with_one_that_has_none(tmp_path: Path) -> None:
    train(tmp_path, rank=2, day=1)
    workspace = train(tmp_path, rank=4, day=2)
    predict(tmp_path, "11")
    restore(kept_runs(workspace)[0])
    assert result(tmp_path) == ""
    restore(kept_runs(workspace)[0])
    assert result(tmp_path) == "11"


def test_results_that_no_run_has_made_stay(tmp_path: Path) -> None:
    train(tmp_path, rank=2, day=1)
    workspace = train(tmp_path, rank=4, day=2)
    (tmp_path / "result").mkdir()
    (tmp_path / "result/result_tiny.txt").write_text("1\n1\n")
    restore(kept_runs(workspace)[0])
    assert result(tmp_path) == "11"


def test_a_run_record_is_put_back_only_where_it_is_true(tmp_path: Path) -> None:
    for changed in (False, True):
        root = tmp_path / str(changed)
        workspace = train(root, rank=2, day=1)
        (root / "pre_data").mkdir()
        (root / "pre_data/rows").write_text("rows")
        digest = hashlib.sha256(b"rows").hexdigest()
        record = {"stages": {"prepare": {"outputs": {"pre_data/rows": "0" * 64 if changed else digest}}}}
        workspace.run_record.write_text(json.dumps(record))
        train(root, rank=4, day=2)
        assert not workspace.run_record.exists()
        restore(kept_runs(workspace)[0])
        assert workspace.run_record.exists() is not changed


def test_what_was_replaced_is_to_be_compared_once(tmp_path: Path) -> None:
    """An adapter that was never evaluated passes the comparison on to the next one."""
    workspace = train(tmp_path, rank=2, day=1)
    write_evaluation(tmp_path / "saved_model/tiny", [True, False])
    train(tmp_path, rank=4, day=2)
    first = kept_runs(workspace)[0].id
    assert compare_with(workspace) == first
    train(tmp_path, rank=8, day=3)
    assert compare_with(workspace) == first
    assert ranks(tmp_path) == (8, [2, 4])
    restore(find_run(tmp_path, first))
    train(tmp_path, rank=8, day=4)
    assert compare_with(workspace) == first


def test_the_oldest_go_and_the_best_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    caplog.set_level("INFO", "labeltune")
    monkeypatch.setattr(run_moves, "KEPT_RUNS", 3)
    for rank in range(1, 8):
        train(tmp_path, rank, day=rank)
        if rank == 2:
            path = tmp_path / "saved_model/tiny/manifest.json"
            path.write_text(path.read_text().replace('"accuracy": 0.75', '"accuracy": 0.9'))
    assert ranks(tmp_path) == (7, [2, 5, 6])
    assert "3 runs and 1 GiB are kept of a dataset" in caplog.text
    monkeypatch.setattr(run_moves, "KEPT_BYTES", 0)
    train(tmp_path, 8, day=8)
    assert ranks(tmp_path) == (8, [2, 7])


def test_runs_are_found_by_id_and_its_ends(tmp_path: Path) -> None:
    train(tmp_path, rank=2, day=1)
    train(tmp_path, rank=4, day=2)
    workspace = train(tmp_path, rank=8, day=3)
    present, newer, older = all_runs(tmp_path)["tiny"]
    assert (present.in_place, newer.in_place, older.in_place) == (True, False, False)
    assert present.id > newer.id > older.id
    for text in (older.id, "20261101", older.id[-8:]):
        assert find_run(tmp_path, text).folder == older.folder
    with pytest.raises(UserError, match=r"2026: 3 runs begin so\n  next: `labeltune runs` lists all"):
        find_run(tmp_path, "2026")
    with pytest.raises(UserError, match=r"nothing: no such run in /"):
        find_run(tmp_path, "nothing")
    remove(older)
    assert [run.id for run in kept_runs(workspace)] == [newer.id]
    with pytest.raises(UserError, match=r"is in place, in saved_model/tiny\n  next: put another run in place first"):
        remove(present)


def test_a_damaged_run_is_not_put_back(tmp_path: Path) -> None:
    train(tmp_path, rank=2, day=1)
    workspace = train(tmp_path, rank=4, day=2)
    (kept,) = kept_runs(workspace)
    (kept.folder / FILES[0]).write_text("damaged")
    with pytest.raises(UserError, match="the files are not what the finetune stage wrote"):
        restore(kept)
    assert rank_in(tmp_path / "saved_model/tiny") == 4


def test_an_adapter_without_a_manifest_is_kept_when_another_is_put_back(tmp_path: Path) -> None:
    train(tmp_path, rank=2, day=1)
    workspace = train(tmp_path, rank=4, day=2)
    (tmp_path / "saved_model/tiny/manifest.json").unlink()
    restore(kept_runs(workspace)[0])
    assert ranks(tmp_path) == (2, [4])


def on_two_disks(root: Path) -> Path:
    """Puts the adapter's folder on another disk; returns it."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == root.stat().st_dev:
        pytest.skip("there is no second disk here")
    folder = memory / f"labeltune-{os.getpid()}"
    (folder / "large").mkdir(parents=True)
    (root / "saved_model").mkdir()
    (root / "saved_model/tiny").symlink_to(folder / "large", target_is_directory=True)
    return folder


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fill_the_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


CUTS = pytest.mark.parametrize("cut", [kill, fill_the_disk], ids=["killed", "full disk"])

CALLS = ("rename", "replace", "unlink", "rmdir", "mkdir", "fsync")
"""Calls into the file system, each of which may be the last one."""


def cut_at(call: int, action: Callable[[], Any], cut: Callable[[], None]) -> bool:
    """Does something in a fork in which this call into the file system is cut; whether it came to that call."""
    child = os.fork()
    if child == 0:
        calls = [0]
        with contextlib.suppress(BaseException):
            for name in CALLS:
                real = getattr(os, name)

                def counted(*arguments: Any, real: Any = real, **named: Any) -> Any:
                    calls[0] += 1
                    if calls[0] == call:
                        cut()
                    return real(*arguments, **named)

                setattr(os, name, counted)
            action()
        os._exit(int(calls[0] >= call))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 1, -signal.SIGKILL)
    return status != 0


def keeps_both(root: Path, action: Callable[[Path], Any], cut: Callable[[], None], after: tuple[int, list[int]]) -> int:
    """Cuts `action` at each of its calls in turn. Each time the old or the new adapter is in place with its own results, and
    nothing is lost; done again, it ends as if it was never cut. Returns how often it was cut."""
    start = root.rename(root.with_name("start"))
    for call in range(1, 500):
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(start, root, symlinks=True)
        was_cut = cut_at(call, lambda: action(root), cut)
        recover(tiny(root))
        present, kept = ranks(root)
        assert sorted({present, *kept}) in ([2, 4], [2]), call
        assert not list(root.rglob("*.old"))
        for run in kept_runs(tiny(root)):
            assert (run.folder / RESULTS / "result_tiny.txt").exists() or rank_in(run.folder) != 2, call
        if not was_cut:
            assert ranks(root) == after
            assert not list(root.rglob("*.partial"))
            return call - 1
        action(root)
        assert ranks(root) == after, call
    raise AssertionError("never done")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@CUTS
def test_a_cut_at_any_step_of_a_replacement_loses_nothing(tmp_path: Path, cut: Callable[[], None]) -> None:
    root = tmp_path / "work"
    train(root, rank=2, day=1)
    predict(root, "01")
    (root / "saved_model/tiny/NOTES.md").write_text("mine")

    def again(root: Path) -> None:
        train(root, rank=4, day=2)
        assert (root / "saved_model/tiny/NOTES.md").read_text() == "mine"

    assert keeps_both(root, again, cut, (4, [2])) > 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@CUTS
def test_a_cut_at_any_step_of_a_restore_loses_nothing(tmp_path: Path, cut: Callable[[], None]) -> None:
    root = tmp_path / "work"
    train(root, rank=2, day=1)
    predict(root, "01")
    train(root, rank=4, day=2)
    predict(root, "11")

    def put_back(root: Path) -> None:
        run = find_run(root, "20261101")
        if not run.in_place:
            restore(run)

    assert keeps_both(root, put_back, cut, (2, [4])) > 10
    assert result(root) == "01"
    (kept,) = kept_runs(tiny(root))
    assert (kept.folder / RESULTS / "result_tiny.txt").read_text() == "1\n1\n"


def test_an_adapter_on_another_disk_is_kept_and_put_back(tmp_path: Path) -> None:
    folder = on_two_disks(tmp_path)
    try:
        train(tmp_path, rank=2, day=1)
        predict(tmp_path, "01")
        workspace = train(tmp_path, rank=4, day=2)
        assert ranks(tmp_path) == (4, [2])
        restore(kept_runs(workspace)[0])
        assert ranks(tmp_path) == (2, [4])
        assert rank_in(folder / "large") == 2
        assert (tmp_path / "saved_model/tiny").is_symlink()
        assert result(tmp_path) == "01"
    finally:
        shutil.rmtree(folder)


def test_an_adapter_that_was_put_there_by_hand_is_kept(tmp_path: Path) -> None:
    """Nothing can make it again, so it is not the same run."""
    workspace = train(tmp_path, rank=2, day=1)
    (tmp_path / "saved_model/tiny/adapter_model.safetensors").write_bytes(b"mine 7")
    train(tmp_path, rank=2, day=2)
    (kept,) = kept_runs(workspace)
    assert (kept.folder / "adapter_model.safetensors").read_bytes() == b"mine 7"
    for name in ("manifest.json", "recipe.yaml"):
        (tmp_path / "saved_model/tiny" / name).unlink()
    (tmp_path / "saved_model/tiny/adapter_model.safetensors").write_bytes(b"mine 8")
    train(tmp_path, rank=2, day=3)
    assert {(run.folder / "adapter_model.safetensors").read_bytes() for run in kept_runs(workspace)} == {
        b"mine 7",
        b"mine 8",
    }
