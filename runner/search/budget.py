"""The budget: `samples.train: 40m` becomes the number of rows for which a whole run takes that time on this device.

The number is found once and recorded: the same command resumes with it, and changes nothing when it is repeated.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
import time
from typing import Any

from runner.errors import UserError
from runner.language import tr
from runner.recipe.duration import Duration
from runner.recipe.loader import LoadedRecipe
from runner.recipe.schema import Recipe
from runner.search.inputs import identity, load_shared_base, require_one_process
from runner.search.journal import Journal
from runner.search.measure import measure, measurement
from runner.search.plan import EXTRA_EVALUATIONS, SAFETY, Measurement, last_run
from runner.search.runs import Runs
from runner.stages import FINETUNE, PREPARE, StageContext
from runner.system.console import log_context

log = logging.getLogger("labeltune.search")


def within_budget(
    loaded: LoadedRecipe, context: StageContext, measures_again: bool
) -> tuple[LoadedRecipe, StageContext]:
    """The recipe with the number of rows that fit into its `samples.train`, a time, and the context to run it in.

    `measures_again`: whether a number that was found before is forgotten.
    Raises UserError where there are several processes, or where the time is too short for one batch."""
    require_one_process("samples.train")
    workspace = context.workspace
    folder = workspace.at(workspace.searches) / f"rows-{identity(context, *PREPARE.recipe_keys, *FINETUNE.recipe_keys)}"
    with log_context(f"{workspace.dataset} budget"):
        if measures_again:
            shutil.rmtree(folder, ignore_errors=True)
        journal = Journal(folder / "journal.jsonl")
        event = journal.find("rows")
        if event is None:
            event = _decide(Runs(context, folder))
            journal.add(event)
        log.info(event["reason"])
    samples = dataclasses.replace(context.recipe.samples, train=event["rows"])
    recipe = dataclasses.replace(context.recipe, samples=samples)
    return LoadedRecipe(loaded.path, recipe), dataclasses.replace(context, recipe=recipe, note=event["reason"])


def fitting_rows(measured: Measurement, recipe: Recipe, spent: float) -> int:
    """The number of rows for which a run takes the recipe's time, of which some seconds are spent.

    Raises UserError where there is no time for one batch."""
    budget, pace, epochs = recipe.samples.train, measured.pace, recipe.train.epochs
    assert isinstance(budget, Duration)
    besides = spent + measured.predict
    rows, _ = last_run(budget.seconds - besides, measured, recipe.train, most=epochs)
    least = min(max(recipe.train.batch_size, len(recipe.task.labels)), measured.rows)
    if rows < least:
        run = pace.seconds(least * epochs, measured.held_out * (epochs + EXTRA_EVALUATIONS))
        raise UserError(
            tr(
                "samples.train: {budget} is too short for one batch of {least} rows: with the "
                "measurement, the hold-out and the dev rows it takes about {besides:.0f} s",
                budget=budget,
                least=least,
                besides=besides + run / SAFETY,
            ),
            tr("give it more time, or lower train.epochs, samples.holdout or samples.dev"),
        )
    return rows


def _decide(runs: Runs) -> dict[str, Any]:
    """Measure, and return the number of rows as an event of the journal."""
    started, recipe, budget = time.monotonic(), runs.context.recipe, runs.context.recipe.samples.train
    assert isinstance(budget, Duration)
    load_shared_base(runs.context)
    asked = f"samples.train: {budget}"
    event = measure(runs, budget.seconds - (time.monotonic() - started), asked)
    measured = measurement(event, recipe.decoding)
    runs.clear_store()
    rows = fitting_rows(measured, recipe, time.monotonic() - started)
    what = (
        tr("all {rows:,} rows fit", rows=rows)
        if rows == measured.rows
        else tr("{rows:,} of {measured_rows:,} rows fit", rows=rows, measured_rows=measured.rows)
    )
    speed = tr("{train:,.1f} training rows a second", train=1 / measured.pace.train)
    return {
        "event": "rows",
        "rows": rows,
        "reason": tr(
            "{asked}: {what}; {speed}, train.epochs: {epochs}",
            asked=asked,
            what=what,
            speed=speed,
            epochs=recipe.train.epochs,
        ),
    }
