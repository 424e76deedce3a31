"""The study: trials of one length in Optuna's journal file, of one search or of several. The only module that imports Optuna."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from runner.errors import UserError
from runner.language import tr
from runner.search.trials import TrialResult

DRAWN = 10
"""Results before Optuna proposes from them: its own default."""

TRIES = 20
"""How often Optuna proposes one candidate, before any other is taken."""

Values = Mapping[str, str]
"""A candidate: the value of every key as JSON, also where it is the recipe's own."""

Choices = Mapping[str, Sequence[str]]
"""The values of every key as JSON, the recipe's own first."""


@dataclasses.dataclass(frozen=True)
class Study:
    """A study, as one of its searches sees it."""

    storage: Any
    """The open file."""
    name: str
    """Equal for searches whose trials can be compared."""
    choices: Choices
    """The space."""
    search: str
    """The id of this search."""

    @property
    def trials(self) -> list[Any]:
        """All trials, in the order they began."""
        return list(self._study.get_trials(deepcopy=False))

    @property
    def finished(self) -> list[Any]:
        """The trials that have a result."""
        return [each for each in self.trials if each.state.name == "COMPLETE"]

    def taken(self, seconds: float) -> list[Values]:
        """Candidates that nobody needs to try: tried by this search, or by another one with a result, or begun by another one
        less than so many seconds ago. One that began earlier was killed."""
        since = time.time() - seconds
        return [
            each.params
            for each in self.trials
            if each.user_attrs["search"] == self.search
            or each.state.name == "COMPLETE"
            or (each.state.name == "RUNNING" and each.user_attrs["begun"] > since)
        ]

    def own(self, place: int) -> Optional[Any]:
        """This search's trial of its candidate with that number; None where it has not begun."""
        mine = {"search": self.search, "candidate": place}
        return next((each for each in self.trials if mine.items() <= each.user_attrs.items()), None)

    def begin(self, place: int, values: Values, changes: Mapping[str, Any]) -> None:
        """Write down that this search runs a candidate, in one line, so that a kill leaves all of it or nothing."""
        from optuna.trial import TrialState, create_trial

        attributes = {"search": self.search, "candidate": place, "changes": dict(changes), "begun": time.time()}
        self._study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=dict(values),
                distributions=_distributions(self.choices),
                user_attrs=attributes,
            )
        )

    def finish(self, place: int, result: Optional[TrialResult]) -> None:
        """Write down the result of a candidate that has begun, None where it has none, unless it is there already."""
        from optuna.trial import TrialState

        own = self.own(place)
        assert own is not None
        if own.state.is_finished():
            return
        if result is None:
            self._study.tell(own.number, state=TrialState.FAIL)
            return
        study = self.storage.get_study_id_from_name(self.name)
        trial = self.storage.get_trial_id_from_study_id_trial_number(study, own.number)
        for name, value in {"rows": result.trial.rows, "epochs": result.trial.epochs, "right": result.right}.items():
            self.storage.set_trial_user_attr(trial, name, value)
        self._study.tell(own.number, result.log_loss)

    def proposals(self, seed: int) -> Iterator[Values]:
        """Candidates by the results so far, the same ones for the same seed: some of Optuna's, then any.

        They are made in memory: the file has what was begun, and a kill before that changes nothing."""
        import optuna
        from optuna.trial import create_trial

        space = _distributions(self.choices)
        model = optuna.create_study(sampler=optuna.samplers.TPESampler(n_startup_trials=DRAWN, seed=seed))
        for each in self.finished:
            model.add_trial(create_trial(params=each.params, distributions=space, value=each.value))
        for _ in range(TRIES):
            yield model.ask(space).params
        numbers = random.Random(seed)
        while True:
            yield {key: numbers.choice(values) for key, values in self.choices.items()}

    @property
    def _study(self) -> Any:
        import optuna

        return optuna.create_study(storage=self.storage, study_name=self.name, load_if_exists=True)


def open_storage(path: Path) -> Any:
    """Open Optuna's journal file, a new one where there is none. Raises UserError where it cannot be used."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        # the default lock is a symbolic link, which many shared disks do not have
        return JournalStorage(JournalFileBackend(str(path), JournalFileOpenLock(str(path))))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            tr("search.storage: {path} cannot be used as Optuna's journal file: {error}", path=path, error=error),
            tr("name a file in a folder that exists and can be written to; a new file is made there"),
        ) from None


def study_names(storage: Any) -> list[str]:
    """The names of all studies in a file, the oldest first."""
    import optuna

    return list(optuna.get_all_study_names(storage))


def _distributions(choices: Choices) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution

    return {key: CategoricalDistribution(list(values)) for key, values in choices.items()}
