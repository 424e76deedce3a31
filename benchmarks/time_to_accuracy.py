"""Accuracy and the CPU time that it takes: ours against TRL's SFTTrainer and a LoRA classification head, on a real base.

    python benchmarks/time_to_accuracy.py --base FOLDER --task CoLA --keep FILE                 every way, one seed
    python benchmarks/time_to_accuracy.py --base FOLDER --task QQP --keep FILE --ways packed vocabulary --seeds 5
    python benchmarks/time_to_accuracy.py --keep benchmarks/runs-real-bases.jsonl              only the tables of the log

Every way trains on the same rows in the same order, with the same batch, steps, schedule and LoRA (the task's recipe), on one
thread, in a process of its own. Accuracy is measured on rows that no way has trained on, the same for every way and seed,
now and then during training and at the end; nothing is chosen by it. Seconds are CPU seconds of training alone.
A finished run is a line of the file that `--keep` names, and is not run again, so you can stop and continue.

Answers of the causal models are the likelier label; greedy text could only be worse. The way `head` reads the input alone,
without the instruction: what its users do, and the cheapest for it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import rows as common

from grading.contract.metrics import wilson_interval
from runner.evaluation.significance import exact_mcnemar

UNSEEN, CURVE = 1000, 400
"""Rows to measure on at the end, and those of them that are measured during training."""
POINTS = 8
"""Measurements during training, the last one included, for the seeds that have a curve."""
SCORED_AT_ONCE = 64
"""Rows computed at once when accuracy is measured."""


@dataclass(frozen=True)
class Run:
    """What one run is; equal runs are not run twice."""

    base: str
    """Name of the base's folder."""
    task: str
    """CoLA or QQP."""
    way: str
    """A row of `WAYS`."""
    seed: int
    """Seed of the training rows, their order and the adapter's start."""
    rows: int
    """Training rows."""
    epochs: int
    """Passes over them."""
    rate: float
    """Peak learning rate."""
    precision: str
    """Type of the base's weights."""


@dataclass
class Work:
    """The data of one run, and its clock."""

    run: Run
    """What it is."""
    folder: Path
    """The base's folder."""
    recipe: Any
    """The task's recipe, with this run's rate, epochs and seed."""
    records: list[dict[str, str]]
    """The training rows."""
    unseen: list[dict[str, str]]
    """The rows to measure on."""
    steps: list[list[int]]
    """For each optimizer step the numbers of its training rows."""
    points: frozenset[int]
    """Steps after which the accuracy on the first `CURVE` unseen rows is measured."""
    seconds: float = 0.0
    """CPU seconds of training so far."""
    curve: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    """(seconds, accuracy) at each point."""
    right: str = ""
    """For each unseen row, 1 where the final answer is right."""
    done: int = 0
    """Steps done."""
    _since: float = 0.0

    def start(self) -> None:
        """Start the clock."""
        self._since = time.process_time()

    def stop(self) -> None:
        """Stop the clock."""
        self.seconds += time.process_time() - self._since

    def step_done(self, answers: Callable[[int], list[int]]) -> None:
        """Counts a step and measures where it is time. `answers` gives the number of the label for the first n unseen rows."""
        self.stop()
        self.done += 1
        last = self.done == len(self.steps)
        if last or self.done in self.points:
            count = UNSEEN if last else CURVE
            targets = [self.recipe.task.labels.index(row["output"]) for row in self.unseen[:count]]
            right = [int(one == target) for one, target in zip(answers(count), targets)]
            self.curve.append((round(self.seconds, 2), statistics.mean(right[:CURVE])))
            print(f"  {self.run}: step {self.done}: {self.curve[-1]}", file=sys.stderr, flush=True)
            self.right = "".join(map(str, right)) if last else ""
        self.start()


def load_work(run: Run, folder: Path, curve: bool) -> Work:
    """Rows and order of a run: the unseen rows are the same for every run of a task."""
    from runner.recipe.loader import load_recipes

    inputs, labels, instruction, _ = common.load_inputs(run.task)
    order = list(range(len(inputs)))
    random.Random(0).shuffle(order)
    unseen, rest = order[:UNSEEN], order[UNSEEN:]
    known = {inputs[row] for row in unseen}
    rest = [row for row in rest if inputs[row] not in known]
    generator = random.Random(run.seed + 1)
    generator.shuffle(rest)

    def records(numbers: Sequence[int]) -> list[dict[str, str]]:
        return [{"instruction": instruction, "input": inputs[row], "output": labels[row]} for row in numbers]

    changes = [f"train.learning_rate={run.rate}", f"train.epochs={run.epochs}", f"train.seed={run.seed}"]
    recipe = load_recipes([common.TASKS[run.task][0]], changes)[0].recipe
    steps = []
    for _ in range(run.epochs):
        numbers = list(range(run.rows))
        generator.shuffle(numbers)
        steps += [numbers[at : at + recipe.train.batch_size] for at in range(0, run.rows, recipe.train.batch_size)]
    points = frozenset(round(len(steps) * n / POINTS) for n in range(1, POINTS)) if curve else frozenset()
    return Work(run, folder, recipe, records(rest[: run.rows]), records(unseen), steps, points)


def _optimizer(work: Work, parameters: Sequence[Any]) -> tuple[Any, Any]:
    import torch
    from transformers import get_scheduler

    train = work.recipe.train
    optimizer = torch.optim.AdamW(parameters, lr=train.learning_rate, weight_decay=train.weight_decay)
    steps = len(work.steps)
    return optimizer, get_scheduler(train.schedule, optimizer, math.ceil(train.warmup * steps), steps)


def _train(work: Work, model: Any, loss: Callable[[list[int]], Any], answers: Callable[[int], list[int]]) -> None:
    """The step of runner/training/trainer.py: score, backward, clip, step."""
    import torch

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer, scheduler = _optimizer(work, parameters)
    model.train()
    work.start()
    for rows in work.steps:
        loss(rows).backward()
        torch.nn.utils.clip_grad_norm_(parameters, work.recipe.train.max_grad_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        work.step_done(answers)


def _label_answers(scorer: Any, layout: Any, suffixes: Sequence[Sequence[int]]) -> list[int]:
    """The number of the likelier label for each row, rows of about equal length computed together."""
    import torch

    training = scorer.training
    scorer.eval()
    order = sorted(range(len(suffixes)), key=lambda row: len(suffixes[row]))
    found = [0] * len(suffixes)
    with torch.no_grad():
        for at in range(0, len(order), SCORED_AT_ONCE):
            part = order[at : at + SCORED_AT_ONCE]
            logits = scorer(layout([suffixes[row] for row in part])).label_logits
            for row, answer in zip(part, logits.argmax(1).tolist()):
                found[row] = answer
    scorer.train(training)
    return found


def _load(work: Work) -> tuple[Any, Any]:
    """The base and the recipe's prompt for it."""
    import torch

    from runner.model.base import load_base
    from runner.scoring.prompt import build_prompt

    base = load_base(work.folder, work.run.precision, torch.device("cpu"))
    recipe = work.recipe
    return base, build_prompt(recipe.prompt, recipe.instruction, recipe.task.labels, base.tokenizer)


def _ours(work: Work, loss: str, frozen: float) -> None:
    """Packed rows; `frozen`: the share of the layers, from below, that have no adapter and are computed once."""
    import torch

    from runner.model.adapter import new_adapter
    from runner.scoring.collator import Collator
    from runner.scoring.dataset import encode_records
    from runner.scoring.frozen_layers import cached_frozen_layers
    from runner.scoring.layout_choice import Choice
    from runner.scoring.layouts import LAYOUTS
    from runner.scoring.scorer import LabelScorer

    base, prompt = _load(work)
    rows, unseen = encode_records(prompt, work.records, "training"), encode_records(prompt, work.unseen, "unseen")
    lora, layers = work.recipe.lora, base.model.config.num_hidden_layers
    first = round(frozen * layers)
    if first:
        names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
        lora = dataclasses.replace(lora, target_modules=names, layers_to_transform=tuple(range(first, layers)))
    torch.manual_seed(work.run.seed)
    with new_adapter(base, lora), tempfile.TemporaryDirectory() as store:
        scorer = LabelScorer(base.model, prompt, loss)
        layout = LAYOUTS["packed"](base.model, prompt)

        def train(over: Any) -> None:
            collator = Collator(rows, over)

            def loss_of(numbers: list[int]) -> Any:
                return scorer(collator(numbers)).losses.sum() / len(numbers)

            _train(work, scorer, loss_of, lambda n: _label_answers(scorer, layout, list(unseen.suffixes)[:n]))

        if not first:
            train(layout)
            return
        work.start()
        choice = Choice("packed", layout, "")
        cache = cached_frozen_layers(base, scorer, first, (rows,), choice, Path(store))
        work.stop()
        with cache.installed(scorer):
            train(cache.layout(layout))


def _trl(work: Work) -> None:
    """TRL's SFTTrainer as `train.py` makes it run: the head on the answers only, no checkpointing, no token more."""
    import torch
    import trl.trainer.utils
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from runner.model.adapter import new_adapter
    from runner.scoring.dataset import encode_records
    from runner.scoring.layouts import LAYOUTS
    from runner.scoring.scorer import LabelScorer

    trl.trainer.utils._use_triton = lambda device: True
    base, prompt = _load(work)
    rows, unseen = encode_records(prompt, work.records, "training"), encode_records(prompt, work.unseen, "unseen")
    torch.manual_seed(work.run.seed)
    with new_adapter(base, work.recipe.lora) as model:
        scorer, layout = LabelScorer(base.model, prompt), LAYOUTS["packed"](base.model, prompt)
        plain = base.model.forward
        texts, labels = [], []
        for number in (row for step in work.steps for row in step):
            texts.append([*prompt.prefix, *rows.suffixes[number], prompt.label_ids[rows.targets[number]]])
            labels.append([*[-100] * (len(texts[-1]) - 1), texts[-1][-1]])

        class Steps(TrainerCallback):  # type: ignore[misc]
            """Runs the clock."""

            def on_train_begin(self, *_: Any, **__: Any) -> None:
                work.start()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                work.step_done(lambda n: _label_answers(scorer, layout, list(unseen.suffixes)[:n]))

        train = work.recipe.train
        with tempfile.TemporaryDirectory() as folder:
            arguments = SFTConfig(
                output_dir=folder, per_device_train_batch_size=train.batch_size, max_steps=len(work.steps),
                learning_rate=train.learning_rate, lr_scheduler_type=train.schedule,
                warmup_steps=math.ceil(train.warmup * len(work.steps)), max_grad_norm=train.max_grad_norm,
                weight_decay=train.weight_decay, train_sampling_strategy="sequential", use_cpu=True, bf16=False,
                report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True,
                dataloader_pin_memory=False, gradient_checkpointing=False, seed=work.run.seed,
                dataset_kwargs={"skip_prepare_dataset": True},
            )  # fmt: skip
            SFTTrainer(
                model, arguments, train_dataset=Dataset.from_dict({"input_ids": texts, "labels": labels}),
                processing_class=base.tokenizer, callbacks=[Steps()],
            ).train()  # fmt: skip
        base.model.forward = plain


def _head(work: Work, whole_prompt: bool = False) -> None:
    """`AutoModelForSequenceClassification` with the same LoRA, rows of a batch padded to its longest, the head in fp32.

    `whole_prompt`: read our prompt instead of the input alone."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from runner.scoring.dataset import encode_records
    from runner.scoring.prompt import build_prompt
    from runner.scoring.tokenization import encode_text

    tokenizer = AutoTokenizer.from_pretrained(work.folder, local_files_only=True)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[work.run.precision]
    torch.manual_seed(work.run.seed)
    labels = work.recipe.task.labels
    model = AutoModelForSequenceClassification.from_pretrained(
        work.folder, num_labels=len(labels), torch_dtype=dtype, local_files_only=True
    )
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    model.config.pad_token_id = pad
    keys = {name: value for name, value in dataclasses.asdict(work.recipe.lora).items() if value is not None}
    model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", **keys))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    for name, module in model.named_modules():
        if name.endswith("score") or ".score." in name:
            module.register_forward_pre_hook(
                lambda _, inputs: (inputs[0].float(),) if torch.is_tensor(inputs[0]) else None
            )
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]

    def encoded(records: Sequence[dict[str, str]]) -> list[list[int]]:
        if whole_prompt:
            prompt = build_prompt(work.recipe.prompt, work.recipe.instruction, labels, tokenizer)
            return [[*prompt.prefix, *suffix] for suffix in encode_records(prompt, records, "input").suffixes]
        return [[*bos, *encode_text(tokenizer, row["input"])][: work.recipe.prompt.max_length] for row in records]

    rows, unseen = encoded(work.records), encoded(work.unseen)
    targets = [labels.index(row["output"]) for row in work.records]

    def logits(part: Sequence[list[int]]) -> Any:
        longest = max(map(len, part))
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in part])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in part])
        return model(input_ids=ids, attention_mask=mask).logits.float()

    def loss_of(numbers: list[int]) -> Any:
        wanted = torch.tensor([targets[row] for row in numbers])
        return torch.nn.functional.cross_entropy(logits([rows[row] for row in numbers]), wanted)

    def answers(count: int) -> list[int]:
        model.eval()
        order = sorted(range(count), key=lambda row: len(unseen[row]))
        found = [0] * count
        with torch.no_grad():
            for at in range(0, count, SCORED_AT_ONCE):
                part = order[at : at + SCORED_AT_ONCE]
                for row, answer in zip(part, logits([unseen[row] for row in part]).argmax(1).tolist()):
                    found[row] = answer
        model.train()
        return found

    _train(work, model, loss_of, answers)


@dataclass(frozen=True)
class Way:
    """A way to train."""

    about: str
    """What it is, in words."""
    work: Callable[..., None]
    """Trains and measures."""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Further arguments of `work`."""


WAYS: Mapping[str, Way] = {
    "packed": Way("ours, packed, labels loss", _ours, {"loss": "labels", "frozen": 0.0}),
    "vocabulary": Way("ours, packed, vocabulary loss", _ours, {"loss": "vocabulary", "frozen": 0.0}),
    "third": Way("ours, lower third frozen and kept", _ours, {"loss": "labels", "frozen": 1 / 3}),
    "half": Way("ours, lower half frozen and kept", _ours, {"loss": "labels", "frozen": 1 / 2}),
    "trl": Way("TRL SFTTrainer, LoRA", _trl),
    "head": Way("classification head, LoRA", _head),
    "prompted head": Way("classification head after our whole prompt", _head, {"whole_prompt": True}),
}
"""Every way by its name on the command line."""


def _child(work: Work, pipe: Any) -> None:
    import torch

    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    warnings.simplefilter("ignore")
    way = WAYS[work.run.way]
    way.work(work, **way.options)
    pipe.send({"seconds": round(work.seconds, 2), "curve": work.curve, "right": work.right})
    pipe.close()
    os._exit(0)


def do(run: Run, folder: Path, curve: bool) -> dict[str, Any]:
    """One run, in a process of its own. Raises SystemExit where it fails."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_child, args=(load_work(run, folder, curve), theirs))
    child.start()
    theirs.close()
    try:
        found = ours.recv()
    except EOFError:
        raise SystemExit(f"{run}: failed") from None
    child.join()
    return {**dataclasses.asdict(run), **found}


STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 8: 2.36, 10: 2.26}
"""Two-sided 95 % quantiles of Student's t for a mean over so many seeds."""


def show(found: Sequence[Mapping[str, Any]]) -> None:
    """The tables of all finished runs."""
    groups: dict[tuple[Any, ...], dict[str, dict[int, Mapping[str, Any]]]] = {}
    for one in found:
        key = tuple(one[name] for name in ("base", "task", "rows", "epochs", "rate", "precision"))
        groups.setdefault(key, {}).setdefault(one["way"], {})[one["seed"]] = one
    for (base, task, rows, epochs, rate, precision), ways in sorted(groups.items()):
        lines = []
        for name in (name for name in WAYS if name in ways):
            runs = ways[name]
            shares = [run["right"].count("1") / len(run["right"]) for run in runs.values()]
            low, high = wilson_interval(
                sum(run["right"].count("1") for run in runs.values()), sum(len(r["right"]) for r in runs.values())
            )
            spread = f"{statistics.mean(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})"
            cells = [WAYS[name].about, str(len(runs)), spread, f"{low:.1%}–{high:.1%}"]
            cells += [_against(runs, ways.get("packed", {})) if name != "packed" else ""]
            lines.append(
                [*cells, f"{statistics.mean(run['seconds'] for run in runs.values()):.0f}", *_time(runs, ways)]
            )
        common.print_table(
            f"{base}, {task}: {rows:,} rows × {epochs} epochs, rate {rate:g}, {precision}; accuracy on {UNSEEN:,} unseen rows",
            ["way", "seeds", "accuracy, mean (range)", "95 % of rows", "against packed: points, 95 %, McNemar",
             "CPU s", "s to TRL's accuracy", "of TRL's whole"],
            lines,
        )  # fmt: skip


def _against(runs: Mapping[int, Any], packed: Mapping[int, Any]) -> str:
    """The paired difference to packed over the seeds that both have."""
    seeds = sorted(set(runs) & set(packed))
    if not seeds:
        return ""
    pairs = [(runs[seed]["right"], packed[seed]["right"]) for seed in seeds]
    differences = [100 * (one.count("1") - other.count("1")) / len(one) for one, other in pairs]
    mean = statistics.mean(differences)
    half = (
        STUDENT[len(seeds)] * statistics.stdev(differences) / math.sqrt(len(seeds)) if len(seeds) in STUDENT else None
    )
    discordant = [
        sum(pair == wanted for one, other in pairs for pair in zip(one, other)) for wanted in (("1", "0"), ("0", "1"))
    ]
    return f"{mean:+.1f}{'' if half is None else f' ± {half:.1f}'}, p = {exact_mcnemar(*discordant):.2g}"


def _time(runs: Mapping[int, Any], ways: Mapping[str, Mapping[int, Any]]) -> tuple[str, str]:
    """CPU seconds until the accuracy with which TRL ends, on the curve's rows, and their share of TRL's whole training."""
    curves = {seed: run for seed, run in runs.items() if len(run["curve"]) > 1 and seed in ways.get("trl", {})}
    reached, shares = [], []
    for seed, run in sorted(curves.items()):
        theirs = ways["trl"][seed]
        target = theirs["curve"][-1][1]
        at: Optional[float] = next((seconds for seconds, accuracy in run["curve"] if accuracy >= target), None)
        reached.append("never" if at is None else f"{at:.0f}")
        shares.append("" if at is None else f"{at / theirs['seconds']:.2f}")
    return " / ".join(reached), " / ".join(shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="the base's folder; without it only the tables are printed")
    parser.add_argument("--task", choices=list(common.TASKS), default="CoLA")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 to N - 1")
    parser.add_argument("--curves", type=int, default=1, help="seeds whose accuracy is also measured during training")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rate", type=float, default=2e-4, help="peak learning rate")
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--keep", type=Path, required=True, metavar="FILE", help="a JSON line for every finished run")
    options = parser.parse_args()

    def finished() -> list[dict[str, Any]]:
        lines = options.keep.read_text(encoding="utf-8").splitlines() if options.keep.exists() else []
        return [json.loads(line) for line in lines]

    if options.base:
        base = options.base.resolve()
        for seed in range(options.seeds):
            for way in options.ways:
                run = Run(
                    base.name, options.task, way, seed, options.rows, options.epochs, options.rate, options.precision
                )
                plain = dataclasses.asdict(run)
                if any(all(one[name] == value for name, value in plain.items()) for one in finished()):
                    continue
                line = do(run, base, seed < options.curves)
                with options.keep.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
    show(finished())


if __name__ == "__main__":
    main()
