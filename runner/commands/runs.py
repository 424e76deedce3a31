"""The command `labeltune runs`: list the adapters of a workspace, put an earlier one back, or remove it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from grading.contract.language import speak_to_argparse
from runner.commands.tables import percent_interval, table, wrapped
from runner.errors import UserError
from runner.evaluation.intervals import accuracy_interval
from runner.language import mark, tr
from runner.recipe.writer import differing_keys
from runner.reporting.report import report_in_place
from runner.system.console import console_logging
from runner.system.lock import locked
from runner.workspace.ensemble_record import read_ensemble, together
from runner.workspace.paths import EVALUATION, RECIPE, Workspace
from runner.workspace.run_moves import recover, remove, restore, restore_command
from runner.workspace.runs import Run, all_runs, find_run, read_object

SCHEMA = "labeltune.runs/1"

ACTIONS = ("restore", "remove")

DESCRIPTION = mark(
    """\
List the runs of a workspace, restore one, or remove one.

  labeltune runs [WORKSPACE]        the adapter in place of each dataset (marked *), and the kept ones
  labeltune runs restore ID         put a kept run in place, with its results; the present one is kept
  labeltune runs remove ID          remove a kept run for good

An ID may be shortened to its beginning, or to its last eight characters.
"""
)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit code."""
    speak_to_argparse()
    parser = argparse.ArgumentParser(
        prog="labeltune runs", description=tr(DESCRIPTION), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="WORKSPACE | restore ID | remove ID")
    parser.add_argument("--workspace", type=Path, metavar="DIR", help=tr("the workspace (default: the current folder)"))
    parser.add_argument("--json", action="store_true", help=tr("print the list as JSON"))
    options = parser.parse_intermixed_args(arguments)
    words: list[str] = options.words
    acts = bool(words) and words[0] in ACTIONS
    if len(words) != 2 if acts else len(words) > 1 or (words and options.workspace):
        parser.error(tr("expected one WORKSPACE, or restore ID, or remove ID"))
    root = options.workspace or Path("." if acts or not words else words[0])
    try:
        if not root.is_dir():
            raise UserError(
                tr("{root}: no such folder", root=root), tr("name the workspace: the folder with saved_model/")
            )
        if acts:
            with console_logging():
                _act(words[0], find_run(root, words[1]))
        elif options.json:
            print(json.dumps(listing(root), indent=1, ensure_ascii=False))
        else:
            print(shown(listing(root)))
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def listing(root: Path) -> dict[str, Any]:
    """All runs of a workspace as plain values, by dataset; the one in place first, the kept ones newest first."""
    found = {name: [_row(run, runs[0]) for run in runs] for name, runs in all_runs(root).items()}
    return {"schema": SCHEMA, "workspace": str(root.resolve()), "datasets": found}


def shown(found: Mapping[str, Any]) -> str:
    """The listing as text."""
    parts = []
    for dataset, rows in found["datasets"].items():
        head = ("", tr("run"), tr("finished (UTC)"), tr("hold-out accuracy, 95 %"), tr("training"), tr("size"))
        cells = [head, *(_cells(row) for row in rows)]
        below = [[wrapped(text, " " * 6) for text in (_of_ensemble(row), _differences(row)) if text] for row in rows]
        lines = table(cells)
        parts.append("\n".join([dataset, lines[0]]))
        for line, texts in zip(lines[1:], below):
            parts[-1] += "\n" + "\n".join([line, *texts])
    if not parts:
        return tr("no run in {workspace}", workspace=found["workspace"])
    return "\n\n".join(parts) + tr("\n\n* is in place. To put another one there: labeltune runs restore ID")


def _act(action: str, run: Run) -> None:
    workspace = run.workspace
    with locked(workspace.lock):
        recover(workspace)
        if action == "remove":
            remove(run)
            print(tr("removed {folder}", folder=run.folder))
        elif run.in_place:
            print(tr("{id} is in place already", id=run.id))
        else:
            recipe = run.recipe
            kept = restore(run)
            print(
                tr(
                    "{dataset}: run {id} is in place, in {adapter}",
                    dataset=workspace.dataset,
                    id=run.id,
                    adapter=workspace.adapter,
                )
            )
            if kept:
                print(
                    tr(
                        "kept instead: run {kept}; to get it back: {restore_command}",
                        kept=kept,
                        restore_command=restore_command(workspace, kept),
                    )
                )
            report_in_place(workspace)
            _print_next_step(workspace, recipe)


def _row(run: Run, current: Run) -> dict[str, Any]:
    """One run as plain values. `current`: the one whose recipe it is compared with."""
    accuracy, rows = _accuracy(run)
    keys = differing_keys(run.recipe, current.recipe) if run.recipe and current.recipe else []
    return {
        "id": run.id,
        "folder": str(run.folder),
        "in_place": run.in_place,
        "finished": run.finished,
        "accuracy": accuracy,
        "rows": rows,
        "interval": accuracy_interval(accuracy, rows) if accuracy is not None and rows else None,
        # the figures above are those of its first member
        "ensemble": together(run.folder),
        "train_seconds": run.statistics.get("train_seconds"),
        "bytes": run.bytes,
        "differences": {key: [run.recipe.get(key), current.recipe.get(key)] for key in keys},
    }


def _accuracy(run: Run) -> tuple[Optional[float], int]:
    """Hold-out accuracy, as evaluated or else as training ended, and the number of rows; 0 where it is not known."""
    evaluation = read_object(run.folder / EVALUATION)
    if isinstance(evaluation.get("accuracy"), float) and isinstance(evaluation.get("rows"), int):
        return run.accuracy, evaluation["rows"]
    tuned = run.statistics.get("tuned")
    counts = tuned.get("answers") if isinstance(tuned, dict) else None
    return run.accuracy, sum(counts.values()) if isinstance(counts, dict) else 0


def _cells(row: Mapping[str, Any]) -> Sequence[str]:
    seconds = row["train_seconds"]
    return (
        "*" if row["in_place"] else "",
        row["id"],
        row["finished"][:16].replace("T", " "),
        percent_interval(row["accuracy"], row["interval"]),
        "" if seconds is None else f"{seconds / 60:,.1f} min",
        f"{row['bytes'] / 1e6:,.1f} MB",
    )


def _differences(row: Mapping[str, Any]) -> str:
    values = (
        tr("{key} {dumps} (now {json_dumps})", key=key, dumps=json.dumps(one), json_dumps=json.dumps(now))
        for key, (one, now) in row["differences"].items()
    )
    return ", ".join(values)


def _of_ensemble(row: Mapping[str, Any]) -> str:
    """Whose figures they are, where the run is an ensemble; empty else."""
    found = row["ensemble"]
    if not found:
        return ""
    return tr(
        "the first of {members} members alone; all together, which give the result: {accuracy}",
        members=found["members"],
        accuracy=percent_interval(found["accuracy"], found["interval"]),
    )


def _print_next_step(workspace: Workspace, recipe: Mapping[str, Any]) -> None:
    """What to run where the results, the record of the run, or the other members of an ensemble are not there."""
    ensemble = read_ensemble(workspace.at(workspace.adapter))
    if ensemble and ensemble.answers_by_mean:
        print(
            tr(
                "of the {members} members of this ensemble, only the first one's adapter is kept\n"
                "next: {command}  (it trains those that a later run has replaced)",
                members=len(ensemble.members),
                command=ensemble.run_command(workspace),
            )
        )
    elif recipe and not (workspace.manifest("predict").exists() and workspace.run_record.exists()):
        recipe_file = workspace.at(workspace.adapter) / RECIPE
        elsewhere = "" if workspace.root.resolve() == Path.cwd() else f" --workspace {workspace.root}"
        print(
            tr(
                "next: labeltune run {recipe_file}{elsewhere}  (its rows and predictions; nothing is trained again)",
                recipe_file=recipe_file,
                elsewhere=elsewhere,
            )
        )
