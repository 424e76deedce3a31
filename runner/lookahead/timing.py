"""The timing: a few real steps of training, evaluation and prediction, from which the minutes of a whole run follow.

It loads the base and writes nothing. Everything heavy is imported by the function that measures.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from runner.errors import UserError
from runner.language import tr
from runner.lookahead.costs import members
from runner.lookahead.findings import Section
from runner.lookahead.layout import duration, size
from runner.lookahead.report import LookAhead
from runner.model.base import Bases
from runner.recipe.schema import LabelDecoding, Recipe
from runner.scoring.prompt import prompt_of
from runner.system.console import quiet

MOST_SECONDS = 20.0
"""Time after which no further step is measured."""

MOST_STEPS, FIRST_STEPS = 12, 2
"""Most optimizer steps that are measured, and the steps before them that are not: the first ones are slow."""

MOST_ROWS = 64
"""Most rows of an evaluation or a prediction that are measured."""


@dataclass(frozen=True)
class Times:
    """What was measured on this machine."""

    device: str
    layout: str
    """The layout of the batches, and why."""
    load: float
    """Seconds to load the base and to choose the layout."""
    train: float
    """Rows a second in training."""
    evaluate: float
    """Rows a second in an evaluation of the hold-out."""
    predict: float
    """Rows a second in prediction."""
    memory: Optional[int]
    """Most bytes of memory that were used: the GPU's, or this process's on a CPU; None: not known."""

    def seconds(self, recipe: Recipe, rows: int, held_out: int, dev: int) -> float:
        """Time of a whole run with so many rows of each kind."""
        epochs = recipe.train.epochs
        orders = 2 if isinstance(recipe.decoding, LabelDecoding) and recipe.decoding.average == "swap" else 1
        training = epochs * rows / self.train + (epochs + 1) * held_out / self.evaluate
        return self.load + training + orders * (held_out + dev) / self.predict


def add_times(found: LookAhead, root: Path) -> None:
    """Measure the recipe's run and add the times to the report. Errors of the measurement become problems."""
    data = found.data
    with found.findings.collect():
        times = measure(found.loaded.recipe, found.data.records(), root.absolute())
        rows, held_out, dev = data.training_rows, len(data.survey.drawn.holdout), len(data.survey.dev)
        runs = members(found.loaded.recipe)
        seconds = runs * times.seconds(found.loaded.recipe, rows, held_out, dev)
        memory = tr("; at most {size} of memory", size=size(times.memory)) if times.memory else ""
        lines = [
            (tr("device"), f"{times.device}{memory}"),
            (tr("layout"), times.layout),
            (
                tr("rows/s"),
                tr(
                    "training {train:,.1f}, hold-out {evaluate:,.1f}, prediction {predict:,.1f}",
                    train=times.train,
                    evaluate=times.evaluate,
                    predict=times.predict,
                ),
            ),
            (
                tr("whole run"),
                tr(
                    "{seconds}: {rows:,} rows x {epochs} epochs, the hold-out after each, evaluation and prediction",
                    seconds=duration(seconds),
                    rows=rows,
                    epochs=found.loaded.recipe.train.epochs,
                ),
            ),
        ]
        found.sections.append(Section(tr("measured"), lines))
        _warn_of_load(times, found)


def _warn_of_load(times: Times, found: LookAhead) -> None:
    """A warning where other programs use the processor that was measured."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    processors = os.cpu_count() or 1
    if times.device == "cpu" and load > processors + 1:
        found.findings.warn(
            tr(
                "other programs use the processor (load {load:.1f} on {processors} threads): the "
                "measured times are too long",
                load=load,
                processors=processors,
            ),
            tr("measure again when they have ended"),
        )


def measure(recipe: Recipe, records: Any, root: Path) -> Times:
    """Measure a few steps of this recipe's run on this machine.

    Args:
        recipe: what would be run.
        records: training, held-out and dev records, in this order.
        root: the workspace.

    Raises:
        UserError: as a run would.
    """
    with quiet():
        return _Timer(recipe, records, root).times()


class _Timer:
    """The objects of a run, in memory."""

    def __init__(self, recipe: Recipe, records: Any, root: Path) -> None:
        from runner.distributed.accelerator import connect
        from runner.scoring.dataset import encode_records

        self.recipe, self.started = recipe, time.perf_counter()
        self.accelerator = connect()
        self.base = Bases(root).load(recipe, self.accelerator.device)
        prompt = prompt_of(recipe, self.base)
        names = ("training", "hold-out", "dev")
        self.train, self.holdout, self.dev = (
            encode_records(prompt, each, name, may_drop=name == "training") for each, name in zip(records, names)
        )
        if not len(self.train):
            raise UserError(
                tr("no training row is left: every one is above prompt.max_length"), tr("raise prompt.max_length")
            )
        self.prompt = prompt

    def times(self) -> Times:
        """Measure it all."""
        from runner.model.adapter import new_adapter
        from runner.model.compat import enable_checkpointing
        from runner.scoring.layout_choice import choose_layout
        from runner.scoring.proof import subject_of
        from runner.scoring.scorer import LabelScorer

        train = self.recipe.train
        with new_adapter(self.base, self.recipe.lora):
            scorer = LabelScorer(self.base.model, self.prompt, train.loss)
            subject = subject_of(scorer, self.accelerator.device)
            choice = choose_layout(train.layout, subject, self.train, train.batch_size)
            subject.release()
            load = time.perf_counter() - self.started
            evaluated = self._evaluation(scorer, choice.layout)
            if train.gradient_checkpointing:
                enable_checkpointing(self.base.model)
            trained = self._training(scorer, choice.layout)
            if train.gradient_checkpointing:
                self.base.model.gradient_checkpointing_disable()
            predicted = self._prediction(subject)
            layout = f"{choice.name}: {choice.reason}"
            return Times(str(self.accelerator.device), layout, load, trained, evaluated, predicted, self._memory())

    def _training(self, scorer: Any, layout: Any) -> float:
        from runner.scoring.collator import Collator
        from runner.training.optimization import AdapterOptimizer, row_order

        config = self.recipe.train
        rate = 1e-4 if config.learning_rate == "auto" else config.learning_rate
        config = dataclasses.replace(config, learning_rate=rate)
        steps = FIRST_STEPS + MOST_STEPS
        optimizer = AdapterOptimizer(config, scorer, Collator(self.train, layout), steps, self.accelerator)
        order = row_order(config.seed, 1, len(self.train))
        each = optimizer.rows_per_step
        parts = [order[start : start + each] for start in range(0, len(order), each)] * steps
        scorer.train()
        return self._rate(parts[:steps], optimizer.step, FIRST_STEPS)

    def _evaluation(self, scorer: Any, layout: Any) -> float:
        import torch

        from runner.scoring.collator import Collator

        scorer.eval()
        collate = Collator(self.holdout, layout)
        rows = list(range(min(MOST_ROWS, len(self.holdout))))
        each = self.recipe.train.batch_size
        parts = [rows[start : start + each] for start in range(0, len(rows), each)]

        def score(part: Sequence[int]) -> Any:
            return scorer(collate(part)).label_logits.argmax(1).tolist()

        with torch.no_grad():
            return self._rate([*parts[:1], *parts], score, 1)

    def _prediction(self, subject: Any) -> float:
        """By the recipe's own decoding: it proves its way first, which is not counted."""
        import torch

        from runner.prediction.decoders import DECODERS, batch_size

        subject.scorer.eval()
        each = batch_size(self.recipe.decoding)
        some = dataclasses.replace(self.dev, suffixes=self.dev.suffixes[: max(MOST_ROWS // 4, 2 * each)])
        with torch.no_grad():
            answers = DECODERS[type(self.recipe.decoding)](self.recipe.decoding, subject, some, 0)
            count, started = 0, 0.0
            for number, _ in enumerate(answers, 1):
                if number == min(each, len(some) - 1):
                    started = time.perf_counter()
                elif number > each:
                    count += 1
                    if time.perf_counter() - started > MOST_SECONDS:
                        break
            seconds = time.perf_counter() - started
        return max(count, 1) / seconds

    def _rate(self, parts: Sequence[Sequence[int]], compute: Callable[[Sequence[int]], Any], first: int) -> float:
        """Rows a second. The first parts are not counted, unless there are no others."""
        rows, started = 0, time.perf_counter()
        for number, part in enumerate(parts):
            if number == first:
                rows, started = 0, time.perf_counter()
            compute(part)
            rows += len(part)
            if number > first and time.perf_counter() - started > MOST_SECONDS:
                break
        return rows / (time.perf_counter() - started)

    def _memory(self) -> Optional[int]:
        import torch

        from runner.system.memory import peak_host_bytes

        if self.accelerator.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.accelerator.device))
        return peak_host_bytes()
