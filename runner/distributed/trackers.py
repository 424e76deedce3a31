"""The experiment trackers: one row each of `TRACKERS`, started through Accelerate, with files outside what is handed in."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.errors import UserError
from runner.language import tr
from runner.recipe.schema import Recipe
from runner.system.packages import Package, require_packages

if TYPE_CHECKING:
    from accelerate import Accelerator

METRICS: Mapping[str, str] = {
    "epoch": "the epoch, from 1",
    "loss": "mean training loss of the last ten steps, in nats",
    "learning_rate": "the learning rate at this step",
    "rows_per_second": "training rows per second in the last ten steps",
    "holdout_accuracy": "accuracy on the hold-out after the epoch, 0 to 1",
    "holdout_mcc": "Matthews correlation on the hold-out, -1 to 1",
    "holdout_f1": "F1 on the hold-out, 0 to 1",
    "holdout_loss": "mean loss on the hold-out, in nats",
    "averaged_epochs": "how many epochs were averaged, with train.average_epochs",
}
"""The metrics that every tracker gets, by the names that they have in metrics.jsonl too."""


class RunPlace(NamedTuple):
    """Where a tracker puts a run."""

    project: str
    """The task's name: a project or an experiment."""
    name: str
    """The run's name."""
    folder: Path
    """A folder for files."""
    offline: bool
    """Whether the recipe forbids the network."""


class Tracker(NamedTuple):
    """A row of `TRACKERS`."""

    package: Package
    """What has to be installed."""
    arguments: Callable[[RunPlace], tuple[str, dict[str, Any]]]
    """The first argument of Accelerate's class, and the others."""
    accelerate: str = ""
    """The first version of Accelerate that has it."""


def _tensorboard(place: RunPlace) -> tuple[str, dict[str, Any]]:
    return place.name, {"logging_dir": str(place.folder / "tensorboard" / place.project)}


def _wandb(place: RunPlace) -> tuple[str, dict[str, Any]]:
    # its own variable, WANDB_MODE, decides where the recipe does not
    mode = {"mode": "offline"} if place.offline else {}
    return place.project, {"name": place.name, "dir": str(place.folder), **mode}


def _mlflow(place: RunPlace) -> tuple[str, dict[str, Any]]:
    # a server that the user has named stays
    os.environ.setdefault("MLFLOW_TRACKING_URI", (place.folder / "mlflow").resolve().as_uri())
    # MLflow 3 asks to be told that plain files are wanted
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    return place.project, {"run_name": place.name}


def _swanlab(place: RunPlace) -> tuple[str, dict[str, Any]]:
    mode = {"mode": "offline"} if place.offline else {}
    return place.project, {"experiment_name": place.name, "logdir": str(place.folder / "swanlab"), **mode}


TRACKERS: Mapping[str, Tracker] = {
    "tensorboard": Tracker(Package("tensorboard", "tensorboard", ""), _tensorboard),
    "wandb": Tracker(Package("wandb", "wandb", ""), _wandb),
    "mlflow": Tracker(Package("mlflow", "mlflow", ""), _mlflow),
    "swanlab": Tracker(Package("swanlab", "swanlab", ""), _swanlab, "1.8.0"),
}
"""Every tracker by its name in `train.trackers`."""


def require_trackers(recipe: Recipe) -> None:
    """Raise UserError, before any work, where a tracker's package is missing or Accelerate is too old for it."""
    for name in recipe.train.trackers:
        tracker = TRACKERS[name]
        require_packages((tracker.package,))
        if tracker.accelerate:
            require_packages((Package("accelerate", "accelerate", tracker.accelerate),))


def run_name(recipe: Recipe, now: str) -> str:
    """A name that says what is special about a run: `QQP_gemma-2b_r16_lr0.0002_2ep_seed0_20261128-140145`."""
    base = re.sub(r"[^\w.-]+", "-", Path(recipe.base.rstrip("/\\")).name or recipe.base)
    rate = recipe.train.learning_rate
    shown = rate if isinstance(rate, str) else f"{rate:g}"
    train = f"r{recipe.lora.r}_lr{shown}_{recipe.train.epochs}ep_seed{recipe.train.seed}"
    return f"{recipe.task.name}_{base}_{train}_{now}"


@contextmanager
def tracked(accelerator: Accelerator, recipe: Recipe, folder: Path) -> Iterator[None]:
    """Start the recipe's trackers for the length of the block, and finish them, whatever happens in it.

    `folder`: for their files. Raises UserError where one does not start."""
    if not recipe.train.trackers:
        yield
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    place = RunPlace(
        recipe.task.name, run_name(recipe, time.strftime("%Y%m%d-%H%M%S", time.gmtime())), folder, recipe.offline
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name in recipe.train.trackers:
        first, others = TRACKERS[name].arguments(place)
        try:
            # each by itself: they mean different things by the name of a project
            accelerator.log_with = [LOGGER_TYPE_TO_CLASS[name](first, **others)]
            started, accelerator.trackers = accelerator.trackers, []
            accelerator.init_trackers(recipe.task.name, config=_settings(recipe))
            accelerator.trackers = [*started, *accelerator.trackers]
        # an account that is missing, a server that does not answer: each library has its own errors
        except Exception as error:
            raise UserError(
                tr(
                    "train.trackers: {name} does not start: {error}",
                    name=name,
                    error=" ".join(str(error).split())[:300] or type(error).__name__,
                ),
                tr("log in as its documentation says, set offline: true, or leave it out"),
            ) from error
    try:
        yield
    finally:
        # not `end_training`, which newer versions let disconnect the processes too
        for tracker in accelerator.trackers:
            tracker.finish()
        accelerator.trackers = []


def _settings(recipe: Recipe) -> dict[str, Any]:
    """The recipe's plain values, by their dotted keys."""
    found = {
        f"{block}.{key}": value
        for block in ("samples", "lora", "train")
        for key, value in dataclasses.asdict(getattr(recipe, block)).items()
        if isinstance(value, (int, float, str, bool))
    }
    return {"base": recipe.base, "instruction": recipe.instruction, **found}
