"""The console: log records, progress bars and the two output streams of a command.

A library logs to `labeltune.*` and prints nothing; the commands print those records here. A reader that goes away
(`| head`, a closed terminal) ends the output, not the run.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Optional

from runner.language import tr

LOG_SECONDS = 30
"""Seconds between two updates of a progress bar in a log file, where each update is a new line."""


_context: ContextVar[str] = ContextVar("labeltune_log_context", default="")


@contextmanager
def log_context(text: str) -> Iterator[None]:
    """Begin every console line that is logged in the block with this text, such as `QQP finetune`."""
    token = _context.set(text)
    try:
        yield
    finally:
        _context.reset(token)


class ConsoleHandler(logging.Handler):
    """Print log records to standard output, one a line, never in the middle of a progress bar."""

    def __init__(self, main_process: bool = True, level: int = logging.INFO) -> None:
        """`main_process`: whether this process speaks for all. The others print only records that are marked
        `every_process`. `level`: the lowest that is printed."""
        super().__init__(level)
        self.main_process = main_process

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record; a warning begins with `WARNING:`."""
        if not self.main_process and not getattr(record, "every_process", False):
            return
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            text = f"{tr('WARNING')}: {text}"
        context = _context.get()
        # there is a bar only if tqdm was imported
        tqdm = sys.modules.get("tqdm")
        with tqdm.tqdm.external_write_mode(file=sys.stdout) if tqdm else nullcontext():
            print(f"{context}: {text}" if context else text, flush=True)


@contextmanager
def console_logging(main_process: bool = True, verbose: bool = False) -> Iterator[None]:
    """Print what the package logs for the length of the block; `verbose`: with what needs no decision of the user."""
    lowest = logging.DEBUG if verbose else logging.INFO
    logger, handler = logging.getLogger("labeltune"), ConsoleHandler(main_process, lowest)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(lowest)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


@contextmanager
def quiet(level: int = logging.WARNING) -> Iterator[None]:
    """Log nothing below this level in the block: one line of its caller's stands for all that it does."""
    logger = logging.getLogger("labeltune")
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


class PatientStream:
    """A text stream that drops its output when nobody can read it any more."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.lost: Optional[OSError] = None
        """Why output was dropped, where that is not a reader that went away: a disk is full."""

    def write(self, text: str) -> int:
        """Write, if that is still possible."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._silence(error)
        return len(text)

    def flush(self) -> None:
        """Flush, if that is still possible."""
        try:
            self._stream.flush()
        except OSError as error:
            self._silence(error)

    def _silence(self, error: OSError) -> None:
        """Send the buffer, and everything that follows, nowhere."""
        if not isinstance(error, BrokenPipeError):
            self.lost = self.lost or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def patient_streams() -> Iterator[PatientStream]:
    """Make standard output, which the block gets, and error patient for the length of the block. Characters that a terminal lacks
    are written as escapes. A stream that was closed before the start (`>&-`) goes nowhere."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            # a terminal without an arrow is not a reason to stop
            stream.reconfigure(errors="backslashreplace")
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        output, errors = (PatientStream(nowhere if stream is None else stream) for stream in before)
        sys.stdout, sys.stderr = output, errors
        try:
            yield output
        finally:
            output.flush()
            errors.flush()
            sys.stdout, sys.stderr = before


def progress(
    total: Optional[int], what: str, rows: Optional[Any] = None, shown: bool = True, done: int = 0, delay: float = 0
) -> Any:
    """A tqdm bar over `rows`, or over `total` rows that `update` counts; `done` of them were done before.

    `total`: None where it is not known. `delay`: seconds without a bar, for work that is mostly shorter."""
    from tqdm import tqdm

    seconds = 0.1 if sys.stderr.isatty() else LOG_SECONDS
    return tqdm(
        rows,
        total=total,
        desc=what,
        unit="row",
        mininterval=seconds,
        dynamic_ncols=True,
        disable=not shown,
        initial=done,
        delay=delay,
    )
