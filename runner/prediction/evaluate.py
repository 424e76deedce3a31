"""Evaluate: the saved adapter answers the hold-out as it will answer the dev rows; what that says is written beside it."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grading.contract import label_set, measure
from grading.contract.language import english
from runner.data.decoding_needs import needs_swapped
from runner.data.records import Record, Records
from runner.evaluation import diagnosis
from runner.evaluation.baselines import MOST_ROWS, bag_of_words
from runner.evaluation.expected_points import expected_points
from runner.evaluation.holdout import HoldoutPrediction, kept_characters, row_key, write_holdout_predictions
from runner.evaluation.intervals import accuracy_interval, with_interval
from runner.evaluation.probability_metrics import measure_probabilities
from runner.language import mark, tr
from runner.model.base import Base
from runner.prediction.calibration import FOLDS, REPEATS, Decision, decide, uncalibrated
from runner.prediction.calibration_file import asks_for_calibration, write_calibration
from runner.prediction.classifier import Classifier
from runner.prediction.decoders import Scored
from runner.prediction.one_order import one_order, orders_words
from runner.prediction.prediction_file import Prediction
from runner.recipe.schema import LabelDecoding, Recipe
from runner.scoring.dataset import encode_orders
from runner.scoring.prompt import prompt_of
from runner.scoring.prompt_example import prompt_example
from runner.system.console import progress
from runner.system.files import write_atomic
from runner.system.shared_work import BAG_OF_WORDS, SharedWork
from runner.system.signals import deferred_signals, raise_if_asked
from runner.workspace.paths import EVALUATION, HOLDOUT_PREDICTIONS, PROMPT_EXAMPLE, Workspace

log = logging.getLogger("labeltune.evaluation")

SCHEMA = "labeltune.evaluation/1"


@dataclass(frozen=True)
class EvaluationJob:
    """An adapter to evaluate."""

    recipe: Recipe
    records: Records
    workspace: Workspace
    holdout: str
    """Digest of the hold-out file."""
    prepared: Mapping[str, Any]
    """The counts of the prepare stage."""
    trained: Mapping[str, Any]
    """The metrics of the finetune stage."""
    shared: SharedWork = field(default_factory=SharedWork)
    """What other runs have computed for this one."""


def evaluate(job: EvaluationJob, base: Base) -> Mapping[str, Any]:
    """Score the hold-out and write holdout_predictions.jsonl, prompt_example.json, evaluation.json and, where calibration helps,
    calibration.json.

    Returns the content of evaluation.json and the seconds. Raises UserError where the adapter does not fit the base, or was
    trained with another prompt."""
    started = time.perf_counter()
    labels, folder = job.recipe.task.labels, job.workspace.at(job.workspace.adapter)
    records = list(job.records.holdout)
    targets = [labels.index(record["output"]) for record in records]
    with deferred_signals(), Classifier(base, prompt_of(job.recipe, base), folder) as classifier:
        scored, lengths = _score(job, classifier, records)
        example = prompt_example(classifier.prompt, records[0]["input"], records[0]["output"])
        decision = _decide(job.recipe, scored, targets)
        before = [classifier.prediction(each) for each in scored]
    raise_if_asked()
    after = _out_of_fold(decision, labels) if decision.calibration else before
    evaluation = _evaluation(job, before, after, decision)
    evaluation["one_order"] = one_order(scored, targets)
    evaluation["baselines"] = _baselines(job, records)
    evaluation["excluded_rows"] = job.prepared["excluded_rows"]
    evaluation["expected_points"] = dataclasses.asdict(
        expected_points(evaluation["accuracy"], len(records), job.prepared["dev"])
    )
    rows = _rows(records, after, scored, lengths, decision.calibration is not None)
    write_holdout_predictions(folder / HOLDOUT_PREDICTIONS, rows)
    write_atomic(folder / PROMPT_EXAMPLE, (json.dumps(example, ensure_ascii=False) + "\n").encode())
    write_calibration(decision.calibration, labels, folder)
    write_atomic(folder / EVALUATION, (json.dumps(english(evaluation), indent=1, ensure_ascii=False) + "\n").encode())
    _report(job, evaluation)
    return {**evaluation, "seconds": round(time.perf_counter() - started, 3)}


def _rows(
    records: Sequence[Record],
    answers: Sequence[Prediction],
    scored: Sequence[Scored],
    lengths: Sequence[int],
    calibrated: bool,
) -> Iterator[HoldoutPrediction]:
    most = kept_characters(len(records))
    for number, (record, answer, each, tokens) in enumerate(zip(records, answers, scored, lengths), 1):
        text = record["input"]
        yield HoldoutPrediction(
            row=number,
            key=row_key(text),
            target=record["output"],
            label=answer.label,
            logits=_plain(each.logits.tolist()),
            probabilities=_plain(answer.probabilities.values()) if calibrated else (),
            text=text[:most],
            characters=len(text),
            tokens=tokens,
        )


def _score(job: EvaluationJob, classifier: Classifier, records: Sequence[Record]) -> tuple[list[Scored], Sequence[int]]:
    """The hold-out as prediction scores rows, and the tokens of each prompt.

    In batches of `train.batch_size`: these give the same answers, and are faster."""
    decoding = job.recipe.decoding
    if isinstance(decoding, LabelDecoding):
        decoding = dataclasses.replace(decoding, batch=max(decoding.batch, job.recipe.train.batch_size))
    # without targets: nothing is trained
    swapped = job.records.holdout_swapped if needs_swapped(decoding) else None
    dataset = dataclasses.replace(encode_orders(classifier.prompt, records, swapped, tr("hold-out")), targets=())
    found = []
    for each in progress(len(dataset), "evaluate", classifier.scores(decoding, dataset)):
        found.append(each._replace(logits=each.logits.cpu()))
        raise_if_asked()
    return found, [len(classifier.prompt.prefix) + length for length in dataset.lengths()]


def _decide(recipe: Recipe, scored: Sequence[Scored], targets: Sequence[int]) -> Decision:
    logits = [each.logits.tolist() for each in scored]
    if asks_for_calibration(recipe):
        return decide(logits, targets)
    return uncalibrated(logits, tr("decoding.calibration: none"))


def _out_of_fold(decision: Decision, labels: Sequence[str]) -> list[Prediction]:
    """Each row's answer by calibrations that were fitted without it: what is measured, compared and reported of the hold-out."""
    return [
        Prediction(labels[max(range(len(row)), key=row.__getitem__)], dict(zip(labels, row)))
        for row in decision.probabilities
    ]


def _evaluation(
    job: EvaluationJob, before: Sequence[Prediction], after: Sequence[Prediction], decision: Decision
) -> dict[str, Any]:
    """The content of evaluation.json up to the calibration. `before`, `after`: the hold-out's answers without and with it."""
    labels, calibration = job.recipe.task.labels, decision.calibration
    answers = [record["output"] for record in job.records.holdout]
    return {
        "schema": SCHEMA,
        "dataset": job.recipe.task.name,
        "holdout": job.holdout,
        "rows": len(answers),
        **_with_interval(_metrics(labels, answers, after), len(answers)),
        "uncalibrated": _with_interval(_metrics(labels, answers, before), len(answers)),
        "calibration": {
            "used": calibration is not None,
            "reason": decision.reason,
            "temperature": calibration.temperature if calibration else None,
            "bias": dict(zip(labels, calibration.bias)) if calibration else None,
            "folds": FOLDS if decision.gains else None,
            "repeats": REPEATS if decision.gains else None,
            "gains": {name: dataclasses.asdict(gain) for name, gain in decision.gains.items()},
        },
    }


def _metrics(labels: Sequence[str], answers: Sequence[str], predictions: Sequence[Prediction]) -> dict[str, float]:
    predicted = [each.label if each.label in labels else None for each in predictions]
    found = measure(answers, predicted, label_set(answers))
    probabilities = [list(each.probabilities.values()) for each in predictions]
    numbers = measure_probabilities(probabilities, [labels.index(answer) for answer in answers])
    return {"accuracy": found.accuracy, "mcc": found.mcc, "f1": found.f1, **dataclasses.asdict(numbers)}


def _with_interval(metrics: Mapping[str, float], rows: int) -> dict[str, Any]:
    """The metrics with the accuracy's interval after it."""
    interval = list(accuracy_interval(metrics["accuracy"], rows))
    return {"accuracy": metrics["accuracy"], "interval": interval, **metrics}


def _baselines(job: EvaluationJob, records: Sequence[Record]) -> dict[str, Any]:
    """Each baseline's accuracy on the hold-out, and what is known of it besides; those that cannot be computed are left out."""
    found: dict[str, Any] = {"majority": {"accuracy": job.trained["majority"]}}
    if "untuned" in job.trained:
        found["untuned"] = {name: job.trained["untuned"][name] for name in ("accuracy", "mcc", "f1", "loss")}
    total = sum(job.prepared["train"].values())
    train = ((record["input"], record["output"]) for record in job.records.train)
    held_out = [(record["input"], record["output"]) for record in records]
    key = f"{job.records.train.digest()} {job.holdout}"
    words = job.shared.once(BAG_OF_WORDS, key, lambda: bag_of_words(train, total, held_out))
    if words:
        found["bag_of_words"] = dataclasses.asdict(words)
        if total > MOST_ROWS:
            log.info(tr("the bag of words uses {rows:,} of {total:,} training rows", rows=words.rows, total=total))
    return found


NAMES = {"majority": mark("majority"), "untuned": mark("untuned"), "bag_of_words": mark("bag of words")}
"""The baselines in a list of accuracies, by their names in evaluation.json."""


def _report(job: EvaluationJob, evaluation: Mapping[str, Any]) -> None:
    """Log the evaluation for the user."""
    rows, baselines = evaluation["rows"], evaluation["baselines"]
    shown = [f"{tr(NAMES[name])} {with_interval(each['accuracy'], rows)}" for name, each in baselines.items()]
    log.info(
        tr(
            "hold-out accuracy, 95 % intervals: {shown}, adapter {accuracy}",
            shown=", ".join(shown),
            accuracy=with_interval(evaluation["accuracy"], rows),
        )
    )
    log.info(_probabilities(evaluation))
    if evaluation["one_order"]:
        log.info(orders_words(evaluation))
    if asks_for_calibration(job.recipe):
        used = tr("used") if evaluation["calibration"]["used"] else tr("not used")
        log.info(tr("calibration {used}: {reason}", used=used, reason=evaluation["calibration"]["reason"]))
    if evaluation["excluded_rows"]:
        log.info(
            tr(
                "{excluded_rows:,} labelled rows are excluded (samples.exclude), so this hold-out "
                "may be easier than the dev rows",
                excluded_rows=evaluation["excluded_rows"],
            )
        )
    diagnosis.warn_if_not_better(job.workspace, evaluation, job.trained, job.prepared)


def _probabilities(evaluation: Mapping[str, Any]) -> str:
    """The metrics of the probabilities, in words; with a calibration those without it, too."""
    after = {name: evaluation[name] for name in ("log_loss", "brier", "ece")}
    if not evaluation["calibration"]["used"]:
        return tr(
            "hold-out probabilities: log loss {log_loss:.3f}, Brier score {brier:.3f}, calibration error {ece:.3f}",
            **after,
        )
    return tr(
        "hold-out probabilities, before calibration → after, cross-validated: log loss {log_loss_before:.3f} → "
        "{log_loss:.3f}, Brier score {brier_before:.3f} → {brier:.3f}, calibration error {ece_before:.3f} → {ece:.3f}",
        **after,
        **{f"{name}_before": evaluation["uncalibrated"][name] for name in after},
    )


def _plain(values: Iterable[float]) -> tuple[float, ...]:
    """Short numbers: nine digits are exact for fp32."""
    return tuple(float(f"{value:.9g}") for value in values)
