"""The steps of a training: how many a run has, and how many the probe of learning rates before it."""

from __future__ import annotations

import math

from runner.recipe.schema import Train

TRIED = 4
"""Learning rates that a probe tries."""

MOST_STEPS, FEWEST_STEPS = 32, 8
"""Optimizer steps at each rate. Where the run is too short for the fewest, nothing is probed."""

MOST_SHARE = 0.1
"""The steps at all rates together, as a share of the run's."""

MOST_ROWS = 256
"""Rows of the hold-out that the rates are compared on."""


def steps_of(config: Train, rows: int) -> int:
    """The optimizer steps of all epochs over so many rows."""
    return config.epochs * math.ceil(rows / (config.batch_size * config.accumulation))


def probe_steps(config: Train, rows: int) -> int:
    """The optimizer steps of a probe at each rate; 0 where the recipe names its rate, or the run is too short."""
    if config.learning_rate != "auto":
        return 0
    total = steps_of(config, rows)
    steps = min(MOST_STEPS, int(MOST_SHARE * total / TRIED), total // config.epochs)
    return steps if steps >= FEWEST_STEPS else 0
