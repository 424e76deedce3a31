"""What each lever is worth: accuracy on rows that nothing was chosen on, for ordinary runs that differ in one lever.

    python benchmarks/accuracy.py --base FOLDER --task CoLA --keep FILE                     every lever, three seeds
    python benchmarks/accuracy.py --base FOLDER --task QQP --keep FILE --only swap pissa    some of them
    python benchmarks/accuracy.py --keep FILE                                               only the tables, ACCURACY.md

A run is the product's own: `recipes/{task}.yaml` with the changes of the lever's row in `LEVERS`, in a workspace of its own, on
one thread, in a process of its own. 1,000 labelled rows of each task, the same for every run, are kept out of its data as the
dev file and are the *unseen* rows here. The minutes of the timed ways are CPU minutes, so that what else the machine does does
not matter. A finished run is a line of the file that `--keep` names, with a `1` for each right answer, and is not run again, so
you can stop and continue. Levers of prediction alone use the adapter of the run without levers.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

import accuracy_tables as tables
import rows as common

UNSEEN = 1000
"""Rows of each task that no run may train on or hold out."""

RATES = {"gemma-3-270m": 2e-4, "smollm2-135m": 1e-3}
"""The learning rate that fits each base (benchmarks/LOG.md); 2e-4, the recipes' own, for another."""

NONE = "none"
"""The name of the run without levers."""


@dataclass(frozen=True)
class Lever:
    """One change to the recipe."""

    changes: tuple[str, ...]
    """Overrides, as on the command line."""
    trains: bool = True
    """Whether it needs a training of its own; else the adapter of the run without levers."""
    tasks: tuple[str, ...] = ("CoLA", "QQP")
    """The tasks that it is for."""


WORDS = 'prompt.answers={"0": "no", "1": "yes"}'

LEVERS: Mapping[str, Lever] = {
    NONE: Lever(()),
    "answers in words": Lever((WORDS,)),
    "input first": Lever(('prompt.template="{input}\\n{instruction}\\nAnswer:"',)),
    "short prompt": Lever(('prompt.template="{input}\\n{instruction}"', 'instruction="{short}"')),
    "calibration": Lever(("decoding.calibration=auto",), trains=False),
    "average: swap": Lever(("decoding.average=swap",), trains=False, tasks=("QQP",)),
    "augment: swap": Lever(("samples.augment=swap",), tasks=("QQP",)),
    "class weights": Lever(("train.class_weights=balanced",)),
    "oversample": Lever(("samples.balance=oversample",)),
    "average of 2 epochs": Lever(("train.average_epochs=2",)),
    "rate × 2.5": Lever(("train.learning_rate={rate_up}",)),
    "rate / 2.5": Lever(("train.learning_rate={rate_down}",)),
    "r = 64, rsLoRA": Lever(("lora.r=64", "lora.use_rslora=true")),
    "r = 4": Lever(("lora.r=4", "lora.lora_alpha=8")),
    "DoRA": Lever(("lora.use_dora=true",)),
    "PiSSA": Lever(("lora.init_lora_weights=pissa",)),
    "LoRA+ (16)": Lever(("train.loraplus_lr_ratio=16",)),
    "upper half": Lever(("lora.layers_to_transform={upper}",)),
    "no dropout": Lever(("lora.lora_dropout=0",)),
    "ensemble of 3 seeds": Lever(("ensemble.seeds={more_seeds}",)),
    "batch of 8": Lever(("train.batch_size=8",)),
    "batch of 32": Lever(("train.batch_size=32",)),
}
"""Every lever alone, by its name on the command line."""

AS_MANY = "as many rows as fit"
"""The name of the recipe as it is, on as many rows as fit into the time."""

AUTOPILOT = "autopilot"
"""The name of a search."""

TIMED: Mapping[str, Lever] = {
    AS_MANY: Lever(("samples.train={minutes}m",)),
    AUTOPILOT: Lever(("search.minutes={minutes}",)),
}
"""Ways to use some minutes, with the recipe's own learning rate and epochs."""


@dataclass(frozen=True)
class Run:
    """What one run is; equal runs are not run twice."""

    base: str
    """Name of the base's folder."""
    task: str
    """CoLA or QQP."""
    lever: str
    """A name in `LEVERS`."""
    seed: int
    """Seed of the training rows, the hold-out, their order and the adapter's start."""
    rows: int
    """Training rows."""
    epochs: int
    """Passes over them."""
    minutes: float = 0
    """Of a way in `TIMED`, whose rows and epochs are 0 here; 0 for a lever."""


def write_task(folder: Path, task: str) -> list[str]:
    """Write `data/` of a workspace: the training file without the unseen rows and their doubles, and these as the dev file.

    Returns the labels of the dev rows."""
    recipe = common.load_recipe(task)
    inputs, _, _, _ = common.load_inputs(task)
    order = list(range(len(inputs)))
    random.Random(0).shuffle(order)
    unseen = order[:UNSEEN]
    known = {inputs[row] for row in unseen}
    source = common.EXAM / "data" / "questionBData" / task / f"{task}_train.tsv"
    table = common.open_table(source, source.name, common.Wanted((recipe.task.columns,), (), recipe.task.header))
    rows = [row.fields for row in table.rows() if not row.problem]
    label = table.columns.index(recipe.task.label)
    target = folder / "data" / "questionBData" / task
    target.mkdir(parents=True, exist_ok=True)
    heads = [[list(table.columns)], [[*table.columns[:label], *table.columns[label + 1 :]]]]
    train_head, dev_head = heads if recipe.task.header else ([], [])
    kept = [rows[row] for row in range(len(rows)) if inputs[row] not in known]
    dev = [[*rows[row][:label], *rows[row][label + 1 :]] for row in unseen]
    _write(target / f"{task}_train.tsv", [*train_head, *kept])
    _write(target / f"{task}_dev.tsv", [*dev_head, *dev])
    return [rows[row][label] for row in unseen]


def _write(path: Path, lines: Sequence[Sequence[str]]) -> None:
    path.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")


def overrides(run: Run, base: Path) -> list[str]:
    """The changes to the task's recipe that make the run."""
    rate = RATES.get(run.base, 2e-4)
    layers = json.loads((base / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"]
    values = {"rate_up": rate * 2.5, "rate_down": rate / 2.5, "upper": list(range(layers // 2, layers))}
    values["more_seeds"] = [run.seed + 100, run.seed + 200]
    values["short"] = {"CoLA": "Grammatical:", "QQP": "Duplicates:"}[run.task]
    values["minutes"] = f"{run.minutes:g}"
    changes = [
        f"base={base}", "train.precision=bf16", f"samples.seed={run.seed}", f"train.seed={run.seed}",
        "samples.dev=all", "decoding.batch=32", "decoding.average=none", "task.quoting=none",
    ]  # fmt: skip
    if not run.minutes:
        changes += [f"samples.train={run.rows}", f"train.epochs={run.epochs}", f"train.learning_rate={rate}"]
    if run.task == "QQP":
        changes.append("task.swap=[question1, question2]")
    own = "\n".join((TIMED if run.minutes else LEVERS)[run.lever].changes)
    for name, value in values.items():
        own = own.replace(f"{{{name}}}", str(value))
    return [*changes, *own.splitlines()]


def do(run: Run, base: Path, folder: Path) -> dict[str, Any]:
    """One run, in a process of its own. Raises SystemExit where it fails."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_child, args=(run, base, folder, theirs))
    child.start()
    theirs.close()
    try:
        found: dict[str, Any] = ours.recv()
    except EOFError:
        child.join()
        raise SystemExit(f"{run}: failed, exit code {child.exitcode}") from None
    child.join()
    return found


def _child(run: Run, base: Path, folder: Path, pipe: Any) -> None:
    import torch

    torch.set_num_threads(1)
    if run.minutes:
        # on one thread it is the time of a machine that does nothing else, whatever this one does
        time.monotonic = time.perf_counter = time.process_time
    from runner import pipeline
    from runner.recipe.loader import load_recipes

    answers = write_task(folder, run.task)
    loaded = load_recipes([common.TASKS[run.task][0]], overrides(run, base))
    labels = loaded[0].recipe.task.labels
    started, cpu = time.perf_counter(), time.process_time()
    result = pipeline.run(loaded, folder)[0]
    figures = {"seconds": round(time.perf_counter() - started, 1), "cpu": round(time.process_time() - cpu, 1)}
    lines = (folder / "result" / f"predictions_{run.task}.jsonl").read_text(encoding="utf-8").splitlines()
    predictions = [json.loads(line) for line in lines]
    evaluation, trained = result.evaluation, result.statistics["finetune"]
    assert evaluation is not None
    figures |= {
        "training": trained["train_seconds"],
        "train_rows": trained["rows"],
        "epochs_holdout": [round(epoch["accuracy"], 4) for epoch in trained["epochs"]],
        "kept_epoch": trained["kept"],
        "untuned": trained["untuned"]["accuracy"],
        "bag_of_words": evaluation["baselines"].get("bag_of_words", {}).get("accuracy"),
        "log_loss": round(evaluation["log_loss"], 4),
        "calibrated": evaluation["calibration"]["used"],
        "holdout": evaluation["accuracy"],
        "held_out": evaluation["rows"],
        "learning_rate": trained["learning_rate"],
        "right": "".join(str(int(one["label"] == other)) for one, other in zip(predictions, answers)),
        "last_label": [round(one["probabilities"][labels[-1]], 5) for one in predictions],
    }
    pipe.send(figures)
    pipe.close()
    os._exit(0)


def read_kept(path: Path) -> list[dict[str, Any]]:
    """The finished runs in a file; none where it is missing."""
    return [json.loads(line) for line in path.open(encoding="utf-8")] if path.exists() else []


def plan(base: str, options: argparse.Namespace) -> list[Run]:
    """The wanted runs, seed by seed, those without levers first."""
    if options.minutes:
        ways = [name for name in TIMED if not options.only or name in options.only]
        return [Run(base, options.task, name, seed, 0, 0, options.minutes) for seed in options.seeds for name in ways]
    names = [name for name in LEVERS if name == NONE or not options.only or name in options.only]
    names = [name for name in names if options.task in LEVERS[name].tasks]
    return [
        Run(base, options.task, name, seed, rows, epochs)
        for rows, epochs in options.size
        for seed in options.seeds
        for name in names
    ]


def work(options: argparse.Namespace) -> None:
    """Do the runs that are not in the file yet."""
    base = options.base.resolve()
    for run in plan(base.name, options):
        if any({name: line.get(name, 0) for name in asdict(run)} == asdict(run) for line in read_kept(options.keep)):
            continue
        own = run.minutes > 0 or (run.lever != NONE and LEVERS[run.lever].trains)
        folder = options.folder / base.name / ("own" if own else f"{run.task}-{run.seed}-{run.rows}x{run.epochs}")
        if own:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        found = do(run, base, folder)
        with options.keep.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**asdict(run), **found}) + "\n")
        print(f"{run}: unseen {found['right'].count('1') / UNSEEN:.1%}, {found['seconds']:.0f} s", flush=True)


def write_tables(keep: Path, others: Optional[Path], page: Path) -> None:
    """Write every table below the page's `TABLES` line; what stands above it stays."""
    every = [{"minutes": 0, **run} for run in read_kept(keep)]
    timed = [run for run in every if run["minutes"]]
    runs = [run for run in every if not run["minutes"]]
    rivals = read_kept(others) if others else []
    parts = [*tables.curve_table(runs, rivals, NONE), *tables.lever_table(runs, list(LEVERS), NONE)]
    parts += [
        tables.timed_table(timed, list(TIMED), AS_MANY),
        tables.rivals_table(
            [*_shipped(runs), *timed], rivals, {SHIPPED: "labeltune", AUTOPILOT: "labeltune, autopilot"}
        ),
        tables.equal_table(rivals),
        tables.ensemble_table(runs, NONE),
        tables.minutes_table(rivals),
    ]
    above = page.read_text(encoding="utf-8").partition(TABLES)[0] if page.exists() else "# Accuracy\n\n"
    page.write_text(above + TABLES + "".join(parts), encoding="utf-8")


SHIPPED = "recipe"
"""The name of the runs with the lever that their task's recipe has."""


def _shipped(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those of `recipes/cola.yaml` as it is, and of `recipes/qqp.yaml`, which answers by both orders, with all of their time."""
    keys = ("base", "task", "seed", "rows", "epochs")
    plain = {tuple(run[key] for key in keys): run["cpu"] for run in runs if run["lever"] == NONE}
    found = [{**run, "lever": SHIPPED} for run in runs if (run["task"], run["lever"]) == ("CoLA", NONE)]
    for run in runs:
        if (run["task"], run["lever"]) == ("QQP", "average: swap"):
            found.append({**run, "lever": SHIPPED, "cpu": run["cpu"] + plain[tuple(run[key] for key in keys)]})
    return found


TABLES = "<!-- Everything below this line is written by accuracy.py. -->\n"


def _size(text: str) -> tuple[int, int]:
    rows, _, epochs = text.partition("x")
    return int(rows), int(epochs)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="folder of a real base; without it only the tables are written")
    parser.add_argument("--task", choices=list(common.TASKS), default="CoLA")
    parser.add_argument("--keep", type=Path, required=True, help="file of the finished runs")
    parser.add_argument("--only", nargs="+", choices=[*LEVERS, *TIMED], help="some of them (default: all)")
    parser.add_argument("--size", nargs="+", type=_size, default=[(1000, 2)], help="ROWSxEPOCHS")
    parser.add_argument("--minutes", type=float, default=0, help="the ways of `TIMED` instead of the levers")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--others", type=Path, help="finished runs of time_to_accuracy.py, for TRL and the head")
    parser.add_argument("--page", type=Path, default=Path(__file__).with_name("ACCURACY.md"), help="the page to write")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/labeltune-accuracy"), help="for the workspaces")
    options = parser.parse_args(arguments)
    if options.base:
        work(options)
    write_tables(options.keep, options.others, options.page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
