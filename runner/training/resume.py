"""The unfinished run: a fine-tune that was stopped, found again by everything that its adapter depends on.

Its checkpoints are in a folder of their own, named by a digest of that. Free of torch, so that a run that cannot be
resumed is refused before anything is loaded.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from runner.errors import UserError
from runner.system.files import write_atomic

CHECKPOINTS = "step-*.checkpoint"
"""The checkpoints in an unfinished run's folder."""

IDENTITY = "identity.json"
"""The file in it that says which run it is."""


class Unfinished:
    """The unfinished runs of one dataset, and which of them this run is."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """`folder`: of all unfinished runs. `identity`: of this run, plain values by name."""
        self._text = json.dumps(identity, indent=1, sort_keys=True)
        self.all, self.folder = folder, folder / hashlib.sha256(self._text.encode()).hexdigest()[:16]

    def there(self) -> bool:
        """Whether this run has begun and is not finished."""
        return (self.folder / IDENTITY).exists()

    def others(self) -> list[Path]:
        """Folders of other runs that have left a checkpoint."""
        return sorted({path.parent for path in self.all.glob(f"*/{CHECKPOINTS}")} - {self.folder})

    def require_no_other(self) -> None:
        """Raises UserError with the difference where another run is unfinished: this one would take its place."""
        for other in self.others():
            raise UserError(
                f"{other}: an unfinished run with other inputs was stopped here\n{self.difference(other)}",
                "undo the change to resume it, or start over: --fresh",
            )

    def difference(self, other: Path) -> str:
        """The inputs that differ from another run's, one a line."""
        now = json.loads(self._text)
        try:
            then = dict(json.loads((other / IDENTITY).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return f"  its {IDENTITY} cannot be read"
        changed = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
        return "\n".join(f"  {name}: then {_short(then.get(name))}, now {_short(now.get(name))}" for name in changed)

    def begin(self) -> None:
        """Make this run's folder."""
        write_atomic(self.folder / IDENTITY, f"{self._text}\n".encode())

    def clear(self) -> None:
        """Remove every unfinished run at once: this one is finished, or the user wants to start over."""
        old = self.all.with_name(f".{self.all.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        with suppress(FileNotFoundError):
            self.all.rename(old)  # a part of a run would be taken for another run
        shutil.rmtree(old, ignore_errors=True)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
