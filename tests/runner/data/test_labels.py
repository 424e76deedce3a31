"""Labels that the files write otherwise than the recipe: mapped where the recipe says so, else named with the line to add."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import DEV_ROWS, recipe_tree, write_recipe, write_tables

from runner.commands.run import execute
from runner.errors import DataError
from runner.recipe.loader import load_recipes


def train(*names: str) -> list[str]:
    return [f"{n}\t{names[n % len(names)]}\tsome text {n}" for n in range(24)]


def run(folder: Path, rows: list[str], dev: Any = DEV_ROWS, **task: Any) -> list[dict[str, str]]:
    """Prepares, and returns all labelled records."""
    write_tables(folder, rows, dev)
    execute(load_recipes([write_recipe(folder, recipe_tree(Path("none"), task=task))]), folder, ["prepare"])
    files = (folder / f"pre_data/tiny/tiny_{name}.json" for name in ("train", "holdout"))
    return [record for file in files for record in json.loads(file.read_text(encoding="utf-8"))]


MAPPED: list[tuple[list[str], dict[str, str]]] = [
    (["not_entailment", "entailment"], {"not_entailment": "0", "entailment": "1"}),
    (["0.0", "1.0"], {"0.0": "0", "1.0": "1"}),
    ([" 0", " 1"], {" 0": "0", " 1": "1"}),
    (["1", "0"], {"1": "0", "0": "1"}),
    (["False", "1"], {"False": "0"}),
]


@pytest.mark.parametrize(("names", "label_names"), MAPPED, ids=str)
def test_label_names_give_the_recipes_labels(tmp_path: Path, names: list[str], label_names: dict[str, str]) -> None:
    found = run(tmp_path, train(*names), label_names=label_names)
    assert len(found) == 20
    assert all(record["output"] == str(int(record["input"].split()[-1]) % 2) for record in found)


NEAR = [
    (["0", " 1"], 'label_names: {" 1": "1"}'),
    (["0.0", "1.0"], 'label_names: {"0.0": "0", "1.0": "1"}'),
    (["True", "False"], 'label_names: {"True": "1", "False": "0"}'),
    (["no", "Yes"], 'label_names: {"no": "0", "Yes": "1"}'),
]


@pytest.mark.parametrize(("names", "line"), NEAR, ids=str)
def test_near_misses_are_named_with_the_line_to_add(tmp_path: Path, names: list[str], line: str) -> None:
    with pytest.raises(DataError) as error:
        run(tmp_path, train(*names))
    bad = next(place for place, name in enumerate(names) if name not in "01")
    assert error.value.what.startswith(
        f"data/tiny_train.tsv:{bad + 1}: expected the label 0 or 1, found {names[bad]!r}"
    )
    assert error.value.next_step.split("; or ")[0] == f"add to the recipe, below task: {line}"
    mapping = json.loads(line.partition(": ")[2])
    assert len(run(tmp_path, train(*names), label_names=mapping)) == 20


def test_other_labels_are_listed(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        run(tmp_path, train("good", "bad", "good"))
    assert error.value.next_step == (
        "the file holds 'good' (16 rows), 'bad' (8 rows): write these below task as labels, or say which label each means, for "
        'instance label_names: {"good": "0", "bad": "1"}'
    )
    with pytest.raises(DataError, match=r"correct task\.label and task.labels"):
        run(tmp_path, [f"{n}\ttext {n}\t{n % 2}" for n in range(24)])


def test_one_wrong_label_is_a_bad_row(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        run(tmp_path, [*train("0", "1"), "24\t7\ttext"])
    assert error.value.next_step == "fix the rows, or set task.bad_rows: skip to leave them out"


def test_a_labelled_dev_file_of_unknown_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dev = ["id\tlabel\ttext", *(f"{n}\t-1\tdev text {n}" for n in range(5))]
    run(tmp_path, train("0", "1"), dev, header="auto")
    assert "data/tiny_dev.tsv: 5 rows are not scored: their label is '-1', not a label" in capsys.readouterr().out
    assert not (tmp_path / "pre_data/tiny/tiny_dev_answers.json").exists()
    dev = ["id\tlabel\ttext", *(f"{n}\t{'good' if n % 2 else 'bad'}\tdev text {n}" for n in range(5))]
    with pytest.raises(DataError) as error:
        run(tmp_path, train("0", "1"), dev, header="auto")
    assert error.value.what == "data/tiny_dev.tsv: its column label holds no label, but 'bad', 'good'"
    half = ["id\tlabel\ttext", *(f"{n}\t{n % 2 if n else ''}\tdev text {n}" for n in range(5))]
    run(tmp_path, train("0", "1"), half, header="auto")
    assert "data/tiny_dev.tsv: 1 rows are not scored: their label is '', not a label" in capsys.readouterr().out
    answers = json.loads((tmp_path / "pre_data/tiny/tiny_dev_answers.json").read_text())
    assert answers == [None, "1", "0", "1", "0"]


def test_a_form_of_the_dev_file_may_have_the_label(tmp_path: Path) -> None:
    dev = [f"{n % 2}\tdev text {n}" for n in range(5)]
    run(tmp_path, train("0", "1"), dev, dev_columns=[["label", "text"]])
    answers = json.loads((tmp_path / "pre_data/tiny/tiny_dev_answers.json").read_text())
    assert answers == ["0", "1", "0", "1", "0"]
    records = json.loads((tmp_path / "pre_data/tiny/tiny_dev.json").read_text())
    assert records[0] == {"instruction": "Which?", "input": "dev text 0"}
