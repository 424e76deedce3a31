"""Doubtful rows: known wrong labels come first, inputs with both labels are all found, and the user's decisions are followed."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import recipe_tree, write_recipe, write_tables
from support.runs import cut_at

from runner import side_run
from runner.commands import doubtful
from runner.commands.run import main as run

ROWS = 96
FLIPPED = {5, 18, 31, 50, 67, 90}
"""Lines whose label is not the one that the text calls for."""

TWICE = {97: 10, 98: 40}
"""Lines with the text of an earlier line, and the other label."""

LIST = "pre_data/tiny/doubtful.csv"


def rows() -> list[str]:
    """`ab …` is 1 and `ba …` is 0, but on the flipped lines."""
    truth = {line: line % 2 for line in range(1, ROWS + 1)}
    text = {line: f"{'ab' if label else 'ba'} word {line}" for line, label in truth.items()}
    labels = {line: label ^ (line in FLIPPED) for line, label in truth.items()}
    for line, first in TWICE.items():
        text[line], labels[line] = text[first], 1 - truth[first]
    return [f"{line}\t{labels[line]}\t{text[line]}" for line in text]


def tree(base: Path) -> dict[str, Any]:
    """The recipe of these tests: it draws every row, and learns the rule in a few steps."""
    return recipe_tree(
        base,
        samples={"train": "all", "holdout": 8},
        train={"epochs": 8, "learning_rate": 0.02, "batch_size": 8, "loss": "labels"},
        lora={"r": 4, "lora_alpha": 8},
    )


def find(root: Path, *more: str) -> int:
    return doubtful.main([str(root / "tiny.yaml"), "--workspace", str(root), "--folds", "2", *more])


def listed(root: Path) -> list[dict[str, str]]:
    with (root / LIST).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A workspace after the command."""
    root = write_tables(tmp_path_factory.mktemp("doubtful"), train=rows())
    write_recipe(root, tree(tiny_base))
    assert find(root) == 0
    return root


@pytest.fixture
def again(found: Path, tmp_path: Path) -> Path:
    """A copy of that workspace."""
    return Path(shutil.copytree(found, tmp_path / "again", symlinks=True))


def decide(root: Path, excluded: set[int], name: str = LIST) -> None:
    """Write `No` into the column `keep` of these lines, and `yes` into the others."""
    rows = listed(root)
    with (root / name).open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "keep": "No" if int(row["line"]) in excluded else "yes"} for row in rows)


def adapters(root: Path) -> dict[str, int]:
    """When the adapter of each fold was written."""
    files = (root / "saved_model/.doubtful").rglob("adapter_model.safetensors")
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in files}


def test_the_wrong_labels_come_first(found: Path) -> None:
    contradicted = [row for row in listed(found) if row["reason"] == "contradicted"]
    first = contradicted[: len(FLIPPED)]
    assert {int(row["line"]) for row in first} == FLIPPED
    assert {row["keep"] for row in listed(found)} == {"yes"}
    text = {int(row.split("\t")[0]): row.split("\t") for row in rows()}
    for row in first:
        assert [row["line"], row["label"], row["input"]] == text[int(row["line"])]
        assert row["predicted"] != row["label"]
        assert float(row["label_probability"]) < 0.5 < float(row["predicted_probability"])
    probabilities = [float(row["label_probability"]) for row in contradicted]
    assert probabilities == sorted(probabilities)


def test_inputs_with_both_labels_are_all_found(found: Path) -> None:
    groups = [(row["group"], int(row["line"])) for row in listed(found) if row["reason"] == "several labels"]
    assert groups == [("1", 10), ("1", 97), ("2", 40), ("2", 98)]


def test_each_adapter_is_trained_on_the_other_folds_only(found: Path) -> None:
    folds = sorted((found / "saved_model/.doubtful/tiny").glob("*/fold-*"))
    assert len(folds) == 2
    held: list[str] = []
    for fold in folds:
        train, holdout = (
            {record["input"] for record in json.loads((fold / f"pre_data/tiny/tiny_{name}.json").read_text())}
            for name in ("train", "holdout")
        )
        assert train.isdisjoint(holdout)
        assert len(train) + len(holdout) == ROWS
        held += holdout
    assert len(held) == len(set(held)) == ROWS


def test_a_second_run_trains_nothing_and_keeps_the_decisions(again: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decide(again, FLIPPED)
    before, file = adapters(again), (again / LIST).read_bytes()
    assert len(before) == 2
    assert find(again) == 0
    assert adapters(again) == before
    assert (again / LIST).read_bytes() == file
    assert "an adapter is trained" not in capsys.readouterr().out


def test_another_list_is_moved_aside_with_its_decisions(again: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decide(again, FLIPPED)
    file = (again / LIST).read_bytes()
    assert find(again, "--top", "3") == 0
    (aside,) = (again / "pre_data/tiny").glob("doubtful_*.csv")
    assert aside.read_bytes() == file
    assert len(listed(again)) == 3 + 4
    assert (
        f"the list that was there is kept, for it may have your decisions: pre_data/tiny/{aside.name}"
        in capsys.readouterr().out
    )


def test_a_command_that_was_cut_trains_only_what_is_left(
    found: Path, tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tables(tmp_path, train=rows())
    write_recipe(root, tree(tiny_base))
    with monkeypatch.context() as patch:
        # the second fold's finetune stage
        cut_at(patch, side_run, "run_stage", 5)
        assert find(root) == 130
    before = adapters(root)
    assert len(before) == 1
    assert find(root) == 0
    assert adapters(root).items() > before.items()
    assert (root / LIST).read_bytes() == (found / LIST).read_bytes()


def test_exactly_the_excluded_rows_are_not_drawn(again: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decide(again, {*FLIPPED, 97})
    prepare = [str(again / "tiny.yaml"), "--workspace", str(again), "--stages", "prepare"]
    assert run([*prepare, f"samples.exclude={LIST}"]) == 0
    out = capsys.readouterr().out
    assert "7 labelled rows excluded by samples.exclude, from training and hold-out" in out
    assert "1 inputs are in several labelled rows" in out
    drawn = [
        (record["output"], record["input"])
        for name in ("train", "holdout")
        for record in json.loads((again / f"pre_data/tiny/tiny_{name}.json").read_text())
    ]
    wanted = [row.split("\t") for row in rows() if int(row.split("\t")[0]) not in {*FLIPPED, 97}]
    assert sorted(drawn) == sorted((label, text) for _, label, text in wanted)
    held_out = holdout_inputs(again)
    figures = json.loads((again / "pre_data/tiny/manifest.json").read_text())["figures"]
    assert (figures["excluded_rows"], figures["rows"]) == (7, ROWS + 2)
    assert run([*prepare, f"samples.exclude={LIST}"]) == 0
    assert "nothing changed" in capsys.readouterr().out
    decide(again, set())
    assert run([*prepare, f"samples.exclude={LIST}"]) == 0
    assert f"{LIST}: excludes no row: no row has `no` in the column keep" in capsys.readouterr().out
    # the others are drawn as before
    assert len(held_out & holdout_inputs(again)) >= len(held_out) - 1


def holdout_inputs(root: Path) -> set[str]:
    return {record["input"] for record in json.loads((root / "pre_data/tiny/tiny_holdout.json").read_text())}


def test_a_list_of_another_training_file_is_refused(again: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decide(again, FLIPPED)
    write_tables(again, train=rows()[1:60])
    prepare = [str(again / "tiny.yaml"), "--workspace", str(again), "--stages", "prepare"]
    assert run([*prepare, f"samples.exclude={LIST}"]) == 2
    err = capsys.readouterr().err
    assert f"{LIST}: line 31: expected the input of data/tiny_train.tsv:31, 'ba word 32', found 'ab word 31'\n" in err
    assert f"{LIST}: line 67: no row of data/tiny_train.tsv begins there\n" in err
    assert err.endswith(
        "  next: if the training file or task.input has changed, list the doubtful rows again (labeltune doubtful); else "
        "correct these rows\n"
    )


def test_a_run_without_the_excluded_rows_counts_them(again: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decide(again, FLIPPED)
    assert run([str(again / "tiny.yaml"), "--workspace", str(again), f"samples.exclude={LIST}", "train.epochs=1"]) == 0
    words = "6 labelled rows are excluded (samples.exclude), so this hold-out may be easier than the dev rows"
    assert words in capsys.readouterr().out
    assert json.loads((again / "saved_model/tiny/evaluation.json").read_text())["excluded_rows"] == 6


def test_adapters_that_learned_nothing_are_not_to_be_believed(again: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [f"ab word {number % 60}" for number in range(64)]
    labels = [int(number % 5 > 0) for number in range(60)]
    # the texts say nothing about the label, and four of them have both
    labels += [1 - label for label in labels[:4]]
    write_tables(again, train=[f"{number}\t{labels[number]}\t{text}" for number, text in enumerate(texts)])
    few = ["samples.train=12", "samples.holdout=4", "train.epochs=1", "train.learning_rate=1e-9"]
    assert find(again, *few) == 0
    out = capsys.readouterr().out
    assert "accuracy on 16 rows that were not trained on" in out
    assert "WARNING: the adapters are no better than always giving the most frequent label" in out
    groups = [row for row in listed(again) if row["group"]]
    assert len(groups) == 8
    # not all of them are drawn, and what is not drawn is not scored
    blank = [row for row in groups if not row["predicted"]]
    assert blank
    assert {(row["label_probability"], row["predicted_probability"]) for row in blank} == {("", "")}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["search.minutes=5"], "search.minutes: every fold is trained with one setting, and a search has many\n"),
        (
            [f"samples.exclude={LIST}"],
            f"samples.exclude: {LIST} holds your decisions, and this command would write a new list there\n",
        ),
        (["samples.train=8", "--folds", "9"], "--folds 9: expected at least 9 inputs of label '0', found 8\n"),
        (["other.yaml"], "cannot read other.yaml"),
    ],
)
def test_what_cannot_be_done_is_said(
    again: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (again / LIST).read_bytes()
    assert find(again, *more) == 2
    assert message in capsys.readouterr().err
    assert (again / LIST).read_bytes() == before
