"""Each row of the rubric: a good submission earns it, a defect loses exactly the table's share, with its exact reason."""

import pytest
from support import submissions
from support.submissions.defects import DEFECTS, RESULT

from grading import rubric
from grading.checks.answer_key import read_keys
from grading.grader import OpenExam
from grading.report.json_report import as_json
from grading.report.text import as_text
from grading.submission.folder import Submission


@pytest.fixture
def folder(tmp_path):
    return submissions.write_submission(tmp_path / "submission")


def graded(folder, answers=submissions.ANSWERS):
    keys = read_keys(submissions.write_answers(folder.parent / "answers", answers))
    return OpenExam(tuple(keys)).grade(Submission(folder))


def verdicts(report):
    return {verdict.check: verdict for part in report.datasets[0].parts for verdict in part.verdicts}


def test_the_rubric_is_the_exams():
    assert sum(check.points for check in rubric.RUBRIC) == rubric.MAX_POINTS == 100
    assert [sum(check.points for check in rubric.checks_of(part)) for part in rubric.parts()] == [10, 20, 70]
    assert len({check.name for check in rubric.RUBRIC}) == len(rubric.RUBRIC)


def test_a_good_submission_earns_every_row(folder):
    report = graded(folder)
    assert report.points == 100
    found = verdicts(report)
    assert list(found)
    assert set(found) == {check.name for check in rubric.RUBRIC}
    assert {name: (verdict.share, verdict.next_step) for name, verdict in found.items()} == dict.fromkeys(
        found, (1, None)
    )
    assert found["weights trained"].reason == "all values are finite, 2 of 2 lora_B are not zero"


@pytest.mark.parametrize(
    ("build", "check", "share", "reason", "next_step", "blocked"),
    [row[1:] for row in DEFECTS],
    ids=[row[0] for row in DEFECTS],
)
def test_a_defect_loses_exactly_its_points(folder, build, check, share, reason, next_step, blocked):
    build(folder)
    report = graded(folder)
    found = verdicts(report)
    assert (found[check].reason, found[check].next_step, found[check].share) == (reason, next_step, 1 - share)
    lost = {name: verdict.next_step for name, verdict in found.items() if verdict.share < 1 and name != check}
    assert lost == {name: f"fix {first!r} first" for name in blocked for first in [check]}
    points = {row.name: row.points for row in rubric.RUBRIC}
    assert report.points == 100 - points[check] * share - sum(points[name] for name in blocked)


def test_every_row_has_a_defect_here():
    assert len({row[0] for row in DEFECTS}) == len(DEFECTS) >= 60
    assert {row[2] for row in DEFECTS} == {check.name for check in rubric.RUBRIC}


def test_a_missing_submission_scores_zero(tmp_path):
    (tmp_path / "submission").mkdir()
    report = graded(tmp_path / "submission")
    assert report.points == 0
    assert report.datasets[0].metrics is None
    assert all(verdict.next_step for verdict in verdicts(report).values())


def test_two_datasets_carry_half_each(folder):
    answers = submissions.write_answers(folder.parent / "both")
    submissions.write_answers(answers, ["0", "1"], "result_CoLA_64.txt")
    report = OpenExam(tuple(read_keys(answers))).grade(Submission(folder))
    assert [
        (part["dataset"], part["part"], part["points"], part["max_points"]) for part in as_json(report)["parts"]
    ] == [
        ("CoLA", "pre_data", 0, 5),
        ("CoLA", "saved_model", 0, 10),
        ("CoLA", "result", 0, 35),
        ("QQP", "pre_data", 5, 5),
        ("QQP", "saved_model", 10, 10),
        ("QQP", "result", 35, 35),
    ]
    assert report.points == 50
    for part in as_json(report)["parts"]:
        assert sum(check["points"] for check in part["checks"]) == pytest.approx(part["points"], abs=1e-9)
        assert sum(check["max_points"] for check in part["checks"]) == pytest.approx(part["max_points"], abs=1e-9)
    assert as_json(report)["parts"][5]["reasons"][0].startswith("accuracy 35/35: ")
    assert "    train file                1.5 / 1.5    " in as_text(report)


def test_three_datasets_still_add_up_to_100(tmp_path):
    for dataset in ("A", "B", "C"):
        submissions.write_submission(tmp_path / "submission", dataset)
        submissions.write_answers(tmp_path / "answers", name=f"result_{dataset}.txt")
    exam = OpenExam(tuple(read_keys(tmp_path / "answers")))
    value = as_json(exam.grade(Submission(tmp_path / "submission")))
    assert value["points"] == 100.0
    assert sum(part["points"] for part in value["parts"]) == pytest.approx(100, abs=1e-9)


def test_a_report_holds_no_answer_of_the_key(folder):
    """Whatever is on the lines, two keys with the same counts give the same report: rows cannot be told apart."""
    submissions.write(folder / RESULT, b"x\n0\n0\n0\n0\n0\n0\n0\n0\n0\n")
    first = as_json(graded(folder, list("1110000000")))
    second = as_json(graded(folder, list("1000000110")))
    assert first == second
