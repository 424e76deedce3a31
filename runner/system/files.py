"""Files: written under a temporary name and renamed, so that a file with its final name is complete; and their digests."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Callable

from runner.language import tr


def write_atomic(path: Path, data: bytes) -> None:
    """Write `path` completely or not at all."""
    with open_atomic(path) as file:
        file.write(data)


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """A temporary file to write, beside `path`; when the block ends without an error it is flushed to disk and renamed to
    `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name.lstrip('.')}.partial")
    temporary.unlink(missing_ok=True)  # a link of that name would be followed
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()  # on a full disk half a file takes the last room
        raise


Retire = Callable[[Path], object]
"""What becomes of a replaced folder: a function that takes it away, whole."""


def recover_folder(path: Path, forget: Sequence[str] = (), retire: Retire = shutil.rmtree) -> None:
    """Finish the work of a process that died in `atomic_folder` or `replace_folder`, so that `path` is complete."""
    path = path.resolve()  # a link to a larger disk stays a link
    old = path.with_name(f".{path.name}.old")
    if not old.is_dir():
        return
    if not path.exists():
        old.rename(path)
        return
    for other in old.iterdir():
        if other.name not in forget and not (path / other.name).exists():
            other.rename(path / other.name)
    retire(old)


@contextmanager
def atomic_folder(path: Path, forget: Sequence[str] = (), retire: Retire = shutil.rmtree) -> Iterator[Path]:
    """An empty folder beside `path` to fill; when the block ends without an error it replaces `path`.

    All other files in `path` are moved into it, except for the names in `forget`: no file of the user's is lost, even if
    the power fails between the two renames or the second one fails. In that case `recover_folder` does the rest. `retire`
    takes away what is left of the old folder."""
    recover_folder(path, forget, retire)
    path = path.resolve()
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, tr("expected a folder, found a file"), str(path))
    new = path.with_name(f".{path.name}.partial")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    yield new
    for written in [*new.iterdir(), new]:
        _flush_path(written)
    replace_folder(new, path)
    with suppress(OSError):  # the new folder is in place; the next run moves the files that are left
        recover_folder(path, forget, retire)


def replace_folder(new: Path, path: Path) -> None:
    """Put the finished folder `new` at `path`. The old folder there waits for `recover_folder`."""
    path = path.resolve()
    old = path.with_name(f".{path.name}.old")
    if path.exists():
        path.rename(old)
    try:
        move_folder(new, path)
    except OSError:
        if old.is_dir() and not path.exists():
            old.rename(path)
        raise


def move_folder(source: Path, target: Path) -> None:
    """Move a finished folder, to another disk too. Killed at any moment, it is whole in one of the two places."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = target.with_name(f".{target.name}.partial")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(source, copy)
        for written in [*copy.rglob("*"), copy]:
            _flush_path(written)
        copy.rename(target)
        _flush_path(target.parent)
        shutil.rmtree(source)
    _flush_path(target.parent)


def digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hasher.update(block)
    return hasher.hexdigest()


def digest_folder(path: Path, patterns: tuple[str, ...]) -> str:
    """SHA-256 over the names and contents of a folder's files that match one of the patterns."""
    hasher = hashlib.sha256()
    for file in sorted({file for pattern in patterns for file in path.glob(pattern) if file.is_file()}):
        hasher.update(f"{file.relative_to(path).as_posix()}\0{digest(file)}\n".encode())
    return hasher.hexdigest()


def replace(temporary: Path, path: Path) -> None:
    """Rename a flushed file to `path`, and flush the folder."""
    os.replace(temporary, path)
    _flush_path(path.parent)


def _flush_path(path: Path) -> None:
    try:
        number = os.open(path, os.O_RDONLY)
    except OSError:  # Windows cannot open a folder
        return
    try:
        os.fsync(number)
    finally:
        os.close(number)
