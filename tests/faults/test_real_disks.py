"""Disks that are really full or read-only, and folders that really refuse: the kernel says no, nothing is patched.

Each case is a fork of this process in a user namespace of its own (Linux). Inside it a small tmpfs can be mounted over the
workspace without being root, and root itself has to obey the mode of a folder."""

import ctypes
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import recipe_tree, write_recipe, write_tables

from runner.commands.run import main
from runner.training.trainer import Trainer

FINISHED = ("saved_model/tiny/adapter_model.safetensors", "result/result_tiny.txt")
TRUNK = {
    "lora": {"layers_to_transform": [1]},
    "train": {"epochs": 2, "cache_frozen_layers": True, "checkpoint_minutes": 1e-9},
}

# linux/sched.h and linux/mount.h
NEWUSER, NEWNS = 0x10000000, 0x00020000
READ_ONLY, REMOUNT = 1, 32


def kernel(call: str, *arguments: Any) -> None:
    """A system call by its name in the C library."""
    if getattr(ctypes.CDLL(None, use_errno=True), call)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def mount(folder: Path, kilobytes: int, flags: int = 0) -> None:
    """A tmpfs of that size over `folder`; with REMOUNT the one that is there gets it."""
    kernel("mount", b"tmpfs", str(folder).encode(), b"tmpfs", ctypes.c_ulong(flags), f"size={kilobytes}k".encode())


def inside(flags: int, work: Callable[[], None]) -> str:
    """Runs `work` in a child with namespaces of its own; returns what it printed. Skips where the kernel gives none."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            try:
                user, group = os.getuid(), os.getgid()
                kernel("unshare", flags)
                if flags & NEWNS:  # root of a namespace may mount in it
                    Path("/proc/self/setgroups").write_text("deny")
                    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
                    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
            except OSError as error:
                print(error)
                code = 77
            else:
                work()
                code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, errors="replace") as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 77:
        pytest.skip(f"no namespace here: {said}")
    assert code == 0, said
    return said


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")


def used(folder: Path) -> int:
    """Kilobytes that a disk holds."""
    disk = os.statvfs(folder)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize >> 10


def test_a_disk_that_is_full_costs_nothing_that_was_finished(tmp_path: Path, tiny_base: Path) -> None:
    """A tmpfs with room for less than a run, of every size up to one that is enough."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def work() -> None:
        mount(folder, 64 << 10)
        write_tables(folder)
        first = write_recipe(folder, recipe_tree(tiny_base, **TRUNK), "first.yaml")
        other = write_recipe(folder, recipe_tree(tiny_base, **{**TRUNK, "instruction": "And which?"}), "other.yaml")

        def run(recipe: Path, *more: str) -> int:
            return main([str(recipe), "--workspace", str(folder), *more])

        def finished() -> list[bytes]:
            return [(folder / name).read_bytes() for name in FINISHED]

        assert run(other) == 0
        after = finished()
        codes = []
        for room in (0, 8, 32, 128, 512):
            mount(folder, 64 << 10, REMOUNT)
            shutil.rmtree(folder / "pre_data")  # the tokens and the frozen layers too are written anew
            assert run(first, "--fresh") == 0
            shutil.rmtree(folder / "pre_data")
            before = finished()
            mount(folder, used(folder) + room, REMOUNT)
            codes.append(run(other))
            for name, old, new in zip(FINISHED, before, after):
                assert (folder / name).read_bytes() in ((old, new) if codes[-1] else (new,)), (room, name)
            mount(folder, 64 << 10, REMOUNT)
            assert run(other) == 0
            assert finished() == after
        assert set(codes) == {0, 2}, codes
        print(f"ended with {codes}")

    said = inside(NEWUSER | NEWNS, work)
    assert "No space left on device" in said
    assert "Traceback" not in said
    assert "ended with [2" in said


def test_a_read_only_disk_is_reported(tmp_path: Path, tiny_base: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()

    def work() -> None:
        mount(folder, 64 << 10)
        write_tables(folder)
        recipe = str(write_recipe(folder, recipe_tree(tiny_base)))
        for _ in range(2):  # with nothing finished, and with all
            mount(folder, 64 << 10, REMOUNT | READ_ONLY)
            assert main([recipe, "--workspace", str(folder), "--fresh"]) == 2
            mount(folder, 64 << 10, REMOUNT)
            assert main([recipe, "--workspace", str(folder)]) == 0

    said = inside(NEWUSER | NEWNS, work)
    assert said.count("Read-only file system") == 2
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["saved_model", "result", "pre_data/tiny", "saved_model/tiny", "."])
def test_a_folder_that_cannot_be_written_is_reported_first(tmp_path: Path, tiny_base: Path, name: str) -> None:
    write_tables(tmp_path)
    recipe = str(write_recipe(tmp_path, recipe_tree(tiny_base)))
    (tmp_path / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / name).chmod(0o500)

    def work() -> None:
        assert main([recipe, "--workspace", str(tmp_path)]) == 2

    try:
        said = inside(NEWUSER, work)
    finally:
        (tmp_path / name).chmod(0o700)
    assert "Permission denied" in said
    assert "prepare:" not in said
    assert str(tmp_path / name) in said


def test_a_disk_that_fills_up_in_training_costs_no_adapter(tmp_path: Path, tiny_base: Path) -> None:
    """Another program takes all room after the first step, before any checkpoint. The adapter has its room already."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def work() -> None:
        mount(folder, 8 << 10)
        write_tables(folder)
        recipe = str(write_recipe(folder, recipe_tree(tiny_base)))
        filler = folder / "filler"

        def fill(state: Any) -> None:
            if state.global_step == 1:
                with suppress(OSError), filler.open("wb", buffering=0) as file:
                    while file.write(b"x" * 4096):
                        pass

        Trainer.on_step_end = (fill,)
        # the predictions find room in what was kept for small files
        assert main([recipe, "--workspace", str(folder)]) == 0
        Trainer.on_step_end = ()
        adapter = (folder / FINISHED[0]).read_bytes()
        filler.unlink()
        assert main([recipe, "--workspace", str(folder)]) == 0
        assert (folder / FINISHED[0]).read_bytes() == adapter
        assert not list((folder / "saved_model").rglob(".room"))

    said = inside(NEWUSER | NEWNS, work)
    assert "tiny finetune: WARNING: no checkpoint at step" in said
    assert "tiny finetune: nothing changed" in said
    assert "Traceback" not in said


def test_too_little_room_for_the_adapter_is_reported_before_training(tmp_path: Path, tiny_base: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()

    def work() -> None:
        mount(folder, 8 << 10)
        write_tables(folder)
        recipe = str(write_recipe(folder, recipe_tree(tiny_base)))
        assert main([recipe, "--workspace", str(folder), "--stages", "prepare"]) == 0
        mount(folder, used(folder) + 100, REMOUNT)
        assert main([recipe, "--workspace", str(folder)]) == 2
        assert not list((folder / "saved_model").rglob("adapter_model.safetensors"))

    said = inside(NEWUSER | NEWNS, work)
    assert "No space left on device: 0.1 MB are needed for it, 0." in said
    assert "next: make room, or work on another disk: --workspace DIR; nothing has been trained yet" in said
