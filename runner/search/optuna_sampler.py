"""The Optuna sampler: candidates that follow from the results so far, of this search and of others that share its file.

A candidate is a function of the results in the study, the seed and its number. It is in the study and in the search's journal
before its trial begins, so a search that was killed continues with the same one.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
import uuid
from collections.abc import Sequence
from typing import Any, Optional

from runner.language import trn
from runner.search.inputs import comparable
from runner.search.journal import Journal
from runner.search.plan import STARTS, Planned, Rung
from runner.search.runs import Runs
from runner.search.space import Changes, candidates, space_of
from runner.search.study import DRAWN, Study, Values, open_storage, study_names
from runner.search.trials import Trial, TrialResult, as_event, from_event

log = logging.getLogger("labeltune.search")

FILE = "optuna.log"
"""The study of a search whose recipe names no `search.storage`, beside its journal."""


class OptunaSampler:
    """Proposes the recipe as it is, then drawn candidates, and then those of Optuna."""

    def __init__(self, runs: Runs, journal: Journal) -> None:
        """`journal`: what was asked before."""
        context, self.journal = runs.context, journal
        self.search, space = context.recipe.search, space_of(context.recipe)
        self.values = {key: {_json(value): value for value in values} for key, values in space.items()}
        # they are better spread over the space than random ones
        self.drawn = candidates(space, DRAWN, self.search.seed)
        self.size = math.prod(len(values) for values in self.values.values())
        self.most = min(self.size, max(STARTS))
        self.names = f"{context.workspace.dataset} {comparable(context, space)} rows "
        named = self.search.storage
        self.path = (runs.folder / FILE if named is None else context.workspace.at(named)).absolute()
        if named is not None and journal.find("plan") is None:
            # a file that cannot be used is reported before anything is loaded or measured
            study_names(self._storage)

    def join(self, planned: Planned) -> list[Rung]:
        """The plan, with the length of the trials of the first study in the file that the time allows; else with its own."""
        own = planned(None)
        if not own:
            return own
        if self.journal.find("search") is None:
            self.journal.add({"event": "search", "id": uuid.uuid4().hex})
        if not any(planned(length) for length in self._lengths()):
            # reading its trials creates it
            assert self._study(own[0].passes).trials == []
        # looked up again: of searches that begin at once all take the first one's
        rungs = next(rungs for rungs in map(planned, self._lengths()) if rungs)
        length = rungs[0].passes
        known = len(self._study(length).finished)
        if known:
            log.info(
                trn(
                    "{path} has the result of {count} trial on {length:,} rows already",
                    "{path} has the results of {count} trials on {length:,} rows already",
                    known,
                    path=self.path,
                    length=length,
                )
            )
        return rungs

    def ask(self, place: int) -> Optional[Changes]:
        """The candidate with this number; None where all others were tried, here or in other searches."""
        event = self._asked(place)
        if event is None:
            own = self.study.own(place)
            values = own.params if own else self._next(place)
            changes = None if values is None else self._changes(values)
            if changes is not None and not own:
                self.study.begin(place, self._all_values(changes), changes)
            event = {"event": "ask", "candidate": place, "changes": changes}
            self.journal.add(event)
        return None if event["changes"] is None else self._known(event["changes"])

    def tell(self, place: int, result: Optional[TrialResult]) -> None:
        """Write the result into the study, unless it is there."""
        event = self._asked(place)
        assert event is not None
        if self.study.own(place) is None:
            # the file was removed
            self.study.begin(place, self._all_values(event["changes"]), event["changes"])
        self.study.finish(place, result)

    def others(self, tried: Sequence[Changes]) -> list[TrialResult]:
        """What other searches had found when this one first looked: each candidate once, with numbers after those tried here."""
        event = self.journal.find("others")
        if event is None:
            seen, found = [self._all_values(changes) for changes in tried], []
            for each in self.study.finished:
                if each.params not in seen:
                    passes = each.user_attrs["rows"], each.user_attrs["epochs"]
                    trial = Trial(0, len(seen), self._changes(each.params), *passes)
                    found.append(TrialResult(trial, each.user_attrs["right"], each.value, 0.0))
                    seen.append(each.params)
            event = {"event": "others", "results": [dict(as_event(result)) for result in found]}
            self.journal.add(event)
        return [from_event({**each, "changes": self._known(each["changes"])}) for each in event["results"]]

    @functools.cached_property
    def study(self) -> Study:
        """The study with trials of the planned length."""
        plan = self.journal.find("plan")
        assert plan is not None
        return self._study(plan["rungs"][0]["passes"])

    def _next(self, place: int) -> Optional[Values]:
        if place == 0:
            return self._all_values({})
        assert self.search.minutes is not None
        taken = self.study.taken(self.search.minutes * 60)
        if len({tuple(sorted(values.items())) for values in taken}) >= self.size:
            return None
        drawn = [values for values in map(self._all_values, self.drawn) if values not in taken]
        if drawn and len(self.study.finished) < DRAWN:
            return drawn[0]
        searches = list(dict.fromkeys(each.user_attrs["search"] for each in self.study.trials))
        # each search of a study has other numbers; the same search, alone in its file, has the same ones again
        words = f"{self.search.seed} {searches.index(self._search)} {place}"
        seed = int.from_bytes(hashlib.sha256(words.encode()).digest()[:4], "big")
        return next(values for values in self.study.proposals(seed) if values not in taken)

    @functools.cached_property
    def _storage(self) -> Any:
        if self.search.storage is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        return open_storage(self.path)

    def _study(self, length: int) -> Study:
        choices = {key: list(values) for key, values in self.values.items()}
        return Study(self._storage, f"{self.names}{length}", choices, self._search)

    def _lengths(self) -> list[int]:
        """Row passes of the trials in each study that this search can share."""
        names = [name for name in study_names(self._storage) if name.startswith(self.names)]
        return [int(name[len(self.names) :]) for name in names]

    @property
    def _search(self) -> str:
        event = self.journal.find("search")
        assert event is not None
        return str(event["id"])

    def _asked(self, place: int) -> Optional[dict[str, Any]]:
        events = (event for event in self.journal.events if event["event"] == "ask")
        return next((event for event in events if event["candidate"] == place), None)

    def _all_values(self, changes: Changes) -> dict[str, str]:
        return {key: _json(changes[key]) if key in changes else next(iter(each)) for key, each in self.values.items()}

    def _changes(self, values: Values) -> Changes:
        return {key: each[values[key]] for key, each in self.values.items() if values[key] != next(iter(each))}

    def _known(self, changes: Changes) -> Changes:
        """With the values of the recipe: the journal has lists where it has tuples."""
        return self._changes(self._all_values(changes))


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
