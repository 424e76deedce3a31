"""The search space: the recipe keys that a search changes, their values, and the candidates that it draws from them."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runner.recipe.schema import Recipe

Changes = Mapping[str, Any]
"""New values of some recipe keys: `{"train.learning_rate": 5e-4}`. A candidate of a search."""

LEARNING_RATES = (1e-4, 2e-4, 5e-4, 1e-3)
"""Tried where the recipe names no space: Gemma-3-270m learns best at 2e-4 to 5e-4, SmolLM2-135M at 1e-3."""

RANKS = (8, 16, 32)
"""Tried where the recipe names no space."""

YES_NO = {"0": "no", "1": "yes"}
"""Words to answer with, tried for the labels 0 and 1 where the recipe names no space."""


def space_of(recipe: Recipe) -> dict[str, list[Any]]:
    """The values to try for each key: those of `search.space`, or the default ones; the recipe's own value is the first."""
    named: Mapping[str, Sequence[Any]] = recipe.search.space or _default_space(recipe)
    own = recipe.flat()
    space: dict[str, list[Any]] = {}
    for key, values in named.items():
        # a value that is there twice would be the same candidate twice
        found: dict[str, Any] = {}
        for value in (own.get(key), *values):
            found.setdefault(json.dumps(value, sort_keys=True), value)
        space[key] = list(found.values())
    return space


def candidates(space: Mapping[str, Sequence[Any]], count: int, seed: int) -> list[Changes]:
    """Draw candidates, each with a value for every key that differs from the recipe's own.

    The first one is the recipe as it is, so a search never starts without it. The next ones change the first key alone, the
    learning rate in the default space: a search that compares only the first few has tried each of its values. Where the whole
    grid has no more than `count`, all of it is taken. Else every key goes through its values in a shuffled order again and
    again, so that each value is tried about equally often, as in Latin hypercube sampling (McKay et al. 1979)."""
    sizes = [len(values) for values in space.values()]
    numbers = random.Random(seed)
    total = 1
    for size in sizes:
        total *= size
    if total <= count:
        drawn: Iterator[tuple[int, ...]] = itertools.product(*map(range, sizes))
    else:
        drawn = zip(*(_shuffles(size, numbers) for size in sizes))
    found = {(place, *(0,) * (len(sizes) - 1)): None for place in range(min(sizes[0], count))}
    while len(found) < min(count, total):
        found[next(drawn)] = None
    return [{key: values[place] for place, (key, values) in zip(places, space.items()) if place} for places in found]


def without_trials(recipe: Recipe) -> Changes:
    """The candidate where the time is too short for trials: the recipe, with `learning_rate: auto` where the space has learning
    rates to try."""
    return {"train.learning_rate": "auto"} if "train.learning_rate" in space_of(recipe) else {}


def changed(recipe: Recipe, changes: Changes) -> Recipe:
    """The recipe with new values, which `load_recipes` has checked one by one."""
    for key, value in changes.items():
        block, _, name = key.rpartition(".")
        if block:
            recipe = dataclasses.replace(
                recipe, **{block: dataclasses.replace(getattr(recipe, block), **{name: value})}
            )
        else:
            recipe = dataclasses.replace(recipe, **{name: value})
    return recipe


def _default_space(recipe: Recipe) -> dict[str, Sequence[Any]]:
    space: dict[str, Sequence[Any]] = {"train.learning_rate": LEARNING_RATES, "lora.r": RANKS}
    if set(recipe.task.labels) == set(YES_NO):
        space["prompt.answers"] = [YES_NO]
    return space


def _shuffles(size: int, numbers: random.Random) -> Iterator[int]:
    while True:
        places = list(range(size))
        numbers.shuffle(places)
        yield from places
