"""The launcher: how many processes it was asked for, and how many it started."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

_OPTIONS = ("--num_processes", "--num-processes")


def launcher_process() -> Optional[int]:
    """The number of the `accelerate launch` that started this process; None where it was not one, or cannot be seen."""
    return os.getppid() if any("accelerate" in word for word in _parent()) else None


def shortfall(command: Optional[Sequence[str]] = None) -> Optional[str]:
    """What to say where fewer processes were started than `accelerate launch` was asked for; None where all is well, or
    where the launcher's command line cannot be seen. `command`: that line, of the process above this one by default.

    `accelerate launch --cpu --num_processes 2` starts one process and says nothing."""
    asked, started = _asked(_parent() if command is None else command), int(os.environ.get("WORLD_SIZE", "1"))
    if asked is None or asked <= started:
        return None
    return (
        f"WARNING: accelerate launch was asked for {asked} processes and started {started}; "
        f"without GPUs: ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes {asked} …"
    )


def _asked(command: Sequence[str]) -> Optional[int]:
    if not any("accelerate" in word for word in command):
        return None
    for word, following in zip(command, [*command[1:], ""]):
        name, _, value = word.partition("=")
        if name in _OPTIONS:
            number = value or following
            return int(number) if number.isdigit() else None
    return None


def _parent() -> list[str]:
    try:
        return Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # not Linux
        return []
