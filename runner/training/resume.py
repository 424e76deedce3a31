"""The unfinished run: a fine-tune that was stopped, found again by everything that its adapter depends on.

Its checkpoints are in a folder of their own, named by a digest of that. Free of torch, so that a run that cannot be
resumed is refused before anything is loaded.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from runner.errors import UserError
from runner.language import tr
from runner.system.files import write_atomic
from runner.system.fingerprint import Fingerprint

CHECKPOINTS = "step-*.checkpoint"
"""The checkpoints in an unfinished run's folder."""

IDENTITY = "identity.json"
"""The file in it that says which run it is."""


class Unfinished:
    """The unfinished runs of one dataset, and which of them this run is."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """`folder`: of all unfinished runs. `identity`: of this run, plain values by name."""
        self.identity = Fingerprint(identity)
        self.all, self.folder = folder, folder / self.identity.digest[:16]

    def has_begun(self) -> bool:
        """Whether this run has begun and is not finished."""
        return (self.folder / IDENTITY).exists()

    def others(self) -> list[Path]:
        """Folders of other runs that have left a checkpoint."""
        return sorted({path.parent for path in self.all.glob(f"*/{CHECKPOINTS}")} - {self.folder})

    def require_no_other(self) -> None:
        """Raises UserError with the difference where another run is unfinished: this one would take its place."""
        for other in self.others():
            raise UserError(
                tr(
                    "{other}: an unfinished run with other inputs was stopped here\n{difference}",
                    other=other,
                    difference=self.difference(other),
                ),
                tr("undo the change to resume it; or start over, without its checkpoints: --fresh"),
            )

    def difference(self, other: Path) -> str:
        """The inputs that differ from another run's, one a line."""
        try:
            before = dict(json.loads((other / IDENTITY).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return tr("  its {identity} cannot be read", identity=IDENTITY)
        return self.identity.diff(before)

    def begin(self) -> None:
        """Make this run's folder."""
        write_atomic(self.folder / IDENTITY, f"{self.identity.to_json()}\n".encode())

    def clear(self) -> None:
        """Remove every unfinished run at once: this one is finished, or the user wants to start over."""
        old = self.all.with_name(f".{self.all.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        with suppress(FileNotFoundError):
            # at once: a part of a run would be taken for another run
            self.all.rename(old)
        shutil.rmtree(old, ignore_errors=True)
