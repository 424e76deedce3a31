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
from runner.commands.workspace_option import OF_RUNS, add_workspace
from runner.errors import UserError
from runner.evaluation.comparison import Comparison, compare_runs
from runner.evaluation.holdout import HoldoutPrediction, read_holdout_predictions
from runner.language import mark, tr
from runner.recipe.writer import differing_keys
from runner.system.packages import REPORT, require_packages
from runner.workspace.ensemble_record import together
from runner.workspace.paths import EVALUATION, HOLDOUT_PREDICTIONS, Workspace
from runner.workspace.runs import Run, named_folder, named_run, read_object, run_at

SCHEMA = "labeltune.comparison/1"

MOST_RUNS = 100
"""Each run is named by a letter, and after Z by two."""

PAGES = (".html", ".htm")
"""Ends of the name of a page."""

ALL_PAIRS = 8
"""Most runs of which every pair is printed. Of more only the pairs with the best one are; the JSON and the page have all."""

DESCRIPTION = mark(
    """\
Compare two runs or more on the hold-out rows that all of them have.

Each RUN is an id of `labeltune runs`, an adapter's folder (saved_model/QQP), or a workspace with one dataset. The folder of a
search (saved_model/.search/QQP) means all its trials, the best first.
"""
)


def _wrong_count(count: int) -> UserError:
    return UserError(
        tr("expected 2 to {most_runs} runs, found {runs_count}", most_runs=MOST_RUNS, runs_count=count),
        tr("`labeltune runs` lists them"),
    )


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit code."""
    speak_to_argparse()
    parser = argparse.ArgumentParser(
        prog="labeltune compare", description=tr(DESCRIPTION), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN")
    add_workspace(parser, OF_RUNS)
    parser.add_argument("--json", action="store_true", help=tr("print the comparison as JSON"))
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help=tr("write the comparison as a page, with the rows that only some get right"),
    )
    options = parser.parse_intermixed_args(arguments)
    try:
        if options.html is not None:
            require_packages(REPORT)
            _require_page(options.html)
        if len(options.runs) == 1 and not named_folder(options.runs[0], options.workspace).is_dir():
            raise _wrong_count(1)
        runs = [run for text in options.runs for run in _runs(text, options.workspace)]
        if not 2 <= len(runs) <= MOST_RUNS:
            raise _wrong_count(len(runs))
        _require_different(runs)
        found = compared(runs)
        if options.html is not None:
            from runner.reporting.comparison_page import write_comparison

            write_comparison(found, [_predictions(run) for run in runs], options.html)
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(english(found), indent=1, ensure_ascii=False) if options.json else shown(found))
    if options.html is not None:
        words = tr("written: {path}", path=options.html)
        print(words if options.json else f"\n{words}", file=sys.stderr if options.json else sys.stdout)
    return 0


def _require_page(path: Path) -> None:
    """Raise UserError where the page could replace something that is not a page."""
    if path.suffix.lower() not in PAGES:
        raise UserError(
            tr("{path}: expected a name that ends with {endings}", path=path, endings=tr(" or ").join(PAGES)),
            "--html compared.html",
        )
    if path.is_dir():
        raise UserError(tr("{path}: expected a file, found a folder", path=path), "--html compared.html")


def _require_different(runs: Sequence[Run]) -> None:
    """Raise UserError where a run is there twice: it would be tied with itself."""
    folders = [run.folder.resolve() for run in runs]
    for number, folder in enumerate(folders):
        if folder in folders[:number]:
            raise UserError(
                tr("{folder}: is named twice", folder=runs[number].folder),
                tr("name each run once; `labeltune runs` lists them"),
            )


def compared(runs: Sequence[Run]) -> dict[str, Any]:
    """The comparison as plain values."""
    names = [_name(number) for number in range(len(runs))]
    found = compare_runs([_predictions(run) for run in runs], names)
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
    parts.append(_of_ensembles(found))
    parts.append(_left_out(found))
    pairs = [(f"{pair['first']}, {pair['second']}", pair["sentence"]) for pair in _printed_pairs(found)]
    width = max(len(name) for name, _ in pairs)
    parts.append([wrapped(text, " " * (width + 2), f"{name.ljust(width)}  ") for name, text in pairs])
    if len(found["pairs"]) > 1:
        parts[-1].append(
            tr("p: McNemar's exact test, corrected for {pairs_count} pairs (Holm)", pairs_count=len(found["pairs"]))
        )
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _printed_pairs(found: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """All pairs of a few runs; of many those with the best one."""
    if len(found["runs"]) <= ALL_PAIRS:
        return found["pairs"]
    best = next(run["name"] for run in found["runs"] if run["best"])
    return [pair for pair in found["pairs"] if best in (pair["first"], pair["second"])]


def _name(number: int) -> str:
    """A, B, …, Z, AA, AB, …"""
    first, last = divmod(number, 26)
    return (_name(first - 1) if first else "") + chr(ord("A") + last)


def _predictions(run: Run) -> Sequence[HoldoutPrediction]:
    return read_holdout_predictions(run.folder / HOLDOUT_PREDICTIONS)


def _runs(text: str, workspace: Path) -> Sequence[Run]:
    """The runs that an argument names: one, or the trials of a search, the best first."""
    folder = named_folder(text, workspace)
    pattern = f"trial-*/saved_model/*/{HOLDOUT_PREDICTIONS}"
    searches = {path.parents[3] for path in (*folder.glob(pattern), *folder.glob(f"*/{pattern}"))}
    if not searches or (folder / "saved_model").is_dir():
        return [named_run(text, workspace)]
    if len(searches) > 1:
        raise UserError(
            tr("{folder}: has {count} searches", folder=folder, count=len(searches)),
            tr("name one: {names}", names=", ".join(sorted(map(str, searches)))),
        )
    places = sorted(searches.pop().glob(pattern))
    trials = [run_at(Workspace(path.parents[2], path.parent.name), path.parent, in_place=True) for path in places]
    return sorted(trials, key=lambda run: -(read_object(run.folder / EVALUATION).get("accuracy") or 0.0))


def _facts(run: Run) -> dict[str, Any]:
    statistics = run.statistics
    names = ("train_seconds", "peak_device_bytes", "peak_host_bytes")
    return {
        "id": run.id,
        "dataset": run.workspace.dataset,
        "folder": str(run.folder),
        # the metrics are those of its first member
        "ensemble": together(run.folder),
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
        "" if seconds is None else f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:,.1f} min",
        "" if device is None else f"{device / 1e9:.1f} GB",
        "" if host is None else f"{host / 1e9:.1f} GB",
    )


def _of_ensembles(found: Mapping[str, Any]) -> list[str]:
    """A line for each run that is an ensemble: what is compared is one adapter."""
    texts = (
        tr(
            "{name} is the first of {members} members of an ensemble, and is compared alone; all together, which give the "
            "result, on its whole hold-out: {accuracy}",
            name=run["name"],
            members=run["ensemble"]["members"],
            accuracy=percent_interval(run["ensemble"]["accuracy"], run["ensemble"]["interval"]),
        )
        for run in found["runs"]
        if run["ensemble"]
    )
    return [wrapped(text, "   ", "") for text in texts]


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
