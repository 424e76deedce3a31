"""The accelerator: Accelerate's handle on devices, processes and trackers."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

from runner.distributed.sharding import require_fully_shard
from runner.errors import UserError
from runner.language import tr
from runner.recipe.schema import Recipe


def connect(**settings: Any) -> Accelerator:
    """An accelerator that knows every process of the launch.

    Mixed precision stays off whatever the launcher's configuration says: the recipe decides the type of the weights, and
    bf16 autocast computes Gemma's rotary positions wrongly on transformers 4.38.
    Raises UserError where Accelerate does not connect all processes that were started, because each would act as the main
    process; and where the launcher asks for a library that is not installed, or for FSDP 1."""
    require_fully_shard()
    try:
        accelerator = Accelerator(mixed_precision="no", **settings)
    except ImportError as error:
        text = " ".join(str(error).split())[:200]
        raise UserError(
            tr("the launcher's configuration: {text}", text=text), tr("install it, or launch without it")
        ) from error
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != started:
        raise UserError(
            tr(
                "{started} processes were started, Accelerate joins {num_processes} on {device}",
                started=started,
                num_processes=accelerator.num_processes,
                device=accelerator.device,
            ),
            tr("without a GPU for each, set ACCELERATE_USE_CPU=true, or start one process"),
        )
    return accelerator


def accelerator_for(recipe: Recipe, folder: Path) -> Accelerator:
    """An accelerator for one fine-tune, its trackers started. Trackers that write files write them into `folder`.

    Raises UserError for a tracker that is not installed, and as `connect` does."""
    available = sorted(str(tracker) for tracker in get_available_trackers())
    for name in recipe.train.trackers:
        if name not in available:
            installed = ", ".join(available) or tr("none")
            raise UserError(
                tr("train.trackers: {name} is not installed; installed: {installed}", name=name, installed=installed),
                f"pip install {name}",
            )
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
