"""The search: within a time, many settings on few rows, the best of them on more, and the last one on all that fit.

Every decision is in the journal before it is acted on, so a search that was killed continues to the same table.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Optional

from runner.errors import UserError
from runner.search.journal import Journal
from runner.search.plan import KEPT, STARTS, Pace, Rung, last_run, plan
from runner.search.runs import Runs
from runner.search.space import candidates, space_of
from runner.search.trials import Trial, TrialResult, as_event, best_first, from_event, winner
from runner.system.signals import OUT_OF_TIME, Stopped

log = logging.getLogger("labeltune.search")

PROBE_STEPS = 10
"""Optimizer steps of the run that measures the pace."""

ONE_AT_A_TIME = 3.0
"""Cost of predicting a row alone, as a multiple of scoring it in a batch."""


class Search:
    """One search, or what is left of it."""

    def __init__(self, runs: Runs, journal: Journal) -> None:
        """`journal`: what an earlier process has done of this search."""
        self.runs, self.journal, self.recipe = runs, journal, runs.context.recipe
        self.candidates = candidates(space_of(self.recipe), max(STARTS), self.recipe.search.seed)
        self.results: list[TrialResult] = []
        self.trials = 0
        self._spent = sum(event.get("seconds", 0.0) for event in journal.events)
        self._since = time.monotonic()

    def run(self) -> TrialResult:
        """Run all trials that are not done yet and return the winner.

        Raises UserError where not one trial could be run."""
        pace, rows, held_out = self._measure()
        order = list(range(len(self.candidates)))
        for rung in self._plan(pace, held_out):
            epochs = {number: self._epochs(number) for number in order[: rung.candidates]}
            these = [
                self._trial(number, min(rung.passes // each, rows), each, self._left(held_out, pace))
                for number, each in epochs.items()
            ]
            finished = [result for result in these if result is not None]
            if len(finished) < len(these):
                # out of time, or not possible: the others are still compared
                log.info(f"{len(these) - len(finished)} of {len(these)} trials gave no result")
            order = [result.trial.candidate for result in best_first(finished)] if finished else order[:1]
            self._forget(order[: max(rung.candidates // KEPT, 1)])
        self._last(order[0], pace, rows, held_out)
        if not self.results:
            raise UserError(
                "no trial of the search could be run: " + self._problems(),
                "correct the recipe, or raise search.minutes",
            )
        return winner(self.results)

    def _measure(self) -> tuple[Pace, int, int]:
        """The pace, from a short run of the recipe as it is; the rows to train on, and the held-out ones."""
        event = self._event("pace")
        if event is None:
            train, asked = self.recipe.train, self.recipe.samples.train
            rows = PROBE_STEPS * train.batch_size * train.accumulation
            trial = Trial(0, 0, {}, min(rows, asked) if isinstance(asked, int) else rows, 1)
            started = time.monotonic()
            self._probe(trial)
            seconds = time.monotonic() - started
            rows, held_out = self.runs.rows(trial)
            pace = self.runs.pace(trial, seconds)
            event = {"event": "pace", **asdict(pace), "rows": rows, "held_out": held_out, "seconds": round(seconds, 3)}
            self._add(event)
        pace = Pace(event["train"], event["evaluate"], event["start"])
        log.info(f"{1 / pace.train:,.1f} training rows a second; {event['rows']:,} rows to train on")
        return pace, event["rows"], event["held_out"]

    def _probe(self, trial: Trial) -> None:
        """Run the trial that measures the pace. Raises UserError where the time is over before."""
        try:
            self.runs.run(trial, self._left())
        except Stopped as stopped:
            if stopped.code != 128 + OUT_OF_TIME:
                raise
            minutes = self.recipe.search.minutes
            raise UserError(
                f"search.minutes: {minutes:g} are over before the first {PROBE_STEPS} steps are",
                "give it more time",
            ) from None

    def _plan(self, pace: Pace, held_out: int) -> list[Rung]:
        event = self._event("plan")
        if event is None:
            rungs = plan(self._left(held_out, pace), pace, held_out, len(self.candidates))
            event = {"event": "plan", "rungs": [asdict(rung) for rung in rungs]}
            self._add(event)
        rungs = [Rung(**rung) for rung in event["rungs"]]
        words = ", then ".join(f"{rung.candidates} on {rung.passes:,} rows" for rung in rungs)
        log.info(
            f"{len(self.candidates)} candidates: {words}, then the best on as many rows as fit"
            if rungs
            else "the time is too short to compare settings: the recipe as it is, on as many rows as fit"
        )
        return rungs

    def _last(self, candidate: int, pace: Pace, rows: int, held_out: int) -> None:
        event = self._event("last")
        if event is None:
            used, epochs = last_run(self._left(held_out, pace), pace, held_out, rows, self._epochs(candidate))
            event = {"event": "last", "rows": used, "epochs": epochs}
            self._add(event)
        self._trial(candidate, event["rows"], event["epochs"], self._left(held_out, pace))

    def _epochs(self, candidate: int) -> int:
        """Those that the candidate asks for; else one, for new rows teach more than rows that were seen."""
        return int(self.candidates[candidate].get("train.epochs", 1))

    def _trial(self, candidate: int, rows: int, epochs: int, seconds: float) -> Optional[TrialResult]:
        """One trial, or its result in the journal; None where it could not be run or the time was over."""
        self.trials += 1
        trial = Trial(self.trials, candidate, self.candidates[candidate], rows, epochs)
        event = next((event for event in self.journal.events if event.get("number") == trial.number), None)
        if event is None:
            event = self._run(trial, seconds)
            self._add(event)
        if event["event"] != "trial":
            log.info(f"trial {trial.number}: {trial.describe()}: {event['problem']}")
            return None
        result = from_event(event)
        self.results.append(result)
        log.info(
            f"trial {trial.number}: {trial.describe()}: {rows:,} rows × {epochs}, accuracy {result.accuracy:.1%}, "
            f"log loss {result.log_loss:.3f}, {result.seconds:.0f} s"
        )
        return result

    def _run(self, trial: Trial, seconds: float) -> dict[str, Any]:
        started = time.monotonic()
        problem = "out of time"
        try:
            if seconds > 0:
                return dict(as_event(self.runs.run(trial, seconds)))
        except Stopped as stopped:
            if stopped.code != 128 + OUT_OF_TIME:
                raise
        except UserError as error:
            problem = str(error)
        spent = round(time.monotonic() - started, 3)
        return {"event": "no result", "number": trial.number, "problem": problem, "seconds": spent}

    def _left(self, held_out: int = 0, pace: Optional[Pace] = None) -> float:
        """Seconds that are left for training: without those for predicting the dev rows at the end."""
        dev = self.recipe.samples.dev
        reserve = (
            pace.evaluate * ONE_AT_A_TIME * (dev if isinstance(dev, int) else held_out) + pace.start if pace else 0
        )
        assert self.recipe.search.minutes is not None
        return self.recipe.search.minutes * 60 - self._spent - (time.monotonic() - self._since) - reserve

    def _add(self, event: dict[str, Any]) -> None:
        self.journal.add(event)
        self._spent += event.get("seconds", 0.0)
        self._since = time.monotonic()

    def _event(self, name: str) -> Optional[dict[str, Any]]:
        return next((event for event in self.journal.events if event["event"] == name), None)

    def _forget(self, kept: Sequence[int]) -> None:
        best = winner(self.results).trial.number if self.results else 0
        for result in self.results:
            if result.trial.candidate not in kept and result.trial.number != best:
                self.runs.forget(result.trial)

    def _problems(self) -> str:
        return "; ".join(sorted({event["problem"] for event in self.journal.events if "problem" in event}))
