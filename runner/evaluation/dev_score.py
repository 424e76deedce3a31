"""The score of the predictions, where the labels of the dev rows are known. The only module that reads these labels back."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from grading.contract.metrics import Metrics, measure
from runner.errors import DataError
from runner.language import tr
from runner.system.files import write_atomic
from runner.workspace.paths import Workspace

log = logging.getLogger("labeltune.evaluation")

SCHEMA = "labeltune.score/1"

SHOWN_LABELS = 12
"""Most labels of a confusion table that is logged; the file has it in any case."""


def score_predictions(workspace: Workspace, labels: Sequence[str], predicted: Sequence[str]) -> Mapping[str, Any]:
    """Compare the predictions with the labels of the dev rows, log the metrics and write them; return accuracy, MCC and F1.

    Without known labels nothing is written or returned, and the score of an earlier run is removed.
    Raises DataError where the labels are not those of the predicted rows."""
    path = workspace.at(workspace.score)
    try:
        answers = json.loads(workspace.at(workspace.dev_answers).read_bytes())
    except FileNotFoundError:
        path.unlink(missing_ok=True)
        return {}
    if len(answers) != len(predicted):
        raise DataError(
            tr(
                "{dev_answers}: expected {predicted_count} labels, found {answers_count}",
                dev_answers=workspace.dev_answers,
                predicted_count=len(predicted),
                answers_count=len(answers),
            ),
            tr("run the prepare stage again: --stages prepare --fresh"),
        )
    known = [(answer, label) for answer, label in zip(answers, predicted) if answer is not None]
    ordered = sorted(labels)
    right, given = [answer for answer, _ in known], [label if label in labels else None for _, label in known]
    metrics = measure(right, given, ordered)
    write_atomic(
        path, (json.dumps(_tree(metrics, ordered, len(answers)), indent=1, ensure_ascii=False) + "\n").encode()
    )
    for line in _lines(metrics, ordered):
        log.info(line)
    log.info(tr("written: {score}", score=workspace.score))
    return {"score": {"rows": metrics.rows, "accuracy": metrics.accuracy, "mcc": metrics.mcc, "f1": metrics.f1}}


def _tree(metrics: Metrics, labels: Sequence[str], rows: int) -> Mapping[str, Any]:
    return {
        "schema": SCHEMA,
        "rows": metrics.rows,
        "rows_without_label": rows - metrics.rows,
        "correct": metrics.correct,
        "accuracy": metrics.accuracy,
        "interval_95": list(metrics.interval),
        "mcc": metrics.mcc,
        "f1": metrics.f1,
        "f1_of": _f1_of(labels),
        "majority": metrics.majority,
        "labels": list(labels),
        "confusion": [list(row) for row in metrics.confusion],
    }


def _f1_of(labels: Sequence[str]) -> str:
    return labels[-1] if len(labels) == 2 else "mean over labels"


def _lines(metrics: Metrics, labels: Sequence[str]) -> Iterator[str]:
    low, high = metrics.interval
    mean = tr("F1 of {labels}", labels=labels[-1]) if len(labels) == 2 else tr("F1, mean over labels,")
    yield (
        tr(
            "score on {rows:,} labelled rows: accuracy {accuracy:.2%} (95%: {low:.1%} to "
            "{high:.1%}); MCC {mcc:.3f}; {mean} {f1:.3f}; always the most frequent label: "
            "{majority:.2%}",
            rows=metrics.rows,
            accuracy=metrics.accuracy,
            low=low,
            high=high,
            mcc=metrics.mcc,
            mean=mean,
            f1=metrics.f1,
            majority=metrics.majority,
        )
    )
    if len({row for row, counts in enumerate(metrics.confusion) if sum(counts)}) == 1:
        yield tr("all these rows have the same label: if it only fills the column, the score means nothing")
    if len(labels) > SHOWN_LABELS:
        return
    for label, counts in zip(labels, metrics.confusion):
        found = [
            tr("{count:,} as {name}", count=count, name=name)
            for name, count in zip([*labels, tr("no label")], counts)
            if count
        ]
        yield tr(
            "of {counts:,} rows with label {label}: {found}",
            counts=sum(counts),
            label=label,
            found=", ".join(found) or tr("none"),
        )
