"""The checkpoint: all that a fine-tune needs to go on as if it had never been stopped.

Written aside, flushed to disk and sealed: one that is there is whole or is known not to be. The last two are kept: where the
newest is damaged, the one before it is used.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch

from runner.errors import UserError
from runner.files import intact, seal
from runner.stopping import raise_if_asked
from runner.unfinished import CHECKPOINTS

SCHEMA = "labeltune.checkpoint/2"

KEPT = 2
"""Checkpoints kept: the newest, and one to fall back on."""


class Checkpoints:
    """The checkpoints of one fine-tune, in a folder of their own."""

    def __init__(self, folder: Path, computed: Mapping[str, str], say: Callable[[str], None]) -> None:
        """`computed`: how this run computes (device, precision, layout), which the recipe may leave to the machine."""
        self.folder, self.computed, self.say = folder, dict(computed), say

    def save(self, step: int, state: Mapping[str, Any]) -> bool:
        """Keeps `state`, tensors and plain values, as the checkpoint of that step; returns whether it could. A full disk is
        said and passed over: training goes on, and the newest one that was kept before stays."""
        try:
            try:
                self._write(step, state)
            except (OSError, RuntimeError):  # torch wraps what the disk says
                self.prune(1)  # the room of an older one may do
                self._write(step, state)
            self.prune(KEPT)
        except (OSError, RuntimeError) as error:
            self.say(f"WARNING: no checkpoint at step {step}: {' '.join(str(error).split())[:200]}; training goes on")
            return False
        return True

    def load(self) -> Optional[dict[str, Any]]:
        """The newest state that is whole; None where there is none.

        Raises UserError where it was computed otherwise than this run computes."""
        for path in self._files():
            try:
                found = torch.load(path, map_location="cpu", weights_only=True) if intact(path) else {}
                reason = "" if found.get("schema") == SCHEMA else "it does not hold what was written"
            except Exception as error:  # what a file that is none raises is as varied as what it holds
                raise_if_asked()  # and a signal can look like that
                reason = " ".join(str(error).split())[:200] or type(error).__name__
            if reason:
                self.say(f"WARNING: {path} is damaged ({reason}), going on from the one before")
                continue
            if found["computed"] != self.computed:
                raise UserError(
                    f"{path}: was computed with {_listed(found['computed'])}; now it would be {_listed(self.computed)}",
                    "go on where it was begun, or start over: --fresh",
                )
            state: dict[str, Any] = found["state"]
            return state
        return None

    def _write(self, step: int, state: Mapping[str, Any]) -> None:
        aside = self.folder / ".partial"
        try:
            with aside.open("wb") as file:
                torch.save({"schema": SCHEMA, "computed": self.computed, "state": dict(state)}, file)
                file.flush()
                os.fsync(file.fileno())
            seal(aside, f"step-{step:08d}", ".checkpoint")
        except BaseException:
            aside.unlink(missing_ok=True)  # half of one takes room that the adapter may need
            raise

    def prune(self, kept: int) -> None:
        """Removes all but the newest ones."""
        for old in self._files()[kept:]:
            old.unlink()

    def _files(self) -> list[Path]:
        """Newest first."""
        return sorted((path for path in self.folder.glob(CHECKPOINTS) if path.is_file()), reverse=True)


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


def _listed(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
