"""The accelerator: Accelerate's handle on devices and processes."""

from __future__ import annotations

import os
from typing import Any

from accelerate import Accelerator

from runner.distributed.sharding import require_fully_shard
from runner.errors import UserError
from runner.language import tr


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
