"""The best recipe: a search within a time, its table, and the winner's adapter where the pipeline finds it again."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path

from grading.contract.language import english
from runner.language import tr
from runner.recipe.editor import schema_line
from runner.recipe.loader import LoadedRecipe
from runner.recipe.writer import recipe_text
from runner.search import savings, table
from runner.search.inputs import identity, load_shared_base, require_one_process
from runner.search.journal import Journal
from runner.search.runs import Runs
from runner.search.search import Search
from runner.search.trials import Trial
from runner.stages import StageContext
from runner.system.console import log_context
from runner.system.files import write_atomic
from runner.system.signals import Stopped
from runner.workspace.paths import Workspace
from runner.workspace.runs import kept_runs, run_in_place

log = logging.getLogger("labeltune.search")


def best_recipe(loaded: LoadedRecipe, context: StageContext) -> LoadedRecipe:
    """Search as the recipe's `search` block says, and return the recipe of the winner, which runs alone.

    Its file, `result/search_{dataset}.yaml`, and the table, `result/search_{dataset}.json`, are written, and its adapter is
    among the kept runs: the finetune stage puts it in place instead of training again.
    Raises UserError where there are several processes, or where no trial could be run."""
    require_one_process("search")
    started, workspace = time.monotonic(), context.workspace
    folder = workspace.at(workspace.searches) / identity(context)
    with log_context(f"{workspace.dataset} search"):
        if context.fresh:
            shutil.rmtree(folder, ignore_errors=True)
        journal, runs = Journal(folder / "journal.jsonl"), Runs(context, folder)
        if not journal.events and _finds_others(folder):
            log.info(
                tr(
                    "{searches} has trials of another recipe, other data or other search.minutes; this search begins anew, "
                    "without them",
                    searches=workspace.searches,
                )
            )
        search = Search(runs, journal, started)
        if journal.find("end") is None:
            load_shared_base(context)
            search.loaded()
        try:
            best = search.run()
        except (Stopped, KeyboardInterrupt):
            search.stopped()
            raise
        for line in filter(None, (savings.sentence(journal.events), *table.lines(search.results, best, search.rounds))):
            log.info(line)
        tried = table.as_json(search.results, best, search.rounds)
        write_atomic(workspace.at(workspace.search_table), tried.encode())
        winner = runs.recipe(best.trial)
        comment = english(table.sentence(search.results, best)).partition(". ")[0]
        path = workspace.at(workspace.search_recipe)
        write_atomic(path, f"{schema_line(path.parent)}{recipe_text(winner, f'Found by a search; {comment}')}".encode())
        _keep(runs, best.trial, workspace)
        if journal.find("end") is None:
            runs.warn_if_not_better(best.trial)
            journal.add({"event": "end"})
        for result in search.results:
            runs.forget(result.trial)
        runs.clear_store()
        log.info(
            tr(
                "the winner's recipe: {search_recipe}; chosen on these rows, so expect a little less on others",
                search_recipe=workspace.search_recipe,
            )
        )
    return LoadedRecipe(path, winner)


def _finds_others(folder: Path) -> bool:
    """Whether other searches of the dataset have a trial, beside the folder of this one."""
    journals = (Journal(path) for path in folder.parent.glob("*/journal.jsonl"))
    return any(journal.find("trial") for journal in journals)


def _keep(runs: Runs, trial: Trial, workspace: Workspace) -> None:
    """Copy the winner's adapter to the kept runs, completely or not at all, unless it is among them or in place."""
    run = run_in_place(runs.workspace(trial))
    if run is None or run.manifest is None:
        return
    known = [each for each in (run_in_place(workspace), *kept_runs(workspace)) if each is not None]
    if any(each.manifest and each.manifest.inputs == run.manifest.inputs and each.is_intact() for each in known):
        return
    target = workspace.at(workspace.runs) / run.id
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(run.folder, partial)
    partial.rename(target)
