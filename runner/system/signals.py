"""Signals: the first one asks the run to stop at a point where nothing is lost; a second one ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Optional

from runner.language import tr
from runner.system.launcher import launcher_process

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
)
"""Ctrl-C, a scheduler's end, a closed terminal, and the warnings that schedulers send before they kill: Slurm's
`--signal=USR1@120`, Grid Engine's `-notify` (USR2) and a limit of CPU time (XCPU)."""

SAME_REQUEST_SECONDS = 1.0
"""Seconds in which a further signal belongs to the first: a launcher passes on a signal that the terminal sends to all."""


OUT_OF_TIME = 14
"""SIGALRM's number, which Windows does not name: the end of a `time_limit`."""


class Stopped(BaseException):
    """A run that stopped because a signal asked for it. The message says how to resume it.

    Not an Exception: code of a library or a model that catches those must not catch this."""

    def __init__(self, number: int, where: str = "", resume_from: str = "") -> None:
        """`number`: the signal's. `where`: such as `after step 6 of 12`. `resume_from`: such as `the checkpoint`."""
        name = tr("the time limit") if number == OUT_OF_TIME else signal.Signals(number).name
        if where and resume_from:
            words = tr(
                "stopped by {name} {where}; run the same command again (without --fresh) to resume from {checkpoint}",
                name=name,
                where=where,
                checkpoint=resume_from,
            )
        elif where:
            words = tr(
                "stopped by {name} {where}; run the same command again (without --fresh) to resume",
                name=name,
                where=where,
            )
        else:
            words = tr("stopped by {name}; run the same command again (without --fresh) to resume", name=name)
        super().__init__(words)
        self.code = 128 + number
        """Exit code, as shells give it to a process that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""


class StopRequest:
    """Whether a signal has asked the run to stop."""

    def __init__(self) -> None:
        self.deferred = False
        """Whether a signal is only noted; else it raises Stopped wherever the code is."""
        self.raised = False
        """Whether a signal has raised Stopped."""
        self.deadline: Optional[float] = None
        """The end of a time limit, by `time.monotonic()`."""
        self._number, self._since = 0, 0.0
        self._launcher = launcher_process()

    @property
    def number(self) -> int:
        """The number of the signal; 0: none. A launcher that has ended counts as SIGTERM; `OUT_OF_TIME`: a time limit."""
        if not self._number and self._launcher is not None and os.getppid() != self._launcher:
            self._number = signal.SIGTERM
            _tell(tr("the launcher has ended, so this process stops too"))
        if not self._number and self.deadline is not None and time.monotonic() >= self.deadline:
            return OUT_OF_TIME
        return self._number

    def note(self, number: int, frame: Any) -> None:
        """The handler of the signals."""
        if number == getattr(signal, "SIGXCPU", None):  # the system sends it every second: not a second request
            signal.signal(number, signal.SIG_IGN)
        again = bool(self._number)
        if not again:
            self._number, self._since = number, time.monotonic()
        if not self.deferred:
            self.raised = True
            raise Stopped(self._number)
        if not again:
            _tell(tr("stopping after the current step or batch; send the signal again to stop at once"))
        elif time.monotonic() - self._since > SAME_REQUEST_SECONDS:
            _tell(tr("stopped at once; the last checkpoint is kept"))
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


_requests: list[StopRequest] = []
"""Those of the open `handle_signals` blocks, the innermost last. Signal handlers belong to the process, so does this."""


@contextmanager
def handle_signals() -> Iterator[StopRequest]:
    """In the block, a signal raises Stopped, or is noted where signals are deferred. One that is ignored (nohup) stays
    ignored.

    C code of a library can turn a Stopped into an error of its own; such an error becomes Stopped again here."""
    request = StopRequest()
    before = {each: signal.getsignal(each) for each in SIGNALS}
    handled = [each for each in SIGNALS if before[each] != signal.SIG_IGN]
    for each in handled:
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
        for each in handled:
            signal.signal(each, before[each] or signal.SIG_DFL)


@contextmanager
def deferred_signals() -> Iterator[StopRequest]:
    """In the block, the first signal is only noted: no model is interrupted in the middle of a computation. The block asks
    for it between its steps, by the request that it is given or with `raise_if_asked`."""
    request = _requests[-1] if _requests else StopRequest()
    before, request.deferred = request.deferred, True
    try:
        yield request
    finally:
        request.deferred = before


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """In the block, model computation stops after so many seconds as it does for a signal: `Stopped(OUT_OF_TIME)`."""
    own = [] if _requests else [StopRequest()]
    _requests.extend(own)
    request = _requests[-1]
    before, request.deadline = request.deadline, time.monotonic() + seconds
    try:
        yield
    finally:
        request.deadline = before
        for each in own:
            _requests.remove(each)


def raise_if_asked() -> None:
    """Raise Stopped where a signal has asked the run to stop."""
    for request in _requests:
        if request.number:
            raise Stopped(request.number)


def _tell(text: str) -> None:
    with suppress(OSError):  # the same signal may have ended the reader
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{text}\n".encode())
