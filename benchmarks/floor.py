"""The floor: how near a packed training step comes to what this machine's matrix products allow.

    python benchmarks/floor.py --quick                 gemma-2b's slice on CoLA, batch 8: under a minute
    python benchmarks/floor.py                         CoLA and QQP, batch 8 and 32
    python benchmarks/floor.py --precision bf16 --layers 18

LoRA training cannot do with less than 4 operations for each weight of the body and distinct token: a product and a sum
forward, the same again for the gradient with respect to the layer's input (the base's weights have none). The ceiling
is the speed of exactly those products here: each linear layer's forward and backward shape at the step's own number of
tokens, one thread, the better of several tries. Floor = operations / ceiling; the fraction reached = floor / step.
Attention, norms, activations, the LoRA layers, the head and the optimizer are all overhead in this account. The last
layer's feed-forward, which a step computes for a few rows only, is left out of the floor.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import Any

import rows as common
import torch

from runner.model.compat import body
from runner.scoring.collator import Collator
from runner.scoring.layouts import LAYOUTS
from runner.scoring.scorer import LabelScorer


def linear_layers(model: Any) -> Counter[tuple[int, int]]:
    """How often each shape (outputs, inputs) stands among the body's linear layers that run over every token; LoRA's own
    left out."""
    pruned = {f"layers.{model.config.num_hidden_layers - 1}.mlp", "lora_"}
    return Counter(
        tuple(module.weight.shape)
        for name, module in body(model).named_modules()
        if isinstance(module, torch.nn.Linear) and not any(part in name for part in pruned)
    )


def product_seconds(tokens: int, shape: tuple[int, int], dtype: torch.dtype, tries: int) -> tuple[float, float]:
    """Seconds of CPU of one layer's forward product and of its backward one for the input, at their best."""
    weight = torch.randn(shape, dtype=dtype)
    inputs, outputs = torch.randn(tokens, shape[1], dtype=dtype), torch.randn(tokens, shape[0], dtype=dtype)
    forward, backward = [], []
    for _ in range(tries + 1):
        forward.append(common.cpu_seconds(lambda: torch.nn.functional.linear(inputs, weight)))
        backward.append(common.cpu_seconds(lambda: outputs @ weight))
    return min(forward[1:]), min(backward[1:])


def step_seconds(scorer: LabelScorer, rows: common.TaskRows, first: int, batch: int) -> tuple[float, float]:
    """Seconds of CPU of one packed step and of its forward half, optimizer included in the first."""
    parameters = [parameter for parameter in scorer.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    started = time.process_time()
    collator = Collator(rows.dataset, LAYOUTS["packed"](scorer.model, rows.prompt))
    loss = scorer(collator(range(len(rows.suffixes))[first : first + batch])).losses.mean()
    halfway = time.process_time()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return time.process_time() - started, halfway - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="CoLA at batch 8 only")
    parser.add_argument("--shape", default="gemma-2b", choices=list(common.SHAPES))
    parser.add_argument("--tasks", nargs="+", default=["CoLA", "QQP"], choices=list(common.TASKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 32])
    parser.add_argument("--instruction", type=int, help="tokens of the instruction; default: the recipe's own")
    parser.add_argument("--layers", type=int, help="layers of a random model")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--repeats", type=int, default=3, help="steps and tries of each product")
    parser.add_argument("--json", type=Path, help="also write the fractions")
    options = parser.parse_args()
    if options.quick:
        options.tasks, options.batches = ["CoLA"], [8]
    torch.set_num_threads(1)
    shape = common.SHAPES[options.shape]
    model = common.load_shape(options.shape, options.layers, options.precision)
    layers = linear_layers(model)
    weights = sum(count * outputs * inputs for (outputs, inputs), count in layers.items())
    model = common.add_lora(model).get_base_model()
    lines, details, ratios = [], [], {}
    for task in options.tasks:
        for batch in options.batches:
            rows = common.load_rows(
                task,
                common.load_tokenizer(options.shape),
                options.instruction,
                batch * (options.repeats + 1),
                shape.demo,
            )
            scorer = LabelScorer(model, rows.prompt, "vocabulary").train()
            steps, forwards, floors, fractions = [], [], [], []
            for turn in range(options.repeats + 1):
                tokens = rows.useful_tokens(turn * batch, batch)
                seconds, forward = step_seconds(scorer, rows, turn * batch, batch)
                products = {each: product_seconds(tokens, each, model.dtype, options.repeats) for each in layers}
                floor = sum(count * sum(products[each]) for each, count in layers.items())
                if turn:  # the first one warms up
                    steps.append(seconds)
                    forwards.append(forward)
                    floors.append(floor)
                    fractions.append(floor / seconds)
                    speed = 4 * weights * tokens / floor / 1e9
            fraction = common.Spread.of(fractions)
            name = f"{options.shape}/{task}/batch {batch}/{options.precision}/{weights / 1e6:.0f} M weights"
            ratios[f"{name}: floor / step"] = fraction.figures()
            details.append(
                {"setting": name, "source": rows.source, "step": steps, "forward": forwards, "floor": floors,
                 "gflops": speed}
            )  # fmt: skip
            lines.append(
                [name, f"{tokens}", f"{speed:.0f} GFLOP/s", common.Spread.of(floors).show(" s"),
                 common.Spread.of(steps).show(" s"), common.Spread.of(forwards).show(" s"), fraction.show()]
            )  # fmt: skip
    heads = ["setting", "distinct tokens", "ceiling", "floor", "packed step", "its forward half", "fraction"]
    common.print_table(
        "The packed step against its floor (one thread, seconds of CPU; goal: 0.75 or more)", heads, lines
    )
    common.write_json(options.json, "floor", ratios, details)


if __name__ == "__main__":
    main()
