"""The inputs of measured runs: what they depend on, and the base that all of them share."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from runner.data.sampling import DRAW
from runner.distributed.processes import process_count
from runner.errors import UserError
from runner.language import tr
from runner.stages import PREPARE, StageContext
from runner.system.fingerprint import Fingerprint

log = logging.getLogger("labeltune.search")


def identity(context: StageContext, *keys: str) -> str:
    """Digest of the recipe, or some of its keys, the base, the data and the draw; without the code: a search continues with a
    corrected version, if it draws the same rows."""
    recipe = context.recipe
    inputs = {
        **PREPARE.job(context).inputs,
        "recipe": recipe.digest(*keys),
        "base": context.bases.digest(recipe),
        "draw": str(DRAW),
    }
    return Fingerprint(inputs).digest[:16]


def comparable(context: StageContext, space: Mapping[str, Sequence[Any]]) -> str:
    """Digest of what a trial's result depends on, besides its changes and its length: equal on every machine with the same
    recipe, base and data, wherever their files are."""
    recipe = context.recipe
    settings = recipe.flat("task", "instruction", "prompt", "samples", "lora", "train", "decoding")
    paths = ("task.train", "task.dev", "samples.exclude")
    data = {name: value for name, value in PREPARE.job(context).inputs.items() if name != "recipe"}
    inputs = {
        "settings": {key: value for key, value in settings.items() if key not in paths},
        "space": {key: list(values) for key, values in space.items()},
        "data": data,
        "draw": DRAW,
        "base": context.bases.digest(recipe),
    }
    return Fingerprint(inputs).digest[:16]


def load_shared_base(context: StageContext) -> None:
    """Load torch, and the base that all runs share."""
    from runner.distributed.accelerator import connect

    log.info(tr("loading torch and the base"))
    context.bases.load(context.recipe, connect().device)


def require_one_process(asked: str) -> None:
    """Raise UserError where several processes train one adapter together. `asked`: the key that needs one."""
    if process_count() > 1:
        raise UserError(
            tr("{asked}: several processes train one adapter together, and this needs only one", asked=asked),
            tr("launch it with --num_processes 1, or without accelerate: python runner/main.py …"),
        )
