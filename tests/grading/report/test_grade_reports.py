"""The three reports: the text, the JSON object and Gradescope's file."""

import json

import pytest
from support import submissions
from support.commands import run

from grading.report.json_report import SCHEMA


@pytest.fixture
def folder(tmp_path):
    return submissions.write_submission(tmp_path / "submission")


@pytest.fixture
def answers(tmp_path):
    return submissions.write_answers(tmp_path / "answers")


def test_the_text_report(folder, answers, capsys):
    wrong = "".join("01"[answer == "0"] for answer in submissions.ANSWERS[:2])
    result = folder / "result/result_QQP.txt"
    result.write_text("\n".join([*wrong, *submissions.ANSWERS[2:]]) + "\n")
    (folder / "pre_data/QQP/QQP_dev.json").unlink()
    assert run(folder, answers) == 0
    assert (
        capsys.readouterr().out
        == """\
QQP, answer key result_QQP_46.txt
  pre_data                      6 / 10
    train file                  3 / 3      pre_data/QQP/QQP_train.json is a JSON array
    train records               3 / 3      pre_data/QQP/QQP_train.json: 4 of 4 records are well-formed
    dev file                    0 / 2      pre_data/QQP/QQP_dev.json is missing
                                           next: write the records again: one JSON array of objects, in UTF-8 \
(with labeltune: --stages prepare)
    dev records                 0 / 2      could not be checked
                                           next: fix 'dev file' first
  saved_model                  20 / 20
    config file                 2 / 2      saved_model/QQP/adapter_config.json exists
    weights file                4 / 4      saved_model/QQP/adapter_model.safetensors exists
    weights size                4 / 4      664 bytes
    config format               4 / 4      saved_model/QQP/adapter_config.json describes a LoRA of rank 2
    weights format              4 / 4      safetensors with 2 complete lora pairs of the config's rank and target modules
    weights trained             2 / 2      all values are finite, 2 of 2 lora_B are not zero
  result                       56 / 70
    accuracy                   56 / 70     result/result_QQP.txt: 8 of 10 rows are right
                                           next: try other settings and compare them on a hold-out of the training records
  accuracy 8/10 = 80.0 % (95 % interval 49.0-94.3 %), MCC 0.52, F1 0.67; majority class would give 70.0 %
    answer, predicted as       0       1  no label
                     0         6       1         0
                     1         1       2         0

for the examiner to look at, no points
  QQP dev inputs in training: not known: records cannot be read
  QQP files and the run record: not known: saved_model/QQP/run.json is missing

points: 82 / 100
"""
    )


def test_the_json_report(folder, answers, tmp_path, capsys):
    assert run(folder, answers, "--json", str(tmp_path / "report.json")) == 0
    text = capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report) == {"schema", "points", "max_points", "problem", "parts", "datasets", "advice"}
    assert (report["schema"], report["points"], report["max_points"]) == (SCHEMA, 100, 100)
    for part in report["parts"]:
        assert set(part) == {"dataset", "part", "points", "max_points", "reasons", "checks"}
        assert part["reasons"]
        assert all(isinstance(reason, str) for reason in part["reasons"])
        assert sum(check["points"] for check in part["checks"]) == pytest.approx(part["points"], abs=1e-9)
    assert report["parts"][2]["reasons"] == ["accuracy 70/70: result/result_QQP.txt: 10 of 10 rows are right"]
    (dataset,) = report["datasets"]
    assert set(dataset) == {"dataset", "answer_key", "labels", "rows", "measures"}
    assert set(dataset["measures"]) == {
        "correct", "accuracy", "interval", "mcc", "f1", "majority", "confusion",
    }  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers", "report.json", "submission"]
    assert text.endswith("\npoints: 100 / 100\n")
    assert run(folder, answers, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out) == report


def test_a_report_does_not_depend_on_where_it_was_made(folder, answers, tmp_path, capsys):
    run(folder, answers, "--json", "-")
    here = capsys.readouterr().out
    folder.rename(tmp_path / "elsewhere")
    run(tmp_path / "elsewhere", answers, "--json", "-")
    assert capsys.readouterr().out == here
    assert str(tmp_path) not in here


def test_the_report_never_shows_more_than_was_earned(folder, answers, capsys):
    records = json.loads((folder / "pre_data/QQP/QQP_train.json").read_text()) * 1000
    submissions.write_json(folder / "pre_data/QQP/QQP_train.json", [*records[1:], {}])
    run(folder, answers)
    out = capsys.readouterr().out
    assert "train records            2.99 / 3 " in out
    assert out.endswith("points: 99.99 / 100\n")


def test_gradescopes_results(folder, answers, tmp_path, capsys):
    (folder / "pre_data/QQP/QQP_dev.json").unlink()
    assert run(folder, answers, "--gradescope", str(tmp_path / "results.json")) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results) == {"score", "output", "output_format", "visibility", "tests"}
    assert results["score"] == 96
    assert results["output"] == capsys.readouterr().out
    assert sum(test["score"] for test in results["tests"]) == pytest.approx(96)
    assert sum(test["max_score"] for test in results["tests"]) == pytest.approx(100)
    assert results["tests"][2]["name"] == "QQP: pre_data: dev file"
    assert "is missing" in results["tests"][2]["output"]
