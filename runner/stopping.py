"""Stopping: a signal asks the run to end where nothing is lost; a second one ends it at once."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C, a scheduler's end, and the warning that schedulers can send before it (Slurm: `--signal=USR1@120`)."""


class Stopped(Exception):
    """A run that was asked to stop and did, with everything kept. The message says how to go on."""

    def __init__(self, number: int, where: str) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} {where}; the same command goes on from there")
        self.code = 128 + number
        """Exit code, as shells give it to what a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""


class StopRequest:
    """Whether somebody has asked to stop."""

    number: Optional[int] = None
    """The signal that did."""


@contextmanager
def listening() -> Iterator[StopRequest]:
    """For the length of the block, the first signal is noted and the second does what it always did."""
    request = StopRequest()
    before: dict[Any, Any] = {}

    def note(number: int, frame: Any) -> None:
        request.number = number
        for each, handler in before.items():
            signal.signal(each, handler or signal.SIG_DFL)
        print("stopping after this step; once more to stop at once", file=sys.stderr, flush=True)

    for each in SIGNALS:
        before[each] = signal.signal(each, note)
    try:
        yield request
    finally:
        for each, handler in before.items():
            signal.signal(each, handler or signal.SIG_DFL)
