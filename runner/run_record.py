"""The run record: what was run, with what, and what came of it: `run.json` beside the adapter, written last."""

from __future__ import annotations

import dataclasses
import functools
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Optional

from grading import contract
from runner import __version__
from runner.files import digest_folder, write_aside
from runner.manifest import read_manifest
from runner.recipe_file import LoadedRecipe
from runner.workspace import Workspace

SCHEMA = "labeltune.run/1"

PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets", "evaluate", "tokenizers", "numpy", "PyYAML")
"""Packages whose version can change a result."""


def write_run_record(
    loaded: LoadedRecipe, workspace: Workspace, stages: Mapping[str, Sequence[str]], seconds: float
) -> None:
    """Writes the record of a run from the manifests in this workspace that are of this recipe and of each other's outputs.

    `stages`: each stage's recipe keys, in order. Without an adapter of this recipe nothing is written: the record lies
    beside the adapter and speaks of it."""
    manifests: dict[str, Any] = {}
    made: dict[str, str] = {}
    for stage, keys in stages.items():
        manifest = read_manifest(workspace.manifest(stage))
        if manifest is None or manifest.inputs.get("recipe") != loaded.recipe.digest(*keys):
            continue
        weights = f"{workspace.adapter}/{contract.ADAPTER_WEIGHTS}"
        for name, path in (("train", workspace.train), ("dev", workspace.dev), ("adapter", weights)):
            if path in made and manifest.inputs.get(name, made[path]) != made[path]:
                break  # of an earlier run: its inputs are not what lies there now
        else:
            manifests[stage] = dataclasses.asdict(manifest)
            made.update(manifest.outputs)
    if "finetune" not in manifests:
        return
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


def library_versions() -> dict[str, str]:
    """The versions that a stage with a model depends on; another version is another result."""
    return {name: _version(name) or "" for name in ("torch", "transformers", "peft")}


@functools.cache
def code_digest() -> str:
    """SHA-256 over the runner's own modules: a stage done by other code is not done."""
    return digest_folder(Path(__file__).resolve().parent, ("*.py",))


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
                # without optional locks: a run that is killed in a `git status` would leave the checkout locked
                ["git", "--no-optional-locks", "-C", str(folder), *command],
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
