"""Folds: equal inputs together, the label shares of all rows in each, and the same in every process."""

from collections import Counter
from pathlib import Path

from conftest import recipe_tree, write_recipe, write_tables

from runner.data.folds import Fold, draw_around, fold_numbers
from runner.data.prepare import labelled_rows
from runner.model.base import Bases
from runner.recipe.loader import load_recipes
from runner.recipe.schema import Samples
from runner.stages import Prepare, StageContext
from runner.workspace.paths import Workspace

LABELS = [1, 1, 0] * 20
KEYS = [100 + row // 2 if row < 12 else row for row in range(60)]
"""The first six pairs of rows have the same input."""


def test_equal_inputs_are_in_one_fold_and_the_shares_are_those_of_all_rows() -> None:
    numbers = fold_numbers(LABELS, KEYS, 3, seed=0)
    assert all(numbers[row] == numbers[row + 1] for row in range(0, 12, 2))
    for fold in (1, 2, 3):
        labels = Counter(label for label, number in zip(LABELS, numbers) if number == fold)
        assert 18 <= sum(labels.values()) <= 22
        assert 5 <= labels[0] <= 8


def test_folds_depend_on_the_seed_and_on_which_keys_are_equal_only() -> None:
    numbers = fold_numbers(LABELS, KEYS, 3, seed=0)
    assert fold_numbers(LABELS, [-7 * key for key in KEYS], 3, seed=0) == numbers
    assert fold_numbers(LABELS, KEYS, 3, seed=1) != numbers


def test_a_fold_is_held_out_and_the_others_are_balanced_as_the_recipe_says() -> None:
    numbers = fold_numbers(LABELS, KEYS, 3, seed=0)
    for balance, shares in (("none", False), ("oversample", True), ("equal", True)):
        drawn = draw_around(Fold(2, 3), numbers, LABELS, Samples(balance=balance), "01")
        assert [row for row, number in enumerate(numbers) if number == 2] == drawn.holdout
        assert set(drawn.train).isdisjoint(drawn.holdout)
        counts = Counter(LABELS[row] for row in drawn.train)
        assert (counts[0] == counts[1]) == shares
        if balance != "equal":
            assert {*drawn.train, *drawn.holdout} == set(range(60))


def test_a_pair_and_the_same_pair_swapped_are_in_one_fold(tmp_path: Path) -> None:
    pairs = [f"{n}\t{n % 2}\tleft {n // 2}\tright {n // 2}" for n in range(40)]
    pairs = [
        row if n % 2 else "\t".join([*row.split("\t")[:2], *row.split("\t")[:1:-1]]) for n, row in enumerate(pairs)
    ]
    columns = {"columns": ["id", "label", "p", "q"], "input": "{p} {q}", "swap": ["p", "q"]}
    tree = recipe_tree(Path("none"), task=columns, samples={"train": 20, "holdout": 2})
    # a hold-out needs an input that is in no other row
    write_tables(tmp_path, train=[*pairs, *(f"{n}\t{n % 2}\tonly {n}\tx" for n in range(40, 60))], dev=["0\tp\tq"] * 5)
    recipe = load_recipes([write_recipe(tmp_path, tree)])[0].recipe
    sources = Prepare(StageContext(recipe, Workspace(tmp_path, "tiny"), Bases(tmp_path), fresh=False)).sources
    rows = labelled_rows(recipe, sources, 2)
    assert sum(row.fold > 0 for row in rows) == 22
    folds: dict[int, set[int]] = {}
    for row in rows:
        if row.fold:
            folds.setdefault(row.key, set()).add(row.fold)
    assert all(len(found) == 1 for found in folds.values())
    assert len(folds) < 22
