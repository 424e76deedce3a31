"""The lock: one run at a time on one dataset of a workspace.

The operating system holds it, so it ends with its process, however that ends. The file only names the process.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grading.contract.language import reason_of
from runner.errors import UserError
from runner.language import tr

log = logging.getLogger("labeltune.system")

try:
    import fcntl
# Windows has no such lock: there, keeping two runs apart is up to the user
except ImportError:
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock in the file at `path` for the length of the block. Raises UserError that names the process that holds it."""
    if fcntl is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(_opened(path), "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                tr("{path}: another run is at work here: {holder}", path=path, holder=_holder(file.read())),
                tr("wait for it, end it, or run in another folder: --workspace DIR"),
            ) from None
        # a network disk without locks, for instance
        except OSError as error:
            log.warning(
                tr("{path}: {reason}: nothing keeps another run out of this folder", path=path, reason=reason_of(error))
            )
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        file.flush()
        yield
        file.truncate(0)


def _opened(path: Path) -> int:
    """Open the lock's file, and create it if needed. Raises UserError where something else is in its place."""
    number = -1
    try:
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        if stat.S_ISREG(os.fstat(number).st_mode):
            return number
        found = tr("something else")
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        found = tr("a link") if error.errno == errno.ELOOP else tr("something else")
    if number >= 0:
        os.close(number)
    raise UserError(tr("{path}: expected a file of ours, found {found}", path=path, found=found), tr("move it away"))


def _holder(text: str) -> str:
    try:
        tree = json.loads(text)
        return tr("process {pid} on {host}", pid=int(tree["pid"]), host=tree["host"])
    except (ValueError, KeyError, TypeError):
        return tr("a process that has not written its name yet")
