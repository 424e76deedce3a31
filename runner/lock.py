"""The lock: one run at a time on one dataset of a workspace. It is the operating system's, so it goes with the process that holds
it, however that ends; the file only says whose it is."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runner.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has no such lock; there two runs are the user's to keep apart
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock in the file at `path` for the length of the block. Raises UserError that names who holds it."""
    if fcntl is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{path}: another run is at work here: {_holder(file.read())}",
                "wait for it, end it, or run in another folder: --workspace DIR",
            ) from None
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        file.flush()
        yield
        file.truncate(0)


def _holder(text: str) -> str:
    try:
        tree = json.loads(text)
        return f"process {int(tree['pid'])} on {tree['host']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has not said its name yet"
