"""The exam's own files, for those who have them beside the checkout: what is in them, and the main job over them."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import ROOT, SHARED

from grading.score import main as grade
from runner.commands.run import execute, main
from runner.recipe.loader import load_recipes

DATA = SHARED / "exam/data"
BASE = SHARED / "models/stories3M"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the exam's files are not beside the checkout")


@pytest.fixture
def exam(tmp_path: Path) -> Path:
    (tmp_path / "data").symlink_to(DATA)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CoLA", {"rows": 8551, "labels": {"0": 2528, "1": 6023}, "repeated_inputs": 19, "inputs_with_two_labels": 11}),
        ("QQP", {"rows": 12000, "labels": {"0": 7521, "1": 4479}, "repeated_inputs": 0}),
    ],
)
def test_what_is_in_the_files(exam: Path, name: str, expected: dict[str, object]) -> None:
    execute(load_recipes([ROOT / f"recipes/{name.lower()}.yaml"]), exam, ["prepare"])
    figures = json.loads((exam / f"pre_data/{name}/manifest.json").read_text())["figures"]
    assert {key: figures[key] for key in expected} == expected
    assert (sum(figures["train"].values()), sum(figures["holdout"].values()), figures["dev"]) == (4000, 500, 150)
    assert figures["bad_rows"] == {}
    assert figures["bad_dev_rows"] == 0


def test_the_flat_layout_gives_the_same_records(exam: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    (flat / "data/questionBData").mkdir(parents=True)
    for part in ("train", "dev"):
        shutil.copy(DATA / f"questionBData/CoLA/CoLA_{part}.tsv", flat / "data/questionBData")
    for workspace in (exam, flat):
        execute(load_recipes([ROOT / "recipes/cola.yaml"]), workspace, ["prepare"])
    name = "pre_data/CoLA/CoLA_train.json"
    assert (exam / name).read_bytes() == (flat / name).read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(not BASE.is_dir(), reason="the small pre-trained model is not beside the checkout")
def test_the_main_job_earns_all_but_the_wrong_answers(
    exam: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        str(ROOT / "recipes/qqp.yaml"),
        str(ROOT / "recipes/cola.yaml"),
        f"base={BASE}",
        "train.learning_rate=1e-3",
    ]
    assert main([*arguments, "--workspace", str(exam)]) == 0
    report = tmp_path.with_suffix(".json")
    answers = DATA / "questionBAnswer"
    assert grade(["--submission", str(exam), "--answers", str(answers), "--json", str(report)]) == 0
    for part in json.loads(report.read_text())["parts"]:
        if part["part"] != "result":
            assert part["points"] == part["max_points"]
            continue
        key = next(answers.glob(f"result_{part['dataset']}*.txt")).read_text().split()
        lines = (exam / f"result/result_{part['dataset']}.txt").read_text().split()
        assert len(lines) == len(key) == 150
        assert part["points"] == pytest.approx(35 * sum(line == answer for line, answer in zip(lines, key)) / 150)
