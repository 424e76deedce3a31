"""The runs of a search: the recipes of its trials are those that a user could write."""

import time
from pathlib import Path

import pytest
from support.searches import runs_of

from runner.errors import UserError
from runner.recipe.loader import load_recipes
from runner.recipe.writer import recipe_text
from runner.search.trials import Trial
from runner.system.signals import Stopped
from runner.training.learning_rate import RATES
from runner.training.trainer import Trainer


@pytest.mark.parametrize(("epochs", "averaged"), [(1, 1), (3, 2)])
def test_no_more_epochs_are_averaged_than_a_trial_has(
    tmp_path: Path, tiny_base: Path, epochs: int, averaged: int
) -> None:
    """The search chooses the epochs. The recipe that it writes is refused if it averages more of them."""
    recipe = runs_of(tmp_path, tiny_base, train={"average_epochs": 2}).recipe(Trial(1, 0, {}, 8, epochs))
    (tmp_path / "winner.yaml").write_text(recipe_text(recipe, "Found by a search"), encoding="utf-8")
    assert load_recipes([tmp_path / "winner.yaml"])[0].recipe.train.average_epochs == averaged


def test_values_that_do_not_fit_together_are_refused(tmp_path: Path, tiny_base: Path) -> None:
    """Each value of a space fits the recipe, but not each combination of them."""
    both = Trial(1, 0, {"lora.use_dora": True, "lora.init_lora_weights": "pissa"}, 8, 1)
    with pytest.raises(UserError) as error:
        runs_of(tmp_path, tiny_base).run(both, 60)
    assert str(error.value) == (
        "lora.use_dora: not together with lora.init_lora_weights: pissa: its file could not be a plain LoRA"
    )


def test_a_stopped_trial_knows_the_learning_rate_that_it_has_found(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run on fewer rows in its place does not look for it again."""
    monkeypatch.setattr(Trainer, "on_step_end", (lambda _: time.sleep(0.5),))
    runs = runs_of(tmp_path, tiny_base, train={"learning_rate": "auto", "batch_size": 2})
    trial = Trial(1, 0, {}, 16, 40)
    assert runs.found_rate(trial) == {}
    with pytest.raises(Stopped):
        runs.run(trial, 10)
    assert 0 < runs.passes_done(trial) < trial.passes
    assert runs.found_rate(trial)["train.learning_rate"] in RATES
    fixed = Trial(1, 0, runs.found_rate(trial), 16, 40)
    assert runs.found_rate(fixed) == {}
