"""The best recipe: a search within a time, its table, and the winner's adapter where the pipeline finds it again."""

from __future__ import annotations

import logging
import shutil
import time

from runner.distributed.processes import process_count
from runner.errors import UserError
from runner.recipe.loader import LoadedRecipe
from runner.recipe.writer import recipe_text
from runner.search import table
from runner.search.journal import Journal
from runner.search.runs import Runs
from runner.search.search import Search
from runner.search.trials import Trial
from runner.stages import StageContext
from runner.system.console import log_context
from runner.system.files import digest, write_atomic
from runner.system.fingerprint import Fingerprint
from runner.workspace.paths import Workspace, locate_table
from runner.workspace.runs import run_in_place

log = logging.getLogger("labeltune.search")


def best_recipe(loaded: LoadedRecipe, context: StageContext) -> LoadedRecipe:
    """Search as the recipe's `search` block says, and return the recipe of the winner, which runs alone.

    Its file, `result/search_{dataset}.yaml`, and the table, `result/search_{dataset}.json`, are written, and its adapter is
    among the kept runs: the finetune stage puts it in place instead of training again.
    Raises UserError where there are several processes, or where no trial could be run."""
    if process_count() > 1:
        raise UserError(
            "search: several processes train one adapter together, and a search needs only one",
            "launch it with --num_processes 1, or without accelerate: python runner/main.py …",
        )
    workspace = context.workspace
    folder = workspace.at(workspace.searches) / _identity(context)[:16]
    with log_context(f"{workspace.dataset} search"):
        if context.fresh:
            shutil.rmtree(folder, ignore_errors=True)
        journal = Journal(folder / "journal.jsonl")
        seconds = 0.0 if journal.events and journal.events[-1]["event"] == "end" else _load(context)
        runs = Runs(context, folder)
        search = Search(runs, journal)
        best = search.run()
        if seconds:
            journal.add({"event": "end"})
            log.info(
                f"the base is loaded once: separate launches would take about {seconds * search.trials:.0f} s more"
            )
        for line in table.lines(search.results, best):
            log.info(line)
        write_atomic(workspace.at(workspace.search_table), table.as_json(search.results, best).encode())
        winner = runs.recipe(best.trial)
        comment = table.sentence(search.results, best).partition(". ")[0]
        path = workspace.at(workspace.search_recipe)
        write_atomic(path, recipe_text(winner, f"Found by a search; {comment}").encode())
        _keep(runs, best.trial, workspace)
        for result in search.results:
            runs.forget(result.trial)
        log.info(
            f"the winner's recipe: {workspace.search_recipe}; chosen on these rows, so expect a little less on others"
        )
    return LoadedRecipe(path, winner)


def _identity(context: StageContext) -> str:
    """Digest of all that the trials depend on, without the code: a search continues with a corrected version."""
    recipe, root = context.recipe, context.workspace.root
    named = {"train": recipe.task.train, "dev": recipe.task.dev}
    files = {name: digest(locate_table(path, root, recipe.task.name)) for name, path in named.items() if path}
    return Fingerprint(recipe=recipe.digest(), base=context.bases.digest(recipe), **files).digest


def _load(context: StageContext) -> float:
    """Load the base, which all trials share; return the seconds that it took, with torch."""
    started = time.perf_counter()
    from runner.distributed.accelerator import connect

    log.info("loading torch and the base")
    context.bases.load(context.recipe, connect().device)
    return time.perf_counter() - started


def _keep(runs: Runs, trial: Trial, workspace: Workspace) -> None:
    """Copy the winner's adapter to the kept runs, completely or not at all."""
    run = run_in_place(runs.workspace(trial))
    if run is None:
        return
    target = workspace.at(workspace.runs) / run.id
    present = run_in_place(workspace)
    if target.exists() or (present is not None and present.id == run.id):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(run.folder, partial)
    partial.rename(target)
