"""The plan of a search: how many candidates are trained on how many rows, so that all of it fits into the time.

Successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943): many candidates see few rows, the best third of them three
times as many, and the last one all rows for which time is left.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable, Optional

from runner.recipe.schema import Train
from runner.training.steps import MOST_ROWS, TRIED, probe_steps

KEPT = 3
"""One of so many candidates goes on to the next rung."""

STARTS = (27, 9, 4)
"""Numbers of candidates to begin with; the first one that the time allows. Four are the default learning rates."""

EXPLORING = 0.4
"""Share of the time for all rungs but the last: rows and epochs move the accuracy more than other settings do, so the last
run gets most of it."""

FEWEST_PASSES = 2000
"""Row passes below which a run says little about a longer one: after 1,600 SmolLM2-135M is at the majority of CoLA at each rate,
the right one too."""

FORWARD = 1 / 3
"""Cost of scoring a row, as a share of the cost of training on it: a forward pass, and no backward pass of twice its cost."""

EXTRA_EVALUATIONS = 2
"""How often a run scores the hold-out besides once an epoch: before training, and with the saved adapter."""

IN_A_SEARCH = 1
"""The same for a run of a search: the untuned base is evaluated once for all of them."""

MOST_EPOCHS = 5
"""Epochs of a run, where time is left when all rows are used."""

ENOUGH_ROWS = 2 / 3
"""Least share of the rows that is trained on once more where there is no time for all of them. Gemma-3-270m, CoLA: 4,000 rows × 3
give 81.5 %, all 7,045 × 1 only 80.4 % (benchmarks/ACCURACY.md, one seed)."""

SAFETY = 0.9
"""Share of the time that is planned: a run may be slower than the first seconds were."""


@dataclass(frozen=True)
class Pace:
    """What a run costs on this device."""

    train: float
    """Seconds to train on one row once."""
    evaluate: float
    """Seconds to score one held-out row."""
    start: float
    """Seconds before the first step."""
    end: float = 0.0
    """Seconds after the last step, where the saved adapter scores the hold-out in another way than in batches of one order."""

    def seconds(self, passes: float, evaluated: int) -> float:
        """Seconds of one run over so many training rows, epochs counted, and so many held-out rows."""
        return self.start + passes * self.train + evaluated * self.evaluate + self.end

    def slower(self, times: float) -> Pace:
        """The pace of a device that needs so many times as long."""
        return Pace(self.train * times, self.evaluate * times, self.start * times, self.end * times)

    def with_train(self, train: float) -> Pace:
        """The pace where a training row takes so many seconds, and the start as long as here."""
        return dataclasses.replace(self.slower(train / self.train), start=self.start)


@dataclass(frozen=True)
class Measurement:
    """What is known before anything is planned."""

    pace: Pace
    """What a run costs."""
    rows: int
    """Rows that can be trained on."""
    held_out: int
    """Held-out rows."""
    predict: float
    """Seconds to predict the dev rows."""


@dataclass(frozen=True)
class Rung:
    """Runs of the same length."""

    candidates: int
    """How many."""
    passes: int
    """Training rows of each, epochs counted."""


Planned = Callable[[Optional[int]], list[Rung]]
"""Gives a plan whose first trials have so many row passes, or None: as many as fit. It is empty where the time is too short."""


def plan(seconds: float, measured: Measurement, most: int, length: Optional[int] = None) -> list[Rung]:
    """All rungs but the last.

    Where the time allows several runs of the greatest length, all rows `MOST_EPOCHS` times, there is one rung of such runs: no
    later run could be longer.

    Args:
        seconds: Time of the whole search.
        measured: What a run costs, the number of rows, and of held-out rows, which every run scores once for every epoch.
        most: Most candidates there are.
        length: Row passes of the first trials; default: as many as fit, and `FEWEST_PASSES` or all that there are, or more.

    Returns:
        The rungs, the one with the most candidates first; none where the time is too short to compare anything.
    """
    pace, greatest = measured.pace, measured.rows * MOST_EPOCHS
    evaluated = measured.held_out * (1 + IN_A_SEARCH)
    longest = pace.seconds(greatest, measured.held_out * (MOST_EPOCHS + IN_A_SEARCH))
    whole = min(int(SAFETY * seconds / longest), most) if length in (None, greatest) else 0
    starts: Sequence[int] = STARTS if length is None else range(max(STARTS), 1, -1)
    for start in (min(start, most) for start in starts):
        if 1 < start <= whole:
            break
        counts = [start]
        while counts[-1] // KEPT > 1:
            counts.append(counts[-1] // KEPT)
        share = SAFETY * EXPLORING * seconds / len(counts)
        rungs = [Rung(count, min(_passes(share / count, pace, evaluated), greatest)) for count in counts]
        if start > 1 and rungs[0].passes >= (length or min(FEWEST_PASSES, greatest)):
            return [Rung(start, length), *rungs[1:]] if length else rungs
    return [Rung(whole, greatest)] if whole > 1 else []


def trial_length(passes: int, rows: int, epochs: Optional[int]) -> tuple[int, int]:
    """Rows and epochs of a trial of so many row passes, where there are so many rows.

    New rows come before more epochs. `epochs`: those that its candidate asks for; None: as many as the passes are for."""
    if epochs is None:
        epochs = max(1, min(MOST_EPOCHS, passes // rows))
    return min(passes // epochs, rows), epochs


def probe_cost(train: Train, rows: int) -> float:
    """Cost of the probe of learning rates before a run over so many rows, as a number of row passes; 0 where there is none."""
    steps = probe_steps(train, rows)
    return TRIED * (steps * train.batch_size * train.accumulation + MOST_ROWS * FORWARD) if steps else 0.0


def last_run(
    seconds: float, measured: Measurement, train: Train, most: int = MOST_EPOCHS, extra: int = EXTRA_EVALUATIONS
) -> tuple[int, int]:
    """Rows and epochs of the last run: as many as fit; 0 rows where none does.

    New rows come before more epochs; but where all rows leave much of the time, most of them are trained on once more.

    Args:
        seconds: Time for it.
        measured: What a run costs, and how many rows there are.
        train: Its settings, with the fewest epochs.
        most: The most epochs; `train.epochs` where these are more.
        extra: Evaluations besides those after each epoch.
    """
    seconds *= SAFETY
    fitting = _fitting(seconds, measured, train.epochs, most, extra)
    probe = probe_cost(dataclasses.replace(train, epochs=fitting[1]), fitting[0])
    left = seconds - probe * measured.pace.train
    return _fitting(left, measured, train.epochs, most, extra) if probe else fitting


def _fitting(seconds: float, measured: Measurement, epochs: int, most: int, extra: int) -> tuple[int, int]:
    pace, held_out, rows = measured.pace, measured.held_out, measured.rows
    passes = _passes(seconds, pace, held_out * (epochs + extra))
    if passes // epochs < rows:
        return passes // epochs, epochs
    fitting = max(epochs, min(most, _passes(seconds, pace, held_out * (most + extra)) // rows))
    once_more = _passes(seconds, pace, held_out * (fitting + 1 + extra)) // (fitting + 1)
    if fitting < most and once_more >= ENOUGH_ROWS * rows:
        return min(once_more, rows), fitting + 1
    return rows, fitting


def _passes(seconds: float, pace: Pace, evaluated: int) -> int:
    """Row passes that fit, in three significant digits: more would be noise of the pace."""
    passes = int((seconds - pace.start - pace.end - evaluated * pace.evaluate) / pace.train)
    unit = 10 ** max(len(str(max(passes, 1))) - 3, 0)
    return max(passes // unit * unit, 0)
