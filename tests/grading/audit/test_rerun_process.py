"""The rerun's process: the runner is the one beside the grader, and its failure is advice, not an error."""

import json

import pytest
from support import submissions
from support.commands import run
from support.submissions.defects import DEV, with_config

from grading.audit import rerun
from grading.checks.answer_key import read_keys
from grading.errors import FileProblem
from grading.submission.folder import Submission


def test_the_runner_beside_the_grader_is_started(tmp_path):
    """On a bare Python the runner's libraries are missing, but never the runner itself."""
    folder = submissions.write_submission(tmp_path / "submission")
    answers = submissions.write_answers(tmp_path / "answers")
    report = tmp_path / "report.json"
    recipe = str(tmp_path / "nothing.yaml")
    assert run(folder, answers, "--rerun", "1", "--recipes", recipe, "--json", str(report)) == 0
    (found,) = (each for each in json.loads(report.read_text())["advice"] if each["check"] == "predictions and a rerun")
    assert found["state"] == "not known"
    assert found["reason"].startswith("no recipe of this dataset answered: ")
    assert "No module named 'runner" not in found["reason"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("target_modules", r"(.*\.)*(.*_proj)*x"),
        ("exclude_modules", r"(a|a)*b"),
        ("rank_pattern", {r"([a-z._0-9]+)+!": 2}),
        ("modules_to_save", [r"(\w+\.?)+$"]),
    ],
)
def test_expressions_that_may_take_very_long_are_not_handed_to_peft(tmp_path, key, value):
    """One ran for an hour. The adapter has all its points; its file alone decides, before the runner is started."""
    folder = submissions.write_submission(tmp_path / "submission")
    with_config(**{key: value})(folder)
    answers = submissions.write_answers(tmp_path / "answers")
    report = tmp_path / "report.json"
    assert run(folder, answers, "--rerun", "1", "--recipes", "nothing.yaml", "--json", str(report)) == 0
    (found,) = (each for each in json.loads(report.read_text())["advice"] if each["check"] == "predictions and a rerun")
    assert (found["state"], found["reason"]) == (
        "not known",
        f"saved_model/QQP/adapter_config.json has regular expressions that may take very long ({key}), so the adapter is not "
        "loaded",
    )


def test_rows_are_drawn_from_the_records_that_there_are(tmp_path):
    folder = submissions.write_submission(tmp_path / "submission")
    (key,) = read_keys(submissions.write_answers(tmp_path / "answers"))
    drawn = rerun._draw(Submission(folder), key, 4, len(key.answers))
    assert len(drawn) == 4
    assert all(record["input"].startswith(f"c {row}\n") for row, record in drawn.items())
    records = json.loads((folder / DEV).read_bytes())
    submissions.write_json(folder / DEV, records[:3])
    assert list(rerun._draw(Submission(folder), key, 4, len(key.answers))) == [0, 1, 2]
    submissions.write_json(folder / DEV, [])
    assert rerun._draw(Submission(folder), key, 4, len(key.answers)) == {}
    submissions.write_json(folder / DEV, [*records[:9], {}])
    with pytest.raises(FileProblem, match="does not hold dev records"):
        rerun._draw(Submission(folder), key, 4, len(key.answers))
