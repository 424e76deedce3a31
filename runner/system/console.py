"""The streams: what the run says. A reader that goes away (`| head`, a closed terminal) ends the saying, not the run."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional

from tqdm import tqdm

LOG_SECONDS = 30
"""Seconds between two progress lines where they pile up in a file instead of replacing each other."""


class PatientStream:
    """A text stream that goes on in silence when nobody can read it any more."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes what can be written."""
        try:
            self._stream.write(text)
        except OSError:
            self._silence()
        return len(text)

    def flush(self) -> None:
        """Flushes what can be flushed."""
        try:
            self._stream.flush()
        except OSError:
            self._silence()

    def _silence(self) -> None:
        """Lets all that follows, and what is still in the buffer, go nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def patient_streams() -> Iterator[None]:
    """For the length of the block, standard output and error are patient, and write what a terminal lacks as escapes. One
    that was closed before the start (`>&-`) goes nowhere."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without an arrow is no reason to stop
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        sys.stdout, sys.stderr = (PatientStream(nowhere if stream is None else stream) for stream in before)
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            sys.stdout, sys.stderr = before


def progress(total: int, what: str, rows: Optional[Any] = None, shown: bool = True, done: int = 0) -> Any:
    """A tqdm bar over `rows`, or over `total` rows to be counted by `update`; `done` of them were done before."""
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
    )
