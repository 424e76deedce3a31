"""Predict: the saved adapter answers the dev records, in order, and one input at a time unless the recipe says otherwise."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from grading import contract
from grading.contract.results import UNPARSABLE
from runner.data.records import Record
from runner.errors import UserError
from runner.model.adapter import saved_adapter
from runner.model.base import Base
from runner.prediction.decoders import DECODERS
from runner.prediction.prediction_file import PartialPredictions, prediction_line
from runner.recipe.schema import LabelDecoding, Recipe
from runner.scoring.prompt import Prompt
from runner.scoring.proof import prove_head, subject_of
from runner.scoring.scorer import LabelScorer
from runner.system.console import progress
from runner.system.files import write_atomic
from runner.system.signals import deferred_signals, raise_if_asked
from runner.workspace.paths import Workspace

log = logging.getLogger("labeltune.prediction")

SHOWN_ANSWERS = 5
"""Unparsable answers shown to the user; all are in the predictions file."""


def predict(
    recipe: Recipe,
    base: Base,
    prompt: Prompt,
    dev: Iterable[Record],
    workspace: Workspace,
    identity: str,
) -> Mapping[str, Any]:
    """Writes the result file and, beside it, each row's label probabilities as JSON lines. Returns the figures.
    Rows that an unfinished prediction of the same `identity` has got through are not predicted again.

    Raises UserError where the adapter is missing, does not fit the base, or was trained with another prompt."""
    folder = workspace.at(workspace.adapter)
    check_prompt(prompt, folder)
    rows = prompt.encode(dev, "dev")
    if rows.truncated:
        log.info(f"{rows.truncated} dev inputs cut to prompt.max_length")
    decode = DECODERS[type(recipe.decoding)]
    computed = f"{identity} {base.model.device.type} {base.precision}"  # rows of two kinds would be of none
    unfinished = PartialPredictions(workspace.at(workspace.unfinished_predictions), computed)
    started = time.perf_counter()
    with deferred_signals(), saved_adapter(base, folder), torch.no_grad():
        scorer = LabelScorer(base.model, prompt.label_ids).eval()
        subject = subject_of(scorer, prompt)
        prove_head(subject, rows.suffixes[:1])
        size = recipe.decoding.batch if isinstance(recipe.decoding, LabelDecoding) else 1
        predictions = unfinished.read(size)  # whole batches: the same rows are computed together
        done = len(predictions)
        if done:
            log.info(f"resuming after row {done} of {len(rows.suffixes)}")
        answers = decode(recipe.decoding, subject, rows.suffixes, done)
        with unfinished.going_on(predictions) as keep:
            for row, answer in enumerate(progress(len(rows.suffixes), "predict", answers, done=done), done + 1):
                keep(row, prediction_line(row, answer))
                predictions.append(answer)
                raise_if_asked()
    seconds = time.perf_counter() - started
    write_atomic(
        workspace.at(workspace.predictions), b"".join(map(prediction_line, range(1, len(predictions) + 1), predictions))
    )
    write_atomic(workspace.at(workspace.result), contract.format_result(prediction.label for prediction in predictions))
    unfinished.remove()
    unparsable = [
        (row, prediction.text) for row, prediction in enumerate(predictions, 1) if prediction.label == UNPARSABLE
    ]
    for row, text in unparsable[:SHOWN_ANSWERS]:
        log.info(f"row {row}: {text!r} is no label; written as {UNPARSABLE}")
    counts = Counter(prediction.label for prediction in predictions)
    if unparsable:
        log.info(f"{len(unparsable)} of {len(predictions)} answers are no label; decoding.kind: label always gives one")
    log.info(
        f"{len(predictions)} rows → {workspace.result} ({', '.join(f'{n} × {label}' for label, n in sorted(counts.items()))})"
    )
    return {
        "rows": len(predictions),
        "answers": dict(sorted(counts.items())),
        "unparsable": len(unparsable),
        "truncated": rows.truncated,
        "predict_seconds": round(seconds, 3),
        "rows_per_second": round((len(predictions) - done) / seconds, 2),
    }


def check_prompt(prompt: Prompt, folder: Path) -> None:
    """Raises UserError where the adapter in `folder` was trained with another prompt, showing both."""
    try:
        trained = dict(json.loads((folder / "prompt.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{folder}: no prompt.json that says which prompt the adapter was trained with ({error})",
            "run the finetune stage: --stages finetune,predict",
        ) from None
    today = prompt.description()
    changed = [name for name in today if today[name] != trained.get(name)]
    if changed:
        shown = "\n".join(
            f"  {name}: trained with {trained.get(name)!r}\n  {' ' * len(name)}  now {today[name]!r}"
            for name in changed
        )
        raise UserError(
            f"{folder}: the adapter was trained with another prompt than the recipe's\n{shown}",
            "give the recipe the adapter's prompt again, or train anew: --stages finetune,predict",
        )
