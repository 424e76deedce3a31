"""Prepare writes the contract's records: dev row for dev row, hold-out and training apart, bad rows named."""

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import DEV_ROWS, TRAIN_ROWS, recipe_tree, write_recipe, write_tables
from hypothesis import given
from hypothesis import strategies as st

from grading import contract
from runner.commands.run import execute
from runner.data.sampling import draw
from runner.errors import DataError
from runner.recipe.loader import load_recipes
from runner.recipe.schema import Recipe, Samples


def recipe(workspace: Path, **changes: Any) -> Recipe:
    return load_recipes([write_recipe(workspace, recipe_tree(Path("none"), **changes))])[0].recipe


def run(workspace: Path, **changes: Any) -> dict[str, Any]:
    """Runs the prepare stage and returns its figures."""
    path = write_recipe(workspace, recipe_tree(Path("none"), **changes))
    execute(load_recipes([path]), workspace, ["prepare"])
    return json.loads((workspace / "pre_data/tiny/manifest.json").read_text())["figures"]


def records(workspace: Path, name: str) -> list[dict[str, str]]:
    return contract.parse_json((workspace / f"pre_data/tiny/tiny_{name}.json").read_bytes())


def test_records_have_the_contracts_shape(workspace: Path) -> None:
    run(workspace)
    for name, keys in (("train", contract.TRAIN_KEYS), ("holdout", contract.TRAIN_KEYS), ("dev", contract.DEV_KEYS)):
        for record in records(workspace, name):
            assert contract.record_problem(record, keys, ("0", "1")) is None
    assert [record["input"] for record in records(workspace, "dev")] == [row.split("\t")[1] for row in DEV_ROWS]
    assert (len(records(workspace, "train")), len(records(workspace, "holdout"))) == (16, 4)


def test_answers_stay_with_their_inputs(workspace: Path) -> None:
    run(workspace)
    truth = {row.split("\t")[2]: row.split("\t")[1] for row in TRAIN_ROWS}
    for name in ("train", "holdout"):
        assert all(truth[record["input"]] == record["output"] for record in records(workspace, name))


def test_a_nasty_dev_file_still_gives_record_i_for_row_i(workspace: Path) -> None:
    lines = ['1\t"unbalanced', "2\t", "3\tline\u2028separator", "", "5\tsurplus\ttab", "6", "7\tlast"]
    (workspace / "data/tiny_dev.tsv").write_bytes("\r\n".join(lines).encode())  # CRLF, and no final newline
    figures = run(workspace, samples={"dev": 7})
    inputs = [record["input"] for record in records(workspace, "dev")]
    assert inputs == ['"unbalanced', "", "line\u2028separator", "", "surplus\ttab", "", "last"]
    assert figures["bad_dev_rows"] == 3


def test_a_bad_training_row_is_an_error_that_names_it(workspace: Path) -> None:
    write_tables(workspace, train=[*TRAIN_ROWS, "24\t1", "25\t7\tseven", "26\t1\tfine"])
    with pytest.raises(DataError) as error:
        run(workspace)
    assert error.value.what.splitlines() == [
        "data/tiny_train.tsv:25: expected 3 tab-separated fields (id, label, text), found 2: '24\\t1'",
        "data/tiny_train.tsv:26: expected the label 0 or 1, found '7'",
    ]
    assert not (workspace / "pre_data/tiny/tiny_train.json").exists()


def test_bad_training_rows_can_be_skipped_and_counted(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tables(workspace, train=["broken", *TRAIN_ROWS, "25\t7\tseven"])
    figures = run(workspace, task={"bad_rows": "skip"}, samples={"train": "all"})
    assert figures["bad_rows"] == {"row": 1, "label": 1}
    assert len(records(workspace, "train")) == len(TRAIN_ROWS) - 4
    assert "data/tiny_train.tsv:26: expected the label 0 or 1, found '7'; skipped" in capsys.readouterr().out


def test_a_label_that_is_too_rare_to_be_drawn_is_a_warning(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tables(workspace, [f"{row}\t{int(row == 7)}\tword {row}" for row in range(60)])
    run(workspace, samples={"train": 20, "holdout": 20})
    assert [line for line in capsys.readouterr().out.splitlines() if "WARNING" in line] == [
        "tiny prepare: WARNING: no training row has the label '1', so the model cannot learn it; raise samples.train, or set "
        "samples.balance: equal",
        "tiny prepare: WARNING: no hold-out row has the label '1', so mistakes on such rows are not seen; raise "
        "samples.holdout",
    ]


def test_repeated_rows_are_reported_and_not_in_the_holdout(workspace: Path) -> None:
    twice = [f"{number}\t{number % 2}\tthe same" for number in range(4)]
    in_dev = [f"9\t1\t{DEV_ROWS[0].split(chr(9))[1]}"]
    write_tables(workspace, train=[*twice, *in_dev, *TRAIN_ROWS])
    for seed in range(5):
        figures = run(workspace, samples={"train": "all", "holdout": 20, "seed": seed})
        assert figures["repeated_inputs"] == 1
        assert figures["inputs_with_two_labels"] == 1
        assert figures["dev_inputs_among_labelled"] == figures["dev_inputs_in_training"] == 1
        held = {record["input"] for record in records(workspace, "holdout")}
        assert held.isdisjoint(record["input"] for name in ("train", "dev") for record in records(workspace, name))


def test_inputs_that_only_look_alike_once_filled_in_are_the_same(workspace: Path) -> None:
    train = [f"{n}\t{n % 2}\t{'a b' if n < 4 else f'w{n}'}\t{'c'}" for n in range(12)]
    train += [f"{n}\t{n % 2}\ta\tb c" for n in range(12, 14)]
    write_tables(workspace, train=train, dev=["0\tq\tr"] * 5)
    figures = run(
        workspace,
        task={"columns": ["id", "label", "p", "q"], "input": "{p} {q}"},
        samples={"train": "all", "holdout": 8},
    )
    assert figures["repeated_inputs"] == 1
    held = {record["input"] for record in records(workspace, "holdout")}
    assert held.isdisjoint(record["input"] for record in records(workspace, "train"))


def test_a_dev_file_without_rows_is_an_error(workspace: Path) -> None:
    write_tables(workspace, dev=["id\ttext"])
    with pytest.raises(DataError, match=r"data/tiny_dev\.tsv: expected rows to predict, found none"):
        run(workspace, samples={"dev": "all"})


def test_the_flat_layout_is_found_too(workspace: Path) -> None:
    run(workspace, task={"train": "data/tiny/tiny_train.tsv", "dev": "data/tiny/tiny_dev.tsv"})
    assert len(records(workspace, "dev")) == 5


def test_preparing_again_does_nothing_until_something_changes(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(workspace)
    before = (workspace / "pre_data/tiny/tiny_train.json").read_bytes()
    run(workspace)
    assert capsys.readouterr().out.endswith("tiny prepare: nothing changed\n")
    (workspace / "pre_data/tiny/tiny_train.json").write_text("[]")
    run(workspace)
    assert (workspace / "pre_data/tiny/tiny_train.json").read_bytes() == before
    capsys.readouterr()
    for change in ({"samples": {"seed": 1}}, {"instruction": "Other?"}, {"task": {"input": "{id} {text}"}}):
        run(workspace, **change)
        assert "nothing changed" not in capsys.readouterr().out
    write_tables(workspace, dev=[*DEV_ROWS[1:], "9\tnew"])
    run(workspace, task={"input": "{id} {text}"})
    assert "nothing changed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ({"train": 21}, r"samples asks for 21 training and 4 held-out rows, found 24 usable rows"),
        ({"holdout": 24, "train": "all"}, "samples asks for all training and 24 held-out rows"),
        ({"dev": 6}, r"data/tiny_dev\.tsv: expected 6 rows \(samples\.dev\), found 5"),
    ],
)
def test_too_few_rows_are_an_error(workspace: Path, samples: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        run(workspace, samples=samples)


@given(
    st.lists(st.integers(0, 1), min_size=40, max_size=200).filter(lambda labels: 15 <= sum(labels) <= len(labels) - 15),
    st.integers(0, 9),
    st.sampled_from(["none", "equal"]),
)
def test_a_draw_is_stratified_disjoint_and_repeatable(labels: list[int], seed: int, balance: Any) -> None:
    samples = Samples(train=16, holdout=10, seed=seed, balance=balance)
    chosen = draw(labels, range(len(labels)), [True] * len(labels), samples, ("0", "1"))
    assert chosen == draw(labels, range(len(labels)), [True] * len(labels), samples, ("0", "1"))
    assert set(chosen.train).isdisjoint(chosen.holdout)
    assert (len(set(chosen.train)), len(set(chosen.holdout))) == (16, 10)
    share = sum(labels) / len(labels)
    assert abs(sum(labels[row] for row in chosen.holdout) - 10 * share) <= 1
    ones = Counter(labels[row] for row in chosen.train)[1]
    assert ones == 8 if balance == "equal" else abs(ones - 16 * share) <= 2


def test_a_smaller_draw_is_a_part_of_a_larger_one() -> None:
    """So two runs with other hold-outs can be compared on rows with the label shares of the file."""
    labels, names = [int(row % 10 < 3) for row in range(1000)], ("0", "1")
    small, large = (
        draw(labels, range(1000), [True] * 1000, Samples(train=100, holdout=holdout), names) for holdout in (200, 300)
    )
    assert set(small.holdout) < set(large.holdout)
    assert Counter(labels[row] for row in small.holdout) == {0: 140, 1: 60}
    more = draw(labels, range(1000), [True] * 1000, Samples(train=300, holdout=200), names)
    assert set(small.train) < set(more.train)


def test_an_excluded_row_changes_no_other_row() -> None:
    labels, samples, names = [row % 2 for row in range(100)], Samples(train=40, holdout=20), ("0", "1")
    drawn = draw(labels, range(100), [True] * 100, samples, names)
    out = drawn.holdout[3]
    places = [place for place in range(100) if place != out]
    again = draw([labels[place] for place in places], places, [True] * 99, samples, names)
    holdout, train = ({places[row] for row in rows} for rows in (again.holdout, again.train))
    # one more row is held out instead, the next one of its label, and one more is trained on
    assert set(drawn.holdout) - holdout == {out}
    assert len(set(drawn.train) - train) == 1


def test_a_bad_row_that_is_corrected_changes_no_other_row(workspace: Path) -> None:
    rows = [f"{n}\t{n % 2}\trow {n}" for n in range(80)]
    held = []
    for label in ("?", "1"):
        write_tables(workspace, train=[*rows[:5], f"5\t{label}\trow 5", *rows[6:]])
        run(workspace, task={"bad_rows": "skip"}, samples={"train": "all", "holdout": 20})
        held.append({record["input"] for record in records(workspace, "holdout")})
    assert len(held[0] & held[1]) >= 19


def test_another_seed_draws_other_rows() -> None:
    labels, unique = [0, 1] * 50, [True] * 100
    samples = Samples(train=20, holdout=10)
    assert draw(labels, range(100), unique, samples, ("0", "1")) != draw(
        labels, range(100), unique, dataclasses.replace(samples, seed=1), ("0", "1")
    )
