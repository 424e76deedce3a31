"""The measurement: a short run of the recipe as it is, which says what a row costs on this device."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Optional, Union

from runner.data.decoding_needs import needs_swapped
from runner.errors import UserError
from runner.language import tr
from runner.recipe.schema import GenerateDecoding, LabelDecoding
from runner.search.plan import Measurement, Pace
from runner.search.runs import Runs
from runner.search.trials import Trial
from runner.stages import usable_rows
from runner.system.signals import OUT_OF_TIME, Stopped

log = logging.getLogger("labeltune.search")

STEPS = (10, 100)
"""Optimizer steps of the run. The second number is for devices that do the first ones in `ENOUGH` seconds: most of that time is
their start."""

ENOUGH = 5.0
"""Seconds of training that say what a row costs."""

LONGER = 0.25
"""Most of the time that is left for the longer run, as a share: the rest is for what is planned with the pace."""

ONE_AT_A_TIME = 3.0
"""Cost of predicting a row alone, as a multiple of scoring it in a batch."""


def measure(runs: Runs, seconds: float, asked: str) -> dict[str, Any]:
    """Measure, and return it as an event of the journal, which `measurement` reads.

    `asked`: the recipe's time in words. Raises UserError where `seconds` are over before."""
    started = time.monotonic()
    usable = usable_rows(runs.shared_context)
    train = runs.context.recipe.train
    pace: Optional[Pace] = None
    for steps in STEPS:
        trial = Trial(0, 0, {}, min(steps * train.batch_size * train.accumulation, usable.train), 1)
        share = 1.0 if pace is None else LONGER
        try:
            pace, training = runs.measure(trial, usable.holdout, share * (seconds - (time.monotonic() - started)))
        except Stopped as stopped:
            if stopped.code != 128 + OUT_OF_TIME:
                raise
            runs.remove(trial)
            break
        if training >= ENOUGH or trial.rows == usable.train:
            break
    if pace is None:
        raise UserError(
            tr("{asked} are over before the first {steps} steps are", asked=asked, steps=STEPS[0]),
            tr("give it more time"),
        )
    spent = round(time.monotonic() - started, 3)
    rows = {"rows": usable.train, "held_out": usable.holdout, "dev": usable.dev}
    # it is the first run of its process
    shared = {kind: round(each, 3) for kind, each in runs.context.shared.spent.items()}
    return {"event": "pace", **asdict(pace), **rows, "seconds": spent, "shared": shared}


def measurement(event: Mapping[str, Any], decoding: Union[LabelDecoding, GenerateDecoding]) -> Measurement:
    """The measurement in an event of the journal. `decoding`: the recipe's, which decides what prediction costs.

    The saved adapter scores the hold-out as it predicts, but label logits always in batches."""
    start, evaluate, held_out = event["start"], event["evaluate"], event["held_out"]
    orders = 2 if needs_swapped(decoding) else 1
    in_holdout = orders * (ONE_AT_A_TIME if isinstance(decoding, GenerateDecoding) else 1)
    in_dev = orders * (ONE_AT_A_TIME if isinstance(decoding, GenerateDecoding) or decoding.batch == 1 else 1)
    pace = Pace(event["train"], evaluate, start, held_out * evaluate * (in_holdout - 1))
    predict = start + event["dev"] * evaluate * in_dev
    log.info(
        tr("{train:,.1f} training rows a second; {rows:,} rows to train on", train=1 / pace.train, rows=event["rows"])
    )
    return Measurement(pace, event["rows"], held_out, predict)
