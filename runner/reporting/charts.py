"""The charts of a run: what its files say, as drawings. Each row of `CHARTS` makes one, or None where nothing is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Optional

from grading.contract.language import joined
from runner.evaluation.probability_metrics import BINS
from runner.language import tr
from runner.reporting.bins import Bin, bins_of
from runner.reporting.drawing import COLOURS, Chart, Say, plain_axes
from runner.reporting.rows import Row, probabilities
from runner.reporting.run_files import RunFiles
from runner.reporting.verdict import Verdict
from runner.reporting.visible import shortened

MOST_LABELS = 20
"""Most labels of a chart: a larger matrix cannot be read."""

NUMBERED_LABELS = 12
"""Most labels of a matrix with numbers in it."""

LABEL_CHARACTERS = 16

WIDTH = 4.9
"""Inches: as wide as a phone's screen, where the letters must not shrink."""

RELIABILITY_BINS, LENGTH_BINS, SCORE_BINS = 10, 8, 20


@dataclass(frozen=True)
class ChartData:
    """What charts are made of."""

    files: RunFiles
    verdict: Verdict
    labels: Sequence[str]
    """In the recipe's order."""
    rows: Sequence[Row]
    """The whole hold-out."""

    @property
    def names(self) -> list[str]:
        """The labels as charts show them."""
        return [shortened(label, LABEL_CHARACTERS) for label in self.labels]


def charts_of(data: ChartData) -> dict[str, Chart]:
    """The charts by their names."""
    found = ((name, make(data)) for name, make in CHARTS.items())
    return {name: chart for name, chart in found if chart is not None}


def _accuracy(data: ChartData) -> Optional[Chart]:
    """The accuracy of the adapter, or of all members of an ensemble, beside the baselines'."""
    verdict = data.verdict
    bars = [(each.name, each.accuracy, each.interval) for each in verdict.baselines]
    own = tr("this adapter") if verdict.members == 1 else tr("all {members} members", members=verdict.members)
    bars = [*bars, (own, verdict.accuracy, verdict.interval)]
    words = joined(tr("; "), [f"{name} {accuracy:.1%}" for name, accuracy, _ in bars])
    return Chart(
        "accuracy",
        tr("Accuracy on the hold-out, 95 % intervals"),
        tr("Accuracy on the hold-out: {words}.", words=words),
        (WIDTH, 0.5 + 0.42 * len(bars)),
        partial(_draw_accuracy, bars),
    )


def _draw_accuracy(bars: Sequence[tuple[str, float, tuple[float, float]]], figure: Any, say: Say) -> None:
    (axes,) = plain_axes(figure)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=COLOURS["line"], linewidth=0.6)
    for place, (_, accuracy, (low, high)) in enumerate(bars):
        colour = COLOURS["one"] if place == len(bars) - 1 else COLOURS["dim"]
        axes.plot([low * 100, high * 100], [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
        axes.plot([accuracy * 100], [place], "o", color=colour, markersize=6)
        axes.annotate(
            f"{accuracy:.1%}", (accuracy * 100, place), (0, 6), textcoords="offset points", ha="center", va="bottom"
        )
    axes.set_yticks(range(len(bars)), [say(name) for name, _, _ in bars])
    axes.set_ylim(-0.5, len(bars) - 0.25)
    axes.xaxis.set_major_formatter("{x:.0f}%")


def _learning(data: ChartData) -> Optional[Chart]:
    """Loss, learning rate and hold-out accuracy over the epochs."""
    history = data.files.history
    steps = [line for line in history if "loss" in line and "step" in line]
    epochs = [line for line in history if "holdout_accuracy" in line and "averaged_epochs" not in line]
    if not epochs:
        return None
    words = tr(
        "Hold-out accuracy after each epoch: {accuracies}.",
        accuracies=", ".join(f"{line['holdout_accuracy']:.1%}" for line in epochs),
    )
    if steps:
        words += " " + tr(
            "The training loss went from {first:.2f} to {last:.2f}.", first=steps[0]["loss"], last=steps[-1]["loss"]
        )
    else:
        words += " " + tr("There is no training loss: fewer than 10 optimizer steps were made.")
    return Chart(
        "learning",
        tr("Learning curves"),
        words,
        (WIDTH, 6.0 if steps else 4.0),
        partial(_draw_learning, steps, epochs, data.files.run.statistics),
        (tr("epoch"), tr("hold-out loss"), tr("hold-out accuracy"), "MCC", "F1"),
        [
            (
                str(line["epoch"]),
                f"{line['holdout_loss']:.3f}",
                f"{line['holdout_accuracy']:.1%}",
                f"{line['holdout_mcc']:.3f}",
                f"{line['holdout_f1']:.3f}",
            )
            for line in epochs
        ],
    )


def _draw_learning(
    steps: Sequence[Mapping[str, Any]],
    epochs: Sequence[Mapping[str, Any]],
    trained: Mapping[str, Any],
    figure: Any,
    say: Say,
) -> None:
    # the log has the epoch of each step, not the number of steps in one
    per_epoch = max((line["step"] / line["epoch"] for line in steps), default=1.0)
    panels = plain_axes(figure, 3 if steps else 2)
    ends = [line["epoch"] for line in epochs]
    loss, accuracy = panels[0], panels[1]
    if steps:
        at = [line["step"] / per_epoch for line in steps]
        loss.plot(at, [line["loss"] for line in steps], color=COLOURS["one"], linewidth=1.4, label=say(tr("training")))
        panels[2].plot(at, [line["learning_rate"] for line in steps], color=COLOURS["dim"], linewidth=1.4)
        panels[2].set_title(say(tr("learning rate")))
        panels[2].set_ylim(bottom=0)
        panels[2].yaxis.set_major_formatter("{x:.2g}")
    loss.plot(
        ends,
        [line["holdout_loss"] for line in epochs],
        "o-",
        color=COLOURS["two"],
        markersize=4,
        label=say(tr("hold-out")),
    )
    loss.set_title(say(tr("loss")))
    loss.legend(loc="upper right")
    shares = [100 * line["holdout_accuracy"] for line in epochs]
    intervals = [line["holdout_interval"] for line in epochs if line.get("holdout_interval")]
    if len(intervals) == len(epochs):
        low, high = ([100 * each[end] for each in intervals] for end in (0, 1))
        accuracy.vlines(ends, low, high, color=COLOURS["two"], alpha=0.45, linewidth=3)
    accuracy.plot(ends, shares, "o-", color=COLOURS["two"], markersize=4)
    accuracy.set_title(say(tr("hold-out accuracy, 95 % intervals")))
    accuracy.yaxis.set_major_formatter("{x:.0f}%")
    accuracy.margins(y=0.2)
    majority = trained.get("majority")
    if isinstance(majority, float):
        accuracy.axhline(100 * majority, color=COLOURS["dim"], linestyle="--", linewidth=1)
        accuracy.annotate(
            say(tr("majority")),
            (1, 100 * majority),
            (0, 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            color=COLOURS["dim"],
        )
    for axes in panels:
        axes.set_xlim(0, max(ends) + 0.15)
        if len(ends) <= 10:
            axes.set_xticks(range(max(ends) + 1))
    panels[-1].set_xlabel(say(tr("epoch")))


def _confusion(data: ChartData) -> Optional[Chart]:
    """How often each label is answered by which."""
    labels, answers = list(data.labels), list(data.labels)
    if any(row.label not in labels for row in data.rows):
        answers.append("?")
    places = {label: place for place, label in enumerate(answers)}
    counts = [[0] * len(answers) for _ in labels]
    for row in data.rows:
        if row.target in places and row.target != "?":
            counts[labels.index(row.target)][places.get(row.label, len(answers) - 1)] += 1
    if len(labels) > MOST_LABELS:
        return None
    names = [*data.names, tr("no label")][: len(answers)]
    lines = [
        tr(
            "of {counts:,} rows with label {label}: {found}",
            counts=sum(row),
            label=name,
            found=", ".join(
                tr("{count:,} as {name}", count=count, name=answer) for count, answer in zip(row, names) if count
            )
            or tr("none"),
        )
        for name, row in zip(names, counts)
    ]
    size = max(3.0, 0.55 * len(answers) + 1.6)
    return Chart(
        "confusion",
        tr("Confusion matrix"),
        tr("Labels and predictions: {lines}.", lines=joined(tr("; "), lines[:NUMBERED_LABELS])),
        (min(WIDTH, size + 0.3), min(WIDTH, size)),
        partial(_draw_confusion, counts, names),
        (tr("label"), *names, tr("right")),
        [
            (name, *(f"{count:,}" for count in row), f"{row[place] / sum(row):.1%}" if sum(row) else "–")
            for place, (name, row) in enumerate(zip(names, counts))
        ],
    )


def _draw_confusion(counts: Sequence[Sequence[int]], names: Sequence[str], figure: Any, say: Say) -> None:
    axes = figure.subplots()
    for down, row in enumerate(counts):
        for right, count in enumerate(row):
            share = count / (sum(row) or 1)
            colour = COLOURS["one"] if down == right else COLOURS["two"]
            # rectangles, and not an image: a page has its own colours
            axes.fill(
                [right - 0.5, right + 0.5, right + 0.5, right - 0.5],
                [down - 0.5, down - 0.5, down + 0.5, down + 0.5],
                color=colour,
                alpha=0.06 + 0.5 * share,
                linewidth=0,
            )
            if len(names) <= NUMBERED_LABELS:
                axes.text(right, down, f"{count:,}\n{share:.0%}", ha="center", va="center", fontsize=9)
    axes.set_xticks(range(len(names)), [say(name) for name in names], rotation=0 if len(names) < 5 else 45)
    axes.set_yticks(range(len(counts)), [say(name) for name in names[: len(counts)]])
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(len(counts) - 0.5, -0.5)
    axes.set_xlabel(say(tr("prediction")))
    axes.set_ylabel(say(tr("label")))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_aspect("equal")


def _reliability(data: ChartData) -> Optional[Chart]:
    """Confidence against accuracy, before and after calibration."""
    evaluation, predictions = data.files.evaluation, data.files.predictions
    calibrated = bool(evaluation.get("calibration", {}).get("used"))
    before = [probabilities(each.logits) for each in predictions]
    first = tr("before calibration") if calibrated else tr("without calibration")
    series = [(first, COLOURS["two"], before, evaluation.get("uncalibrated"))]
    if calibrated:
        after = [row.probabilities for row in data.rows]
        series.append((tr("after calibration"), COLOURS["one"], after, evaluation))
    found = [(name, colour, _by_confidence(data, each)) for name, colour, each, _ in series]
    words = tr("If the adapter says 90 %, 9 of 10 answers should be right.")
    errors = [f"{name} {metrics['ece']:.3f}" for name, _, _, metrics in series if metrics and "ece" in metrics]
    if errors:
        words += " " + tr(
            "Mean distance from that (the calibration error, in {bins} groups of rows): {errors}.",
            bins=BINS,
            errors=joined(tr(", "), errors),
        )
    if any(each.probabilities for each in predictions):
        words += " " + tr("After calibration, each row is answered by calibrations that were fitted without it.")
    return Chart(
        "reliability",
        tr("Reliability: how sure, and how often right"),
        words,
        (WIDTH, 3.8),
        partial(_draw_reliability, found, 100 / len(data.labels)),
        (tr("calibration"), tr("confidence"), tr("accuracy"), tr("rows")),
        [
            (name, f"{each.mean:.1%}", f"{each.accuracy:.1%}", f"{each.rows:,}")
            for name, _, bins in found
            for each in bins
        ],
    )


def _by_confidence(data: ChartData, probabilities: Sequence[Sequence[float]]) -> list[Bin]:
    """The rows in groups by the probability of their likeliest label, and how often that is the right one."""
    numbers = {label: number for number, label in enumerate(data.labels)}
    right = [
        each.target in numbers and row[numbers[each.target]] == max(row) for row, each in zip(probabilities, data.rows)
    ]
    return bins_of([max(row) for row in probabilities], right, RELIABILITY_BINS)


def _draw_reliability(series: Sequence[tuple[str, str, Sequence[Bin]]], least: float, figure: Any, say: Say) -> None:
    (axes,) = plain_axes(figure)
    axes.plot([least, 100], [least, 100], color=COLOURS["dim"], linestyle="--", linewidth=1)
    for shift, (name, colour, bins) in enumerate(series):
        at = [100 * each.mean + 0.25 * shift for each in bins]
        axes.vlines(
            at,
            [100 * each.interval[0] for each in bins],
            [100 * each.interval[1] for each in bins],
            color=colour,
            alpha=0.4,
            linewidth=2.5,
        )
        axes.plot(
            at, [100 * each.accuracy for each in bins], "os"[shift] + "-", color=colour, markersize=4.5, label=say(name)
        )
    axes.set_xlabel(say(tr("confidence: probability of the predicted label")))
    axes.set_ylabel(say(tr("accuracy")))
    axes.xaxis.set_major_formatter("{x:.0f}%")
    axes.yaxis.set_major_formatter("{x:.0f}%")
    axes.set_ylim(top=102)
    axes.legend(loc="upper left")


def _scores(data: ChartData) -> Optional[Chart]:
    """How probable the labels are found, by class."""
    if not 2 <= len(data.labels) <= MOST_LABELS or not data.rows:
        return None
    two = len(data.labels) == 2
    groups = [
        [row.probabilities[-1] if two else row.right for row in data.rows if row.target == label]
        for label in data.labels
    ]
    what = tr("probability of {label}", label=data.names[-1]) if two else tr("probability of the right label")
    means = [
        tr("label {label} {mean:.0%}", label=name, mean=sum(group) / len(group))
        for name, group in zip(data.names, groups)
        if group
    ]
    return Chart(
        "scores",
        tr("Scores by class"),
        tr(
            "Mean {what}: {means}. The further apart the classes, the easier the task.",
            what=what,
            means=joined(tr(", "), means),
        ),
        (WIDTH, 3.0 if two else 1.2 + 0.3 * len(groups)),
        partial(_draw_scores if two else _draw_ranges, groups, data.names, what),
    )


def _draw_scores(groups: Sequence[Sequence[float]], names: Sequence[str], what: str, figure: Any, say: Say) -> None:
    (axes,) = plain_axes(figure)
    edges = [100 * place / SCORE_BINS for place in range(SCORE_BINS + 1)]
    for name, group, colour in zip(names, groups, (COLOURS["two"], COLOURS["one"])):
        axes.hist(
            [100 * each for each in group],
            bins=edges,
            histtype="stepfilled",
            color=colour,
            alpha=0.5,
            label=say(tr("label {label}", label=name)),
        )
    axes.set_xlabel(say(what))
    axes.set_ylabel(say(tr("rows")))
    axes.xaxis.set_major_formatter("{x:.0f}%")
    axes.set_xlim(0, 100)
    axes.legend()


def _draw_ranges(groups: Sequence[Sequence[float]], names: Sequence[str], what: str, figure: Any, say: Say) -> None:
    (axes,) = plain_axes(figure)
    for place, group in enumerate(groups):
        ordered = sorted(100 * each for each in group)
        if ordered:
            low, middle, high = (ordered[int(part * (len(ordered) - 1))] for part in (0.25, 0.5, 0.75))
            axes.plot([low, high], [place, place], color=COLOURS["one"], linewidth=5, alpha=0.45, solid_capstyle="butt")
            axes.plot([middle], [place], "o", color=COLOURS["one"], markersize=5)
    axes.set_yticks(range(len(names)), [say(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel(say(tr("{what}, middle half of the rows", what=what)))
    axes.xaxis.set_major_formatter("{x:.0f}%")
    axes.set_xlim(0, 100)


def _length(data: ChartData) -> Optional[Chart]:
    """Whether long inputs are harder."""
    in_tokens = all(row.tokens for row in data.rows)
    values = [float(row.tokens if in_tokens else row.characters) for row in data.rows]
    if not all(values):
        return None
    bins = bins_of(values, [row.is_right for row in data.rows], LENGTH_BINS)
    unit = tr("tokens of the prompt") if in_tokens else tr("characters of the input")
    names = [f"{each.low:.0f}" if each.low == each.high else f"{each.low:.0f}–{each.high:.0f}" for each in bins]
    lines = [f"{name}: {each.accuracy:.0%}" for name, each in zip(names, bins)]
    return Chart(
        "length",
        tr("Length against accuracy"),
        tr("Accuracy by {unit}: {lines}.", unit=unit, lines="; ".join(lines)),
        (WIDTH, 3.0),
        partial(_draw_length, bins, names, unit),
        (unit, tr("accuracy"), tr("rows")),
        [(name, f"{each.accuracy:.1%}", f"{each.rows:,}") for name, each in zip(names, bins)],
    )


def _draw_length(bins: Sequence[Bin], names: Sequence[str], unit: str, figure: Any, say: Say) -> None:
    (axes,) = plain_axes(figure)
    whole = sum(each.accuracy * each.rows for each in bins) / sum(each.rows for each in bins)
    axes.axhline(100 * whole, color=COLOURS["dim"], linestyle="--", linewidth=1)
    at = range(len(bins))
    axes.vlines(
        at,
        [100 * each.interval[0] for each in bins],
        [100 * each.interval[1] for each in bins],
        color=COLOURS["one"],
        alpha=0.4,
        linewidth=4,
    )
    axes.plot(at, [100 * each.accuracy for each in bins], "o", color=COLOURS["one"], markersize=6)
    axes.set_xticks(at, names)
    axes.set_xlim(-0.5, len(bins) - 0.5)
    axes.set_xlabel(say(unit))
    axes.set_ylabel(say(tr("accuracy")))
    axes.yaxis.set_major_formatter("{x:.0f}%")


CHARTS: Mapping[str, Callable[[ChartData], Optional[Chart]]] = {
    "accuracy": _accuracy,
    "learning": _learning,
    "confusion": _confusion,
    "reliability": _reliability,
    "scores": _scores,
    "length": _length,
}
"""The charts in the order of a page."""
