"""The checkpoint: all that a fine-tune needs to go on as if it had never been stopped.

A file is written aside, flushed to disk and renamed to a name that holds its own digest, so that one that is there is
whole or is known not to be. The last two are kept: where the newest is damaged, the one before it is used.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch

from runner.errors import UserError
from runner.files import digest

SCHEMA = "labeltune.checkpoint/1"

KEPT = 2
"""Checkpoints kept: the newest, and one to fall back on."""


class Checkpoints:
    """The checkpoints of one fine-tune, in a folder of their own."""

    def __init__(self, folder: Path, identity: Mapping[str, Any], say: Callable[[str], None]) -> None:
        """`identity`: everything that the adapter depends on, by name. Only a run with the same one can go on."""
        self.folder, self.identity, self.say = folder, dict(identity), say

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Keeps `state`, tensors and plain values, as the checkpoint of that step. A full disk is said and passed over:
        training goes on, and whatever was kept before stays."""
        aside = self.folder / ".partial"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as file:
                torch.save({"schema": SCHEMA, "identity": self.identity, "state": dict(state)}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, self.folder / f"step-{step:08d}-{digest(aside)[:32]}.checkpoint")
            for old in self._files()[KEPT:]:
                old.unlink()
        except (OSError, RuntimeError) as error:  # torch wraps what the disk says
            self.say(f"WARNING: no checkpoint at step {step}: {' '.join(str(error).split())[:200]}; training goes on")

    def load(self) -> Optional[dict[str, Any]]:
        """The newest state that is whole; None where there is none.

        Raises UserError, with the difference, where it is another run's."""
        for path in self._files():
            if digest(path)[:32] != path.stem.rpartition("-")[2]:
                self.say(f"WARNING: {path} is damaged, going on from the one before")
                continue
            found = torch.load(path, map_location="cpu", weights_only=True)
            self._require_same(path, found)
            state: dict[str, Any] = found["state"]
            return state
        return None

    def clear(self) -> None:
        """Removes all of them: the adapter is finished, or the user wants to start over."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> list[Path]:
        """Newest first."""
        return sorted(self.folder.glob("step-*.checkpoint"), reverse=True)

    def _require_same(self, path: Path, found: Mapping[str, Any]) -> None:
        then = found["identity"] if found["schema"] == SCHEMA else {}
        changed = sorted(name for name in {*then, *self.identity} if then.get(name) != self.identity.get(name))
        if changed:
            shown = "\n".join(
                f"  {name}: then {_short(then.get(name))}, now {_short(self.identity.get(name))}" for name in changed
            )
            raise UserError(
                f"{path}: an unfinished run was stopped here, and it was another one\n{shown}",
                "undo the change to go on with it, or start over: --fresh",
            )


def random_state() -> dict[str, Any]:
    """Every random number generator of this process, as tensors and plain values."""
    kind, keys, *rest = np.random.get_state()
    state = {
        "python": random.getstate(),
        "numpy": [kind, [int(key) for key in keys], *rest],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Sets every generator back to where `random_state` found it."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
