"""The report of a run: a page and its charts, from the files that the run has left. The same files give the same bytes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grading.contract.language import language
from runner.language import tr
from runner.reporting import facts
from runner.reporting.charts import ChartData, charts_of
from runner.reporting.drawing import Chart, as_png, as_svg
from runner.reporting.page import inputs_of, page, templates_digest
from runner.reporting.rows import KINDS, Row, rows_of, shown
from runner.reporting.run_files import RunFiles, read_run_files
from runner.reporting.texts import kept_texts
from runner.reporting.verdict import Verdict, verdict_of
from runner.reporting.visible import visible
from runner.system.files import write_atomic
from runner.system.provenance import code_digest, package_version
from runner.workspace.paths import RECIPE, Workspace
from runner.workspace.runs import Run, run_in_place

log = logging.getLogger("labeltune.reporting")

PAGE = "report.html"

PIXELS = 115
"""Of a page for each inch of a chart, where there is room."""

SWITCH = "LABELTUNE_REPORT"
"""Environment variable: `off` leaves out the report that a run writes at its end."""


def report_folder(run: Run) -> Path:
    """Where the report of a run is: beside its result, and for a kept run in a folder with its id."""
    folder = run.workspace.at(run.workspace.report)
    return folder if run.in_place else folder / run.id


def write_report(run: Run) -> bool:
    """Write the page and its charts; return whether there was anything to write.

    Raises DataError where the hold-out's predictions are missing or damaged, OSError, and ImportError without matplotlib or
    Jinja2."""
    files, folder = read_run_files(run), report_folder(run)
    labels, verdict = files.labels, verdict_of(files)
    rows = rows_of(files.predictions, labels, files.evaluation.get("calibration") or {})
    values = _values(files, verdict, rows)
    charts = charts_of(ChartData(files, verdict, labels, rows))
    inputs = _digest(files, values)
    pictures = {name: folder / f"{name}.png" for name in charts}
    if inputs_of(folder / PAGE) == inputs and all(path.is_file() for path in pictures.values()):
        return False
    for name, path in pictures.items():
        write_atomic(path, as_png(charts[name]))
    drawn = {name: _with_svg(chart) for name, chart in charts.items()}
    # last: a page that is there is whole
    write_atomic(folder / PAGE, page("report.html", {**values, "charts": drawn}, inputs).encode("utf-8", "replace"))
    return True


def report_in_place(workspace: Workspace) -> None:
    """Write the report of the adapter in place, if it is evaluated, unless `SWITCH` is `off`.

    A failure costs only the report: it is logged, with the command that writes it."""
    run = None if os.environ.get(SWITCH) == "off" else run_in_place(workspace)
    if run is None or not run.is_evaluated:
        return
    shown_path = f"{workspace.report}/{PAGE}"
    try:
        written = write_report(run)
    # whatever it is, the run has its result
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        root = workspace.root
        command = "labeltune report" + ("" if root.resolve() == Path.cwd() else f" {shlex.quote(str(root))}")
        log.warning(
            tr(
                "{path}: the report could not be written: {error}. The run is complete; to write its report: {command}",
                path=shown_path,
                error=words,
                command=command,
            )
        )
        log.debug("the report could not be written", exc_info=error)
        return
    if written:
        log.info(tr("written: {path}", path=shown_path))


def _with_svg(chart: Chart) -> Mapping[str, Any]:
    return {
        "name": chart.name,
        "title": chart.title,
        "words": chart.words,
        "svg": as_svg(chart),
        "width": round(chart.size[0] * PIXELS),
        "head": chart.head,
        "numbers": chart.numbers,
    }


def _digest(files: RunFiles, values: Mapping[str, Any]) -> str:
    """Digest of all that the page and its charts are made of."""
    own = (files.evaluation, files.history, [vars(each) for each in files.predictions], files.run.statistics)
    made = (values, own, templates_digest(), code_digest(), language(), package_version("matplotlib"))
    text = json.dumps(made, ensure_ascii=True, sort_keys=True, default=vars)
    return hashlib.sha256(text.encode()).hexdigest()


def _values(files: RunFiles, verdict: Verdict, rows: Sequence[Row]) -> dict[str, Any]:
    """What the template shows, without the charts."""
    run, listed = files.run, shown(rows)
    texts, characters = kept_texts([row.text for row in listed], [row.characters for row in listed])
    basis, lines = facts.recipe_lines(files)
    dataset = run.workspace.dataset
    return {
        "title": tr("{dataset}: report", dataset=visible(dataset, 80)),
        "dataset": dataset,
        "run": {"id": run.id, "finished": run.finished[:16].replace("T", " "), "in_place": run.in_place},
        "instruction": str(files.recipe.get("instruction", ""))[:1000],
        "base": str(files.recipe.get("base", ""))[:300],
        "verdict": verdict,
        "members": files.ensemble.get("members") if files.ensemble.get("answer") == "mean" else None,
        "labels": files.labels,
        "kinds": {name: tr(words) for name, words in KINDS.items()},
        "counts": {
            "all": len(rows),
            "shown": len(listed),
            "wrong": sum(not row.is_right for row in rows),
            "characters": characters,
            "cut": any(words.endswith("…") for words in texts),
            "texts": any(row.text for row in rows),
        },
        "rows": list(zip(listed, texts)),
        "example": files.prompt_example,
        "basis": basis,
        "recipe": lines,
        "shares": facts.shares_of(files, files.labels),
        "lengths": facts.lengths_of(files),
        "notes": facts.data_notes(files),
        "training": facts.training_facts(files),
        "environment": facts.environment_facts(files),
        "commands": _commands(run),
    }


def _commands(run: Run) -> list[tuple[str, str]]:
    """What to run in the workspace's folder: the run again, its report, its grade."""
    workspace, folder = run.workspace, run.workspace.adapter if run.in_place else f"{run.workspace.runs}/{run.id}"
    found = []
    if (run.folder / RECIPE).is_file():
        found.append((tr("the run again, with the whole recipe"), f"labeltune run {shlex.quote(f'{folder}/{RECIPE}')}"))
    found.append((tr("this report again"), f"labeltune report {shlex.quote(folder)}"))
    if run.in_place:
        found.append((tr("the grade"), f"python -m grading.score --datasets {shlex.quote(workspace.dataset)}"))
    found.append((tr("all runs of this folder, for comparing"), "labeltune runs"))
    return found
