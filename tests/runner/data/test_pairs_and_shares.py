"""Prepare writes pairs in both orders without a leak, and equal label shares by drawing or by repeating."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import recipe_tree, write_recipe, write_tables
from hypothesis import given
from hypothesis import strategies as st

from grading import contract
from runner.commands.run import execute
from runner.data.input_template import InputTemplate
from runner.data.sampling import draw
from runner.errors import DataError
from runner.recipe.loader import load_recipes
from runner.recipe.schema import Samples

PAIRS = {"columns": ["id", "label", "one", "two"], "input": "{one} | {two}", "swap": ["one", "two"]}


def prepare(workspace: Path, **changes: Any) -> dict[str, Any]:
    """Runs the prepare stage on pairs and returns its figures."""
    changes = {**changes, "task": {**PAIRS, **changes.get("task", {})}}
    execute(load_recipes([write_recipe(workspace, recipe_tree(Path("none"), **changes))]), workspace, ["prepare"])
    return json.loads((workspace / "pre_data/tiny/manifest.json").read_text())["figures"]


def inputs(workspace: Path, name: str) -> list[str]:
    return [
        record["input"] for record in contract.parse_json((workspace / f"pre_data/tiny/tiny_{name}.json").read_bytes())
    ]


def swapped(text: str) -> str:
    one, two = text.split(" | ")
    return f"{two} | {one}"


@pytest.fixture
def pairs(workspace: Path) -> Path:
    """41 pairs. Ten are there in both orders, one is a dev pair in the other order, one has equal texts and is there twice."""
    train = [f"{n}\t{n % 2}\ta{n}\tb{n}" for n in range(29)]
    train += [f"{n}\t{(n - 29) % 2}\tb{n - 29}\ta{n - 29}" for n in range(29, 39)]
    train += ["39\t1\tsame\tsame", "40\t1\tsame\tsame"]
    return write_tables(workspace, train=train, dev=["0\tb28\ta28", *(f"{n}\tx{n}\ty{n}" for n in range(4))])


def test_training_pairs_are_written_in_both_orders(pairs: Path) -> None:
    figures = prepare(pairs, samples={"train": "all", "holdout": 6, "augment": "swap"})
    written = inputs(pairs, "train")
    assert figures["drawn"] == {"0": 17, "1": 18}
    assert (figures["rows_in_one_order"], figures["swapped_rows"], figures["repeated_rows"]) == (3, 32, 0)
    assert len(written) == sum(figures["train"].values()) == 67
    assert written.count("same | same") == 2
    assert "a28 | b28" in written
    assert "b28 | a28" not in written, "it is a dev input"
    plain = [text for text in written if text not in ("same | same", "a28 | b28")]
    assert Counter(plain) == Counter(map(swapped, plain))


@pytest.mark.parametrize("seed", range(5))
def test_no_order_of_a_holdout_pair_is_anywhere_else(pairs: Path, seed: int) -> None:
    figures = prepare(pairs, samples={"train": "all", "holdout": 14, "seed": seed, "augment": "swap"})
    assert (figures["repeated_inputs"], figures["inputs_with_two_labels"]) == (11, 0)
    held = inputs(pairs, "holdout")
    elsewhere = {*inputs(pairs, "train"), *inputs(pairs, "dev")}
    assert elsewhere.isdisjoint([*held, *map(swapped, held)])


def test_without_the_key_orders_are_different_inputs(pairs: Path) -> None:
    figures = prepare(pairs, task={"swap": []}, samples={"train": "all", "holdout": 6})
    assert figures["repeated_inputs"] == 1
    assert not list((pairs / "pre_data/tiny").glob("*swapped*"))


def test_dev_and_holdout_are_written_in_the_other_order_too(pairs: Path) -> None:
    prepare(pairs)
    for name in ("dev", "holdout"):
        assert inputs(pairs, f"{name}_swapped") == [*map(swapped, inputs(pairs, name))]
    answers = [
        [each["output"] for each in contract.parse_json((pairs / f"pre_data/tiny/tiny_{name}.json").read_bytes())]
        for name in ("holdout", "holdout_swapped")
    ]
    assert answers[0] == answers[1]
    (pairs / "pre_data/tiny/tiny_dev_swapped.json").unlink()
    prepare(pairs)
    assert len(inputs(pairs, "dev_swapped")) == 5


def test_oversampling_repeats_rare_labels_to_equal_shares(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tables(workspace, train=[f"{n}\t{int(n % 5 == 0)}\ta{n}\tb{n}" for n in range(100)], dev=["0\tx\ty"] * 5)
    figures = prepare(workspace, samples={"train": 40, "holdout": 10, "balance": "oversample"})
    assert figures["drawn"] == {"0": 32, "1": 8}
    assert figures["train"] == {"0": 32, "1": 32}
    assert figures["holdout"] == {"0": 8, "1": 2}
    assert (figures["repeated_rows"], figures["swapped_rows"]) == (24, 0)
    times = Counter(inputs(workspace, "train"))
    assert (len(times), Counter(times.values())) == (40, {1: 32, 4: 8})
    out = capsys.readouterr().out
    assert "labelled 100 rows (0: 80.0%, 1: 20.0%); training 64 rows (0: 50.0%, 1: 50.0%); hold-out 10 rows" in out
    assert (
        "of the training rows 40 are distinct, 24 repeat one of them, and 0 have the columns of task.swap exchanged"
        in out
    )
    figures = prepare(workspace, samples={"train": 40, "holdout": 10, "balance": "oversample", "augment": "swap"})
    assert figures["train"] == {"0": 64, "1": 64}
    assert (figures["repeated_rows"], figures["swapped_rows"]) == (24, 64)


@given(st.tuples(*[st.integers(10, 60)] * 3), st.integers(0, 3), st.sampled_from([12, 24, "all"]))
def test_every_drawn_row_is_repeated_as_often_as_any_other_of_its_label(
    counts: tuple[int, ...], seed: int, train: Any
) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    samples, plain = (Samples(train=train, holdout=6, seed=seed, balance=balance) for balance in ("oversample", "none"))
    names = ("a", "b", "c")
    chosen, drawn = (draw(labels, range(len(labels)), [True] * len(labels), one, names) for one in (samples, plain))
    assert (set(chosen.train), chosen.holdout) == (set(drawn.train), drawn.holdout)
    times = Counter(chosen.train)
    totals = [sum(count for row, count in times.items() if labels[row] == label) for label in range(3)]
    assert len(set(totals)) == 1
    for label in range(3):
        counts = {count for row, count in times.items() if labels[row] == label}
        assert max(counts) - min(counts) <= 1


def test_a_label_without_a_drawn_row_cannot_be_repeated() -> None:
    samples = Samples(train=2, holdout=2, balance="oversample")
    with pytest.raises(DataError, match=r"samples\.balance: oversample: no row of label 'b' was drawn"):
        draw([0] * 97 + [1] * 3, range(100), [True] * 100, samples, ("a", "b"))


@pytest.mark.parametrize(
    ("template", "text", "expected"),
    [
        ("{one}\n{two}", "a b\nc", "c\na b"),
        ("{one}\n{two}", "\nc", "c\n"),
        ("{one} {two}", "a b", "b a"),
        ("{one} {two}", "a b c", None),
        ("{one}\n{two}", "no second text", None),
        ("1: {one}\n2: {two}\n(1: {one})", "1: a\n2: b\n(1: a)", "1: b\n2: a\n(1: b)"),
        ("{id}: {one} ? {two}", "7: a ? b", "7: b ? a"),
        ("{{}} 100% {one}/{two}", "{} 100% a/b", "{} 100% b/a"),
    ],
)
def test_an_input_is_swapped_where_its_columns_can_be_told_apart(
    template: str, text: str, expected: "str | None"
) -> None:
    columns = ("id", "one", "two")
    made = InputTemplate(template, columns, ("one", "two"))
    assert made.swapped_text(text) == expected
    assert made.fill_swapped is not None
    fields = ["7", "a b", "c"]
    assert made.swapped_text(made.fill(fields)) in (made.fill_swapped(fields), None)
    assert made.key(fields) == made.key(["7", "c", "a b"])
