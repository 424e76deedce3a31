"""Stopping: a signal asks the run to end where nothing is lost; a second one ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from runner.system.launcher import launcher_process

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
)
"""Ctrl-C, a scheduler's end, a closed terminal, and the warnings that schedulers send before they kill: Slurm's
`--signal=USR1@120`, Grid Engine's `-notify` (USR2) and a limit of CPU time (XCPU)."""

PASSED_ON = 1.0
"""Seconds in which a further signal is the same wish: a launcher passes on what the terminal has sent to all already."""


class Stopped(BaseException):
    """A run that was asked to stop and did, with everything kept. The message says how to go on.

    Not an Exception: what catches those (a library's, a model's) must not catch this."""

    def __init__(self, number: int, where: str = "between two steps", kept: str = "there") -> None:
        name = signal.Signals(number).name
        super().__init__(f"stopped by {name} {where}; the same command (without --fresh) goes on from {kept}")
        self.code = 128 + number
        """Exit code, as shells give it to what a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""


class StopRequest:
    """Whether somebody has asked the run to stop."""

    def __init__(self) -> None:
        self.finishing = False
        """Whether the step at hand is finished first; else the run ends wherever the signal finds it."""
        self.raised = False
        """Whether it has been raised as Stopped somewhere."""
        self._number, self._since = 0, 0.0
        self._launcher = launcher_process()

    @property
    def number(self) -> int:
        """The signal that asked; 0: none. That the launcher has gone says as much as SIGTERM."""
        if not self._number and self._launcher is not None and os.getppid() != self._launcher:
            self._number = signal.SIGTERM
            _tell("the launcher has ended, and this process with it")
        return self._number

    def raise_if_any(self) -> None:
        """Raises Stopped where a signal came that something has swallowed: one that meets a destructor, say."""
        if self.number:
            self.raised = True
            raise Stopped(self.number)

    def note(self, number: int, frame: Any) -> None:
        """The signals' handler."""
        if number == getattr(signal, "SIGXCPU", None):  # the system sends it again every second: no second wish
            signal.signal(number, signal.SIG_IGN)
        again = bool(self._number)
        if not again:
            self._number, self._since = number, time.monotonic()
        if not self.finishing:
            self.raised = True
            raise Stopped(self._number)
        if not again:
            _tell("stopping after this step; once more to stop at once")
        elif time.monotonic() - self._since > PASSED_ON:
            _tell("stopped at once; the last checkpoint stays")
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


_requests: list[StopRequest] = []
"""Of the `listening` blocks that are open, the innermost last: handlers of signals are the process's, so is this."""


@contextmanager
def listening() -> Iterator[StopRequest]:
    """For the length of the block, signals end the run with Stopped, or what the request says instead. One that is ignored
    (nohup) stays ignored.

    A library's C code that meets a Stopped may make an error of its own of it: what comes after one is Stopped too."""
    request = StopRequest()
    before = {each: signal.getsignal(each) for each in SIGNALS}
    heard = [each for each in SIGNALS if before[each] != signal.SIG_IGN]
    for each in heard:
        signal.signal(each, request.note)
    _requests.append(request)
    try:
        yield request
    except Exception as error:
        if request.raised:
            raise Stopped(request.number) from error
        raise
    finally:
        _requests.remove(request)
        for each in heard:
            signal.signal(each, before[each] or signal.SIG_DFL)


@contextmanager
def finishing() -> Iterator[StopRequest]:
    """For the length of the block, the first signal is noted and nothing more: the block asks for it between its steps."""
    request = _requests[-1] if _requests else StopRequest()
    request.finishing = True
    try:
        yield request
    finally:
        request.finishing = False


def raise_if_asked() -> None:
    """Raises Stopped where somebody has asked the run to stop."""
    for request in _requests:
        request.raise_if_any()


def _tell(text: str) -> None:
    with suppress(OSError):  # the reader may have gone by the same signal
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{text}\n".encode())
