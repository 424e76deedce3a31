"""The search space and its candidates."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from runner.errors import RecipeError
from runner.recipe.loader import load_recipes
from runner.search.space import candidates, changed, space_of, without_trials

RECIPE = Path("recipes/qqp.yaml")


def recipe(*overrides):
    return load_recipes([RECIPE], overrides)[0].recipe


def test_default_space_tries_rates_ranks_and_words():
    space = space_of(recipe())
    assert space["train.learning_rate"][0] == recipe().train.learning_rate
    assert set(space["train.learning_rate"]) == {1e-4, 2e-4, 5e-4, 1e-3}
    assert space["lora.r"] == [16, 8, 32]
    assert space["prompt.answers"] == [None, {"0": "no", "1": "yes"}]


def test_each_value_is_there_once_and_the_recipes_own_is_the_first():
    assert space_of(recipe("search.space={lora.r: [4, 8, 4, 16, 8]}"))["lora.r"] == [16, 4, 8]


def test_words_are_not_tried_for_other_labels():
    assert "prompt.answers" not in space_of(recipe("task.labels=[a, b]"))


@pytest.mark.parametrize("space", ["null", "{lora.r: [4], train.learning_rate: [1e-3]}"])
def test_without_trials_the_learning_rate_is_auto_where_the_space_has_some(space):
    assert without_trials(recipe(f"search.space={space}")) == {"train.learning_rate": "auto"}


def test_without_trials_the_learning_rate_is_the_recipes_where_the_space_has_none():
    assert without_trials(recipe("search.space={lora.r: [4]}")) == {}


def test_the_first_candidate_is_the_recipe_as_it_is():
    assert candidates({"lora.r": [16, 8]}, 1, seed=0) == [{}]


def test_a_small_space_is_tried_whole():
    found = candidates({"lora.r": [16, 8], "train.epochs": [2, 1, 3]}, 27, seed=0)
    assert len(found) == 6
    assert {} in found
    assert {"lora.r": 8, "train.epochs": 3} in found


def test_the_first_candidates_try_each_value_of_the_first_key():
    space = {"train.learning_rate": [2e-4, 1e-3], "lora.r": [16, 8], "lora.lora_dropout": [0.0, 0.1, 0.2]}
    for count in (4, 27):
        assert candidates(space, count, seed=0)[:2] == [{}, {"train.learning_rate": 1e-3}]


def test_each_value_is_drawn_about_equally_often():
    space = {"a.a": list(range(9)), "b.b": list(range(5)), "c.c": [0, 1, 2]}
    drawn = candidates(space, 27, seed=3)
    assert len({tuple(sorted(one.items())) for one in drawn}) == 27
    for key, values in space.items():
        counts = Counter(one.get(key, 0) for one in drawn[9:])
        assert set(counts) == set(values)
        assert max(counts.values()) - min(counts.values()) <= 2
    assert drawn == candidates(space, 27, seed=3) != candidates(space, 27, seed=4)


def test_changes_reach_the_recipe():
    before = recipe()
    after = changed(before, {"instruction": "Same?", "lora.r": 4})
    assert after.instruction == "Same?"
    assert after.lora == dataclasses.replace(before.lora, r=4)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("{}", "search.space: names no key; leave it out for the default space"),
        ("{lora.r: []}", "search.space: lora.r: an empty list has no value to try"),
        ("{lora.r: 3}", "search.space.lora.r: expected a list of values, found the number 3"),
        (
            "{samples.train: [9]}",
            "search.space: 'samples.train' cannot be searched: expected instruction, or a key of prompt, lora or train",
        ),
        (
            "{train.seed: [1, 2]}",
            "search.space: train.seed cannot be searched: the most accurate of several seeds is luck; for the mean of several "
            "seeds use ensemble.seeds",
        ),
        (
            "{train.trackers: [[wandb]]}",
            "search.space: train.trackers cannot be searched: they do not change the model; name them in train.trackers of the "
            "recipe",
        ),
        (
            "{train.learning_rate: [1e-4, fast]}",
            "search.space: train.learning_rate: expected a number or auto, found the text 'fast'",
        ),
        ("{lora.q: [1]}", "search.space: lora.q: unknown key"),
        ("{instruction: [ok, '']}", "search.space: instruction: is empty"),
    ],
)
def test_a_bad_space_is_reported_with_its_value(space, message):
    with pytest.raises(RecipeError) as error:
        recipe(f"search.space={space}")
    assert message in str(error.value)
