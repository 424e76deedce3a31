"""The editor's line: a comment by which an editor with a YAML language server finds the schema of recipes."""

from __future__ import annotations

import os
from pathlib import Path

SCHEMA = Path(__file__).resolve().parents[2] / "recipes" / "schema.json"
"""The schema, where labeltune is used from its checkout."""


def schema_line(folder: Path) -> str:
    """The first line of a recipe in this folder; nothing where the schema is not on this machine."""
    if not SCHEMA.is_file():
        return ""
    try:
        path = Path(os.path.relpath(SCHEMA, folder.resolve())).as_posix()
    # on another drive of Windows
    except ValueError:
        path = SCHEMA.as_uri()
    return f"# yaml-language-server: $schema={path}\n"
