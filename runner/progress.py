"""The progress line: rows done, rows per second and time left; often on a terminal, seldom in a log file."""

from __future__ import annotations

import sys
from typing import Any, Optional

from tqdm import tqdm

LOG_SECONDS = 30
"""Seconds between two progress lines where they pile up in a file instead of replacing each other."""


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
