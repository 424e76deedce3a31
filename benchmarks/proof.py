"""The proof of the fast ways: what it measures on real bases, for what is right and for each known mistake, and its cost.

    python benchmarks/proof.py --bases FOLDER FOLDER                     both tasks, fp32 and bf16
    python benchmarks/proof.py --bases FOLDER --tasks CoLA --precisions bf16

A difference is what the proof decides by: on the shallow copy in fp32 (allowed 1e-3), and on the whole model beside the noise
there. The mistakes are those of tests/support/mistakes.py. A mistake that is accepted, or a right way that is refused, ends the
command with exit code 1. Seconds are of CPU, memory is the peak above what the process held before.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rows as common
from rows import ROOT
from train import _forget_peak, _status

sys.path.insert(1, str(ROOT / "tests"))

BATCH = 16
"""Rows of the recipes' batches."""

LONG_ROW = 700
"""Tokens of the row that shows a forgotten window."""


def cases(subject: Any, rows: Any) -> Iterator[tuple[str, Any, bool, float]]:
    """Each case's name, its proof, whether it ought to hold, and its seconds."""
    from support.mistakes import CACHED, PACKED, prefix_without_gradient, window_left_out

    from runner.scoring.label_logits import after_cached_prefix
    from runner.scoring.layout_choice import packed_ways
    from runner.scoring.proof import prove

    model, prompt = subject.scorer.model, subject.scorer.prompt
    unlabelled = dataclasses.replace(rows, targets=[])
    long = (rows.suffixes[0] * LONG_ROW)[:LONG_ROW]
    windowed = dataclasses.replace(
        rows, suffixes=[*(rows.suffixes[row] for row in range(8)), long], targets=rows.targets[:9]
    )
    packed, cached = packed_ways(subject, BATCH), (after_cached_prefix,)

    def timed(ways: Any, some: Any) -> tuple[Any, float]:
        started = time.process_time()
        return prove(subject, ways, some), time.process_time() - started

    for name, ways, some in (
        ("packed, to train", packed, rows), ("packed, to predict", packed, unlabelled),
        ("after the cached prefix", cached, unlabelled),
    ):  # fmt: skip
        proof, seconds = timed(ways, some)
        yield name, proof, True, seconds
    for mistake in (*PACKED, *CACHED):
        if mistake is window_left_out and not getattr(model.config, "sliding_window", None):
            continue
        ways = cached if mistake in CACHED else packed
        for some, goal in ((rows, "to train"), (unlabelled, "to predict")):
            if (ways is cached and some is rows) or (mistake is prefix_without_gradient and some is unlabelled):
                continue
            chosen = windowed if mistake is window_left_out else some
            chosen = dataclasses.replace(chosen, targets=chosen.targets if some is rows else [])
            with mistake(model, prompt):
                proof, seconds = timed(ways, chosen)
            yield f"{mistake.__name__.replace('_', ' ')}, {goal}", proof, False, seconds


def measure(folder: Path, task: str, precision: str) -> int:
    """Prints one setting's table; returns how many of its cases were judged wrongly."""
    import torch

    from runner.model.adapter import new_adapter
    from runner.model.base import load_base
    from runner.recipe.loader import load_recipes
    from runner.scoring.dataset import encode_records
    from runner.scoring.prompt import build_prompt
    from runner.scoring.proof import prove_head, subject_of
    from runner.scoring.scorer import LabelScorer

    recipe = load_recipes([common.TASKS[task][0]])[0].recipe
    base = load_base(folder, precision, torch.device("cpu"))
    inputs, labels, instruction, source = common.load_inputs(task)
    shape = dataclasses.replace(recipe.prompt, max_length=1024)
    prompt = build_prompt(shape, instruction, recipe.task.labels, base.tokenizer)
    records = [{"instruction": instruction, "input": i, "output": label} for i, label in zip(inputs[:4000], labels)]
    rows = encode_records(prompt, records, task)
    lines, wrong = [], 0
    with new_adapter(base, recipe.lora):
        scorer = LabelScorer(base.model, prompt)
        before = _forget_peak()
        started = time.process_time()
        subject = subject_of(scorer)
        prove_head(subject, rows.suffixes[:1])
        ready = time.process_time() - started
        for name, proof, right, seconds in cases(subject, rows):
            memory = (_status("VmHWM") - before) / 1024
            wrong += proof.holds != right
            verdict = ("accepted" if proof.holds else "refused") + ("" if proof.holds == right else ": WRONG")
            lines.append([name, verdict, f"{proof.shallow:.1e}", f"{proof.whole:.1e}", f"{proof.noise:.1e}",
                          f"{seconds:.2f}", f"{memory:.0f}"])  # fmt: skip
            _forget_peak()
    title = f"{folder.name}, {task} ({source}), {precision}; the copy and its head took {ready:.2f} s"
    heads = ["case", "verdict", "shallow, fp32", "whole", "noise", "CPU s", "peak MiB"]
    common.print_table(title, heads, lines)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bases", nargs="+", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--tasks", nargs="+", choices=list(common.TASKS), default=list(common.TASKS))
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    every = itertools.product(options.bases, options.tasks, options.precisions)
    wrong = sum(measure(folder.resolve(), task, precision) for folder, task, precision in every)
    print(f"\n{wrong} cases judged wrongly")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
