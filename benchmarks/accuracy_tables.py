"""The tables of ACCURACY.md, from the finished runs of accuracy.py and time_to_accuracy.py. No command of its own."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from grading.contract.metrics import wilson_interval
from runner.evaluation.significance import exact_mcnemar, holm

STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""Two-sided 95 % quantiles of Student's t for a mean over so many seeds."""

Line = Mapping[str, Any]


def markdown(title: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table with its title."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join([f"\n**{title}**\n", *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def share(right: str) -> float:
    """The accuracy of a run: its unseen rows as `1` and `0`."""
    return right.count("1") / len(right)


def log_loss(run: Line) -> float:
    """Mean of minus the log-probability of the right one of two labels over the unseen rows, in nats."""
    shares = [(max(p, 1 - p), right) for p, right in zip(run["last_label"], run["right"])]
    return -statistics.mean(math.log(max(p if right == "1" else 1 - p, 1e-5)) for p, right in shares)


def accuracy_cell(rights: Sequence[str]) -> str:
    """Mean and range over the seeds; with one seed, the 95 % interval of its rows."""
    shares = [100 * share(right) for right in rights]
    if len(shares) == 1:
        low, high = wilson_interval(rights[0].count("1"), len(rights[0]))
        return f"{shares[0]:.1f} ({100 * low:.1f}–{100 * high:.1f} by rows)"
    return f"{statistics.mean(shares):.1f} ({min(shares):.1f}–{max(shares):.1f})"


def difference(pairs: Sequence[tuple[str, str]]) -> tuple[str, float]:
    """Points by which the first of each pair of runs is better, its 95 % interval over the seeds, and McNemar's exact p over
    the rows of all seeds."""
    return mean_difference([[pair] for pair in pairs])


def mean_difference(groups: Sequence[Sequence[tuple[str, str]]]) -> tuple[str, float]:
    """The same for groups of pairs, such as the seeds of one base and task: each group counts once, whatever its seeds."""
    points = [statistics.mean(100 * (share(one) - share(other)) for one, other in group) for group in groups]
    pairs = [pair for group in groups for pair in group]
    half = ""
    if len(points) in STUDENT:
        half = f" ± {STUDENT[len(points)] * statistics.stdev(points) / math.sqrt(len(points)):.1f}"
    counts = [sum(each == wanted for one, other in pairs for each in zip(one, other)) for wanted in _DISCORDANT]
    return f"{statistics.mean(points):+.1f}{half}", exact_mcnemar(*counts)


_DISCORDANT = (("1", "0"), ("0", "1"))


def lever_table(runs: Sequence[Line], names: Sequence[str], plain: str) -> list[str]:
    """One table for each base, task and size: every lever against the run without levers, seed by seed."""
    tables = []
    for (base, task, rows, epochs), group in _groups(runs, "base", "task", "rows", "epochs"):
        levers = {name: {run["seed"]: run for run in group if run["lever"] == name} for name in names}
        levers = {name: by_seed for name, by_seed in levers.items() if by_seed}
        if len(levers) < 2 or plain not in levers:
            continue
        found = {name: _against(by_seed, levers[plain]) for name, by_seed in levers.items() if name != plain}
        compared = [name for name, each in found.items() if each]
        adjusted = dict(zip(compared, holm([found[name][1] for name in compared])))
        lines = []
        for name, by_seed in levers.items():
            against = (
                [found[name][0], f"{found[name][1]:.2g}", f"{adjusted[name]:.2g}"] if name in adjusted else [""] * 3
            )
            lines.append([name, str(len(by_seed)), accuracy_cell([run["right"] for run in by_seed.values()]), *against,
                          f"{100 * statistics.mean(run['holdout'] for run in by_seed.values()):.1f}",
                          f"{statistics.mean(map(log_loss, by_seed.values())):.3f}",
                          f"{statistics.mean(run['cpu'] for run in by_seed.values()):.0f}"])  # fmt: skip
        title = f"{base}, {task}, {rows:,} rows × {epochs}: each lever alone"
        tables.append(markdown(title, LEVER_HEAD, lines))
    return tables


LEVER_HEAD = ["lever", "seeds", "unseen, %", "against none, points", "p", "p (Holm)", "hold-out, %", "unseen log loss",
              "CPU s"]  # fmt: skip


def _against(by_seed: Mapping[int, Line], plain: Mapping[int, Line]) -> Any:
    seeds = sorted(set(by_seed) & set(plain))
    return difference([(by_seed[seed]["right"], plain[seed]["right"]) for seed in seeds]) if seeds else None


def curve_table(runs: Sequence[Line], others: Sequence[Line], plain: str) -> list[str]:
    """The learning curve: accuracy by training rows and epochs, with the CPU seconds of the whole run, predictions included.

    `others`: runs of time_to_accuracy.py, whose packed ones belong to it; of them only the training is timed."""
    tables = []
    own = [run for run in runs if run["lever"] == plain]
    own += [{**run, "cpu": None} for run in others if run["way"] == "packed"]
    for (base, task), group in _groups(own, "base", "task"):
        sizes = sorted({run["rows"] for run in group})
        epochs = sorted({run["epochs"] for run in group})
        lines = [[f"{rows:,}", *(_curve_cell(group, rows, each) for each in epochs)] for rows in sizes]
        head = ["training rows", *(f"{each} epoch{'s' if each > 1 else ''}" for each in epochs)]
        tables.append(
            markdown(f"{base}, {task}: unseen accuracy in % (seeds; CPU seconds of the whole run)", head, lines)
        )
    return tables


def _curve_cell(group: Sequence[Line], rows: int, epochs: int) -> str:
    found = [run for run in group if (run["rows"], run["epochs"]) == (rows, epochs)]
    if not found:
        return ""
    mean = 100 * _mean_share(found)
    seconds = [run["cpu"] for run in found if run["cpu"] is not None]
    return f"{mean:.1f} ({len(found)}{f'; {statistics.mean(seconds):.0f} s' if seconds else ''})"


def timed_table(runs: Sequence[Line], names: Sequence[str], plain: str) -> str:
    """Ways to use the same minutes, against the recipe as it is on as many rows as fit."""
    lines = []
    for (base, task, minutes), group in _groups(runs, "base", "task", "minutes"):
        ways = {name: {run["seed"]: run for run in group if run["lever"] == name} for name in names}
        for name, by_seed in ways.items():
            against = _against(by_seed, ways[plain]) if name != plain else None
            found = list(by_seed.values())
            if found:
                lines.append([base, task, f"{minutes:g}", name, str(len(found)),
                              "; ".join(_each_size(found)), ", ".join(_each_rate(found)),
                              accuracy_cell([run["right"] for run in found]),
                              *((against[0], f"{against[1]:.2g}") if against else ("", ""))])  # fmt: skip
    head = ["base", "task", "minutes", "way", "seeds", "rows × epochs", "learning rates", "unseen, %", "points", "p"]
    return markdown("The same minutes: the recipe as it is, and the autopilot", head, lines) if lines else ""


def rivals_table(runs: Sequence[Line], others: Sequence[Line], names: Mapping[str, str]) -> str:
    """Some of our runs against the TRL and head runs of about as many CPU seconds, pair by pair over the same rows.

    At the end the mean over bases and tasks for each rival, with the better one of its learning rates, its 95 % interval over
    these, and McNemar's p over all rows.

    Args:
        runs: All of ours.
        others: TRL's and the head's.
        names: What our runs are called here, by their levers; runs with other levers are left out.
    """
    lines = []
    every: dict[tuple[str, str], list[list[tuple[str, str]]]]
    every = {(name, way): [] for name in names.values() for way in RIVALS}
    ours = [run for run in runs if run["lever"] in names and run["cpu"] is not None]
    for (lever, base, task, *_), group in _groups(ours, "lever", "base", "task", "rows", "epochs", "minutes"):
        seconds, own = [run["cpu"] for run in group], {run["seed"]: run for run in group}
        slowest = max(seconds)
        there = [run for run in others if (run["base"], run["task"]) == (base, task) and run["way"] in RIVALS]
        sizes = [found for _, found in _groups(there, "way", "rows", "epochs")]
        near = [run for found in sizes if ABOUT[0] <= _slowest(found) / slowest <= ABOUT[1] for run in found]
        if "trl" not in {run["way"] for run in near}:
            continue
        lines.append([base, task, "; ".join(dict.fromkeys(_each_size(group))), names[lever],
                      ", ".join(dict.fromkeys(_each_rate(group))), str(len(own)), f"{statistics.mean(seconds):.0f}",
                      accuracy_cell([run["right"] for run in group]), "", ""])  # fmt: skip
        best: dict[str, tuple[float, list[tuple[str, str]]]] = {}
        for (way, rate, other_rows, other_epochs), found in _groups(near, "way", "rate", "rows", "epochs"):
            pairs = [(own[run["seed"]]["right"], run["right"]) for run in found if run["seed"] in own]
            ahead, p = difference(pairs) if pairs else ("", math.nan)
            lines.append(["", "", f"{other_rows:,} × {other_epochs}", RIVALS[way], f"{rate:g}", str(len(found)),
                          f"{statistics.mean(run['seconds'] for run in found):.0f}",
                          accuracy_cell([run["right"] for run in found]), ahead, f"{p:.2g}"])  # fmt: skip
            best[way] = max(best.get(way, (0.0, [])), (_mean_share(found), pairs))
        for way, (_, pairs) in best.items():
            every[names[lever], way].append(pairs)
    for (own_name, way), groups in every.items():
        if len(groups) > 1:
            name, (ahead, p) = f"{own_name} against {RIVALS[way]} at its best rate", mean_difference(groups)
            seeds = str(sum(map(len, groups)))
            lines.append(["**mean**", "", "", name, "", seeds, "", "", f"**{ahead}**", f"{p:.2g}"])
    head = ["base", "task", "rows × epochs", "way", "learning rate", "seeds", "CPU s", "unseen, %",
            "labeltune against it, points", "p"]  # fmt: skip
    return markdown("The same minutes: labeltune, TRL and a classification head", head, lines) if lines else ""


def equal_table(runs: Sequence[Line]) -> str:
    """Our packed runs against TRL and the head on the same rows, in as many epochs, seed by seed, each at its best rate here."""
    lines = []
    every: dict[str, list[list[tuple[str, str]]]] = {way: [] for way in RIVALS}
    for (base, task, rows, epochs), group in _groups(runs, "base", "task", "rows", "epochs"):
        ways = {way: [run for run in group if run["way"] == way] for way in ("packed", *RIVALS)}
        best = {way: _at_best_rate(found) for way, found in ways.items() if found}
        ours = {run["seed"]: run for run in best.pop("packed", [])}
        if not ours or not best:
            continue
        lines.append([base, task, f"{rows:,} × {epochs}", OURS, f"{next(iter(ours.values()))['rate']:g}", str(len(ours)),
                      accuracy_cell([run["right"] for run in ours.values()]), "", ""])  # fmt: skip
        for way, found in best.items():
            pairs = [(ours[run["seed"]]["right"], run["right"]) for run in found if run["seed"] in ours]
            if not pairs:
                continue
            every[way].append(pairs)
            ahead, p = difference(pairs)
            tried = ", ".join(f"{rate:g}" for rate in sorted({run["rate"] for run in ways[way]}))
            lines.append(["", "", "", RIVALS[way], tried, str(len(found)), accuracy_cell([run["right"] for run in found]),
                          ahead, f"{p:.2g}"])  # fmt: skip
    for way, groups in every.items():
        if len(groups) > 1:
            ahead, p = mean_difference(groups)
            lines.append(["**mean**", "", "", f"{OURS} against {RIVALS[way]}", "", str(sum(map(len, groups))), "", f"**{ahead}**",
                          f"{p:.2g}"])  # fmt: skip
    head = ["base", "task", "rows × epochs", "way", "learning rates tried", "seeds", "unseen, %",
            "labeltune against it, points", "p"]  # fmt: skip
    return markdown("The same rows and epochs: labeltune, TRL and a classification head", head, lines) if lines else ""


OURS = "labeltune"
"""The name of our runs in these tables."""


def _at_best_rate(runs: Sequence[Line]) -> list[Line]:
    """The runs at the learning rate that is best on the seeds that every rate has."""
    rates = [found for _, found in _groups(runs, "rate")]
    common = set.intersection(*({run["seed"] for run in found} for found in rates))
    return max(rates, key=lambda found: (_mean_share([run for run in found if run["seed"] in common]), len(found)))


def _mean_share(runs: Sequence[Line]) -> float:
    return statistics.mean(share(run["right"]) for run in runs)


def _slowest(runs: Sequence[Line]) -> float:
    return max(run["seconds"] for run in runs)


RIVALS = {"trl": "TRL SFTTrainer", "head": "classification head"}
"""What users would take instead, by its name in time_to_accuracy.py."""

ABOUT = (0.75, 1.4)
"""A rival's seconds of training alone, as a share of the CPU seconds of our whole run, which has loading, the hold-out after each
epoch and 1,000 predictions in it. The same work took up to 1.4 times as long in some hours as in others, so the slowest run of
each size is compared; a learning rate changes no cost."""


def _each_size(runs: Sequence[Line]) -> list[str]:
    return [f"{run['train_rows']:,} × {len(run['epochs_holdout'])}" for run in runs]


def _each_rate(runs: Sequence[Line]) -> list[str]:
    return [f"{run['learning_rate']:g}" for run in runs]


def ensemble_table(runs: Sequence[Line], plain: str) -> str:
    """Several seeds' mean log-odds against one seed's answers."""
    lines = []
    keys = ("base", "task", "rows", "epochs")
    for (base, task, rows, epochs), group in _groups([run for run in runs if run["lever"] == plain], *keys):
        if len(group) < 3:
            continue
        # whether the last label is the right one follows from any run's answer and whether it is right
        answers = zip(group[0]["last_label"], group[0]["right"])
        truth = [(probability > 0.5) == (right == "1") for probability, right in answers]
        odds = [sum(map(_log_odds, each)) for each in zip(*(run["last_label"] for run in group))]
        right = "".join(str(int((each > 0) == one)) for each, one in zip(odds, truth))
        points, p = difference([(right, run["right"]) for run in group])
        single = accuracy_cell([run["right"] for run in group])
        lines.append(
            [
                base,
                task,
                f"{rows:,} × {epochs}",
                str(len(group)),
                single,
                f"{100 * share(right):.1f}",
                points,
                f"{p:.2g}",
            ]
        )
    head = ["base", "task", "rows × epochs", "seeds", "one seed, %", "ensemble, %", "points", "p (rows of all seeds)"]
    return markdown("The ensemble of all seeds, which have other training rows each", head, lines) if lines else ""


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, 1e-5), 1 - 1e-5)
    return math.log(bounded / (1 - bounded))


def minutes_table(runs: Sequence[Line]) -> str:
    """Ours, TRL's and the head's runs of time_to_accuracy.py, each with its learning rate and seconds."""
    lines = []
    for (base, task), group in _groups(runs, "base", "task"):
        for way in sorted({run["way"] for run in group}):
            rates: dict[tuple[float, int, int], list[Line]] = {}
            for run in (run for run in group if run["way"] == way):
                rates.setdefault((run["rate"], run["rows"], run["epochs"]), []).append(run)
            for (rate, rows, epochs), found in sorted(rates.items()):
                seconds = statistics.mean(run["seconds"] for run in found)
                lines.append([base, task, way, f"{rows:,} × {epochs}", f"{rate:g}", str(len(found)),
                              accuracy_cell([run["right"] for run in found]), f"{seconds:.0f}"])  # fmt: skip
    head = ["base", "task", "way", "rows × epochs", "learning rate", "seeds", "unseen, %", "CPU s of training"]
    return markdown("Against TRL and a classification head", head, lines) if lines else ""


def _groups(runs: Sequence[Line], *keys: str) -> list[tuple[tuple[Any, ...], list[Line]]]:
    found: dict[tuple[Any, ...], list[Line]] = {}
    for run in runs:
        found.setdefault(tuple(run[key] for key in keys), []).append(run)
    return sorted(found.items())
