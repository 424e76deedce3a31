"""The sandbox: starts a child process with limits that grades one submission, and reads its card."""

import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from grading.classroom import card
from grading.classroom.card import CARD_LIMIT, Card, refused
from grading.contract.language import tr
from grading.errors import TELL_US
from grading.grader import Exam

if TYPE_CHECKING:
    import subprocess

ERRORS_KEPT = 16 << 10
"""Bytes kept from the end of a child's error stream."""

_CHECKOUT = Path(__file__).resolve().parents[2]

BOOT = "import sys; sys.path.append(sys.argv[1])\nfrom grading.classroom.worker import main; main()"
"""The child's program. The checkout is appended to the path, so that none of its files replaces a module of Python's."""


@dataclass(frozen=True)
class Limits:
    """What one child may use. An ordinary submission needs 0.2 s and 40 MB.

    There is no limit on processes (`RLIMIT_NPROC`): it counts all processes of the user, and a child, which runs nothing of
    a submission, starts none."""

    seconds: float = 60.0
    """Wall-clock seconds; the parent ends a child that takes longer."""
    cpu_seconds: int = 60
    """CPU seconds; they also end a child whose parent is gone."""
    address_space: int = 2 << 30
    """Bytes of memory that a child may allocate."""
    file_bytes: int = 5 << 28
    """Largest file that it may write, 1.25 GiB: enough for the largest adapter from an archive."""
    open_files: int = 64
    """Files that it may have open at once."""


def start(path: Path, name: str, exam: Exam, limits: Limits, work: Path) -> "Child":
    """Starts grading the submission at `path`. `work`: an empty folder for it alone, which the caller removes.

    Raises OSError if no process can be started."""
    import subprocess  # the child does not need it

    request = {
        "exam": exam.as_json(),
        "path": str(path),
        "name": name,
        "scratch": str(work),
        "limits": asdict(limits),
    }
    (work / "request.json").write_text(json.dumps(request), encoding="ascii")
    command = [sys.executable, "-I", "-S", "-B", "-X", f"utf8={sys.flags.utf8_mode}", "-c", BOOT, str(_CHECKOUT)]
    with (
        (work / "request.json").open("rb") as asked,
        (work / "card.json").open("wb") as answer,
        (work / "errors.txt").open("wb") as errors,
    ):
        process = subprocess.Popen(
            command,
            stdin=asked,
            stdout=answer,
            stderr=errors,
            # Ctrl-C in the terminal reaches only the parent, which ends the whole group
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    return Child(name, work, process, limits)


class Child:
    """A running child, as its parent sees it."""

    def __init__(self, name: str, work: Path, process: "subprocess.Popen[bytes]", limits: Limits) -> None:
        self.name = name
        """The submission's name in its class."""
        self.work = work
        """Its working folder."""
        self._process = process
        self._limits = limits
        self._started = time.monotonic()

    def card(self) -> Optional[Card]:
        """The card after the child has ended; None while it runs. A child over its time is ended."""
        status = self._process.poll()
        if status is None and time.monotonic() - self._started <= self._limits.seconds:
            return None
        if status is None:
            self.end()
            return self._refused(
                "submission",
                tr("grading it takes longer than {seconds:g} seconds", seconds=self._limits.seconds),
                tr("submit only the files that the exam asks for, in their usual size"),
            )
        if status < 0:
            return self._refused(*of_signal(-status, self._limits))
        if status > 0:
            return self._refused(
                "grader", tr("the grading process failed with exit code {status}", status=status), TELL_US
            )
        try:
            return self._written()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return self._refused(
                "grader",
                tr("the grading process wrote no valid card: {error_type}", error_type=type(error).__name__),
                TELL_US,
            )

    def end(self) -> None:
        """Ends the child and waits for it."""
        # before it is waited for, no other process can have its number
        if self._process.poll() is None:
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
            self._process.wait()

    def errors(self) -> str:
        """The end of its error stream."""
        with (self.work / "errors.txt").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - ERRORS_KEPT))
            return file.read(ERRORS_KEPT).decode("utf-8", "backslashreplace")

    def _written(self) -> Card:
        path = self.work / "card.json"
        if path.stat().st_size > CARD_LIMIT:
            raise ValueError(f"a card of more than {CARD_LIMIT:,} bytes")
        found = card.from_json(json.loads(path.read_bytes()))
        if found.name != self.name:
            raise ValueError("a card of something else")
        return found

    def _refused(self, fault: str, reason: str, next_step: str) -> Card:
        return refused(self.name, fault, reason, next_step, time.monotonic() - self._started)


def limit_this_process(limits: Limits, mapped: int = 0) -> None:
    """Sets the limits of this process that the system has. `mapped`: bytes of memory that it may have besides."""
    try:
        import resource
    except ImportError:
        return
    for name, most in (
        ("RLIMIT_CORE", 0),  # a core file would hold the answer keys
        ("RLIMIT_CPU", limits.cpu_seconds),
        ("RLIMIT_AS", limits.address_space + mapped),
        ("RLIMIT_FSIZE", limits.file_bytes),
        ("RLIMIT_NOFILE", limits.open_files),
    ):
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        _, hard = resource.getrlimit(kind)
        ceiling = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            # the hard limit stays: at it the system sends SIGKILL instead of SIGXCPU
            resource.setrlimit(kind, (ceiling, hard))
        except (ValueError, OSError):  # macOS refuses some values
            continue


def unlimit_this_process() -> None:
    """Sets the limits of this process as high as the system lets them."""
    import resource

    for name in ("RLIMIT_CPU", "RLIMIT_AS", "RLIMIT_FSIZE", "RLIMIT_NOFILE"):
        kind = getattr(resource, name, None)
        if kind is not None:
            _, hard = resource.getrlimit(kind)
            resource.setrlimit(kind, (hard, hard))


def of_signal(number: int, limits: Limits) -> tuple[str, str, str]:
    """Fault, reason and next step for a child that a signal ended."""
    if number == getattr(signal, "SIGXCPU", None):
        return (
            "submission",
            tr("grading it takes more than {cpu_seconds:,} seconds of CPU", cpu_seconds=limits.cpu_seconds),
            tr("submit only the files that the exam asks for, in their usual size"),
        )
    if number == getattr(signal, "SIGKILL", None):
        return (
            "examiner",
            tr("the grading process was killed, probably because the system ran out of memory"),
            tr("the examiner lowers --jobs or ends other programs, and grades again with --resume"),
        )
    return "grader", tr("the grading process ended with signal {number}", number=number), TELL_US
