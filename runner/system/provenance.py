"""Provenance: which code and which library versions made a result."""

from __future__ import annotations

import functools
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Optional

from runner.system.files import digest_folder

CHECKOUT = Path(__file__).resolve().parents[2]
"""The folder that holds `runner` and `grading`."""

PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets", "evaluate", "tokenizers", "numpy", "PyYAML")
"""Packages whose version can change a result."""


def library_versions() -> dict[str, str]:
    """The versions that a stage with a model depends on; another version is another result."""
    return {name: _version(name) or "" for name in ("torch", "transformers", "peft")}


@functools.cache
def code_digest() -> str:
    """SHA-256 over the runner's own modules and the contract: a stage done by other code is not done."""
    return digest_folder(CHECKOUT, ("runner/**/*.py", "grading/contract/*.py"))


def _version(package: str) -> Optional[str]:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> Optional[str]:
    """The commit that this code stands at, with `+changes` where files differ from it; None outside a git checkout."""
    try:
        answers = [
            subprocess.run(
                # without optional locks: a run that is killed in a `git status` would leave the checkout locked
                ["git", "--no-optional-locks", "-C", str(CHECKOUT), *command],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return answers[0] + ("+changes" if answers[1] else "")
