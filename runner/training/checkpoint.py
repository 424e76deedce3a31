"""Checkpoints: the state that makes a resumed run bit-identical to an uninterrupted one.

A safetensors file: tensors by name, and in its header the plain values as JSON. Nothing in it can run code, whoever
wrote it. It is written under another name, flushed to disk, and then named by the digest of its content: a damaged one
is recognised. The last two are kept: where the newest is damaged, the one before it is used.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import load, save

from runner.distributed.collectives import all_gather
from runner.errors import UserError
from runner.language import tr
from runner.system.content_store import ContentStore, intact
from runner.system.fingerprint import Fingerprint
from runner.system.memory import is_out_of_memory
from runner.system.signals import StopRequest
from runner.training.resume import CHECKPOINTS

log = logging.getLogger("labeltune.training")

SCHEMA = "labeltune.checkpoint/5"

KEPT_CHECKPOINTS = 2
"""The newest one, and one to fall back on."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint."""

    computed: Mapping[str, str]
    """How the run computes (device, precision, layout), which the recipe may leave to the machine."""
    values: Mapping[str, Any]
    """Plain values for JSON, by name."""
    tensors: Mapping[str, torch.Tensor]
    """Tensors by name; a `/` separates groups, as in `optimizer/exp_avg/<parameter>`."""

    def group(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors whose names begin with `name/`, by the rest of their names."""
        start = f"{name}/"
        return {each[len(start) :]: tensor for each, tensor in self.tensors.items() if each.startswith(start)}

    def to_bytes(self) -> bytes:
        """The file's content."""
        plain = {"schema": SCHEMA, "computed": dict(self.computed), "values": dict(self.values)}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        return bytes(save(tensors, metadata={"checkpoint": json.dumps(plain)}))


class LoadedCheckpoint(NamedTuple):
    """A checkpoint and where it was found."""

    path: Path
    content: Checkpoint

    def require(self, computed: Mapping[str, str]) -> None:
        """Raise UserError where it was computed differently from `computed`, as far as that says."""
        difference = Fingerprint(computed).diff({name: self.content.computed.get(name) for name in computed})
        if difference:
            raise UserError(
                tr("{path}: the run computed differently\n{difference}", path=self.path, difference=difference),
                tr("resume it on the machine where it was started, or start over: --fresh"),
            )


class CheckpointPolicy:
    """When to save a checkpoint: after so many minutes, after every epoch, and before the run stops."""

    def __init__(self, minutes: float, stop: StopRequest) -> None:
        self.seconds, self.stop = 60 * minutes, stop
        self.saved()

    def is_due(self, epoch_ended: bool) -> bool:
        """Whether to save one now."""
        return epoch_ended or bool(self.stop.number) or time.perf_counter() - self._last > self.seconds

    def saved(self) -> None:
        """Start to count the minutes again."""
        self._last = time.perf_counter()


class Checkpoints:
    """The checkpoints of one fine-tune, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, epochs: int, content: Checkpoint) -> bool:
        """Save the checkpoint after `step` steps and `epochs` evaluated epochs; returns whether that was possible. A full
        disk is only logged: training continues, and the newest checkpoint stays."""
        stem, data = f"step-{step:08d}-{epochs:04d}", content.to_bytes()
        try:
            try:
                self._write(stem, data)
            except OSError:
                self.prune(1)  # without the older one there may be room
                self._write(stem, data)
            self.prune(KEPT_CHECKPOINTS)
        except OSError as error:
            log.warning(
                tr(
                    "no checkpoint at step {step}: {error}; training continues",
                    step=step,
                    error=" ".join(str(error).split())[:200],
                )
            )
            return False
        return True

    def load(self, accelerator: Accelerator) -> Optional[LoadedCheckpoint]:
        """The newest checkpoint that is not damaged, the same on every process; None where there is none. A damaged one is
        logged and renamed, so that it does not take the place of a better one.

        Raises UserError where one cannot be read: that may pass, and it may be the best one."""
        found = self._newest() if accelerator.is_main_process else None
        name = all_gather(accelerator, [found.path.name if found else ""])[0]
        if name and found is None:
            found = self._read(self.folder / name)
            if found is None:
                raise UserError(
                    tr("{folder}: this process does not read what the main process reads", folder=self.folder / name),
                    tr("make sure that all processes see the same disk, and run again"),
                )
        return found

    def exist(self) -> bool:
        """Whether there is one."""
        return bool(self._files())

    def prune(self, count: int) -> None:
        """Remove all but the newest `count`."""
        for old in self._files()[count:]:
            old.unlink()

    def _newest(self) -> Optional[LoadedCheckpoint]:
        for path in self._files():
            found = self._read(path)
            if found is not None:
                return found
            path.rename(path.with_name(f"damaged-{path.name}"))
            log.warning(
                tr("{path} is damaged: it is not used, and renamed to damaged-{name}", path=path, name=path.name)
            )
        return None

    def _read(self, path: Path) -> Optional[LoadedCheckpoint]:
        """Its content; None where it is damaged. Raises UserError where it cannot be read."""
        try:
            if not intact(path):
                return None
            with safe_open(str(path), framework="pt") as file:
                plain = json.loads(file.metadata()["checkpoint"])
            if plain["schema"] != SCHEMA:
                raise ValueError(f"its schema is {plain['schema']!r}")
            # read, not mapped: a file that is removed later must give its room back
            return LoadedCheckpoint(path, Checkpoint(plain["computed"], plain["values"], load(path.read_bytes())))
        except Exception as error:  # a foreign file can raise anything
            if is_out_of_memory(error):
                raise
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(
                tr("{path}: cannot be read: {reason}", path=path, reason=reason),
                tr("run again when it can be read; or remove it, and the checkpoint before it is used"),
            ) from error

    def _write(self, stem: str, data: bytes) -> None:
        written = ContentStore(self.folder, ".checkpoint").put(stem, lambda path: path.write_bytes(data))
        for older in self.folder.glob(f"{stem}-*"):  # after the same step
            if older != written:
                older.unlink()

    def _files(self) -> list[Path]:
        """Newest first."""
        return sorted((path for path in self.folder.glob(CHECKPOINTS) if path.is_file()), reverse=True)
