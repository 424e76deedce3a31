"""Fine-tune: records become an adapter. A plain Accelerate loop: LoRA through PEFT, loss at the answer's position, the
hold-out scored after every epoch by the scorer that will predict, and the best epoch kept."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from datasets import Dataset
from transformers import get_scheduler

from runner.adapter import adapter_state, new_adapter, save_adapter
from runner.base_model import Base
from runner.errors import UserError
from runner.holdout import Evaluation, Holdout
from runner.layout_choice import TOLERANCES, choose_layout, difference
from runner.layouts import LAYOUTS, Layout
from runner.prepare import Records
from runner.progress import progress
from runner.prompt import Encoded, Prompt
from runner.recipe import Recipe, Train
from runner.scorer import LabelScorer
from runner.stack import enable_checkpointing
from runner.trunk import open_trunk

LOG_STEPS = 10
"""Optimizer steps between two lines of metrics.jsonl: reading the loss makes a device wait, so not every step."""


def finetune(
    recipe: Recipe,
    base: Base,
    prompt: Prompt,
    records: Records,
    accelerator: Accelerator,
    folder: Path,
    store: Path,
    say: Callable[[str], None],
) -> Mapping[str, Any]:
    """Trains an adapter, writes the best epoch's into `folder` with its prompt and metrics.jsonl, and returns the figures.
    A trunk that the recipe keeps lies in `store`.

    Every process of the launch calls it; only the main one writes. The base is left as it came.
    Raises UserError or DataError where records, targets or the loss make training impossible."""
    rows = prompt.encode(records.train, "training", may_drop=True)
    held = prompt.encode(records.holdout, "hold-out")
    prompt.encode(records.dev, "dev")  # said now rather than after hours of training
    for name, encoded in (("training", rows), ("hold-out", held)):
        if encoded.truncated or encoded.dropped:
            say(f"{encoded.truncated} {name} inputs cut to prompt.max_length, {encoded.dropped} left out")
    if not rows.suffixes:
        raise UserError("no training row is left: every one is above prompt.max_length", "raise prompt.max_length")
    dataset = Dataset.from_dict({"suffix": rows.suffixes, "target": rows.targets})
    set_seed(recipe.train.seed)  # the adapter's start is drawn on every process alike
    with new_adapter(base, recipe.lora) as model:
        set_seed(recipe.train.seed, device_specific=True)  # and dropout apart
        scorer = LabelScorer(base.model, prompt.label_ids, recipe.train.loss)
        scorer.prove_head(LAYOUTS["padded"](base.model)(prompt, held.suffixes[:2]))
        choice = choose_layout(recipe.train.layout, scorer, prompt, rows)
        trainable = sum(parameter.numel() for parameter in scorer.parameters() if parameter.requires_grad)
        say(f"{len(dataset):,} rows, {trainable:,} trainable parameters, {base.precision} on {accelerator.device}")
        say(f"layout {choice.name}: {choice.reason}")
        with _trunk(recipe, base, scorer, prompt, rows, held, choice.layout, accelerator, store, say) as layout:
            holdout = Holdout(prompt, held, layout, recipe.train.batch_size, accelerator)
            untuned = holdout.evaluate(scorer)
            if recipe.train.gradient_checkpointing:
                enable_checkpointing(base.model)
            started = time.perf_counter()
            loop = _Loop(recipe.train, dataset, prompt, layout, holdout, accelerator, folder / "metrics.jsonl")
            epochs = loop.run(model, scorer)
            seconds = time.perf_counter() - started
        if recipe.train.gradient_checkpointing:
            base.model.gradient_checkpointing_disable()
        best = loop.best
        assert best is not None  # epochs >= 1 is the recipe's rule
        if accelerator.is_main_process:
            save_adapter(model, best.state, folder)
            (folder / "prompt.json").write_text(json.dumps(prompt.description(), indent=1) + "\n", encoding="utf-8")
    if len([count for count in best.evaluation.answers.values() if count]) == 1:
        say(
            "WARNING: the adapter gives every hold-out row the same label; try another train.learning_rate or more epochs"
        )
    say(
        f"hold-out accuracy: majority {holdout.majority():.1%}, untuned {untuned.accuracy:.1%}, "
        f"tuned {best.evaluation.accuracy:.1%} (epoch {best.epoch} of {recipe.train.epochs}; "
        f"MCC {best.evaluation.mcc:.3f}, F1 {best.evaluation.f1:.3f}); {seconds:.1f} s"
    )
    return {
        "majority": holdout.majority(),
        "untuned": untuned.figures(),
        "tuned": best.evaluation.figures(),
        "best_epoch": best.epoch,
        "epochs": [evaluation.figures() for evaluation in epochs],
        "rows": len(dataset),
        "truncated": rows.truncated,
        "dropped": rows.dropped,
        "trainable_parameters": trainable,
        "precision": base.precision,
        "layout": choice.name,
        "device": str(accelerator.device),
        "processes": accelerator.num_processes,
        "train_seconds": round(seconds, 3),
        "rows_per_second": round(len(dataset) * recipe.train.epochs / seconds, 2),
        "prompt_digest": prompt.digest(),
    }


@contextmanager
def _trunk(
    recipe: Recipe,
    base: Base,
    scorer: LabelScorer,
    prompt: Prompt,
    rows: Encoded,
    held: Encoded,
    layout: Layout,
    accelerator: Accelerator,
    store: Path,
    say: Callable[[str], None],
) -> Iterator[Layout]:
    """The layout to train with: the one given, or for a kept trunk the same over its stored states."""
    layers = recipe.lora.layers_to_transform
    if not recipe.train.keep_trunk or not layers:
        yield layout
        return
    suffixes = [*rows.suffixes, *held.suffixes]
    with accelerator.main_process_first():
        trunk = open_trunk(base, scorer, min(layers), prompt, suffixes, layout, recipe.train.batch_size, store, say)
    with trunk.installed(scorer):
        over = trunk.layout(layout)
        apart = difference(scorer, over, layout, prompt, rows)
        if isinstance(apart, str) or apart > TOLERANCES[base.model.dtype]:
            raise UserError(f"train.keep_trunk: is not exact for this model ({apart})", "set train.keep_trunk: false")
        say(f"trunk: losses and gradients equal the whole model's within {apart:.1g}")
        yield over


@dataclass(frozen=True)
class _Best:
    """The best epoch so far."""

    epoch: int
    evaluation: Evaluation
    state: Mapping[str, torch.Tensor]


class _Loop:
    """The training loop of one adapter."""

    def __init__(
        self,
        train: Train,
        dataset: Dataset,
        prompt: Prompt,
        layout: Layout,
        holdout: Holdout,
        accelerator: Accelerator,
        metrics: Path,
    ) -> None:
        self.train, self.dataset, self.prompt, self.layout = train, dataset, prompt, layout
        self.holdout, self.accelerator, self.metrics = holdout, accelerator, metrics
        self.step = 0
        self.best: Optional[_Best] = None

    def run(self, model: Any, scorer: LabelScorer) -> list[Evaluation]:
        """All epochs. Returns the hold-out's evaluation after each and leaves the best one in `self.best`."""
        train, accelerator = self.train, self.accelerator
        parameters = [parameter for parameter in scorer.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=train.learning_rate, weight_decay=train.weight_decay)
        steps = train.epochs * math.ceil(len(self.dataset) / (train.batch_size * train.accumulation))
        scheduler = get_scheduler(train.schedule, optimizer, math.ceil(train.warmup * steps), steps)
        wrapped, optimizer = accelerator.prepare(scorer, optimizer)
        evaluations: list[Evaluation] = []
        total = train.epochs * len(self.dataset)
        with progress(total, "finetune", shown=accelerator.is_main_process) as bar:
            bar.set_postfix(self._postfix(None))
            for epoch in range(1, train.epochs + 1):
                wrapped.train()
                self._epoch(epoch, wrapped, parameters, optimizer, scheduler, bar)
                evaluation = self.holdout.evaluate(scorer)
                evaluations.append(evaluation)
                if self.best is None or evaluation.better_than(self.best.evaluation):
                    self.best = _Best(epoch, evaluation, adapter_state(model))
                self._log(
                    {"epoch": epoch, **{f"holdout_{name}": value for name, value in evaluation.figures().items()}}
                )
                bar.set_postfix(self._postfix(None, evaluation), refresh=False)
        accelerator.free_memory()
        return evaluations

    def _epoch(
        self, epoch: int, scorer: Any, parameters: Sequence[Any], optimizer: Any, scheduler: Any, bar: Any
    ) -> None:
        losses: list[torch.Tensor] = []
        since, seen = time.perf_counter(), 0
        for rows in self._steps(epoch):
            losses.append(self._accumulate(scorer, rows))
            self.accelerator.clip_grad_norm_(parameters, self.train.max_grad_norm)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            self.step += 1
            seen += len(rows)
            bar.update(len(rows))
            if self.step % LOG_STEPS == 0:
                loss = torch.stack(losses).mean().item()
                if not math.isfinite(loss):
                    raise UserError(
                        f"the loss became {loss} by step {self.step}",
                        "lower train.learning_rate, or set train.precision: fp32",
                    )
                now = time.perf_counter()
                rate = {
                    "loss": loss,
                    "learning_rate": scheduler.get_last_lr()[0],
                    "rows_per_second": seen / (now - since),
                }
                self._log({"step": self.step, "epoch": epoch, **rate})
                bar.set_postfix(self._postfix(loss), refresh=False)
                losses, since, seen = [], now, 0

    def _steps(self, epoch: int) -> Iterator[list[int]]:
        """The rows of each optimizer step, every row once in an order of the seed and the epoch alone."""
        order = torch.randperm(
            len(self.dataset), generator=torch.Generator().manual_seed(self.train.seed * 1000 + epoch)
        ).tolist()
        size = self.train.batch_size * self.train.accumulation
        for start in range(0, len(order), size):
            yield order[start : start + size]

    def _accumulate(self, scorer: Any, rows: Sequence[int]) -> torch.Tensor:
        """Adds up the gradient of the rows' mean loss and returns that mean, of this process's share.

        Weighting by rows keeps a short last batch from counting more than its rows, with any number of processes."""
        accelerator, size = self.accelerator, self.train.batch_size
        total = torch.zeros((), device=accelerator.device)
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            mine = chunk[accelerator.process_index :: accelerator.num_processes]
            # a process without a row of its own still takes part in the exchange of gradients, with weight 0
            weight = accelerator.num_processes / len(rows) if mine else 0.0
            examples = self.dataset[list(mine or chunk[:1])]
            batch = self.layout(self.prompt, examples["suffix"])
            targets = torch.tensor(examples["target"], device=accelerator.device)
            last = start + size >= len(rows)
            with nullcontext() if last else accelerator.no_sync(scorer):
                loss = scorer(batch, targets).losses.sum() * weight
                accelerator.backward(loss)
            total += loss.detach()
        return total

    def _postfix(self, loss: Optional[float], evaluation: Optional[Evaluation] = None) -> dict[str, str]:
        shown = evaluation or (self.best.evaluation if self.best else None)
        values = {"loss": f"{loss:.3f}"} if loss is not None else {}
        return {**values, "accuracy": f"{shown.accuracy:.1%}" if shown else "-"}

    def _log(self, values: Mapping[str, Any]) -> None:
        if self.accelerator.is_main_process:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(dict(values)) + "\n")
        numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
        self.accelerator.log(numbers, step=self.step)
