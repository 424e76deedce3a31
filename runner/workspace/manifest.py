"""The manifest: the inputs, outputs and statistics of a finished stage, written last.

A stage whose manifest has today's inputs, and whose outputs are unchanged on disk, need not run again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from grading.contract.language import english
from runner.system.files import digest, write_atomic

SCHEMA = "labeltune.manifest/1"


@dataclass(frozen=True)
class Manifest:
    """One finished stage."""

    stage: str
    """`prepare`, `finetune`, `evaluate`, `ensemble` or `predict`."""
    inputs: Mapping[str, str]
    """Digest of everything that the outputs depend on, by name."""
    outputs: Mapping[str, str]
    """SHA-256 of every file written, by its path from the workspace."""
    figures: Mapping[str, Any]
    """Counts, metrics and seconds of the stage: plain JSON values."""
    schema: str = SCHEMA
    """Version of this format."""


def finish(manifest: Manifest, path: Path, workspace: Path, outputs: Sequence[str]) -> None:
    """Write the manifest of a stage whose `outputs`, paths from the workspace, are all in their places."""
    whole = dataclasses.replace(manifest, outputs={name: digest(workspace / name) for name in outputs})
    text = json.dumps(english(dataclasses.asdict(whole)), indent=1, ensure_ascii=False)
    write_atomic(path, f"{text}\n".encode())


def read_manifest(path: Path) -> Optional[Manifest]:
    """Read the manifest at `path`; None where there is none that can be read: the stage has not finished."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        manifest = Manifest(**tree)
    # missing, cut short, of another version: all mean the same
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    tables = (manifest.inputs, manifest.outputs)
    whole = all(isinstance(table, dict) and all(isinstance(value, str) for value in table.values()) for table in tables)
    return manifest if whole and manifest.schema == SCHEMA else None


def finished(path: Path, workspace: Path, inputs: Mapping[str, str]) -> Optional[Manifest]:
    """The manifest at `path` if it has these inputs and its outputs are unchanged on disk; None: run the stage."""
    manifest = read_manifest(path)
    if manifest is None or manifest.inputs != inputs:
        return None
    try:
        unchanged = all(digest(workspace / name) == value for name, value in manifest.outputs.items())
    # ValueError: a name that no file can have
    except (OSError, ValueError):
        return None
    return manifest if unchanged else None
