"""The command `labeltune compare`: several runs side by side, and which of their differences are more than luck."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from grading.contract.language import english, speak_to_argparse
from runner.commands.tables import percent_interval, table, wrapped
from runner.errors import UserError
from runner.evaluation.comparison import Comparison, compare_runs
from runner.evaluation.holdout import read_holdout_predictions
from runner.language import mark, tr
from runner.recipe.writer import differing_keys
from runner.workspace.paths import EVALUATION, HOLDOUT_PREDICTIONS
from runner.workspace.runs import Run, named_run, read_object

SCHEMA = "labeltune.comparison/1"

MOST_RUNS = 26
"""Each run is named by a letter."""

DESCRIPTION = mark(
    """\
Compare two runs or more on the hold-out rows that all of them have.

Each RUN is an id of `labeltune runs`, an adapter's folder (saved_model/QQP), or a workspace with one dataset.
"""
)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit code."""
    speak_to_argparse()
    parser = argparse.ArgumentParser(
        prog="labeltune compare", description=tr(DESCRIPTION), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--workspace", type=Path, default=Path(), metavar="DIR", help=tr("where the ids are looked up"))
    parser.add_argument("--json", action="store_true", help=tr("print the comparison as JSON"))
    options = parser.parse_intermixed_args(arguments)
    try:
        if not 2 <= len(options.runs) <= MOST_RUNS:
            raise UserError(
                tr(
                    "expected 2 to {most_runs} runs, found {runs_count}",
                    most_runs=MOST_RUNS,
                    runs_count=len(options.runs),
                ),
                tr("`labeltune runs` lists them"),
            )
        found = compared([named_run(text, options.workspace) for text in options.runs])
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(english(found), indent=1, ensure_ascii=False) if options.json else shown(found))
    return 0


def compared(runs: Sequence[Run]) -> dict[str, Any]:
    """The comparison as plain values."""
    names = [chr(ord("A") + number) for number in range(len(runs))]
    predictions = [read_holdout_predictions(run.folder / HOLDOUT_PREDICTIONS) for run in runs]
    found = compare_runs(predictions, names)
    recipes = [run.recipe for run in runs]
    keys = differing_keys(*recipes) if all(recipes) else []
    return {
        "schema": SCHEMA,
        "rows": found.rows,
        "runs": [
            {"name": name, **_facts(run), **_metrics(run, found, number)}
            for number, (name, run) in enumerate(zip(names, runs))
        ],
        "differences": {key: [recipe.get(key) for recipe in recipes] for key in keys},
        "recipes_known": all(recipes),
        "pairs": [_pair(names[i], names[j], found, (i, j)) for i, j in found.pairs],
    }


def shown(found: Mapping[str, Any]) -> str:
    """The comparison as text of at most 100 columns."""
    runs = found["runs"]
    parts = [
        [
            wrapped(
                tr("{dataset}, run {id}, {folder}", dataset=run["dataset"], id=run["id"], folder=run["folder"]),
                "   ",
                f"{run['name']}  ",
            )
            for run in runs
        ]
    ]
    parts.append(_recipe_lines(found))
    head = (
        "",
        tr("on {rows:,} rows, 95 %", rows=found["rows"]),
        "MCC",
        "F1",
        tr("log loss"),
        "Brier",
        tr("training"),
        "GPU",
        tr("host"),
    )
    parts.append(table([head, *(_cells(run) for run in runs)]))
    if len(runs) > 1:
        parts[-1].append(tr("* is the best, = is not distinguishable from the best"))
    parts.append(_left_out(found))
    pairs = [(f"{pair['first']}, {pair['second']}", pair["sentence"]) for pair in found["pairs"]]
    width = max(len(name) for name, _ in pairs)
    parts.append([wrapped(text, " " * (width + 2), f"{name.ljust(width)}  ") for name, text in pairs])
    if len(pairs) > 1:
        parts[-1].append(
            tr("p: McNemar's exact test, corrected for {pairs_count} pairs (Holm)", pairs_count=len(pairs))
        )
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _facts(run: Run) -> dict[str, Any]:
    statistics = run.statistics
    names = ("train_seconds", "peak_device_bytes", "peak_host_bytes")
    return {
        "id": run.id,
        "dataset": run.workspace.dataset,
        "folder": str(run.folder),
        **{name: statistics.get(name) for name in names},
    }


def _metrics(run: Run, found: Comparison, number: int) -> dict[str, Any]:
    """A run's metrics on the common rows. Log loss and Brier are of its whole hold-out, so they are left out for a part of it."""
    metrics = found.metrics[number]
    evaluation = {} if found.left_out[number] else read_object(run.folder / EVALUATION)
    best = max(each.correct for each in found.metrics)
    return {
        "accuracy": metrics.accuracy,
        "interval": metrics.interval,
        "mcc": metrics.mcc,
        "f1": metrics.f1,
        "log_loss": evaluation.get("log_loss"),
        "brier": evaluation.get("brier"),
        "left_out": found.left_out[number],
        "best": metrics.correct == best,
        "tied_with_best": found.tied_with_best()[number],
    }


def _pair(first: str, second: str, found: Comparison, numbers: tuple[int, int]) -> dict[str, Any]:
    pair = found.pairs[numbers]
    values = {**dataclasses.asdict(pair), "difference": pair.difference, "rows_needed": pair.rows_needed}
    sentence = pair.sentence(first, second)
    return {
        "first": first,
        "second": second,
        **values,
        "distinguishable": pair.distinguishable,
        "sentence": sentence,
    }


def _recipe_lines(found: Mapping[str, Any]) -> list[str]:
    """A line for each key that differs: every value, with the runs that have it."""
    if not found["recipes_known"]:
        return [tr("recipes: not all are known; runs of earlier versions have none")]
    lines = []
    for key, values in found["differences"].items():
        by_value: dict[str, list[str]] = {}
        for run, value in zip(found["runs"], values):
            by_value.setdefault(json.dumps(value, ensure_ascii=False), []).append(run["name"])
        text = "; ".join(f"{' '.join(names)}: {value}" for value, names in by_value.items())
        lines.append(wrapped(text, " " * 6, f"{key}  "))
    return lines or [tr("the recipes are the same")]


def _cells(run: Mapping[str, Any]) -> Sequence[str]:
    mark = "*" if run["best"] else "=" if run["tied_with_best"] else ""
    seconds, device, host = run["train_seconds"], run["peak_device_bytes"], run["peak_host_bytes"]
    return (
        f"{run['name']} {mark}",
        percent_interval(run["accuracy"], run["interval"]),
        f"{run['mcc']:.3f}",
        f"{run['f1']:.3f}",
        "" if run["log_loss"] is None else f"{run['log_loss']:.3f}",
        "" if run["brier"] is None else f"{run['brier']:.3f}",
        "" if seconds is None else f"{seconds / 60:,.1f} min",
        "" if device is None else f"{device / 1e9:.1f} GB",
        "" if host is None else f"{host / 1e9:.1f} GB",
    )


def _left_out(found: Mapping[str, Any]) -> list[str]:
    others = [f"{run['name']} {run['left_out']:,}" for run in found["runs"] if run["left_out"]]
    if not others:
        return []
    return [
        wrapped(
            tr(
                "the hold-outs differ; left out, because another run may have been trained on them: {others}",
                others=", ".join(others),
            ),
            "",
        )
    ]
