"""The pipeline: table → records → adapter → predictions, for every recipe of a launch.

Only torch-free modules are imported at the top; the stages that need a model import the rest.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runner.distributed.processes import is_main_process, main_process_decides, wait_for_everyone
from runner.distributed.trackers import require_trackers
from runner.ensemble.in_place import require_members
from runner.ensemble.members import members_of
from runner.ensemble.run import run_members, stages_of
from runner.errors import UserError
from runner.evaluation.older_run import older_stays
from runner.language import tr
from runner.model.base import Bases
from runner.model.chat_base import chat_base_warning
from runner.recipe.duration import Duration
from runner.recipe.loader import LoadedRecipe
from runner.reporting.report import report_in_place
from runner.reporting.run_result import RunResult, read_run
from runner.search.best import best_recipe
from runner.search.budget import within_budget
from runner.search.sampler import require_sampler
from runner.stages import FINETUNE, PREDICT, PREPARE, STAGES, StageContext, run_stage
from runner.system import offline
from runner.system.console import log_context
from runner.system.lock import locked
from runner.system.packages import RUN, require_packages
from runner.system.signals import raise_if_asked
from runner.workspace.dataset_names import check_dataset_name
from runner.workspace.paths import Workspace
from runner.workspace.run_moves import recover
from runner.workspace.run_record import write_run_record

log = logging.getLogger("labeltune")


def run(
    recipes: Sequence[LoadedRecipe], root: Path, stages: Iterable[str] = STAGES, fresh: bool = False
) -> list[RunResult]:
    """Run the stages for each recipe in the workspace `root`; recipes with the same base share one loaded copy.

    Args:
        recipes: what to run, in this order; each has a `task.name` of its own.
        root: the folder that holds the data and takes all that is written.
        stages: names in `STAGES`.
        fresh: run a stage even if nothing has changed since it finished.

    Returns:
        One result for each recipe.

    Raises:
        UserError: for what the user can fix; the message says what, where and what to do next.
        Stopped: where a command listens to signals, and one asks the run to stop.
    """
    bases, wanted = Bases(root), set(stages)
    if wanted - {PREPARE.name}:
        require_packages(RUN)
    if FINETUNE.name in wanted:
        for loaded in recipes:
            require_trackers(loaded.recipe)
            require_sampler(loaded.recipe)
    # one launch is one process
    if any(loaded.recipe.offline for loaded in recipes):
        offline.block_network()
    # before anything can go wrong: a process that is not connected does not notice that another has ended
    wait_for_everyone()
    results = []
    for loaded in recipes:
        for warning in loaded.warnings:
            log.warning(warning)
        misspelled = check_dataset_name(loaded.recipe.task.name, root)
        if misspelled:
            log.warning(misspelled)
        workspace = Workspace(root, loaded.recipe.task.name)
        results.append(_run(loaded, StageContext(loaded.recipe, workspace, bases, fresh), wanted))
    return results


def _run(loaded: LoadedRecipe, context: StageContext, wanted: set[str]) -> RunResult:
    started = time.perf_counter()
    with alone(context.workspace):
        # a base that is missing is reported before the data is prepared
        if is_main_process() and wanted - {"prepare"}:
            files = context.bases.files(context.recipe)
            chat = chat_base_warning(context.recipe.base, files.folder, context.recipe.prompt.template)
            if chat and "finetune" in wanted:
                log.warning(chat)
        if context.recipe.search.minutes is not None:
            _require_all(wanted)
            loaded = best_recipe(loaded, context)
            context = dataclasses.replace(context, recipe=loaded.recipe, fresh=False, searched=True)
        elif isinstance(context.recipe.samples.train, Duration):
            # another number would not be that of the records and the adapter that the later stages use
            loaded, context = within_budget(loaded, context, context.fresh and PREPARE.name in wanted)
        older_is_better = _run_stages(context, wanted)
        if is_main_process() and not older_is_better:
            keys = {name: stage.recipe_keys for name, stage in stages_of(context.recipe).items()}
            write_run_record(loaded, context.workspace, keys, time.perf_counter() - started)
        if is_main_process():
            with log_context(f"{context.workspace.dataset} report"):
                report_in_place(context.workspace)
    return read_run(context.workspace)


def _require_all(wanted: set[str]) -> None:
    """Raise UserError where a search is to run some stages only."""
    missing = [name for name in STAGES if name not in wanted]
    if missing:
        raise UserError(
            tr(
                "search.minutes: a search runs every stage, and --stages leaves out {missing}",
                missing=", ".join(missing),
            ),
            tr("leave --stages out"),
        )


def _run_stages(context: StageContext, wanted: set[str]) -> bool:
    """Run the stages; return whether an older adapter has stayed in place because it is better. Then nothing is predicted."""
    predicts = PREDICT.name in wanted
    if is_main_process():
        require_members(context, wanted)
    # the recipe's own run is the first member of an ensemble
    first = members_of(context)[0].context
    for stage in (stage for stage in STAGES.values() if stage.name in wanted and stage is not PREDICT):
        run_stage(stage, first)
        raise_if_asked()
    with log_context(f"{context.workspace.dataset} evaluate"):
        labels = context.recipe.task.labels
        if main_process_decides(lambda: older_stays(context.workspace, labels, predicts)):
            return True
    run_members(context, wanted)
    if predicts:
        run_stage(stages_of(context.recipe)[PREDICT.name], context)
        raise_if_asked()
    return False


@contextmanager
def alone(workspace: Workspace) -> Iterator[None]:
    """Keep other runs out of this dataset for the length of the block, and recover what a killed run left half done."""
    if not is_main_process():
        yield
        return
    workspace.make_folders()
    with locked(workspace.lock):
        recover(workspace)
        yield
