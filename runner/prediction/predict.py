"""Predict: the saved adapter answers the dev records, in order, and one input at a time unless the recipe says otherwise."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from grading import contract
from grading.contract.results import UNPARSABLE
from runner.data.decoding_needs import needs_swapped
from runner.data.records import Records
from runner.evaluation.dev_score import score_predictions
from runner.language import tr
from runner.model.base import Base
from runner.prediction.calibration_file import calibration_for
from runner.prediction.classifier import Classifier
from runner.prediction.decoders import batch_size
from runner.prediction.prediction_file import PartialPredictions, Prediction, prediction_line
from runner.recipe.schema import Recipe
from runner.scoring.dataset import EncodedDataset, encode_orders
from runner.scoring.prompt import prompt_of
from runner.system.console import progress
from runner.system.files import write_atomic
from runner.system.signals import deferred_signals, raise_if_asked
from runner.workspace.paths import CALIBRATION, Workspace

log = logging.getLogger("labeltune.prediction")

SHOWN_ANSWERS = 5
"""Unparsable answers that are logged; all are in the predictions file."""


def predict(recipe: Recipe, base: Base, records: Records, workspace: Workspace, identity: str) -> Mapping[str, Any]:
    """Write the labels of the dev records and, beside them, each row's label probabilities as JSON lines; return the statistics.

    Rows that an unfinished prediction of the same `identity` has predicted are not predicted again.
    Raises UserError where the adapter is missing, does not fit the base, or was trained with another prompt."""
    prompt = prompt_of(recipe, base)
    swapped = records.dev_swapped if needs_swapped(recipe.decoding) else None
    rows = encode_orders(prompt, records.dev, swapped, "dev")
    if rows.truncated:
        log.info(tr("{truncated} dev inputs cut to prompt.max_length", truncated=rows.truncated))
    # never mix rows computed on different devices or in different precisions in one result
    computed = f"{identity} {base.model.device.type} {base.precision}"
    unfinished = PartialPredictions(workspace.at(workspace.unfinished_predictions), computed)
    started = time.perf_counter()
    folder = workspace.at(workspace.adapter)
    calibration = calibration_for(recipe, folder)
    if calibration:
        log.info(tr("calibrated with {calibration} of the evaluate stage", calibration=CALIBRATION))
    with deferred_signals(), Classifier(base, prompt, folder, calibration) as classifier:
        predictions, resumed = _answer(classifier, recipe, rows, unfinished)
    seconds = time.perf_counter() - started
    lines = map(prediction_line, range(1, len(predictions) + 1), predictions)
    write_atomic(workspace.at(workspace.predictions), b"".join(lines))
    write_atomic(workspace.at(workspace.result), contract.format_result(prediction.label for prediction in predictions))
    unfinished.remove()
    counts = dict(sorted(Counter(prediction.label for prediction in predictions).items()))
    _log_summary(predictions, counts, workspace)
    score = score_predictions(workspace, recipe.task.labels, [prediction.label for prediction in predictions])
    return {
        **score,
        "rows": len(predictions),
        "answers": counts,
        "unparsable": counts.get(UNPARSABLE, 0),
        "truncated": rows.truncated,
        "predict_seconds": round(seconds, 3),
        "rows_per_second": round((len(predictions) - resumed) / seconds, 2),
    }


def _answer(
    classifier: Classifier, recipe: Recipe, rows: EncodedDataset, unfinished: PartialPredictions
) -> tuple[list[Prediction], int]:
    """Predict the rows that `unfinished` does not hold, and add them to it; return all, and how many it held."""
    # whole batches: the same rows are computed together
    predictions = unfinished.read(batch_size(recipe.decoding))
    done, total = len(predictions), len(rows)
    if done:
        log.info(tr("resuming after row {done} of {total}", done=done, total=total))
    answers = classifier.answers(recipe.decoding, rows, done)
    with unfinished.resume(predictions) as keep:
        for row, answer in enumerate(progress(total, "predict", answers, done=done), done + 1):
            keep(row, prediction_line(row, answer))
            predictions.append(answer)
            raise_if_asked()
    return predictions, done


def _log_summary(predictions: Sequence[Prediction], counts: Mapping[str, int], workspace: Workspace) -> None:
    unparsable = [(row, each.text) for row, each in enumerate(predictions, 1) if each.label == UNPARSABLE]
    for row, text in unparsable[:SHOWN_ANSWERS]:
        log.info(
            tr("row {row}: {text!r} is not a label; written as {unparsable}", row=row, text=text, unparsable=UNPARSABLE)
        )
    if unparsable:
        log.info(
            tr(
                "{unparsable_count} of {predictions_count} answers are not labels; decoding.kind: "
                "label always gives one",
                unparsable_count=len(unparsable),
                predictions_count=len(predictions),
            )
        )
    shown = ", ".join(f"{count} × {label}" for label, count in counts.items())
    log.info(
        tr(
            "{predictions_count} rows → {result} ({shown})",
            predictions_count=len(predictions),
            result=workspace.result,
            shown=shown,
        )
    )
