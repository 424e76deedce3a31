"""The launcher: how many processes it was asked for, and how many it started."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import yaml


def launcher_process() -> Optional[int]:
    """The number of the `accelerate launch` that started this process; None where it was not one, or cannot be seen."""
    return os.getppid() if _is_launcher(_parent()) else None


def shortfall(command: Optional[Sequence[str]] = None) -> Optional[str]:
    """What to say where fewer processes were started than `accelerate launch` was asked for; None where all is well, or
    where the launcher's command line cannot be seen. `command`: that line, of the process above this one by default.

    `accelerate launch --cpu --num_processes 2` starts one process and says nothing, and so does a MULTI_CPU configuration."""
    asked, started = _asked(_parent() if command is None else command), int(os.environ.get("WORLD_SIZE", "1"))
    if asked is None or asked <= started:
        return None
    return (
        f"WARNING: accelerate launch was asked for {asked} processes and started {started}; "
        f"without GPUs: ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes {asked} …"
    )


def _asked(command: Sequence[str]) -> Optional[int]:
    """The number of processes on the command line, else in the configuration that Accelerate reads."""
    if not _is_launcher(command):
        return None
    number = _option(command, "num_processes")
    if number is None:
        file = _option(command, "config_file")
        if file is None and "--cpu" in command:  # then Accelerate does not read its default
            return None
        number = _configured(Path(file) if file else _default_config())
    return int(number) if number and number.isdigit() else None


_LAUNCHER = re.compile(
    r"(.*/)?accelerate(-launch)?|accelerate\.commands\.\w+|.*/accelerate/commands/\w+\.py", re.DOTALL
)


def _is_launcher(command: Sequence[str]) -> bool:
    """Whether a command line is `accelerate launch`, however it is spelled: the command itself or a Python that runs it. A
    shell's, with the same words in a script of its own, is not."""
    return any(_LAUNCHER.fullmatch(word) for word in command[:6]) and not _SHELL.fullmatch(command[0])


_SHELL = re.compile(r"(.*/)?-?(ba|da|z|k|fi|c|tc)?sh")


def _option(command: Sequence[str], name: str) -> Optional[str]:
    spelled = (f"--{name}", f"--{name.replace('_', '-')}")
    for word, following in zip(command, [*command[1:], ""]):
        option, given, value = word.partition("=")
        if option in spelled:
            return value if given else following
    return None


def _default_config() -> Path:
    """Where `accelerate config` leaves its answers."""
    cache = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(cache).expanduser() / "accelerate/default_config.yaml"


def _configured(file: Path) -> Optional[str]:
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))  # JSON, which Accelerate takes too, is YAML
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return str(tree.get("num_processes")) if isinstance(tree, dict) else None


def _parent() -> list[str]:
    try:
        return Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # not Linux
        return []
