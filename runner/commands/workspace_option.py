"""The option `--workspace` of the commands."""

from __future__ import annotations

import argparse
from pathlib import Path

from runner.language import mark, tr

OF_A_RUN = mark("folder with data/, for all that is written (default: the current one)")
"""What it is for a command that trains."""

OF_RUNS = mark("where ids and paths of runs are looked up")
"""What it is for a command about finished runs."""


def add_workspace(parser: argparse.ArgumentParser, words: str) -> None:
    """Add `--workspace`, the current folder by default. `words`: what it is, `OF_A_RUN` or `OF_RUNS`."""
    parser.add_argument("--workspace", type=Path, default=Path(), metavar="DIR", help=tr(words))
