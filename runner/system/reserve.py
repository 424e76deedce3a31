"""Reserved room on a disk: a file is written in its full size before the work that it is for, and filled in after it.

Without it a disk that fills up during an hour of training takes the trained adapter with it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from grading.contract.language import reason_of
from runner.errors import UserError
from runner.language import tr

SPARE = 128 << 10
"""Bytes for the small files beside the reserved one."""

_SPARE_FILE = ".room"
_BLOCK = 1 << 20


@contextmanager
def reserved(path: Path, size: int) -> Iterator[None]:
    """`size` bytes for the file `path`, and some for small files in its folder, from here on.

    The block fills the file in with `fill_reserved`. Where it ends with an error, the room is given back.

    Raises UserError where there is too little room."""
    spare = path.with_name(_SPARE_FILE)
    try:
        try:
            _occupy(path, size)
            _occupy(spare, SPARE)
        except OSError as error:
            free = shutil.disk_usage(path.parent).free
            raise UserError(
                tr(
                    "{path}: {reason}: {needed} are needed for it, {free} are free",
                    path=path,
                    reason=reason_of(error),
                    needed=megabytes(size + SPARE),
                    free=megabytes(free),
                ),
                tr("make room, or work on another disk: --workspace DIR; nothing has been trained yet"),
            ) from error
        yield
    except BaseException:
        for each in (path, spare):
            with suppress(OSError):
                each.unlink(missing_ok=True)
        raise


def fill_reserved(path: Path, data: bytes) -> None:
    """Write `path` into the room that was reserved for it, if any was; then free the room for small files."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(data)
        file.truncate()
    path.with_name(_SPARE_FILE).unlink(missing_ok=True)


def megabytes(size: int) -> str:
    """A size for people: `0.1 MB`, `78.4 MB`."""
    return f"{size / 1e6:,.1f} MB"


def _occupy(path: Path, size: int) -> None:
    """Write a file of `size` bytes that no file system can compress."""
    block = os.urandom(min(size, _BLOCK))
    with path.open("xb") as file:
        for start in range(0, size, _BLOCK):
            file.write(block[: size - start])
        file.flush()
        os.fsync(file.fileno())
