"""Training steps: ours, packed and padded, against TRL's SFTTrainer and Hugging Face's Trainer.

    python benchmarks/train.py --quick               a minute or two: gemma-2b's slice on CoLA against TRL, the demo's base
    python benchmarks/train.py                       every way but hf-384, CoLA and QQP, batch 8 and 32: most of an hour
    python benchmarks/train.py --shapes llama-1b --tasks CoLA --batches 8 --ways packed trl
    python benchmarks/train.py --layers 2 4          two slices, and from them the whole model by a straight line
    python benchmarks/train.py --full --tasks CoLA --batches 8      the whole gemma-2b in bf16: 5 GB of random weights
    python benchmarks/train.py --base FOLDER --precision fp32 bf16  a real base, its own tokenizer, the recipes' batch

Same weights, rows, row order, batch, precision and LoRA (r = 8 on q, k, v and o; on a real base as the recipes have it, but
without dropout), one thread. The model is made once and
every way is a fork of that process with its own trainer: steps take turns, and the memory is that of one way alone.
Each way first shows its loss and LoRA gradients for the answer's token on the first rows: the differences are printed
beside the times, and computing them is the warm-up. Times are also compared for each token that a way computes: that tells
what a layout saves from what a step wastes otherwise. TRL's ways need the `trl` of benchmarks/requirements.txt; forks and
memory need Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import itertools
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import rows as common

from runner.model.compat import body

LEARNING_RATE = 1e-4
MAX_STEPS = 1000
PROOF_ROWS = 4
"""Rows whose loss and gradients are compared. Computing them is also the warm-up."""
STOCK_LENGTH = 384
"""What the exam's stock script pads to."""


@dataclass(frozen=True)
class Setting:
    """What one comparison is measured on."""

    shape: str
    """Name of the model's shape."""
    task: str
    """CoLA or QQP."""
    instruction: Optional[int]
    """Tokens of the instruction; None: the recipe's own."""
    batch: int
    """Rows of a step."""
    layers: int
    """Layers of the slice."""
    precision: str
    """Type of the weights."""

    def __str__(self) -> str:
        words = "own" if self.instruction is None else self.instruction
        return f"{self.shape}/{self.task}/batch {self.batch}/instruction {words}/{self.layers} layers/{self.precision}"


@dataclass(frozen=True)
class Way:
    """A way to train."""

    about: str
    """What it is, in words."""
    work: Callable[..., None]
    """Trains in its own process, and speaks through a `Gate`."""
    options: Mapping[str, Any]
    """Further arguments of `work`."""
    rounds: Optional[int] = None
    """Steps measured at most: for a way so slow that one step says it."""


class Gate:
    """The child's end of a way: it waits for a request, runs one step, and reports its cost."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.started = (0.0, 0.0)
        self.resident = 0

    def show(self, loss: Any, gradients: Sequence[Any], computed: Sequence[int]) -> None:
        """Hands over the first rows' loss and gradients, and the tokens computed for each batch."""
        self.pipe.send((loss.item(), [gradient.float().numpy() for gradient in gradients], list(computed)))

    def wait(self) -> bool:
        """Whether to continue. The clock starts when it returns."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # before its turn comes: all ways hold what they hold at once
        if self.pipe.recv() == "stop":
            return False
        self.resident = _forget_peak()
        self.started = (time.process_time(), time.perf_counter())
        return True

    def done(self) -> None:
        """The step is over: sends its seconds of CPU, its seconds, and its peak memory above what was there."""
        cpu, wall = time.process_time() - self.started[0], time.perf_counter() - self.started[1]
        self.pipe.send((cpu, wall, (_status("VmHWM") - self.resident) / 1024))


def _status(field: str) -> int:
    """A size of this process in KiB, from Linux."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise SystemExit(f"/proc/self/status has no {field}: memory is measured on Linux only")


def _forget_peak() -> int:
    """Sets the peak back to the memory in use, and returns that in KiB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS")


def _ours(gate: Gate, model: Any, rows: common.TaskRows, setting: Setting, layout: str, loss: str) -> None:
    """The step of runner/training/finetune.py: place, score, backward, clip, step."""
    import torch
    from transformers import get_scheduler

    from runner.scoring.collator import Collator
    from runner.scoring.layouts import LAYOUTS
    from runner.scoring.scorer import LabelScorer

    base = model.get_base_model()
    scorer = LabelScorer(base, rows.prompt, loss=loss)
    place = LAYOUTS[layout](base, rows.prompt)
    collator = Collator(rows.dataset, place)
    scorer.train()

    def mean_loss(first: int, count: int) -> Any:
        return scorer(collator(range(len(rows.suffixes))[first : first + count])).losses.sum() / count

    parameters = [parameter for parameter in scorer.parameters() if parameter.requires_grad]
    shown = mean_loss(0, PROOF_ROWS)
    starts = range(0, len(rows.suffixes), setting.batch)
    computed = [place(rows.suffixes[first : first + setting.batch]).tokens for first in starts]
    gate.show(shown.detach(), torch.autograd.grad(shown, parameters), computed)
    del shown
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE)
    scheduler = get_scheduler("constant", optimizer)
    for first in starts:
        if not gate.wait():
            return
        mean_loss(first, setting.batch).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        gate.done()


def _arguments(setting: Setting, folder: str) -> dict[str, Any]:
    """The same settings for every Trainer; the rest are its own defaults."""
    return {
        "output_dir": folder, "per_device_train_batch_size": setting.batch, "max_steps": MAX_STEPS,
        "learning_rate": LEARNING_RATE, "lr_scheduler_type": "constant", "train_sampling_strategy": "sequential",
        "use_cpu": True, "bf16": False, "report_to": "none", "save_strategy": "no", "logging_strategy": "no",
        "disable_tqdm": True, "dataloader_pin_memory": False,
    }  # fmt: skip


def _trainers_dataset(rows: common.TaskRows, whole: bool) -> Any:
    """Prompt and answer as one text; the loss is on all of it or, not `whole`, on the answer."""
    from datasets import Dataset

    texts = [
        [*line, rows.prompt.label_ids[target]] for line, target in zip(rows.lines(0, len(rows.suffixes)), rows.targets)
    ]
    labels = [text if whole else [*[-100] * (len(text) - 1), text[-1]] for text in texts]
    return Dataset.from_dict({"input_ids": texts, "labels": labels})


def _gated(gate: Gate, make: Callable[[Any], Any], answers: Sequence[Mapping[str, Any]], setting: Setting) -> None:
    """Trains with the Trainer that `make` gives for a callback, step by step. `answers`: its rows, labelled at the
    answer's token only."""
    import torch
    from transformers import TrainerCallback

    class Steps(TrainerCallback):  # type: ignore[misc]
        """Shows the proof when training is set up, and then lets each step wait for its turn."""

        def on_train_begin(self, arguments: Any, state: Any, control: Any, **more: Any) -> None:
            trainer.model.train()
            batch = trainer.data_collator([dict(row) for row in answers[:PROOF_ROWS]])
            loss = trainer.compute_loss(trainer.model, dict(batch))
            parameters = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
            gradients = torch.autograd.grad(loss, parameters)
            starts = range(0, len(answers), setting.batch)
            computed = [
                trainer.data_collator([dict(row) for row in answers[first : first + setting.batch]])[
                    "input_ids"
                ].numel()
                for first in starts
            ]
            gate.show(loss.detach(), gradients, computed)
            del loss, gradients
            control.should_training_stop = not gate.wait()

        def on_step_end(self, arguments: Any, state: Any, control: Any, **more: Any) -> None:
            gate.done()
            control.should_training_stop = not gate.wait()

    trainer = make(Steps())
    trainer.train()


def _trl(gate: Gate, model: Any, rows: common.TaskRows, setting: Setting, checkpointing: bool) -> None:
    """TRL with the loss on the answer's token and its fused head on selected rows, as it does on CUDA.

    `add_fused_lm_head` asks `trl.trainer.utils._use_triton` whether to score the valid positions only, and on a CPU
    scores every position. That one question is answered with yes; the kernel's own copy of it stays as it is, so that
    the tiles are folded in torch."""
    import trl.trainer.utils
    from trl import SFTConfig, SFTTrainer

    if not hasattr(trl.trainer.utils, "_use_triton"):
        raise SystemExit("this TRL selects rows in another way: look at add_fused_lm_head, and fix _trl in train.py")
    trl.trainer.utils._use_triton = lambda device: True
    dataset = _trainers_dataset(rows, whole=False)
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            **_arguments(setting, folder),
            **({} if checkpointing else {"gradient_checkpointing": False}),
            dataset_kwargs={"skip_prepare_dataset": True},
        )
        _gated(
            gate,
            lambda steps: SFTTrainer(
                model, arguments, train_dataset=dataset, processing_class=rows.prompt.tokenizer, callbacks=[steps]
            ),
            list(dataset),
            setting,
        )


def _hf(gate: Gate, model: Any, rows: common.TaskRows, setting: Setting, length: Optional[int]) -> None:
    """Hugging Face's Trainer, rows filled to the longest or to `length`, the loss on prompt and answer."""
    import torch
    from transformers import Trainer, TrainingArguments

    def collate(examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        longest = length or max(len(example["input_ids"]) for example in examples)

        def filled(key: str, filling: int) -> Any:
            return torch.tensor([example[key] + [filling] * (longest - len(example[key])) for example in examples])

        labels = filled("labels", -100)
        lengths = torch.tensor([len(example["input_ids"]) for example in examples])
        mask = (torch.arange(longest) < lengths[:, None]).long()
        return {"input_ids": filled("input_ids", 0), "attention_mask": mask, "labels": labels}

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(**_arguments(setting, folder))
        dataset = _trainers_dataset(rows, whole=True)
        _gated(
            gate,
            lambda steps: Trainer(model, arguments, collate, dataset, callbacks=[steps]),
            list(_trainers_dataset(rows, whole=False)),
            setting,
        )


WAYS: Mapping[str, Way] = {
    "packed": Way("ours, packed", _ours, {"layout": "packed", "loss": "vocabulary"}),
    "packed-labels": Way("ours, packed, labels' loss", _ours, {"layout": "packed", "loss": "labels"}),
    "padded": Way("ours, padded", _ours, {"layout": "padded", "loss": "vocabulary"}),
    "trl": Way("TRL, checkpointing off", _trl, {"checkpointing": False}),
    "trl-defaults": Way("TRL, its defaults", _trl, {"checkpointing": True}),
    "hf": Way("HF Trainer, dynamic padding", _hf, {"length": None}, rounds=2),
    "hf-384": Way("HF Trainer, padded to 384", _hf, {"length": STOCK_LENGTH}, rounds=1),
}
"""Every way by its name on the command line; ratios are against the first."""

GOALS: Mapping[tuple[str, str, Optional[int], int], tuple[float, float]] = {
    ("trl", "CoLA", None, 8): (2.7, 0.36), ("trl", "CoLA", None, 32): (3.2, 0.36),
    ("trl", "QQP", None, 8): (2.2, 0.45), ("trl", "QQP", None, 32): (2.4, 0.45),
    ("trl", "CoLA", 150, 8): (4.5, 0.36), ("trl", "CoLA", 150, 32): (8, 0.36),
    ("trl", "QQP", 150, 8): (3, 0.45), ("trl", "QQP", 150, 32): (4.5, 0.45),
    ("trl-defaults", "CoLA", None, 8): (3.2, 0), ("trl-defaults", "QQP", None, 8): (2.8, 0),
    ("hf", "CoLA", None, 8): (3.2, 0), ("hf", "QQP", None, 8): (2.7, 0),
    ("hf-384", "CoLA", None, 8): (20, 0), ("hf-384", "QQP", None, 8): (12, 0),
}  # fmt: skip
"""For the whole gemma-2b: way, task, instruction and batch → the least ratio of times wanted, and the largest of memory
(0: none). They are shown beside what was measured and decide nothing."""

BASE_GOALS: Mapping[tuple[str, str], tuple[float, float]] = {
    ("trl", "CoLA"): (0.95, 0.36),
    ("trl", "QQP"): (0.95, 0.43),
}
"""For a real base with the recipe's batch: way and task → the least ratio of times for each token wanted, and the largest of
memory."""


@dataclass(frozen=True)
class Result:
    """What one way cost in one setting."""

    times: list[float]
    """Seconds of CPU of each step."""
    walls: list[float]
    """Seconds of each step."""
    memory: float
    """Largest peak of a step above the loaded model, in MiB."""
    loss: float
    """Loss of the first `PROOF_ROWS` rows, on the answer's token."""
    gradients: list[Any]
    """Its LoRA gradients."""
    tokens: list[int]
    """Tokens computed for each measured step."""

    def per_token(self) -> list[float]:
        """Seconds of CPU for each token of each step."""
        return [seconds / tokens for seconds, tokens in zip(self.times, self.tokens)]


def _child(pipe: Any, way: Way, model: Any, rows: common.TaskRows, setting: Setting) -> None:
    """A way's own process."""
    import torch

    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # trainers print and warn of what nobody asked for
    warnings.simplefilter("ignore")
    try:
        way.work(Gate(pipe), model, rows, setting, **way.options)
    except (KeyboardInterrupt, EOFError):
        os._exit(1)
    except BaseException:
        pipe.send(traceback.format_exc())
        os._exit(1)
    os._exit(0)  # no goodbye of libraries that were loaded before the fork


def _heard(pipe: Any, name: str) -> Any:
    """The child's next message; its error, if it has one, is ours."""
    try:
        message = pipe.recv()
    except EOFError:
        raise SystemExit(f"{name}: the process ended without a word; was it short of memory?") from None
    if isinstance(message, str):
        raise SystemExit(f"{name} failed:\n{message}")
    return message


def measure(setting: Setting, names: Sequence[str], model: Any, repeats: int) -> dict[str, Result]:
    """Steps of each way in turn, on the same rows."""
    shape = common.SHAPES[setting.shape]
    rows = common.load_rows(
        setting.task,
        common.load_tokenizer(setting.shape),
        setting.instruction,
        setting.batch * repeats,
        demo=shape.demo,
    )
    context = multiprocessing.get_context("fork")
    ends, children, proofs = {}, {}, {}
    for name in names:
        ends[name], theirs = context.Pipe()
        children[name] = context.Process(target=_child, args=(theirs, WAYS[name], model, rows, setting), daemon=True)
        children[name].start()
        theirs.close()
        proofs[name] = _heard(ends[name], name)  # one after the other: two proofs at once may not fit
    costs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    for turn in range(repeats):
        for name in names if turn % 2 == 0 else names[::-1]:
            if WAYS[name].rounds is None or len(costs[name]) < WAYS[name].rounds:
                ends[name].send("step")
                costs[name].append(_heard(ends[name], name))
                print(f"  {setting}: {name}: {costs[name][-1][0]:.2f} s", file=sys.stderr, flush=True)
    for name in names:
        with contextlib.suppress(BrokenPipeError):  # ours ends by itself after its last row
            ends[name].send("stop")
        children[name].join()
    results = {}
    for name in names:
        times, walls, peaks = (list(column) for column in zip(*costs[name]))
        loss, gradients, tokens = proofs[name]
        results[name] = Result(times, walls, max(peaks), loss, gradients, tokens[: len(times)])
    return results


def difference(one: Result, other: Result) -> tuple[float, float]:
    """Relative difference of the losses, and the largest one of a gradient's norm, each tensor against its own but not
    below a thousandth of the largest."""
    import numpy as np

    floor = 1e-3 * max(np.linalg.norm(gradient) for gradient in other.gradients)
    gradients = max(
        np.linalg.norm(a - b) / max(np.linalg.norm(b), floor) for a, b in zip(one.gradients, other.gradients)
    )
    return abs(one.loss - other.loss) / abs(other.loss), float(gradients)


def verdict(sign: str, goal: float, found: float) -> str:
    """A goal and whether it is met, for a table; nothing where there is none."""
    met = found >= goal if sign == "≥" else found <= goal
    return f"{sign} {goal:g}: {'met' if met else 'not met'}" if goal else ""


def compare(
    setting: Setting, results: Mapping[str, Result], repeats: int, ratios: dict[str, Any], whole: bool
) -> list[dict[str, Any]]:
    """Prints one setting's table, adds its ratios, and returns its lines as plain values. `whole`: goals apply unchanged."""
    shape = common.SHAPES[setting.shape]
    rows = common.load_rows(
        setting.task,
        common.load_tokenizer(setting.shape),
        setting.instruction,
        setting.batch * repeats,
        shape.demo,
    )
    useful = [rows.useful_tokens(first, setting.batch) for first in range(0, len(rows.suffixes), setting.batch)]
    first = next(iter(results))
    lines, details = [], []
    for name, found in results.items():
        steps = len(found.times)  # of a slow way fewer: each against ours over the same rows
        ratio = common.pair_ratios(found.times, results[first].times[:steps])
        per_token = common.pair_ratios(found.per_token(), results[first].per_token()[:steps])
        tokens = sum(found.tokens) / sum(results[first].tokens[:steps])
        memory = results[first].memory / found.memory
        same = WAYS[name].options.get("loss", "vocabulary") == WAYS[first].options["loss"]
        loss, gradients = difference(found, results[first]) if same else (None, None)
        waste = sum(found.tokens) / sum(useful[:steps])
        key = (name, setting.task, setting.instruction, setting.batch)
        least, _ = GOALS.get(key, (0, 0)) if whole else (0, 0)
        least_per_token, most = BASE_GOALS.get(key[:2], (0, 0)) if shape.base else (0, 0)
        lines.append(
            [
                WAYS[name].about,
                common.Spread.of(found.times).show(" s"),
                "" if name == first else ratio.show(" ×"),
                verdict("≥", least, ratio.median),
                "" if name == first else f"{tokens:.2f}",
                "" if name == first else per_token.show(),
                verdict("≥", least_per_token, per_token.median),
                f"{found.memory:,.0f} MiB",
                "" if name == first else f"{memory:.2f}",
                verdict("≤", most, memory),
                f"{waste:.2f}",
                "" if name == first else f"{loss:.0e}, {gradients:.0e}" if same else "other loss",
            ]
        )
        detail = {"setting": str(setting), "way": name, "source": rows.source, "seconds": found.times}
        detail.update(wall=found.walls, memory_mib=found.memory, tokens_computed=found.tokens, tokens_useful=useful)
        detail.update(loss_difference=loss, gradient_difference=gradients)
        details.append(detail)
        if name != first:
            figures = {**ratio.figures(), "memory": round(memory, 4), "tokens": round(waste, 4)}
            figures.update(tokens_ratio=round(tokens, 4), per_token=per_token.figures())
            ratios[f"{setting}: {name} / {first}"] = figures
    mean = statistics.mean(useful)
    common.print_table(
        f"{setting}: {rows.source}; {mean:.0f} useful tokens a step, {len(rows.prompt.prefix)} of them the prefix",
        ["way", "step (CPU)", "against packed", "goal", "tokens", "time / tokens", "goal", "memory above model",
         "packed's share", "goal", "computed/useful", "loss, gradients differ"],
        lines,
    )  # fmt: skip
    return details


def extrapolate(
    found: Mapping[Setting, Mapping[str, Result]], repeats: int, ratios: dict[str, Any]
) -> list[dict[str, Any]]:
    """From two slices the whole model: a step's time is a straight line in its layers, with equal rows."""
    details = []
    lines = []
    for small, results in found.items():
        larger = [key for key in found if _but_layers(key) == _but_layers(small) and key.layers > small.layers]
        if not larger:
            continue
        large, whole = larger[0], common.SHAPES[small.shape].whole
        share = (whole - small.layers) / (large.layers - small.layers)

        def at_whole(name: str, results: Any = results, large: Any = large, share: float = share) -> list[float]:
            pairs = zip(results[name].times, found[large][name].times)
            return [low + share * (high - low) for low, high in pairs]

        first = next(iter(results))
        for name in results:
            if name not in found[large] or name == first:
                continue
            ratio = common.pair_ratios(at_whole(name), at_whole(first))
            memory = [
                each[0].memory + share * (each[1].memory - each[0].memory)
                for each in ((results[way], found[large][way]) for way in (first, name))
            ]
            key = (name, small.task, small.instruction, small.batch)
            least, most = GOALS.get(key, (0, 0)) if small.shape == "gemma-2b" else (0, 0)
            share_of_memory = memory[0] / memory[1]
            met = (verdict("≥", least, ratio.median), verdict("≤", most, share_of_memory))
            title = str(small).replace(f"{small.layers} layers", f"{whole} layers, extrapolated")
            seconds = f"{statistics.median(at_whole(first)):.1f} / {statistics.median(at_whole(name)):.1f} s"
            lines.append([title, name, ratio.show(" ×"), met[0], f"{share_of_memory:.2f}", met[1], seconds])
            ratios[f"{title}: {name} / {first}"] = {**ratio.figures(), "memory": round(share_of_memory, 4)}
            details.append(
                {"setting": title, "way": name, "seconds": at_whole(name), f"seconds_{first}": at_whole(first)}
            )
    if lines:
        heads = ["the whole model", "way", "against packed", "goal", "memory", "goal", "step"]
        common.print_table("Extrapolated by layers", heads, lines)
    return details


def calm(model: Any) -> Any:
    """The random model with its last norm at a tenth. With tied random weights each position would else give its own
    token a logit of 40, where bf16 counts in quarters: a first loss of 22 nats, and differences that say nothing."""
    norm = body(model).norm
    norm.weight.data.copy_(
        norm.weight.data - 0.9 if type(model).__name__.startswith("Gemma") else 0.1 * norm.weight.data
    )
    return model


def _but_layers(setting: Setting) -> tuple[Any, ...]:
    return (setting.shape, setting.task, setting.instruction, setting.batch, setting.precision)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="a minute or two: the slice on CoLA against TRL, the demo's base"
    )
    parser.add_argument("--full", action="store_true", help="the whole gemma-2b in bf16 instead of slices")
    parser.add_argument("--shapes", nargs="+", default=["gemma-2b"], choices=list(common.SHAPES))
    parser.add_argument("--base", nargs="+", type=Path, default=[], help="folders of real bases, instead of shapes")
    parser.add_argument("--tasks", nargs="+", default=["CoLA", "QQP"], choices=list(common.TASKS))
    parser.add_argument("--batches", nargs="+", type=int, help="default: 8 and 32; for a base what the recipe says")
    parser.add_argument("--instructions", nargs="+", default=["own"], help="tokens, or own: as the recipe has it")
    parser.add_argument(
        "--layers", nargs="+", type=int, help="layers of random models; two numbers are extrapolated from"
    )
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=[name for name in WAYS if name != "hf-384"])
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32"])
    parser.add_argument("--repeats", type=int, default=3, help="steps measured of each way")
    parser.add_argument("--json", type=Path, help="also write the ratios and what they come from")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    if options.quick:
        options.tasks, options.batches, options.repeats = ["CoLA"], [8], 1
        options.shapes, options.ways = ["demo", "gemma-2b"], ["packed", "padded", "trl"]
    if options.full:
        options.shapes, options.precision, options.layers = ["gemma-2b"], ["bf16"], None
    if options.base:
        options.shapes, options.layers = [common.add_base(folder) for folder in options.base], None
        options.batches = None if options.quick else options.batches
    try:
        import trl  # noqa: F401
    except ImportError:
        options.ways = [name for name in options.ways if not name.startswith("trl")]
        print("TRL is not installed, its ways are left out: pip install -r benchmarks/requirements.txt")
    import transformers  # noqa: F401  before the forks, so that each need not

    names = list(dict.fromkeys(["packed", *options.ways]))
    ratios: dict[str, Any] = {}
    details: list[dict[str, Any]] = []
    found: dict[Setting, dict[str, Result]] = {}
    for name in options.shapes:
        shape = common.SHAPES[name]
        if not common.there(name):
            print(f"{name}: left out, {shape.folder} is not there")
            continue
        random = shape.folder is None
        slices = options.layers if random and options.layers else [shape.whole if options.full else shape.layers]
        for precision, layers in itertools.product(options.precision, slices):
            model = common.load_shape(name, layers, precision)
            model = common.add_lora(calm(model) if random else model, shape.lora)
            for task in options.tasks:
                own = [common.load_recipe(task).train.batch_size] if shape.base else [8, 32]
                for words in options.instructions:
                    for batch in options.batches or own:
                        length = None if words == "own" else int(words)
                        setting = Setting(name, task, length, batch, layers, precision)
                        found[setting] = measure(setting, names, model, options.repeats)
                        whole = name == "gemma-2b" and layers == shape.whole
                        details += compare(setting, found[setting], options.repeats, ratios, whole)
                        common.write_json(options.json, "train", ratios, details)  # so far, lest a long run be lost
            del model
            gc.collect()
    details += extrapolate(found, options.repeats, ratios)
    common.write_json(options.json, "train", ratios, details)


if __name__ == "__main__":
    main()
