"""The command `labeltune report`: write the report of finished runs again, without a model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from grading import contract
from grading.contract.language import speak_to_argparse
from runner.errors import UserError
from runner.language import mark, tr
from runner.reporting.report import PAGE, report_folder, write_report
from runner.system.console import console_logging
from runner.system.packages import REPORT, require_packages
from runner.workspace.paths import HOLDOUT_PREDICTIONS, Workspace
from runner.workspace.runs import Run, all_runs, run_at

DESCRIPTION = mark(
    """\
Write the report of finished runs: a page with charts, for which no model is loaded.

Each FOLDER is a workspace, whose adapters in place are reported, or one adapter's folder (saved_model/QQP). The page of an
adapter in place is result/QQP/report.html, that of a kept run result/QQP/ID/report.html. A page that is up to date stays.
"""
)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit code."""
    speak_to_argparse()
    parser = argparse.ArgumentParser(
        prog="labeltune report", description=tr(DESCRIPTION), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folders", nargs="*", type=Path, metavar="FOLDER", help=tr("a workspace or an adapter (default: this folder)")
    )
    options = parser.parse_args(arguments)
    try:
        require_packages(REPORT)
        runs = [run for folder in options.folders or [Path()] for run in runs_in(folder)]
        with console_logging():
            for run in runs:
                written = write_report(run)
                path = report_folder(run) / PAGE
                print(tr("written: {path}", path=path) if written else tr("up to date: {path}", path=path))
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def runs_in(folder: Path) -> list[Run]:
    """The runs that a folder means. Raises UserError where there is none, or one that is not evaluated."""
    if any((folder / name).is_file() for name in (contract.ADAPTER_WEIGHTS, HOLDOUT_PREDICTIONS)):
        runs = [_at(folder)]
    else:
        runs = [found[0] for found in all_runs(folder).values() if found[0].in_place]
    if not runs:
        raise UserError(
            tr("{folder}: has no adapter", folder=folder),
            tr("name a workspace, which has saved_model/, or one adapter's folder, such as saved_model/QQP"),
        )
    for run in runs:
        if not run.is_evaluated:
            raise UserError(
                tr("{folder}: the adapter has not been evaluated", folder=run.folder),
                tr("run its recipe: labeltune run {folder}/recipe.yaml", folder=run.folder),
            )
    return runs


def _at(folder: Path) -> Run:
    """The run in an adapter's folder: in place in a workspace, or kept there."""
    here = folder.resolve()
    kept = here.parents[1].name == ".runs"
    root, dataset = (here.parents[3], here.parents[0].name) if kept else (here.parents[1], here.name)
    return run_at(Workspace(root, dataset), here, in_place=not kept)
