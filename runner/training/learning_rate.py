"""The learning rate: the recipe's, or with `auto` a guess by the base's size and the run's length that a short probe may correct.

The probe gives four rates, the guess among them, a small run each: the first rows of the run, with the recipe's schedule
shortened to a few steps. Each begins with the same adapter and the same random numbers. Another rate replaces the guess only if
its loss on the hold-out is clearly lower. Without that rule noise would decide. Measured: after 32 steps of CoLA the hold-out
loss of SmolLM2-135M is 0.616 at 2e-4, 0.619 at 5e-4 and 0.617 at 1e-3; after 250 steps only 1e-3 is clearly above the majority.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from runner.distributed.collectives import all_reduce_max
from runner.language import tr
from runner.recipe.schema import Train
from runner.scoring.collator import Collator
from runner.scoring.scorer import LabelScorer
from runner.system.signals import Stopped, StopRequest, deferred_signals
from runner.training.evaluation import Evaluator
from runner.training.optimization import AdapterOptimizer, row_order
from runner.training.steps import MOST_ROWS, TRIED, probe_steps, steps_of
from runner.training.train_state import random_state, set_random_state

log = logging.getLogger("labeltune.training")

RATES = (5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3)
"""The rates that are tried: the guess, two below it and one above."""

GUESSES = ((200e6, 500, 1e-3), (200e6, math.inf, 5e-4), (math.inf, math.inf, 2e-4))
"""The guess for a base with at most so many parameters and a run of at most so many steps.

Measured with rank 16 and 16 rows a step (benchmarks/ACCURACY.md). SmolLM2-135M, CoLA, 250 steps: 2e-4 and 5e-4 stay at the
majority, 1e-3 learns. 533 to 750 steps: one run of six at 1e-3 ended at the majority, and 4e-4 is as good as the others, with a
better log loss. Gemma-3-270m learns no better at 5e-4 than at 2e-4; one run of four at 5e-4 was not better than the majority."""

CLEARLY = 3.0
"""Standard errors by which the mean loss of another rate must be lower than the guess's, row by row. With fewer, low rates would
win too often: after a few steps they have changed the base least. Measured: 2e-4 is 1.9 ahead of 5e-4 after 32 steps of
Gemma-3-270m on CoLA, and after 250 steps the two are equal within noise."""


@dataclass(frozen=True)
class LearningRate:
    """A peak learning rate, and where it comes from."""

    value: float
    """The rate."""
    reason: str
    """The reason in words, for the user."""
    losses: Mapping[str, Optional[float]] = dataclasses.field(default_factory=dict)
    """The mean hold-out loss at each rate of the probe, by the rate's text; None: not finite. Empty without a probe."""

    def figures(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        return {
            "learning_rate": self.value,
            "learning_rate_reason": self.reason,
            "learning_rate_losses": dict(self.losses),
        }


def guessed_rate(parameters: int, steps: int) -> float:
    """The guess for a base with so many parameters and a run of so many optimizer steps."""
    return next(rate for most, longest, rate in GUESSES if parameters <= most and steps <= longest)


def decide(guess: float, losses: Mapping[float, Sequence[float]], steps: int) -> LearningRate:
    """The rate to use after a probe of so many steps. `losses`: of every hold-out row, at each rate."""
    means = {rate: statistics.fmean(each) for rate, each in losses.items()}
    finite = [rate for rate in losses if math.isfinite(means[rate])]
    better = [rate for rate in finite if rate == guess or _clearly_lower(losses[rate], losses[guess])]
    # ties go to the lower rate
    value = min(better or finite or [min(losses)], key=lambda rate: (means[rate], rate) if finite else (0.0, rate))
    plain = {f"{rate:g}": means[rate] if rate in finite else None for rate in losses}
    others = ", ".join(
        tr("{loss} at {rate:g}", loss=_shown(means[rate]), rate=rate) for rate in losses if rate != value
    )
    kept = (
        "" if value != guess else tr(", and none is clearly lower than that of the usual rate for this base and length")
    )
    return LearningRate(
        value,
        tr(
            "hold-out loss {loss} after {steps} steps, against {others}{kept}",
            loss=_shown(means[value]),
            steps=steps,
            others=others,
            kept=kept,
        ),
        plain,
    )


def _clearly_lower(losses: Sequence[float], others: Sequence[float]) -> bool:
    """Whether the mean difference, row by row, is more than noise. Losses that are not finite are the highest."""
    if not all(map(math.isfinite, others)):
        return True
    differences = [other - loss for loss, other in zip(losses, others)]
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return statistics.fmean(differences) > CLEARLY * error


def _millions(parameters: int) -> str:
    """Whole millions, or two digits of less than ten."""
    number = parameters / 1e6
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _shown(loss: float) -> str:
    return f"{loss:.3f}" if math.isfinite(loss) else tr("not finite")


@dataclass(frozen=True)
class Probe:
    """What a probe trains and compares."""

    config: Train
    """The recipe's settings."""
    scorer: LabelScorer
    """The scorer with the new adapter."""
    train: Collator
    """Makes batches of the training rows."""
    evaluator: Evaluator
    """Evaluates on the hold-out. All of its processes take part and find the same rate."""

    def choose(self) -> LearningRate:
        """The recipe's learning rate, or for `auto` the guess, corrected by a probe where the run is long enough for one.

        The adapter and the random numbers are afterwards as they were. Raises Stopped where a signal asked for it."""
        if self.config.learning_rate != "auto":
            return LearningRate(float(self.config.learning_rate), tr("as set"))
        size = sum(parameter.numel() for parameter in self.scorer.parameters() if not parameter.requires_grad)
        rows = len(self.train.dataset)
        guess = guessed_rate(size, steps_of(self.config, rows))
        steps = probe_steps(self.config, rows)
        if not steps:
            words = tr(
                "the usual rate for {size} million parameters; {total} steps are too few for a probe",
                size=_millions(size),
                total=steps_of(self.config, rows),
            )
            return LearningRate(guess, words)
        place = RATES.index(guess)
        tried = RATES[place - 2 : place - 2 + TRIED]
        log.info(
            tr(
                "learning rate: trying {tried}, {steps} steps each",
                tried=", ".join(f"{rate:g}" for rate in tried),
                steps=steps,
            )
        )
        evaluator = self._smaller_evaluator()
        start = {name: each.detach().clone() for name, each in self._optimizer(guess, steps).parameters.items()}
        randoms, losses = random_state(), {}
        with deferred_signals() as stop:
            for rate in tried:
                optimizer = self._optimizer(rate, steps)
                losses[rate] = self._losses(optimizer, evaluator, steps, stop)
                optimizer.set_parameters(start)
                set_random_state(randoms)
        return decide(guess, losses, steps)

    def _optimizer(self, rate: float, steps: int) -> AdapterOptimizer:
        config = dataclasses.replace(self.config, learning_rate=rate)
        return AdapterOptimizer(config, self.scorer, self.train, steps, self.evaluator.accelerator)

    def _smaller_evaluator(self) -> Evaluator:
        """Rows of the hold-out, spread over all of it."""
        collator, dataset = self.evaluator.collator, self.evaluator.dataset
        rows = range(0, len(dataset), -(-len(dataset) // MOST_ROWS))
        some = dataclasses.replace(
            dataset, suffixes=[dataset.suffixes[row] for row in rows], targets=[dataset.targets[row] for row in rows]
        )
        return Evaluator(Collator(some, collator.layout), self.config.batch_size, self.evaluator.accelerator)

    def _losses(
        self, optimizer: AdapterOptimizer, evaluator: Evaluator, steps: int, stop: StopRequest
    ) -> Sequence[float]:
        """The loss of every hold-out row after so many steps."""

        def stop_if_asked(rows: int = 0) -> None:
            number = all_reduce_max(evaluator.accelerator, [stop.number])[0]
            if number:
                raise Stopped(number, tr("while learning rates were tried"))

        order, size = row_order(self.config.seed, 1, len(self.train.dataset)), optimizer.rows_per_step
        self.scorer.train()
        for step in range(steps):
            optimizer.step(order[step * size : (step + 1) * size])
            stop_if_asked()
        return evaluator.losses(self.scorer, stop_if_asked)
