"""The page of a comparison: several runs as a leaderboard that marks ties, and the rows that only some of them get right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from grading.contract.language import english, joined
from runner.evaluation.holdout import HoldoutPrediction
from runner.evaluation.significance import shown_p
from runner.language import tr
from runner.recipe.writer import yaml_value
from runner.reporting.drawing import COLOURS, Chart, Say, as_svg, plain_axes
from runner.reporting.page import page
from runner.reporting.texts import kept_texts
from runner.reporting.visible import shortened
from runner.system.files import write_atomic

MOST_ROWS = 1000
"""Most rows that the page shows with their text."""

DRAWN_RUNS = 40
"""Most runs of the chart."""

VALUE_CHARACTERS = 120
"""Most characters of a recipe's value."""


def write_comparison(found: Mapping[str, Any], predictions: Sequence[Sequence[HoldoutPrediction]], path: Path) -> None:
    """Write the page.

    Args:
        found: The comparison, as `labeltune compare --json` prints it.
        predictions: The hold-out of each run, in the same order.
        path: The file.
    """
    ranked = sorted(found["runs"], key=lambda run: (-run["accuracy"], run["name"]))
    rows = list(_split_rows(found, predictions))
    listed = [rows[place * len(rows) // MOST_ROWS] for place in range(MOST_ROWS)] if len(rows) > MOST_ROWS else rows
    texts, _ = kept_texts([row["text"] for row in listed], [row["characters"] for row in listed])
    chart = _chart(ranked)
    values = {
        "title": tr("Comparison of {count} runs", count=len(ranked)),
        "found": found,
        "runs": ranked,
        "differences": _differences(found),
        "matrix": _matrix(found, ranked),
        "pairs": found["pairs"],
        "figure": {"title": chart.title, "words": chart.words, "svg": as_svg(chart), "width": 560, "numbers": ()},
        "rows": [{**row, "text": text} for row, text in zip(listed, texts)],
        "counts": {"split": len(rows), "shown": len(listed), "texts": any(texts)},
    }
    digest = hashlib.sha256(json.dumps(english(dict(found)), sort_keys=True).encode()).hexdigest()
    write_atomic(path, page("comparison.html", values, digest).encode("utf-8", "replace"))


def _differences(found: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """The recipe keys that differ, with each run's value, in the order of the runs."""
    return [
        (key, [shortened(yaml_value(value), VALUE_CHARACTERS) for value in values])
        for key, values in found["differences"].items()
    ]


def _matrix(found: Mapping[str, Any], ranked: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """For every two runs the difference in points, the run of the line minus that of the column, and its p-value."""
    pairs = {(pair["first"], pair["second"]): (pair, -1) for pair in found["pairs"]}
    pairs.update({(pair["second"], pair["first"]): (pair, 1) for pair in found["pairs"]})
    lines = []
    for run in ranked:
        cells: list[Mapping[str, Any]] = []
        for other in ranked:
            if run is other:
                cells.append({})
                continue
            pair, sign = pairs[run["name"], other["name"]]
            points = 100 * sign * pair["difference"]
            cells.append({"points": f"{points:+.1f}", "p": shown_p(pair["p"]), "apart": pair["distinguishable"]})
        lines.append((run["name"], cells))
    return lines


def _split_rows(
    found: Mapping[str, Any], predictions: Sequence[Sequence[HoldoutPrediction]]
) -> Iterator[dict[str, Any]]:
    """The common rows that some runs get right and others do not."""
    names = [run["name"] for run in found["runs"]]
    answers = [{(each.key, each.target): each for each in rows} for rows in predictions]
    for key, first in answers[0].items():
        given = [rows.get(key) for rows in answers]
        if None in given:
            continue
        labels = [(name, each.label) for name, each in zip(names, given) if each is not None]
        right = [name for name, label in labels if label == first.target]
        wrong = [name for name, label in labels if label != first.target]
        if right and wrong:
            known = next((each for each in given if each is not None and each.text), first)
            kinds = [*(f"{name}+" for name in right), *(f"{name}-" for name in wrong)]
            yield {
                "number": first.row,
                "target": first.target,
                "right": right,
                "wrong": wrong,
                "kinds": kinds,
                "text": known.text,
                "characters": known.characters,
            }


def _chart(ranked: Sequence[Mapping[str, Any]]) -> Chart:
    drawn = ranked[:DRAWN_RUNS]
    words = joined(tr("; "), [f"{run['name']} {run['accuracy']:.1%}" for run in drawn])
    return Chart(
        "runs",
        tr("Accuracy on the common rows, 95 % intervals"),
        tr("Accuracy on the common rows: {words}.", words=words),
        (4.9, 0.6 + 0.34 * len(drawn)),
        partial(_draw, drawn),
    )


def _draw(runs: Sequence[Mapping[str, Any]], figure: Any, say: Say) -> None:
    (axes,) = plain_axes(figure)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=COLOURS["line"], linewidth=0.6)
    for place, run in enumerate(runs):
        colour = COLOURS["one"] if run["tied_with_best"] else COLOURS["dim"]
        low, high = run["interval"]
        axes.plot([low * 100, high * 100], [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
        axes.plot([run["accuracy"] * 100], [place], "o", color=colour, markersize=6)
    axes.set_yticks(range(len(runs)), [run["name"] for run in runs])
    axes.set_ylim(len(runs) - 0.5, -0.5)
    axes.xaxis.set_major_formatter("{x:.0f}%")
