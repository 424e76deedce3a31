"""Candidates that Optuna proposes: the first ones, what results change, what is left after a kill, and what searches share."""

from pathlib import Path
from typing import Any, Optional

import pytest
from conftest import recipe_tree, write_recipe, write_tables

from runner.errors import RecipeError, UserError
from runner.model.base import Bases
from runner.recipe.loader import load_recipes
from runner.search.inputs import comparable
from runner.search.journal import Journal
from runner.search.optuna_sampler import OptunaSampler
from runner.search.plan import Rung
from runner.search.runs import Runs
from runner.search.space import Changes, space_of
from runner.search.study import DRAWN
from runner.search.trials import Trial, TrialResult
from runner.stages import StageContext
from runner.workspace.paths import Workspace

SPACE = {
    "train.learning_rate": [0.01, 0.02, 0.03, 0.04],
    "lora.target_modules": [["q_proj", "v_proj"], ["q_proj"], ["v_proj"]],
    "lora.r": [2, 3, 4, 5, 6],
}
"""Sixty combinations, with the recipe's own values."""


def runs_of(root: Path, base: Path, **search: Any) -> Runs:
    write_tables(root)
    tree = recipe_tree(base, search={"minutes": 30, "space": SPACE, "sampler": "optuna", **search})
    recipe = load_recipes([write_recipe(root, tree)])[0].recipe
    return Runs(StageContext(recipe, Workspace(root, "tiny"), Bases(root), False), root / "search")


class Search:
    """A search without a model: its losses are lowest at one learning rate."""

    def __init__(self, root: Path, base: Path, length: int = 3000, **search: Any) -> None:
        self.runs, self.length, self.path = runs_of(root, base, **search), length, root / "search/journal.jsonl"
        self.best = 0.03
        self.begin()

    def begin(self, lost: int = 0) -> None:
        """Start, or start again after a kill that has left so many lines of the journal unwritten."""
        if lost:
            self.path.write_bytes(b"".join(self.path.read_bytes().splitlines(keepends=True)[:-lost]))
        self.journal = Journal(self.path)
        self.sampler = OptunaSampler(self.runs, self.journal)
        if self.journal.find("plan") is None:
            rungs = self.sampler.join(self._planned)
            self.journal.add({"event": "plan", "rungs": [vars(rung) for rung in rungs]})

    def _planned(self, length: Optional[int]) -> list[Rung]:
        first = length or self.length
        return [Rung(27, first), Rung(9, 4 * self.length)] if first <= self.length else []

    def ask(self, place: int) -> Changes:
        changes = self.sampler.ask(place)
        assert changes is not None
        return changes

    def trial(self, place: int) -> Changes:
        changes = self.ask(place)
        self.sampler.tell(place, self.result(place, changes))
        return changes

    def result(self, place: int, changes: Changes) -> TrialResult:
        loss = abs(changes.get("train.learning_rate", 0.01) - self.best) * 10 + changes.get("lora.r", 2) / 100
        return TrialResult(Trial(place + 1, place, changes, 16, 1), "1010", loss, 1.0)


@pytest.fixture(autouse=True)
def _optuna() -> None:
    pytest.importorskip("optuna")


def test_the_first_candidates_are_drawn(tmp_path: Path, tiny_base: Path) -> None:
    search = Search(tmp_path, tiny_base)
    found = [search.trial(place) for place in range(search.sampler.most)]
    assert len(found) == 27
    assert found[:4] == [{}, *({"train.learning_rate": rate} for rate in (0.02, 0.03, 0.04))]
    assert found[:DRAWN] == search.sampler.drawn
    assert len({str(sorted(changes.items())) for changes in found}) == 27


@pytest.mark.parametrize("best", [0.02, 0.04])
def test_the_later_candidates_follow_the_results(tmp_path: Path, tiny_base: Path, best: float) -> None:
    search = Search(tmp_path, tiny_base)
    search.best = best
    for place in range(search.sampler.most):
        search.trial(place)
    proposals = [next(search.sampler.study.proposals(seed)) for seed in range(20)]
    # five of twenty would be chance
    assert sum(values["train.learning_rate"] == str(best) for values in proposals) >= 10


def test_another_seed_gives_other_candidates(tmp_path: Path, tiny_base: Path) -> None:
    searches = [Search(tmp_path / str(seed), tiny_base, seed=seed) for seed in (0, 1)]
    for search in searches:
        for place in range(DRAWN + 1):
            search.trial(place)
    one, other = ([search.ask(place) for place in range(DRAWN + 1)] for search in searches)
    assert one != other


def test_another_seed_gives_other_proposals_of_optuna(tmp_path: Path, tiny_base: Path) -> None:
    first = Search(tmp_path / "first", tiny_base)
    for place in range(DRAWN):
        first.trial(place)
    found = []
    for seed in (0, 1):
        shared = tmp_path / f"{seed}.log"
        shared.write_bytes((tmp_path / "first/search/optuna.log").read_bytes())
        search = Search(tmp_path / str(seed), tiny_base, storage=str(shared), seed=seed)
        found.append([search.trial(place) for place in range(5)])
    assert found[0] != found[1]


def test_a_killed_search_asks_for_the_same_candidates(tmp_path: Path, tiny_base: Path) -> None:
    whole, killed = Search(tmp_path / "whole", tiny_base), Search(tmp_path / "killed", tiny_base)
    for place in range(DRAWN + 3):
        expected = whole.trial(place)
        assert killed.ask(place) == expected
        # after the candidate was in the study, before it was in the journal
        killed.begin(lost=1)
        assert killed.trial(place) == expected
        # after the result was in the study; it is told again
        killed.begin()
        assert killed.trial(place) == expected
    trials = killed.sampler.study.trials
    assert [each.state.name for each in trials] == ["COMPLETE"] * (DRAWN + 3)
    assert [each.params for each in trials] == [each.params for each in whole.sampler.study.trials]


def test_a_removed_file_is_filled_again_from_the_journal(tmp_path: Path, tiny_base: Path) -> None:
    search = Search(tmp_path, tiny_base)
    before = [search.trial(place) for place in range(3)]
    (tmp_path / "search/optuna.log").unlink()
    search.begin()
    assert [search.trial(place) for place in range(3)] == before
    assert len(search.sampler.study.finished) == 3


def test_a_trial_without_result_is_not_tried_again_here(tmp_path: Path, tiny_base: Path) -> None:
    shared = str(tmp_path / "shared.log")
    one, other = (Search(tmp_path / name, tiny_base, storage=shared) for name in ("one", "other"))
    one.trial(0)
    impossible = one.ask(1)
    one.sampler.tell(1, None)
    assert one.ask(2) != impossible
    # it may be possible there: a faster machine, more memory
    other.trial(0)
    assert other.ask(1) == impossible


def test_searches_share_one_file(tmp_path: Path, tiny_base: Path) -> None:
    shared = str(tmp_path / "shared.log")
    one, other = (Search(tmp_path / name, tiny_base, storage=shared) for name in ("one", "other"))
    found = [one.trial(place) for place in range(3)]
    running = one.ask(3)
    proposed = [other.trial(place) for place in range(3)]
    # each begins with the recipe as it is
    assert proposed[0] == {}
    assert not [changes for changes in proposed[1:] if changes in [*found, running]]
    assert len(one.sampler.study.trials) == len(other.sampler.study.trials) == 7

    results = other.sampler.others(proposed)
    assert [(each.trial.candidate, each.trial.changes) for each in results] == [(3, found[1]), (4, found[2])]
    assert [each.log_loss for each in results] == [one.result(0, changes).log_loss for changes in found[1:]]
    # the journal keeps what was seen
    one.sampler.tell(3, one.result(3, running))
    other.begin()
    assert other.sampler.others(proposed) == results


def test_a_trial_of_a_search_whose_time_is_over_is_tried_elsewhere(tmp_path: Path, tiny_base: Path) -> None:
    shared = str(tmp_path / "shared.log")
    killed = Search(tmp_path / "one", tiny_base, storage=shared)
    killed.trial(0)
    left = killed.ask(1)
    for name, minutes in (("long", 30), ("short", 1e-9)):
        other = Search(tmp_path / name, tiny_base, storage=shared, minutes=minutes)
        other.trial(0)
        assert (other.ask(1) == left) is (name == "short")


def test_it_ends_where_all_candidates_were_tried(tmp_path: Path, tiny_base: Path) -> None:
    shared, space = str(tmp_path / "shared.log"), {"lora.r": [2, 3, 4]}
    one, other = (Search(tmp_path / name, tiny_base, storage=shared, space=space) for name in ("one", "other"))
    assert one.sampler.most == 3
    found = [one.trial(0), one.trial(1), other.trial(0), other.trial(1)]
    assert sorted(str(changes) for changes in found) == ["{'lora.r': 3}", "{'lora.r': 4}", "{}", "{}"]
    assert one.sampler.ask(2) is None
    one.begin()
    assert one.sampler.ask(2) is None


def test_trials_have_the_length_of_those_in_the_file_if_the_time_allows(tmp_path: Path, tiny_base: Path) -> None:
    shared = str(tmp_path / "shared.log")
    lengths = (3000, 5000, 2000, 2400)
    searches = [Search(tmp_path / str(length), tiny_base, length, storage=shared) for length in lengths]
    rungs = [search.journal.find("plan")["rungs"] for search in searches]
    assert [each[0]["passes"] for each in rungs] == [3000, 3000, 2000, 2000]
    assert [each[1]["passes"] for each in rungs] == [4 * length for length in lengths]
    names = [search.sampler.study.name for search in searches]
    assert names[0] == names[1] != names[2] == names[3]


@pytest.mark.parametrize(
    ("changes", "equal"),
    [
        ({}, True),
        ({"task.train": "{root}/data/tiny_train.tsv", "search.minutes": 9, "search.seed": 4}, True),
        ({"train.epochs": 5, "train.batch_size": 2}, False),
        ({"samples.holdout": 6}, False),
        ({"search.space": "{lora.r: [2, 8]}"}, False),
        ({"data": "another"}, False),
    ],
    ids=str,
)
def test_only_comparable_searches_share_results(
    tmp_path: Path, tiny_base: Path, changes: dict[str, Any], equal: bool
) -> None:
    def digest(root: Path, changed: Optional[dict[str, Any]] = None) -> str:
        runs = runs_of(root, tiny_base)
        overrides = [f"{key}={value}".replace("{root}", str(root)) for key, value in (changed or {}).items()]
        if changed and "data" in changed:
            write_tables(root, [f"{number}\t{number % 2}\tother {number}" for number in range(24)])
            overrides = []
        recipe = load_recipes([root / "tiny.yaml"], overrides)[0].recipe
        return comparable(StageContext(recipe, runs.context.workspace, Bases(root), False), space_of(recipe))

    assert (digest(tmp_path / "one") == digest(tmp_path / "other", changes)) is equal


def test_a_file_that_cannot_be_used_is_reported_before_anything_is_planned(tmp_path: Path, tiny_base: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("one\ntwo\n")
    for path, found in ((other, "Expecting value"), (tmp_path / "none/shared.log", "No such file or directory")):
        with pytest.raises(UserError) as error:
            OptunaSampler(runs_of(tmp_path / "one", tiny_base, storage=str(path)), Journal(tmp_path / "journal.jsonl"))
        assert f"search.storage: {path} cannot be used as Optuna's journal file: " in str(error.value)
        assert found in str(error.value)
    assert other.read_text() == "one\ntwo\n"


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"sampler": "random", "storage": "x.log"}, "search.storage: only sampler: optuna keeps its results in a file"),
        ({"storage": ""}, "search.storage: names no file; leave it out for a file of this search alone"),
        ({"storage": "../y.log"}, None),
        ({"storage": "a/../y.log"}, "search.storage: 'a/../y.log' has `..` in it"),
        ({"sampler": "grid"}, "search.sampler: expected random or optuna, found the text 'grid'"),
    ],
    ids=str,
)
def test_a_storage_goes_with_optuna_only(tmp_path: Path, tiny_base: Path, search: Any, message: Optional[str]) -> None:
    if message is None:
        assert runs_of(tmp_path / "in", tiny_base, **search).context.recipe.search.storage == str(tmp_path / "y.log")
        return
    with pytest.raises(RecipeError) as error:
        runs_of(tmp_path, tiny_base, **search)
    assert message in str(error.value)
