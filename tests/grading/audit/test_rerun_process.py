"""The rerun's process: the runner is the one beside the grader, and its failure is advice, not an error."""

import json

from support import submissions
from support.commands import run


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
