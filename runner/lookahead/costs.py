"""The costs of a run: memory, minutes and disk, estimated from the base's shapes, the recipe and the lengths of the prompts.

Estimates, not measurements: a factor of two either way is usual. `timing` measures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from runner.lookahead.base_report import BaseReport
from runner.lookahead.data_report import DataReport
from runner.lookahead.lengths import quantile
from runner.lookahead.lora_size import LoraSize
from runner.lookahead.machine import Machine
from runner.lookahead.prompt_preview import Tokens
from runner.recipe.schema import LabelDecoding, Recipe

TERAFLOPS: Sequence[tuple[str, float]] = (
    ("H200|H100|GH200", 800.0),
    ("A100|A800", 312.0),
    ("L40S", 362.0),
    ("L40|RTX 6000 Ada", 181.0),
    ("A40|A6000|RTX 6000", 150.0),
    ("A10G", 70.0),
    ("A10", 125.0),
    ("A30", 165.0),
    ("L4", 121.0),
    ("4090", 165.0),
    ("4080|5080", 100.0),
    ("4070|5070", 60.0),
    ("4060", 30.0),
    ("3090", 71.0),
    ("3080", 60.0),
    ("3070|3060", 30.0),
    ("5090", 210.0),
)
"""Patterns of GPU names, and the bf16 operations a second that their makers give (dense, in 10^12). The first match counts."""

GPU_SHARE = 0.2
"""Share of them that training reaches: its batches are small."""

CPU_GIGAFLOPS = {
    ("bf16", "amx_bf16"): 60.0,
    ("bf16", "avx512_bf16"): 55.0,
    ("fp32", "avx512f"): 25.0,
    ("fp32", "avx2"): 12.0,
}
"""Operations a second that one thread reaches in training (in 10^9), by precision and instruction set. Measured: Gemma-3-270m
with AMX, SmolLM2-135M on an AMD Zen 4; the last two are from other sizes of product. The first that the processor has counts."""

SLOW_GIGAFLOPS = 5.0
"""The same for a processor with none of these."""

BYTES = {"bf16": 2, "fp32": 4}

LAYER_SECONDS = 0.001
"""Time that a GPU needs for one layer with LoRA at least, however small the row: kernels have to be started."""

LIBRARIES = {"gpu": 800 << 20, "cpu": 700 << 20}
"""Memory of the libraries themselves: CUDA's context on a GPU, torch and its tables in the host's memory."""

LOAD_SECONDS = 15.0
"""Importing torch, transformers and peft, and reading a base of a few GB."""

ALLOWANCE = (0.6, 1.8)
"""The estimate in minutes is given as a range between these factors."""


@dataclass(frozen=True)
class Costs:
    """What a run takes."""

    adapter: int
    """Bytes of the adapter's file."""
    disk: int
    """Bytes that are written in all while it runs, at most."""
    memory: int
    """Bytes of the device's memory at the largest batch."""
    precision: str
    """Type of the base's weights: `bf16` or `fp32`."""
    seconds: Optional[float]
    """Time of all stages; None: this GPU is in no table."""


@dataclass(frozen=True)
class Work:
    """The tokens that a run computes."""

    trained: float
    """Tokens of one epoch of training."""
    held_out: float
    """Tokens of one evaluation of the hold-out."""
    largest: int
    """Tokens of the largest batch."""
    single: int
    """Rows that prediction computes: the hold-out after training, and the dev rows."""
    mean: float
    """Tokens of a mean row of those, after the prefix."""


def costs_of(
    recipe: Recipe, data: DataReport, base: BaseReport, size: LoraSize, tokens: Tokens, machine: Machine
) -> Costs:
    """Estimate the costs of a run on this machine."""
    precision = precision_on(recipe, machine)
    work = _work(recipe, data, tokens)
    adapter = 4 * size.saved
    return Costs(
        adapter,
        _disk(recipe, data, size, work, BYTES[precision] * (base.size("hidden_size", "n_embd") or 0)),
        _memory(recipe, base, size, work, precision, machine),
        precision,
        _seconds(recipe, base, size, work, precision, machine),
    )


def precision_on(recipe: Recipe, machine: Machine) -> str:
    """The type of the base's weights on this machine."""
    if recipe.train.precision != "auto":
        return recipe.train.precision
    return "bf16" if machine.gpu and machine.gpu.has_bf16 else "fp32"


def members(recipe: Recipe) -> int:
    """How many fine-tunes the recipe asks for."""
    seeds, instructions = recipe.ensemble.seeds, recipe.ensemble.instructions
    return len({recipe.train.seed, *seeds}) * len({recipe.instruction, *instructions})


def flops_per_second(machine: Machine, precision: str) -> Optional[float]:
    """Operations a second that training reaches on this machine; None: not known."""
    gpu = machine.gpu
    if gpu is not None:
        found = next((value for pattern, value in TERAFLOPS if re.search(pattern, gpu.name)), None)
        # fp32 runs on the same units as TF32 at best, at half their speed
        return None if found is None else found * 1e12 * GPU_SHARE * (1.0 if precision == "bf16" else 0.3)
    rows = (value for (kind, flag), value in CPU_GIGAFLOPS.items() if kind == precision and flag in machine.flags)
    # two threads are not twice as fast
    return next(rows, SLOW_GIGAFLOPS) * 1e9 * machine.threads**0.85


def _work(recipe: Recipe, data: DataReport, tokens: Tokens) -> Work:
    batch, prefix = recipe.train.batch_size, tokens.prefix
    suffixes = sorted(min(length, tokens.prompt.max_length) - prefix for length in tokens.lengths)
    mean = sum(suffixes) / len(suffixes)
    packed = recipe.train.layout != "padded"
    # padded rows are as long as the longest of their batch, and each has the prefix
    row = mean + prefix / batch if packed else prefix + quantile(suffixes, 1 - 1 / (batch + 1))
    longest = suffixes[-batch:]
    largest = sum(longest) + prefix if packed else len(longest) * (prefix + longest[-1])
    held_out = len(data.survey.drawn.holdout)
    orders = 2 if isinstance(recipe.decoding, LabelDecoding) and recipe.decoding.average == "swap" else 1
    return Work(data.training_rows * row, held_out * row, largest, orders * (held_out + len(data.survey.dev)), mean)


def _seconds(
    recipe: Recipe, base: BaseReport, size: LoraSize, work: Work, precision: str, machine: Machine
) -> Optional[float]:
    rate = flops_per_second(machine, precision)
    if rate is None:
        return None
    # forward 2, backward 2 for the activations alone: frozen weights have no gradient; the adapter's have
    forward = 2.0 * (size.weights + size.trainable)
    step = 2 * forward + 2 * size.trainable + (forward if recipe.train.gradient_checkpointing else 0)
    epochs = recipe.train.epochs
    layers = base.size("num_hidden_layers", "n_layer") or 1
    batches = (epochs * work.trained + (epochs + 1) * work.held_out) / max(work.largest, 1)
    least = layers * LAYER_SECONDS if machine.gpu else 0.0
    training = epochs * work.trained * step / rate + (epochs + 1) * work.held_out * forward / rate
    one = max(work.mean * forward / rate, least, size.weights * BYTES[precision] / (3e11 if machine.gpu else 1.5e10))
    # the base is loaded once for all members of an ensemble
    return LOAD_SECONDS + members(recipe) * (max(training, 3 * batches * least) + work.single * one)


def _memory(recipe: Recipe, base: BaseReport, size: LoraSize, work: Work, precision: str, machine: Machine) -> int:
    """Weights, adapter, its gradient and two moments in fp32, and what a backward pass needs of the largest batch."""
    width, inner = base.size("hidden_size", "n_embd") or 0, base.size("intermediate_size", "n_inner") or 0
    layers, each = base.size("num_hidden_layers", "n_layer") or 1, BYTES[precision]
    dropped = 2.25 if recipe.lora.lora_dropout else 1.0
    # LoRA reads its input in fp32: a copy for each layer, and one more with the mask where there is dropout
    copies = sum(4 * layer.inputs * dropped + 4 * size.ranks[layer.name] for layer in size.adapted) / layers
    own = each * (4 * inner + 6 * width) + 16 * width
    per_layer = own + (copies if precision == "bf16" or recipe.lora.lora_dropout else copies / 2)
    if recipe.train.gradient_checkpointing:
        activations = work.largest * (per_layer + layers * each * width)
    else:
        activations = work.largest * per_layer * layers
    head = 0
    if recipe.train.loss == "vocabulary":
        head = 12 * recipe.train.batch_size * (base.vocabulary or 0)
    weights = each * base.parameters + LIBRARIES["gpu" if machine.gpu else "cpu"]
    training = weights + 16 * size.trainable + activations + head
    # on a CPU the file is in memory too while its weights are converted
    return int(training if machine.gpu else max(training, weights + base.file_bytes))


def _disk(recipe: Recipe, data: DataReport, size: LoraSize, work: Work, state: int) -> int:
    """The adapter, two checkpoints and one that is being written, records, tokens and, where they are kept, states."""
    kept = max(recipe.train.average_epochs if recipe.train.average_epochs > 1 else 0, 0)
    checkpoint = 4 * size.trainable * (4 + kept)
    rows = data.training_rows + len(data.survey.drawn.holdout) + len(data.survey.dev)
    texts = data.all_texts
    text = sum(len(each.encode()) for each in texts) / max(len(texts), 1) + len(recipe.instruction.encode()) + 60
    tokens = 4 * (work.trained + work.held_out)
    frozen = (work.trained + work.held_out) * state if recipe.train.cache_frozen_layers else 0
    return int(members(recipe) * 4 * size.saved + 3 * checkpoint + rows * text + tokens + frozen)
