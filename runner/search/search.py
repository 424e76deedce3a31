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
from runner.language import tr
from runner.search.journal import Journal
from runner.search.measure import Measurement, measure, measurement
from runner.search.plan import KEPT, STARTS, Pace, Rung, last_run, plan
from runner.search.runs import FORWARD, Runs
from runner.search.space import candidates, space_of
from runner.search.trials import Trial, TrialResult, as_event, best_first, from_event, winner
from runner.system.signals import OUT_OF_TIME, Stopped

log = logging.getLogger("labeltune.search")

LOOKS, PART = 2, 0.3
"""How often the last run is looked at, and after which share of its time each: is it as fast as the measurement said?"""

STARTS_A_PART = 10.0
"""Time between two looks, at least, as a multiple of a run's start: each look costs one."""

MOST_ATTEMPTS = 4
"""How often the last run is planned."""


class Search:
    """One search, or what is left of it."""

    def __init__(self, runs: Runs, journal: Journal, started: float) -> None:
        """`journal`: what an earlier process has done of this search. `started`: when this one began, by `time.monotonic()`."""
        self.runs, self.journal, self.recipe = runs, journal, runs.context.recipe
        self.candidates = candidates(space_of(self.recipe), max(STARTS), self.recipe.search.seed)
        self.results: list[TrialResult] = []
        self.trials = 0
        self._reserve = 0.0
        self._since = started

    def run(self) -> TrialResult:
        """Run all trials that are not done yet and return the winner.

        Raises UserError where not one trial could be run."""
        measured = self._measure()
        # the dev rows are predicted at the end
        self._reserve = measured.pace.predicting(measured.dev)
        order = list(range(len(self.candidates)))
        for rung in self._plan(measured):
            epochs = {number: self._epochs(number) for number in order[: rung.candidates]}
            these = [
                self._trial(number, min(rung.passes // each, measured.rows), each) for number, each in epochs.items()
            ]
            finished = [result for result in these if result is not None]
            if len(finished) < len(these):
                # out of time, or not possible: the others are still compared
                log.info(
                    tr(
                        "{failed} of {trials} trials gave no result",
                        failed=len(these) - len(finished),
                        trials=len(these),
                    )
                )
            order = [result.trial.candidate for result in best_first(finished)] if finished else order[:1]
            self._forget(order[: max(rung.candidates // KEPT, 1)])
        self._last(order[0], measured)
        if not self.results:
            raise UserError(
                tr("no trial of the search could be run: ") + self._problems(),
                tr("correct the recipe, or raise search.minutes"),
            )
        return winner(self.results)

    def loaded(self) -> None:
        """Note that this process has loaded the base."""
        self._add({"event": "load", "seconds": round(time.monotonic() - self._since, 3)})

    def _measure(self) -> Measurement:
        event = self.journal.find("pace")
        if event is None:
            event = measure(self.runs, self._left(), f"search.minutes: {self.recipe.search.minutes:g}")
            self._add(event)
        return measurement(event)

    def _plan(self, measured: Measurement) -> list[Rung]:
        event = self.journal.find("plan")
        if event is None:
            rungs = plan(self._left(), measured.pace, measured.held_out, len(self.candidates))
            event = {"event": "plan", "rungs": [asdict(rung) for rung in rungs]}
            self._add(event)
        rungs = [Rung(**rung) for rung in event["rungs"]]
        words = tr(", then ").join(
            tr("{candidates} on {passes:,} rows", candidates=rung.candidates, passes=rung.passes) for rung in rungs
        )
        log.info(
            tr(
                "{candidates_count} candidates: {words}, then the best on as many rows as fit",
                candidates_count=len(self.candidates),
                words=words,
            )
            if rungs
            else tr("the time is too short to compare settings: the recipe as it is, on as many rows as fit")
        )
        return rungs

    def _last(self, candidate: int, measured: Measurement) -> None:
        """The last run. Where it turns out to be slower than planned, it starts again on the rows that do fit."""
        event, pace = self.journal.latest("last"), measured.pace
        if event is None:
            event = self._plan_last(candidate, measured, pace, 1)
        while event.get("attempt", 1) < MOST_ATTEMPTS:
            trial = Trial(self.trials + 1, candidate, self.candidates[candidate], event["rows"], event["epochs"])
            seconds = self._slower_pace(trial, measured)
            if seconds is None:
                break
            log.info(
                tr(
                    "training is slower than it was measured: {rows:.1f} rows a second; the last run starts again on fewer rows",
                    rows=1 / seconds,
                )
            )
            self.runs.remove(trial)
            pace = Pace(seconds, seconds * FORWARD, pace.start)
            event = self._plan_last(candidate, measured, pace, event.get("attempt", 1) + 1)
        self._trial(candidate, event["rows"], event["epochs"])

    def _plan_last(self, candidate: int, measured: Measurement, pace: Pace, attempt: int) -> dict[str, Any]:
        seconds = self._left() - LOOKS * pace.start
        used, epochs = last_run(seconds, pace, measured.held_out, measured.rows, self._epochs(candidate))
        event = {"event": "last", "rows": used, "epochs": epochs, "attempt": attempt}
        self._add(event)
        return event

    def _slower_pace(self, trial: Trial, measured: Measurement) -> Optional[float]:
        """Run a trial in parts, which its checkpoints join, and look after each whether the rest fits into the time.

        Returns the seconds that a training row takes, where the rest does not fit; else None, before the last part."""
        pace = measured.pace
        part = max(self._left() * PART, pace.start * STARTS_A_PART)
        evaluated = measured.held_out * (trial.epochs + 1) * FORWARD
        training = 0.0
        while self.journal.trial(trial.number) is None and self._left() > 2 * part:
            started = time.monotonic()
            try:
                # it may be finished already
                self._add(dict(as_event(self.runs.run(trial, part))))
            except UserError:
                return None  # it is met again, and reported, when the trial is run
            except Stopped as stopped:
                if stopped.code != 128 + OUT_OF_TIME:
                    raise
                taken, done = time.monotonic() - started, self.runs.passes_done(trial)
                self._add({"event": "look", "seconds": round(taken, 3)})
                training += max(taken - pace.start, 0.0)
                if done and (trial.passes - done + evaluated) * training / done > self._left() - pace.start:
                    return training / done
        return None

    def _epochs(self, candidate: int) -> int:
        """Those that the candidate asks for; else one, for new rows teach more than rows that were seen."""
        return int(self.candidates[candidate].get("train.epochs", 1))

    def _trial(self, candidate: int, rows: int, epochs: int) -> Optional[TrialResult]:
        """One trial, or its result in the journal; None where it could not be run or the time was over."""
        self.trials += 1
        trial = Trial(self.trials, candidate, self.candidates[candidate], rows, epochs)
        event = self.journal.trial(trial.number)
        if event is None:
            event = self._run(trial)
            self._add(event)
        if event["event"] != "trial":
            log.info(
                tr(
                    "trial {number}: {settings}: {problem}",
                    number=trial.number,
                    settings=trial.describe(),
                    problem=event["problem"],
                )
            )
            return None
        result = from_event(event)
        self.results.append(result)
        log.info(
            tr(
                "trial {number}: {settings}: {rows:,} rows × {epochs}, accuracy {accuracy:.1%}, log "
                "loss {log_loss:.3f}, {seconds:.0f} s",
                number=trial.number,
                settings=trial.describe(),
                rows=rows,
                epochs=epochs,
                accuracy=result.accuracy,
                log_loss=result.log_loss,
                seconds=result.seconds,
            )
        )
        return result

    def _run(self, trial: Trial) -> dict[str, Any]:
        started, seconds = time.monotonic(), self._left()
        problem = tr("out of time")
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

    def _left(self) -> float:
        """Seconds that are left for training: without those for predicting the dev rows at the end."""
        assert self.recipe.search.minutes is not None
        spent = self.journal.seconds + time.monotonic() - self._since
        return self.recipe.search.minutes * 60 - spent - self._reserve

    def _add(self, event: dict[str, Any]) -> None:
        self.journal.add(event)
        self._since = time.monotonic()

    def _forget(self, kept: Sequence[int]) -> None:
        best = winner(self.results).trial.number if self.results else 0
        for result in self.results:
            if result.trial.candidate not in kept and result.trial.number != best:
                self.runs.forget(result.trial)
        # the next trials have other rows
        self.runs.clear_store()

    def _problems(self) -> str:
        return "; ".join(sorted({event["problem"] for event in self.journal.events if "problem" in event}))
