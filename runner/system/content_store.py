"""The content store: files that are found by a key, and verified by the digest of their content, which is in their name."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Optional

from runner.language import tr
from runner.system.files import digest, replace

log = logging.getLogger("labeltune.system")


class ContentStore:
    """A folder of files named `{key}-{digest}{suffix}`. Every file in it is complete, or is known to be damaged."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder, self.suffix = folder, suffix

    def get(self, key: str) -> Optional[Path]:
        """The file of this key; None where there is none. A damaged file is removed, with a warning."""
        for path in sorted(self.folder.glob(f"{key}-*{self.suffix}")):
            if path.is_file() and intact(path):
                return path
            log.warning(tr("{path} is damaged; it is made again", path=path))
            path.unlink()
        return None

    def temporary(self, key: str) -> Path:
        """Where `put` writes the file of this key, before it is complete."""
        return self.folder / f".{key}.partial"

    def put(self, key: str, write: Callable[[Path], object]) -> Path:
        """Lets `write` fill a temporary file, flushes it to disk and gives it its name. Returns where it is then.

        Removes the temporary files of processes that have died, and its own where `write` raises."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # also a link of that name: writing would follow it
        for left in self.folder.glob(".*.partial"):
            left.unlink()
        temporary = self.temporary(key)
        try:
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            return self.commit(key)
        except BaseException:
            # half a file takes room that others may need
            temporary.unlink(missing_ok=True)
            raise

    def commit(self, key: str) -> Path:
        """Renames the temporary file of this key; the new name has the digest of its content. Returns where it is then."""
        temporary = self.temporary(key)
        path = self.folder / f"{key}-{digest(temporary)[:32]}{self.suffix}"
        replace(temporary, path)
        return path


def intact(path: Path) -> bool:
    """Whether the content of a store's file has the digest in its name. Raises OSError where it cannot be read."""
    return digest(path)[:32] == path.stem.rpartition("-")[2]
