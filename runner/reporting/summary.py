"""The summary: what a run is worth, where its files are, and the next command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from runner.evaluation.expected_points import ExpectedPoints
from runner.evaluation.intervals import with_interval
from runner.language import tr
from runner.reporting.run_result import RunResult
from runner.workspace.paths import Workspace


def summary(results: Sequence[RunResult], root: Path) -> list[str]:
    """Lines for the user, also where nothing had to be run again. `root`: the workspace, as the user names it."""
    lines = [line for result in results for line in _of_one(result)]
    graded = [result.dataset for result in results if "predict" in result.statistics]
    return [*lines, tr("next: {grading}", grading=_grading(graded, root))] if graded else lines


def _of_one(result: RunResult) -> list[str]:
    paths, lines = Workspace(result.workspace, result.dataset), []
    evaluation = result.evaluation
    if evaluation is not None:
        ensemble = result.statistics.get("ensemble")
        whose, found = tr("hold-out accuracy"), evaluation
        if ensemble is not None and ensemble["answer"] == "mean":
            # the dev rows have their answers, not those of the first member
            found = ensemble["together"]
            whose = tr("hold-out accuracy of the {members} members together", members=len(ensemble["members"]))
        points = ExpectedPoints(**found["expected_points"])
        accuracy = with_interval(found["accuracy"], evaluation["rows"])
        words = {"dataset": result.dataset, "whose": whose, "accuracy": accuracy, "reason": points.words()}
        lines.append(tr("{dataset}: {whose} {accuracy}; {reason}", **words))
    written = []
    if "finetune" in result.statistics:
        written.append(tr("adapter {adapter}/", adapter=paths.adapter))
    if "predict" in result.statistics:
        written += [
            tr("answers {result}", result=paths.result),
            tr("probabilities {predictions}", predictions=paths.predictions),
        ]
    return [*lines, f"{result.dataset}: {', '.join(written)}"] if written else lines


def _grading(datasets: Sequence[str], root: Path) -> str:
    """The command that grades. A key in another folder than data/questionBAnswer has to be named."""
    words = ["python", "-m", "grading.score", "--datasets", ",".join(datasets)]
    if root != Path():
        words += ["--submission", str(root)]
    keys = root / "data" / "questionBAnswer"
    missing = [name for name in datasets if not list(keys.glob(f"result_{name}*.txt"))]
    return shlex.join(words) + (tr(" --answers FOLDER-OF-THE-ANSWER-KEYS") if missing else "")
