"""The answers of an ensemble: every member has scored each dev row alone, and the mean of their log-probabilities decides."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grading import contract
from runner.ensemble.mean import best, log_softmax, logarithms, mean_log_probabilities
from runner.ensemble.members import members_of
from runner.errors import DataError
from runner.stages import PREDICT, Stage, StageContext, require
from runner.system.files import write_atomic
from runner.system.fingerprint import Fingerprint
from runner.workspace.older_result import keep_older_result
from runner.workspace.runs import DEV_INPUTS

log = logging.getLogger("labeltune.ensemble")

AGAIN = "predict again: --stages predict --fresh"


class Answers:
    """The job of the predict stage of an ensemble: the predictions of all members → the result. It needs no model."""

    def __init__(self, context: StageContext) -> None:
        self.context = context
        places = [member.prediction_context for member in members_of(context)]
        self.predicted = [require(PREDICT, place) for place in places]
        self.files = [place.workspace.at(place.workspace.predictions) for place in places]
        made = [manifest.outputs[place.workspace.predictions] for manifest, place in zip(self.predicted, places)]
        first = self.predicted[0]
        self.inputs: Mapping[str, str] = {
            "recipe": context.recipe.digest(*ANSWERS.recipe_keys),
            "adapter": first.inputs["adapter"],
            "dev": first.inputs["dev"],
            "members": Fingerprint(predictions=made).digest,
        }

    def is_unfinished(self) -> bool:
        """Never: it starts over."""
        return False

    def run(self) -> Mapping[str, Any]:
        """Write the result and the predictions."""
        workspace, labels = self.context.workspace, self.context.recipe.task.labels
        if len({manifest.figures.get(DEV_INPUTS) for manifest in self.predicted}) > 1:
            raise DataError(f"{workspace.at(workspace.ensemble)}: the members have answered other dev rows", AGAIN)
        members = [_read(path) for path in self.files]
        answers = [combined(row, labels) for row in zip(*members)]
        lines = (json.dumps({"row": row, **answer}, ensure_ascii=False) + "\n" for row, answer in enumerate(answers, 1))
        keep_older_result(workspace, self.inputs["dev"])
        write_atomic(workspace.at(workspace.predictions), "".join(lines).encode())
        write_atomic(workspace.at(workspace.result), contract.format_result(answer["label"] for answer in answers))
        counts = dict(sorted(Counter(answer["label"] for answer in answers).items()))
        shown = ", ".join(f"{count} × {label}" for label, count in counts.items())
        log.info(f"{len(answers)} rows → {workspace.result} ({shown}): the mean of {len(members)} members")
        # at least the last digit: a resumed prediction may have had nothing left to do
        seconds = max(0.001, math.fsum(manifest.figures["predict_seconds"] for manifest in self.predicted))
        return {
            **self.predicted[0].figures,
            "answers": counts,
            "members": len(members),
            "predict_seconds": round(seconds, 3),
            "rows_per_second": round(len(answers) / seconds, 2),
        }

    def clean_up(self, ran: bool) -> None:
        """There is nothing to remove."""


def combined(members: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> dict[str, Any]:
    """One answer from the members' predictions of a row, as the predictions file has it.

    `members` in the answer: the label that each member would have given."""
    logs = [logarithms([member["probabilities"][label] for label in labels]) for member in members]
    mean = mean_log_probabilities(logs)
    probabilities = map(math.exp, log_softmax(mean))
    return {
        "label": labels[best(mean)],
        "probabilities": dict(zip(labels, probabilities)),
        "members": [member["label"] for member in members],
    }


def _read(path: Path) -> list[dict[str, Any]]:
    """A predictions file. Raises DataError where it is damaged."""
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})", AGAIN) from None


ANSWERS = Stage(
    "predict",
    (*PREDICT.recipe_keys, "ensemble"),
    lambda context: (context.workspace.result, context.workspace.predictions),
    Answers,
    loads_model=False,
)
"""The predict stage where the mean of all members answers."""
