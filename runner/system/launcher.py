"""The launcher: the `accelerate launch` that started this process."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Optional


def launcher_process() -> Optional[int]:
    """The process id of the `accelerate launch` that started this process; None where it was not one, or cannot be seen."""
    return os.getppid() if _is_launcher(_parent()) else None


_LAUNCHER = re.compile(
    r"(.*/)?accelerate(-launch)?|accelerate\.commands\.\w+|.*/accelerate/commands/\w+\.py|.*/labeltune/launcher\.py",
    re.DOTALL,
)


def _is_launcher(command: Sequence[str]) -> bool:
    """Whether a command line is `accelerate launch`, however it is spelled: the command itself or a Python that runs it. A
    shell's, with the same words in a script of its own, is not."""
    return any(_LAUNCHER.fullmatch(word) for word in command[:6]) and not _SHELL.fullmatch(command[0])


_SHELL = re.compile(r"(.*/)?-?(ba|da|z|k|fi|c|tc)?sh")


def _parent() -> list[str]:
    try:
        return Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # not Linux
        return []
