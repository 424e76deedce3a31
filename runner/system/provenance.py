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

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "evaluate",
    "tokenizers",
    "numpy",
    "scikit-learn",
    "PyYAML",
)
"""Packages whose version can change a result."""


def library_versions() -> dict[str, str]:
    """The versions of the libraries that a stage with a model depends on: another version may give another result."""
    return {name: package_version(name) or "" for name in ("torch", "transformers", "peft")}


@functools.cache
def code_digest() -> str:
    """SHA-256 over the runner's modules and the contract: a stage that other code finished is run again."""
    return digest_folder(CHECKOUT, ("runner/**/*.py", "grading/contract/*.py"))


def package_version(package: str) -> Optional[str]:
    """The installed version of a package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> Optional[str]:
    """The commit of this code, with `+changes` where files differ from it; None outside a git checkout."""
    try:
        answers = [
            subprocess.run(
                # no optional locks: a run that is killed during `git status` would leave the checkout locked
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
