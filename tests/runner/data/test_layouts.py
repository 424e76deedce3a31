"""The same rows in any layout give the same records, byte for byte."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import SHARED, recipe_tree, write_recipe
from support.layouts import COLUMNS, LAYOUTS, Rows, json_array, plain, quoted, real_rows, write_layout

from runner.commands.run import execute
from runner.recipe.loader import load_recipes

EXAM = SHARED / "exam/data/questionBData"
SAMPLES = {"train": 200, "holdout": 50, "dev": "all"}


def prepared(folder: Path, task: dict[str, Any], **samples: Any) -> dict[str, bytes]:
    """The files of records that a task's files give."""
    tree = {**recipe_tree(Path("none"), samples=SAMPLES), "task": task}
    tree["samples"] = {**SAMPLES, **samples}
    execute(load_recipes([write_recipe(folder, tree)]), folder, ["prepare"])
    return {name: (folder / f"pre_data/pairs/pairs_{name}.json").read_bytes() for name in ("train", "holdout", "dev")}


@cache
def expected(exam: bool) -> tuple[Rows, Rows, dict[str, bytes]]:
    """The rows, and their records from the plain layout."""
    import tempfile

    train, dev = real_rows("QQP", EXAM) if exam else real_rows()
    with tempfile.TemporaryDirectory() as folder:
        return train, dev, prepared(Path(folder), write_layout(Path(folder), LAYOUTS["tsv"], train, dev))


@pytest.mark.parametrize(
    "exam", [False, pytest.param(True, marks=pytest.mark.skipif(not EXAM.exists(), reason="no exam data"))]
)
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_records(tmp_path: Path, name: str, exam: bool) -> None:
    train, dev, records = expected(exam)
    assert prepared(tmp_path, write_layout(tmp_path, LAYOUTS[name], train, dev)) == records


def test_the_plain_layout_gives_the_rows() -> None:
    train, dev, records = expected(False)
    assert [each["input"] for each in json.loads(records["dev"])] == [f"{row[1]}\n{row[2]}" for row in dev]
    truth = {f"{row[1]}\n{row[2]}": row[3] for row in train}
    drawn = json.loads(records["train"]) + json.loads(records["holdout"])
    assert len(drawn) == 250
    assert all(truth[each["input"]] == each["output"] for each in drawn)


@pytest.mark.parametrize("write", [plain, quoted, json_array], ids=["tsv", "csv", "json"])
def test_one_file_is_divided(tmp_path: Path, write: Any) -> None:
    train = real_rows()[0]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train").write_bytes(write(COLUMNS, train).encode())
    task = {
        "name": "pairs",
        "train": "data/train",
        "input": "{first}\n{second}",
        "label": "label",
        "labels": ["0", "1"],
    }
    records = {name: json.loads(data) for name, data in prepared(tmp_path, task, train="all", test=60).items()}
    truth = {f"{row[1]}\n{row[2]}": row[3] for row in train}
    inputs = {name: {each["input"] for each in found} for name, found in records.items()}
    assert len(records["dev"]) == 60
    assert not inputs["dev"] & (inputs["train"] | inputs["holdout"])
    assert inputs["dev"] | inputs["train"] | inputs["holdout"] == set(truth)
    answers = json.loads((tmp_path / "pre_data/pairs/pairs_dev_answers.json").read_text(encoding="utf-8"))
    assert answers == [truth[each["input"]] for each in records["dev"]]
    assert all("output" not in each for each in records["dev"])
    share = sum(label == "1" for label in truth.values()) / len(truth)
    assert abs(answers.count("1") - share * 60) < 1
    again = prepared(tmp_path, task, train="all", test=60, seed=1)
    assert json.loads(again["dev"]) != records["dev"]


def test_three_labels_in_words(tmp_path: Path) -> None:
    train, dev = real_rows()
    words = ["entailment", "neutral", "contradiction"]
    files = {"words": words, "numbers": ["0", "1", "2"]}
    found = []
    for name, labels in files.items():
        folder = tmp_path / name
        rows = [[*row[:3], labels[place % 3]] for place, row in enumerate(train)]
        task = {"label_names": dict(zip(words, files["numbers"]))} if labels is words else {}
        written = write_layout(folder, LAYOUTS["csv"]._replace(task=task), rows, dev)
        found.append(prepared(folder, {**written, "labels": ["0", "1", "2"]}))
    assert found[0] == found[1]
