"""Find: the doubtful rows of a recipe's training file, listed for the user to decide."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from runner.data.prepare import LabelledRow, inputs_at, labelled_rows
from runner.distributed.processes import is_main_process, wait_for_everyone
from runner.doubtful.cross_fit import CrossFit
from runner.doubtful.listing import CONTRADICTED, SEVERAL_LABELS, Doubt, write_listing
from runner.doubtful.ranking import several_labels
from runner.errors import UserError
from runner.evaluation.contradiction import ScoredRow, contradicted
from runner.evaluation.intervals import with_interval
from runner.language import tr
from runner.model.base import Bases
from runner.pipeline import alone
from runner.recipe.duration import Duration
from runner.recipe.loader import LoadedRecipe
from runner.stages import StageContext
from runner.system import offline
from runner.system.console import log_context
from runner.workspace.paths import Workspace

log = logging.getLogger("labeltune.doubtful")


@dataclass(frozen=True)
class Found:
    """The doubtful rows of one recipe."""

    doubts: Sequence[Doubt]
    """The listed rows: first the contradicted ones, most confidently first, then those with several labels, group by group."""
    file: str
    """The CSV file, by its path from the workspace."""
    contradicted: int
    """Contradicted rows, listed or not, without those whose input has several labels."""
    groups: int
    """Inputs with several labels."""


def find_doubtful(loaded: LoadedRecipe, root: Path, folds: int, top: int) -> Optional[Found]:
    """Train an adapter for each fold, and list the rows that the adapters contradict.

    Args:
        loaded: the recipe.
        root: the workspace.
        folds: the number of trainings, 2 or more.
        top: most contradicted rows to list.

    Returns:
        The rows, which are also in `pre_data/{dataset}/doubtful.csv`; None on all processes but the main one.

    Raises:
        UserError: for what the user can fix.
    """
    recipe = loaded.recipe
    if recipe.offline:
        offline.block_network()
    wait_for_everyone()
    workspace = Workspace(root, recipe.task.name)
    runs = CrossFit(StageContext(recipe, workspace, Bases(root), fresh=False), folds)
    _require_own_settings(runs)
    with alone(workspace):
        if is_main_process():
            _require_enough(runs, labelled_rows(recipe, runs.files.sources, folds))
        runs.run()
        if not is_main_process():
            return None
        with log_context(f"{workspace.dataset} doubtful"):
            return _listed(runs, top)


def _listed(runs: CrossFit, top: int) -> Found:
    recipe, workspace, sources = runs.context.recipe, runs.context.workspace, runs.files.sources
    rows = labelled_rows(recipe, sources, runs.folds)
    scored = runs.scored(rows)
    _report(scored)
    groups = several_labels(rows)
    in_groups = {row.line for group in groups for row in group}
    found = [row.line for row in contradicted(scored) if row.line not in in_groups]
    listed = found[:top]
    texts = inputs_at(recipe, sources.train, in_groups.union(listed))
    doubt = _Doubts(recipe.task.labels, {row.line: row for row in scored}, {row.line: row for row in rows}, texts)
    doubts = [doubt(line) for line in listed]
    doubts += [doubt(row.line, number) for number, group in enumerate(groups, 1) for row in group]
    aside = write_listing(workspace.at(workspace.doubtful_rows), doubts)
    if aside:
        log.info(
            tr(
                "the list that was there is kept, for it may have your decisions: {relative_to}",
                relative_to=aside.relative_to(workspace.root),
            )
        )
    return Found(doubts, workspace.doubtful_rows, len(found), len(groups))


@dataclass(frozen=True)
class _Doubts:
    """Makes listed rows."""

    labels: Sequence[str]
    scored: dict[int, ScoredRow]
    rows: dict[int, LabelledRow]
    texts: dict[int, str]

    def __call__(self, line: int, group: Optional[int] = None) -> Doubt:
        row, label = self.scored.get(line), self.labels[self.rows[line].label]
        known = row.log_probabilities if row else ()
        return Doubt(
            reason=SEVERAL_LABELS if group else CONTRADICTED,
            group=group,
            line=line,
            label=label,
            predicted=self.labels[row.predicted] if row else "",
            log_probabilities=(known[row.label], known[row.predicted]) if row else (math.nan, math.nan),
            text=self.texts[line],
        )


def _require_own_settings(runs: CrossFit) -> None:
    """Raise UserError where the recipe asks for a search, or excludes by the file that is about to be written."""
    recipe, workspace = runs.context.recipe, runs.context.workspace
    if isinstance(recipe.samples.train, Duration):
        raise UserError(
            tr(
                "samples.train: {train}: every fold trains on a number of rows, not for a time",
                train=recipe.samples.train,
            ),
            tr("add samples.train=4000, or another number"),
        )
    if recipe.search.minutes is not None:
        raise UserError(
            tr("search.minutes: every fold is trained with one setting, and a search has many"),
            tr(
                "name the recipe that the search has found ({search_recipe}), or add search.minutes=null",
                search_recipe=workspace.search_recipe,
            ),
        )
    excluded, _ = runs.files.files.get("exclude", (None, ""))
    if excluded is not None and excluded.resolve() == workspace.at(workspace.doubtful_rows).resolve():
        raise UserError(
            tr(
                "samples.exclude: {exclude} holds your decisions, and this command would write a new list there",
                exclude=recipe.samples.exclude,
            ),
            tr("rename that file, and name it in the recipe by its new name"),
        )


def _require_enough(runs: CrossFit, rows: Sequence[LabelledRow]) -> None:
    """Raise UserError where a label has fewer drawn inputs than there are folds."""
    for number, label in enumerate(runs.context.recipe.task.labels):
        inputs = {row.key for row in rows if row.label == number and row.fold}
        if len(inputs) < runs.folds:
            raise UserError(
                tr(
                    "--folds {folds}: expected at least {folds} inputs of label {label!r}, found {inputs_count}",
                    folds=runs.folds,
                    label=label,
                    inputs_count=len(inputs),
                ),
                tr("ask for fewer folds, or raise samples.train"),
            )


def _report(rows: Sequence[ScoredRow]) -> None:
    """Log how far the adapters can be believed."""
    right = sum(row.predicted == row.label for row in rows) / len(rows)
    labels = [row.label for row in rows]
    majority = max(map(labels.count, set(labels))) / len(rows)
    log.info(
        tr(
            "accuracy on {rows_count:,} rows that were not trained on: {accuracy}",
            rows_count=len(rows),
            accuracy=with_interval(right, len(rows)),
        )
    )
    if right <= majority:
        log.warning(
            tr(
                "the adapters are no better than always giving the most frequent label "
                "({majority:.1%}), so what they contradict says nothing about the labels; first find "
                "settings that learn this task",
                majority=majority,
            )
        )
