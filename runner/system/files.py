"""Files as stages leave them: written aside and renamed, so that a file that exists is finished; and their digests."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Optional


def write_atomic(path: Path, data: bytes) -> None:
    """Writes `path` whole or not at all."""
    with open_atomic(path) as file:
        file.write(data)


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """A file to write, beside `path` under another name; when the block ends without an error it is flushed to disk and
    renamed over `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside_of(path)
    aside.unlink(missing_ok=True)  # a link of that name would be followed
    try:
        with aside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _replace(aside, path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()  # what did not fit would take the room that was missing
        raise


def _aside_of(path: Path) -> Path:
    """Where `path` is written before it is finished."""
    return path.with_name(f".{path.name.lstrip('.')}.partial")


def aside_in(folder: Path, key: str) -> Path:
    """Where the file `key` of a store is written before it is sealed. What a dead process left of others there goes."""
    for left in folder.glob(".*.partial"):
        left.unlink()
    return folder / f".{key}.partial"


def seal(aside: Path, stem: str, suffix: str) -> Path:
    """Renames a finished file to `stem`, the digest of its content and `suffix`; returns where it is now. One that is
    there is whole, or can be known not to be."""
    path = aside.with_name(f"{stem}-{digest(aside)[:32]}{suffix}")
    _replace(aside, path)
    return path


def sealed(folder: Path, stem: str, suffix: str) -> Optional[Path]:
    """The file that `seal` made of that name; None where there is none."""
    return next((path for path in sorted(folder.glob(f"{stem}-*{suffix}")) if path.is_file()), None)


def intact(path: Path) -> bool:
    """Whether a sealed file holds what its name says. Raises OSError where it cannot be read."""
    return digest(path)[:32] == path.stem.rpartition("-")[2]


def recover_folder(path: Path, forget: Sequence[str] = ()) -> None:
    """Finishes what a process that died in `atomic_folder` had begun, so that `path` holds all that it should."""
    path = path.resolve()  # a link to a larger disk stays one
    old = path.with_name(f".{path.name}.old")
    if not old.is_dir():
        return
    if not path.exists():
        old.rename(path)
        return
    for other in old.iterdir():
        if other.name not in forget and not (path / other.name).exists():
            other.rename(path / other.name)
    shutil.rmtree(old)


@contextmanager
def atomic_folder(path: Path, forget: Sequence[str] = ()) -> Iterator[Path]:
    """An empty folder beside `path` to fill; when the block ends without an error it takes `path`'s place.

    Whatever else lay in `path` is carried over, but for the names in `forget`: nothing of the user's is lost, not even
    where the power fails between the two renames or the second of them does. Then `settle` is what remains to do."""
    recover_folder(path, forget)
    path = path.resolve()
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "expected a folder, found a file", str(path))
    aside, old = path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    yield aside
    for made in [*aside.iterdir(), aside]:
        _flush_path(made)
    if path.exists():
        path.rename(old)
    try:
        aside.rename(path)
    except OSError:
        if old.is_dir():
            old.rename(path)
        raise
    _flush_path(path.parent)
    with suppress(OSError):  # the new one is in its place; what is left to carry over, the next run does
        recover_folder(path, forget)


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


def _replace(aside: Path, path: Path) -> None:
    os.replace(aside, path)
    _flush_path(path.parent)


def _flush_path(path: Path) -> None:
    try:
        number = os.open(path, os.O_RDONLY)
    except OSError:  # Windows opens no folder
        return
    try:
        os.fsync(number)
    finally:
        os.close(number)
