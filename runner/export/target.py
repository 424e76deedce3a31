"""The target of an export: a new folder, filled under a temporary name, with room on its disk looked at before."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from runner.errors import UserError
from runner.language import tr
from runner.system.reserve import megabytes
from runner.workspace.run_files import handed_in

SPARE = 64 << 20
"""Bytes for the small files."""


def require_new_folder(path: Path, workspace: Optional[Path]) -> None:
    """Raise UserError where the folder is not new or empty, or where it is graded. `workspace`: that of the run."""
    if path.exists() and not path.is_dir():
        raise UserError(tr("{path}: expected a folder, found a file", path=path), tr("name a new folder: --out FOLDER"))
    if path.is_dir() and any(path.iterdir()):
        raise UserError(tr("{path}: is not empty", path=path), tr("name a new folder: --out FOLDER"))
    if handed_in(path, workspace):
        raise UserError(
            tr("{path}: lies in a folder that is handed in or graded", path=path), tr("name a folder somewhere else")
        )


def require_room(path: Path, size: int) -> None:
    """Raise UserError where the disk has no room for so many bytes."""
    there = next(folder for folder in [path.absolute(), *path.absolute().parents] if folder.is_dir())
    free = shutil.disk_usage(there).free
    if free < size + SPARE:
        raise UserError(
            tr(
                "{path}: {needed} are needed, {free} are free",
                path=path,
                needed=megabytes(size + SPARE),
                free=megabytes(free),
            ),
            tr("make room, or name a folder on another disk: --out FOLDER"),
        )


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` to fill; it becomes `path` when the block ends without an error, and is removed else."""
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            # it is empty; where something has come into it since, this fails and nothing is lost
            path.rmdir()
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
