"""The accelerator: Accelerate's handle on devices, processes and trackers."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedType

from runner.errors import UserError
from runner.recipe import Recipe

_WHOLE_MODEL = tuple(
    kind
    for kind in DistributedType
    if not any(part in kind.value.upper() for part in ("FSDP", "DEEPSPEED", "MEGATRON"))
)
"""Ways to launch in which every process holds the whole model. Of an adapter there is little to split, and its file, its
checkpoints and the best epoch are taken from one process."""


def connect(**settings: Any) -> Accelerator:
    """An accelerator that knows every process of the launch.

    Mixed precision stays off whatever the launcher's configuration says: the weights have the type that the recipe
    wants, and bf16 autocast computes Gemma's rotary positions wrongly on transformers 4.38.
    Raises UserError where processes were started that Accelerate does not join: each would take itself for the main one;
    and where the launcher splits the model."""
    accelerator = Accelerator(mixed_precision="no", **settings)
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != started:
        raise UserError(
            f"{started} processes were started, Accelerate joins {accelerator.num_processes} on {accelerator.device}",
            "without a GPU for each, set ACCELERATE_USE_CPU=true, or start one process",
        )
    if accelerator.distributed_type not in _WHOLE_MODEL:
        raise UserError(
            f"the launcher asks for {accelerator.distributed_type.value}, which splits the model over processes",
            "let each process hold the whole model: recipes/accelerate/ddp.yaml; a batch that does not fit takes "
            "train.gradient_checkpointing: true, or a smaller train.batch_size with more train.accumulation",
        )
    return accelerator


def accelerator_for(recipe: Recipe, folder: Path) -> Accelerator:
    """An accelerator for one fine-tune, its trackers started. Trackers that keep files keep them in `folder`.

    Raises UserError for a tracker that is not installed, and as `connect` does."""
    available = sorted(str(tracker) for tracker in get_available_trackers())
    for name in recipe.train.trackers:
        if name not in available:
            there = ", ".join(available) or "none"
            raise UserError(f"train.trackers: {name} is not installed; installed are: {there}", f"pip install {name}")
    accelerator = connect(log_with=list(recipe.train.trackers) or None, project_dir=str(folder))
    if recipe.train.trackers:
        numbers = {
            f"{block}.{key}": value
            for block in ("samples", "lora", "train")
            for key, value in dataclasses.asdict(getattr(recipe, block)).items()
            if isinstance(value, (int, float, str, bool))
        }
        accelerator.init_trackers(recipe.task.name, config=numbers)
    return accelerator
