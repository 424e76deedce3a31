"""The run record: what was run, with what, and what came of it: `run.json` beside the adapter, written last."""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Optional

from runner import __version__
from runner.files import write_aside
from runner.recipe_file import LoadedRecipe
from runner.workspace import Workspace

SCHEMA = "labeltune.run/1"

PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets", "evaluate", "tokenizers", "numpy", "PyYAML")
"""Packages whose version can change a result."""


def write_run_record(loaded: LoadedRecipe, workspace: Workspace, stages: Sequence[str], seconds: float) -> None:
    """Writes the record of a run from the manifests of `stages`, those of this workspace that have been done."""
    manifests: dict[str, Any] = {}
    for stage in stages:
        path = workspace.manifest(stage)
        if path.is_file():
            manifests[stage] = json.loads(path.read_text(encoding="utf-8"))
    record = {
        "schema": SCHEMA,
        "labeltune": __version__,
        "commit": _commit(),
        "recipe_file": str(loaded.path),
        "recipe_digest": loaded.recipe.digest(),
        "recipe": dataclasses.asdict(loaded.recipe),
        "seeds": {"samples": loaded.recipe.samples.seed, "train": loaded.recipe.train.seed},
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "machine": platform.machine(),
        "stages": manifests,
        "seconds": round(seconds, 3),
    }
    write_aside(workspace.run_record, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())


def _version(package: str) -> Optional[str]:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> Optional[str]:
    """The commit that this code stands at, with `+changes` where files differ from it; None outside a git checkout."""
    folder = Path(__file__).resolve().parent.parent
    try:
        answers = [
            subprocess.run(
                ["git", "-C", str(folder), *command], capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return answers[0] + ("+changes" if answers[1] else "")
