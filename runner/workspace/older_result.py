"""The older result: answers to other dev rows than today's, which are copied aside before new ones take their place."""

from __future__ import annotations

import logging
import shutil

from runner.workspace.manifest import read_manifest
from runner.workspace.paths import Workspace

log = logging.getLogger("labeltune.workspace")


def keep_older_result(workspace: Workspace, dev: str) -> None:
    """Copy the result and its predictions to `result/.older` where they answer other dev rows. `dev`: digest of today's rows.

    Whoever tries a few sentences of his own in `task.dev` gets back the result that he hands in."""
    manifest = read_manifest(workspace.manifest("predict"))
    if manifest is None or manifest.inputs.get("dev") in (None, dev):
        return
    present = [workspace.at(name) for name in (workspace.result, workspace.predictions) if workspace.at(name).exists()]
    folder = workspace.at(workspace.older_results) / manifest.inputs["dev"][:8]
    for path in present:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, folder / path.name)
    if present:
        kept = folder.relative_to(workspace.root)
        log.warning(f"task.dev has other rows than before: the result for the earlier rows is kept in {kept}")
