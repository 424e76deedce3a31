"""The cross-fitted runs: an adapter for each fold, trained on the other folds, and what it says about the rows of its own.

Each one is prepared, fine-tuned and evaluated by the ordinary stages, in a workspace of its own, on one loaded base.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.data.folds import Fold
from runner.data.prepare import LabelledRow
from runner.data.sources import table_changed
from runner.distributed.processes import is_main_process
from runner.evaluation.contradiction import ScoredRow
from runner.evaluation.holdout import read_holdout_predictions
from runner.evaluation.intervals import with_interval
from runner.evaluation.log_probabilities import log_softmax
from runner.language import tr
from runner.side_run import run_aside
from runner.stages import EVALUATE, FINETUNE, Prepare, StageContext, prepare_around
from runner.system.console import log_context, quiet
from runner.system.fingerprint import Fingerprint
from runner.workspace.paths import HOLDOUT_PREDICTIONS, Workspace

log = logging.getLogger("labeltune.doubtful")


@dataclass(frozen=True)
class CrossFit:
    """The runs of one recipe, one for each fold."""

    context: StageContext
    """The recipe, its workspace and the bases."""
    folds: int
    """The number of runs."""

    @functools.cached_property
    def files(self) -> Prepare:
        """The files of the task, opened once."""
        return Prepare(self.context)

    @functools.cached_property
    def folder(self) -> Path:
        """The folder of these runs: one for all that they depend on, without the code."""
        recipe, own = self.context.recipe, self.context.workspace
        inputs = {**self.files.inputs, "recipe": recipe.digest(), "base": self.context.bases.digest(recipe)}
        return own.at(own.doubtful) / Fingerprint(inputs, folds=self.folds).digest[:16]

    def run(self) -> None:
        """Run every fold that has not finished. All processes of a launch take part."""
        for number in range(1, self.folds + 1):
            fold, workspace = Fold(number, self.folds), self._workspace(number)
            context = dataclasses.replace(self.context, workspace=workspace, fresh=False, keeps_runs=False)
            with log_context(f"{workspace.dataset} doubtful: fold {number} of {self.folds}"):
                if not workspace.manifest(EVALUATE.name).exists():
                    log.info(tr("an adapter is trained on the other folds"))
                with quiet():
                    run_aside((prepare_around(fold), FINETUNE, EVALUATE), context)
                if is_main_process():
                    self._report(workspace)

    def scored(self, rows: Sequence[LabelledRow]) -> list[ScoredRow]:
        """The drawn rows among `rows`, as their folds' adapters scored them. Raises DataError where they are not the rows that
        were scored."""
        found = []
        for number in range(1, self.folds + 1):
            own = [row for row in rows if row.fold == number]
            workspace = self._workspace(number)
            predictions = read_holdout_predictions(workspace.at(workspace.adapter) / HOLDOUT_PREDICTIONS)
            labels = self.context.recipe.task.labels
            if [labels[row.label] for row in own] != [each.target for each in predictions]:
                raise table_changed(self.files.sources.train.shown)
            found += [
                ScoredRow(row.line, row.label, tuple(log_softmax(each.logits))) for row, each in zip(own, predictions)
            ]
        return sorted(found, key=lambda row: row.line)

    def _report(self, workspace: Workspace) -> None:
        predictions = read_holdout_predictions(workspace.at(workspace.adapter) / HOLDOUT_PREDICTIONS)
        right = sum(each.label == each.target for each in predictions)
        log.info(
            tr(
                "accuracy on its {predictions_count:,} rows {accuracy}",
                predictions_count=len(predictions),
                accuracy=with_interval(right / len(predictions), len(predictions)),
            )
        )
        # tokens, which no later step needs
        shutil.rmtree(workspace.at(workspace.store), ignore_errors=True)

    def _workspace(self, number: int) -> Workspace:
        own = self.context.workspace
        return Workspace(self.folder / f"fold-{number}", own.dataset, own.data_root or own.root)
