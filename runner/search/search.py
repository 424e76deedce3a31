"""The search: within a time, many settings on few rows, the best of them on more, and the last one on all that fit.

Every decision is in the journal before it is acted on, so a search that was killed continues to the same table.
"""

from __future__ import annotations

import dataclasses
import logging
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Optional

from runner.errors import UserError
from runner.evaluation.intervals import with_interval
from runner.language import tr, trn
from runner.search.journal import Journal
from runner.search.measure import measure, measurement
from runner.search.plan import (
    IN_A_SEARCH,
    KEPT,
    MOST_EPOCHS,
    Measurement,
    Pace,
    Rung,
    last_run,
    plan,
    probe_cost,
    trial_length,
)
from runner.search.rounds import Round
from runner.search.runs import Runs
from runner.search.sampler import SAMPLERS
from runner.search.space import Changes, changed, without_trials
from runner.search.trials import Trial, TrialResult, as_event, best_first, describe, from_event, winner
from runner.system.signals import OUT_OF_TIME, Stopped

log = logging.getLogger("labeltune.search")

LOOK_AFTER = 0.1
"""The last run is looked at once, after this share of its time: is it as fast as the trials were? Early, for what was trained
until then is lost where it is slower: a machine is fastest in its first seconds."""

LOOK_COSTS = 5.0
"""Time before that look, at least, as a multiple of a run's start: the look costs one."""

LATE = 1.0
"""Time over the search's, as a share of it, that the last run may take where nothing else has a result."""

STILL_FITS = 0.97
"""After the look the last run goes on if it needs no more than this share of the time that is left. It was planned to need less
(`SAFETY`): a run that is a little slower than planned still ends in time, and to start again costs rows."""

MOST_OVER = 4.0
"""Most time of a trial before the last run, as a multiple of what it was planned to take; one slow setting (DoRA takes three
times as long) must not take the time of all others."""

WORTH_A_RUN = 1.5
"""The last run has so many times the row passes of the longest trial, at least; else the best trial stays."""


class Search:
    """One search, or what is left of it."""

    def __init__(self, runs: Runs, journal: Journal, started: float) -> None:
        """`journal`: what an earlier process has done of this search. `started`: when this one began, by `time.monotonic()`."""
        self.runs, self.journal, self.recipe = runs, journal, runs.context.recipe
        self.sampler = SAMPLERS[self.recipe.search.sampler].make(runs, journal)
        self.candidates: list[Changes] = []
        self.results: list[TrialResult] = []
        self.rounds: list[Round] = []
        self.trials = 0
        self._reserve = 0.0
        self._since = started

    def run(self) -> TrialResult:
        """Run all trials that are not done yet and return the winner.

        Raises UserError where not one trial could be run."""
        measured = self._measure()
        # the dev rows are predicted at the end
        self._reserve = measured.predict
        order = [0]
        for number, rung in enumerate(self._plan(measured)):
            these = (
                [self._trial_of(rung, candidate, measured) for candidate in order[: rung.candidates]]
                if number
                else self._first(rung, measured)
            )
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
            compared = finished if number else [*finished, *self._others()]
            self._compare(compared)
            order = [result.trial.candidate for result in best_first(compared)] if compared else order[:1]
            self._forget(order[: max(rung.candidates // KEPT, 1)])
        self._last(order[0], measured)
        if not self.results:
            raise UserError(
                tr("no trial of the search could be run: ") + (self._problems() or tr("out of time")),
                tr("correct the recipe, or raise search.minutes"),
            )
        return winner(self.results)

    def loaded(self) -> None:
        """Note that this process has loaded the base."""
        self._add({"event": "load", "seconds": round(time.monotonic() - self._since, 3)})

    def stopped(self) -> None:
        """Note the time of the step in which the search was stopped."""
        self._add({"event": "stopped", "seconds": round(time.monotonic() - self._since, 3)})

    def _measure(self) -> Measurement:
        event = self.journal.find("pace")
        if event is None:
            event = measure(self.runs, self._left(), f"search.minutes: {self.recipe.search.minutes:g}")
            self._add(event)
        return measurement(event, self.recipe.decoding)

    def _plan(self, measured: Measurement) -> list[Rung]:
        event = self.journal.find("plan")
        if event is None:
            left, most = self._left(), self.sampler.most
            rungs = self.sampler.join(lambda length: plan(left, measured, most, length))
            event = {"event": "plan", "rungs": [asdict(rung) for rung in rungs]}
            self._add(event)
        rungs = [Rung(**rung) for rung in event["rungs"]]
        if not rungs:
            self.candidates = [without_trials(self.recipe)]
        words = tr(", then ").join(
            tr("{candidates} on {passes:,} rows", candidates=rung.candidates, passes=rung.passes) for rung in rungs
        )
        log.info(
            tr(
                "of {candidates_count} candidates: {words}, then the best on as many rows as fit",
                candidates_count=self.sampler.most,
                words=words,
            )
            if rungs
            else tr(
                "the time is too short to compare settings. One run: {settings}, on as many rows as fit",
                settings=describe(self.candidates[0]),
            )
        )
        return rungs

    def _first(self, rung: Rung, measured: Measurement) -> list[Optional[TrialResult]]:
        """The trials of the first rung: the sampler proposes their candidates one after another, and another one for each whose
        settings cannot be trained."""
        these: list[Optional[TrialResult]] = []
        impossible = 0
        while len(these) - impossible < rung.candidates and impossible <= rung.candidates:
            candidate = len(these)
            changes = self.sampler.ask(candidate)
            if changes is None:
                log.info(tr("no other candidate is left"))
                break
            self.candidates.append(changes)
            these.append(self._trial_of(rung, candidate, measured))
            self.sampler.tell(candidate, these[-1])
            impossible += (self.journal.trial(self.trials) or {}).get("impossible", False)
        return these

    def _others(self) -> list[TrialResult]:
        """Results of other searches, whose candidates may be trained here as well from now on."""
        others = self.sampler.others(self.candidates)
        if others:
            log.info(
                trn(
                    "{count} candidate of other searches is compared with these",
                    "{count} candidates of other searches are compared with these",
                    len(others),
                )
            )
        self.candidates += [result.trial.changes for result in others]
        return others

    def _compare(self, results: Sequence[TrialResult]) -> None:
        """Say which settings of a round can be told apart, unless all of its trials are those of the round before."""
        known = self.rounds[-1].results if self.rounds else ()
        if len(results) > 1 and any(result not in known for result in results):
            self.rounds.append(Round(results))
            log.info(self.rounds[-1].sentence())

    def _trial_of(self, rung: Rung, candidate: int, measured: Measurement) -> Optional[TrialResult]:
        rows, epochs = trial_length(rung.passes, measured.rows, self._asked_epochs(candidate))
        for result in self.results:
            if (result.trial.candidate, result.trial.rows, result.trial.epochs) == (candidate, rows, epochs):
                # it was trained on all rows, and there are no more
                return result
        return self._trial(candidate, rows, epochs, self._limit(rung, measured))

    def _last(self, candidate: int, measured: Measurement) -> None:
        """The last run. Where it turns out to be slower than planned, it starts again, once, on the rows that do fit."""
        event = self.journal.latest("last")
        if event is None:
            event = self._plan_last(candidate, measured, self._observed(measured, candidate), 1)
            self._add(event)
        self.candidates[candidate] = event.get("changes", self.candidates[candidate])
        if event["rows"] and event["attempt"] == 1:
            trial = Trial(self.trials + 1, candidate, self.candidates[candidate], event["rows"], event["epochs"])
            pace = self._slower_pace(trial, measured)
            if pace is not None:
                log.info(tr("training is slower than it was measured: {rows:.1f} rows a second", rows=1 / pace.train))
                self.candidates[candidate] = {**trial.changes, **self.runs.found_rate(trial)}
                shorter = self._plan_last(candidate, measured, pace, 2)
                if shorter["rows"] or self.results:
                    self.runs.remove(trial)
                    event = shorter
                    self._add(event)
                else:
                    # without any result the run goes on, and ends late
                    self.candidates[candidate] = trial.changes
                if shorter["rows"]:
                    log.info(tr("the last run starts again on fewer rows"))
        if event["rows"]:
            # a search that ends late is better than one that ends with nothing
            late = 0.0 if self.results else LATE * self.minutes * 60
            self._trial(candidate, event["rows"], event["epochs"], self._left() + late)
        elif self.results:
            log.info(tr("no longer run is possible: the best trial stays"))

    def _plan_last(self, candidate: int, measured: Measurement, pace: Pace, attempt: int) -> dict[str, Any]:
        """The event of its plan; 0 rows where those that fit are too few."""
        asked, changes = self._asked_epochs(candidate), self.candidates[candidate]
        # where nothing was compared, the recipe's own are the fewest
        fewest = asked or (1 if self.results else self.recipe.train.epochs)
        train = changed(self.recipe, {**changes, "train.epochs": fewest}).train
        seconds, now = self._left() - pace.start, dataclasses.replace(measured, pace=pace)
        rows, epochs = last_run(seconds, now, train, asked or MOST_EPOCHS, IN_A_SEARCH)
        longest = max((result.trial.passes for result in self.results), default=0)
        own = max((result.trial.passes for result in self.results if result.trial.candidate == candidate), default=0)
        # a run of all rows is worth it whatever the trials had
        if rows < measured.rows and rows * epochs < max(WORTH_A_RUN * longest, self._least()):
            rows = 0
        if rows * epochs <= own:
            rows = 0
        return {"event": "last", "rows": rows, "epochs": epochs, "attempt": attempt, "changes": dict(changes)}

    def _observed(self, measured: Measurement, candidate: Optional[int] = None) -> Pace:
        """The pace of the trials so far, where they were slower than the measurement. Those of the candidate, if it has any."""
        own = [result for result in self.results if result.trial.candidate == candidate]
        ratios = [result.seconds / self._planned(result.trial, measured) for result in own or self.results]
        return measured.pace.slower(max(statistics.median(ratios), 1.0) if ratios else 1.0)

    def _planned(self, trial: Trial, measured: Measurement) -> float:
        """Seconds that a trial takes by the measurement."""
        probe = probe_cost(self.runs.recipe(trial).train, trial.rows)
        return measured.pace.seconds(trial.passes + probe, measured.held_out * (trial.epochs + IN_A_SEARCH))

    def _slower_pace(self, trial: Trial, measured: Measurement) -> Optional[Pace]:
        """Run the first part of a trial, which its checkpoint joins to the rest, and look whether the rest fits into the time.

        Returns the pace of that part where the rest does not fit, else None."""
        look = self.journal.find("look") or self._look(trial, measured)
        slower = look and look["slower"]
        return measured.pace.with_train(slower) if slower else None

    def _look(self, trial: Trial, measured: Measurement) -> Optional[dict[str, Any]]:
        """The event of a look, in the journal: `slower` is the seconds of a training row where the rest does not fit, else null.

        None where there was nothing to look at."""
        pace, probe = measured.pace, probe_cost(self.runs.recipe(trial).train, trial.rows)
        # learning rates are tried before the first step
        part = max(self._left() * LOOK_AFTER, pace.start * LOOK_COSTS) + probe * pace.train
        if self.journal.trial(trial.number) or self._left() < 2 * part:
            return None
        started, before = time.monotonic(), self.runs.passes_done(trial)
        try:
            # it may be finished already
            self._add(dict(as_event(self.runs.run(trial, part))))
            return None
        except UserError:
            return None  # it is met again, and reported, when the trial is run
        except Stopped as stopped:
            if stopped.code != 128 + OUT_OF_TIME:
                raise
        # a probe that has not ended is at least as slow as this, and begins again
        done = self.runs.passes_done(trial)
        worked = done - before + (0 if before else probe)
        train = (time.monotonic() - started - pace.start) / worked if worked else 0.0
        evaluated = measured.held_out * (trial.epochs + IN_A_SEARCH)
        rest = pace.with_train(train).seconds(trial.passes - done + (0 if done else probe), evaluated)
        fits = rest <= STILL_FITS * self._left()
        spent = round(time.monotonic() - self._since, 3)
        event = {"event": "look", "slower": None if fits else train, "seconds": spent}
        self._add(event)
        return event

    def _least(self) -> int:
        """The rows of one batch, and of one for each label."""
        return max(self.recipe.train.batch_size, len(self.recipe.task.labels))

    def _asked_epochs(self, candidate: int) -> Optional[int]:
        """The candidate's, where the space has epochs; else None: new rows teach more than rows that were seen."""
        if "train.epochs" not in (self.recipe.search.space or {}):
            return None
        return int(self.candidates[candidate].get("train.epochs", self.recipe.train.epochs))

    def _limit(self, rung: Rung, measured: Measurement) -> float:
        """Most seconds of one of its trials."""
        evaluated = measured.held_out * (1 + IN_A_SEARCH)
        return min(self._left(), MOST_OVER * self._observed(measured).seconds(rung.passes, evaluated))

    def _trial(self, candidate: int, rows: int, epochs: int, limit: Optional[float] = None) -> Optional[TrialResult]:
        """One trial, or its result in the journal; None where it could not be run, or the time was over.

        `limit`: seconds for it; default: all that are left."""
        self.trials += 1
        trial = Trial(self.trials, candidate, self.candidates[candidate], rows, epochs)
        event = self.journal.trial(trial.number)
        if event is None:
            event = self._run(trial, limit)
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
                "trial {number}: {settings}: {rows:,} rows × {epochs}, accuracy {accuracy}, log "
                "loss {log_loss:.3f}, {seconds:.0f} s",
                number=trial.number,
                settings=trial.describe(),
                rows=rows,
                epochs=epochs,
                accuracy=with_interval(result.accuracy, len(result.right)),
                log_loss=result.log_loss,
                seconds=result.seconds,
            )
        )
        if result.found:
            log.info(
                tr(
                    "trial {number}: learning rate {rate:g}: {reason}",
                    number=trial.number,
                    rate=result.found["learning_rate"],
                    reason=result.found["learning_rate_reason"],
                )
            )
        return result

    def _run(self, trial: Trial, limit: Optional[float]) -> dict[str, Any]:
        started, seconds = time.monotonic(), self._left() if limit is None else limit
        problem, impossible = tr("out of time"), False
        try:
            if seconds > 0:
                return dict(as_event(self.runs.run(trial, seconds)))
        except Stopped as stopped:
            if stopped.code != 128 + OUT_OF_TIME:
                raise
        except UserError as error:
            problem, impossible = str(error), True
        spent = round(time.monotonic() - started, 3)
        return {
            "event": "no result",
            "number": trial.number,
            "problem": problem,
            "impossible": impossible,
            "seconds": spent,
        }

    def _left(self) -> float:
        """Seconds that are left for training: without those for predicting the dev rows at the end."""
        spent = self.journal.seconds + time.monotonic() - self._since
        return self.minutes * 60 - spent - self._reserve

    @property
    def minutes(self) -> float:
        """Time of the whole search."""
        assert self.recipe.search.minutes is not None
        return self.recipe.search.minutes

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
