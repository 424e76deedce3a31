"""Files as stages leave them: written aside and renamed, so that a file that exists is finished; and their digests."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def write_aside(path: Path, data: bytes) -> None:
    """Writes `path` whole or not at all: beside it under another name, flushed to disk, then renamed over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


@contextmanager
def folder_aside(path: Path, forget: Sequence[str] = ()) -> Iterator[Path]:
    """An empty folder beside `path` to fill; when the block ends without an error it takes `path`'s place.

    Whatever else lay in `path` is carried over, but for the names in `forget`: nothing of the user's is lost, not even
    where the power fails between the two renames or the second of them does."""
    aside, old = path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.old")
    if old.is_dir() and not path.exists():
        old.rename(path)
    for stale in (aside, old):
        shutil.rmtree(stale, ignore_errors=True)
    aside.mkdir(parents=True)
    yield aside
    if path.exists():
        path.rename(old)
    try:
        aside.rename(path)
    except OSError:
        if old.is_dir():
            old.rename(path)
        raise
    if old.is_dir():
        for other in old.iterdir():
            if other.name not in forget and not (path / other.name).exists():
                other.rename(path / other.name)
    shutil.rmtree(old, ignore_errors=True)


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
        hasher.update(f"{file.name}\0{digest(file)}\n".encode())
    return hasher.hexdigest()
