"""The checkpoint: all that a fine-tune needs to go on as if it had never been stopped.

A safetensors file: the tensors, and in its header the plain values around them as JSON. Nothing in it can run code,
whoever wrote it.

Written aside, flushed to disk and sealed: one that is there is whole or is known not to be. The last two are kept: where the
newest is damaged, the one before it is used.
"""

from __future__ import annotations

import json
import logging
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import load, save

from runner.distributed.collectives import all_gather
from runner.errors import UserError
from runner.system.files import intact, seal
from runner.system.memory import out_of_memory
from runner.system.signals import raise_if_asked
from runner.training.resume import CHECKPOINTS

log = logging.getLogger("labeltune.training")

SCHEMA = "labeltune.checkpoint/3"

KEPT = 2
"""Checkpoints kept: the newest, and one to fall back on."""


class Kept(NamedTuple):
    """What a checkpoint holds."""

    path: Path
    """Where it lies."""
    computed: dict[str, str]
    """How the run computed (device, precision, layout), which the recipe may leave to the machine."""
    state: dict[str, Any]
    """The state of the training loop."""

    def require(self, computed: Mapping[str, str]) -> None:
        """Raises UserError where it was computed otherwise than this run computes, as far as `computed` says."""
        then = {name: self.computed.get(name, "") for name in computed}
        if then != dict(computed):
            raise UserError(
                f"{self.path}: was computed with {_listed(then)}; now it would be {_listed(computed)}",
                "go on where it was begun, or start over: --fresh",
            )


class Checkpoints:
    """The checkpoints of one fine-tune, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, judged: int, computed: Mapping[str, str], state: Mapping[str, Any]) -> bool:
        """Keeps `state`, tensors and plain values, as the checkpoint behind that step and so many judged epochs; returns
        whether it could. A full disk is said and passed over: training goes on, and the newest one that was kept before
        stays."""
        stem = f"step-{step:08d}-{judged:04d}"
        tensors: dict[str, torch.Tensor] = {}
        plain = {"schema": SCHEMA, "computed": dict(computed), "state": _taken_apart(dict(state), tensors)}
        content = save(tensors, metadata={"checkpoint": json.dumps(plain)})
        try:
            try:
                self._write(stem, content)
            except OSError:
                self.prune(1)  # the room of an older one may do
                self._write(stem, content)
            self.prune(KEPT)
        except OSError as error:
            log.warning(f"no checkpoint at step {step}: {' '.join(str(error).split())[:200]}; training goes on")
            return False
        return True

    def load(self, accelerator: Accelerator) -> Optional[Kept]:
        """The newest one that is whole, the same on every process; None where there is none. Those that are damaged are said
        and set aside: they would take the places of better ones.

        Raises UserError where one cannot be read: that may pass, and it may be the best that there is."""
        kept = self._newest() if accelerator.is_main_process else None
        name = all_gather(accelerator, [kept.path.name if kept else ""])[0]
        if name and kept is None:
            kept = self._read(self.folder / name)
            if kept is None:
                raise UserError(
                    f"{self.folder / name}: holds for the main process what was written, and not here",
                    "see to it that all processes see the same disk, and run again",
                )
        return kept

    def there(self) -> bool:
        """Whether there is one."""
        return bool(self._files())

    def _newest(self) -> Optional[Kept]:
        for path in self._files():
            kept = self._read(path)
            if kept is not None:
                return kept
            path.rename(path.with_name(f"damaged-{path.name}"))
            log.warning(f"{path} does not hold what was written; it is passed over and called damaged-{path.name}")
        return None

    def _read(self, path: Path) -> Optional[Kept]:
        """What it holds; None where that is not what was written. Raises UserError where it cannot be read."""
        try:
            if not intact(path):
                return None
            with safe_open(str(path), framework="pt") as file:
                plain = json.loads(file.metadata()["checkpoint"])
            if plain["schema"] != SCHEMA:
                raise ValueError(f"its schema is {plain['schema']!r}")
            # read, not mapped: what is removed later must give its room back
            state = _put_together(plain["state"], load(path.read_bytes()))
        except Exception as error:  # what a file that is none raises is as varied as what it holds
            raise_if_asked()  # a signal can look like that
            if out_of_memory(error):
                raise
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(
                f"{path}: cannot be read: {reason}",
                "run again when it can be read; or remove it, and the one before it is used",
            ) from error
        return Kept(path, plain["computed"], state)

    def _write(self, stem: str, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        aside = self.folder / ".partial"
        aside.unlink(missing_ok=True)  # a link of that name would be followed
        try:
            with aside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            made = seal(aside, stem, ".checkpoint")
        except BaseException:
            aside.unlink(missing_ok=True)  # half of one takes room that the adapter may need
            raise
        for same in self.folder.glob(f"{stem}-*"):  # of the same place, older
            if same != made:
                same.unlink()

    def prune(self, kept: int) -> None:
        """Removes all but the newest ones."""
        for old in self._files()[kept:]:
            old.unlink()

    def _files(self) -> list[Path]:
        """Newest first."""
        return sorted((path for path in self.folder.glob(CHECKPOINTS) if path.is_file()), reverse=True)


def _taken_apart(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """The value as JSON can hold it, its tensors put aside into `tensors`. JSON has neither tuples nor keys that are numbers,
    and an optimizer has both: they are spelled out."""
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"items": [[key, _taken_apart(each, tensors)] for key, each in value.items()]}
    if isinstance(value, (list, tuple)):
        parts = [_taken_apart(each, tensors) for each in value]
        return {"tuple": parts} if isinstance(value, tuple) else parts
    return value


def _put_together(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """What `_taken_apart` was given."""
    if isinstance(value, list):
        return [_put_together(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, inside),) = value.items()
    if kind == "tensor":
        return tensors[inside]
    if kind == "tuple":
        return tuple(_put_together(each, tensors) for each in inside)
    return {key: _put_together(each, tensors) for key, each in inside}


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
