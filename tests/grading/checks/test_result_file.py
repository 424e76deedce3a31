"""The result file: what is tolerated on its lines, and where it may lie."""

import pytest
from support import submissions
from support.submissions.defects import RESULT

from grading.checks.answer_key import read_keys
from grading.checks.predictions import limit_for
from grading.grader import OpenExam
from grading.grades import AnswerKey
from grading.submission.folder import Submission


@pytest.fixture
def folder(tmp_path):
    return submissions.write_submission(tmp_path / "submission")


def graded(folder, answers=submissions.ANSWERS):
    keys = read_keys(submissions.write_answers(folder.parent / "answers", answers))
    return OpenExam(tuple(keys)).grade(Submission(folder))


def verdicts(report):
    return {verdict.check: verdict for part in report.datasets[0].parts for verdict in part.verdicts}


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf1\n0\n0\n1\n0\n0\n1\n0\n0\n0\n",
        b"1\r\n0\r\n0\r\n1\r\n0\r\n0\r\n1\r\n0\r\n0\r\n0\r\n",
        b"1\n0\n0\n1\n0\n0\n1\n0\n0\n0",
        b"1\n0\n0\n1\n0\n0\n1\n0\n0\n0\nwhatever\n\xef\xbc\x91\n\n",
        b"index\tprediction\n" + b"".join(b"%d\t%s\n" % row for row in enumerate(b"1 0 0 1 0 0 1 0 0 0".split())),
    ],
    ids=["byte order mark", "CRLF", "no final newline", "lines beyond", "index and prediction"],
)
def test_what_a_result_file_may_have(folder, data):
    submissions.write(folder / RESULT, data)
    assert graded(folder).points == 100


def test_lines_beyond_the_key_are_said(folder):
    exact = graded(folder).datasets[0].metrics
    submissions.write(folder / RESULT, (folder / RESULT).read_bytes() + b"1\nx\n")
    assert graded(folder).datasets[0].metrics == exact
    assert verdicts(graded(folder))["accuracy"].reason == (
        f"{RESULT}: 10 of 10 rows are right; it has 12 lines for 10 rows, the extra lines are not read"
    )


def test_a_result_that_is_too_long(folder):
    submissions.write(folder / RESULT, b"0" * (16 << 20) + b"\n")
    found = verdicts(graded(folder))["accuracy"]
    assert found.reason == f"{RESULT} has 16,777,217 bytes, more than the limit of 16,777,216"
    assert found.next_step == "write one label a line"


def test_one_row_and_many_rows(tmp_path):
    folder = submissions.write_submission(tmp_path / "submission")
    submissions.write(folder / RESULT, b"0\n0\n")
    reason = verdicts(graded(folder, ["0"]))["accuracy"].reason
    assert reason.endswith("; it has 2 lines for 1 row, the extra lines are not read")
    submissions.write(folder / RESULT, b"")
    reason = verdicts(graded(folder, ["0"] * 1200))["accuracy"].reason
    assert reason.endswith("; it has 0 lines for 1,200 rows, rows without a line count as wrong")


def test_the_result_may_lie_at_the_root(folder):
    (folder / RESULT).rename(folder / "result_QQP.txt")
    assert verdicts(graded(folder))["accuracy"].reason == "result_QQP.txt: 10 of 10 rows are right"


def test_the_result_folder_comes_first(folder):
    submissions.write(folder / "result_QQP.txt", b"0\n" * 10)
    assert verdicts(graded(folder))["accuracy"].reason == (
        f"{RESULT}: 10 of 10 rows are right; result_QQP.txt also exists and is not read"
    )


def test_other_labels_are_the_keys(tmp_path):
    answers = ["yes", "no", "no", "maybe"]
    folder = submissions.write_submission(tmp_path / "submission", answers=answers)
    assert graded(folder, answers).points == 100
    submissions.write(folder / RESULT, b"yes\nno\n0\nmaybe\n")
    assert verdicts(graded(folder, answers))["accuracy"].reason == (
        f"{RESULT}: 3 of 4 rows are right; 1 line is not one of maybe, no, yes and counts as wrong, "
        "it is row 3: '0', which is not a label"
    )


def test_glues_largest_test_set(folder):
    """390,965 numbered rows, of which the key has the first ten; and of which the key has all."""
    for label in ("1", "not_duplicate"):
        rows = [*submissions.ANSWERS, *[label] * (390_965 - len(submissions.ANSWERS))]
        submissions.write(folder / RESULT, ("index\tprediction\r\n" + "".join(
            f"{row}\t{answer}\r\n" for row, answer in enumerate(rows))).encode())  # fmt: skip
        found = verdicts(graded(folder))["accuracy"]
        assert found.share == 1
        assert found.reason.endswith("; it has 390,965 lines for 10 rows, the extra lines are not read")
    found = verdicts(graded(folder, rows))["accuracy"]
    assert (found.share, found.reason) == (1, f"{RESULT}: 390,965 of 390,965 rows are right")


def test_the_limit_follows_from_the_key():
    key = AnswerKey("x", "result_x.txt", ("\u60c5" * 32, "a") * 1_000_000, ("a", "\u60c5" * 32))
    written = "index\tprediction\r\n" + "".join(f"{row}\t{answer}\r\n" for row, answer in enumerate(key.answers))
    assert limit_for(key) > len(written.encode())
    assert limit_for(AnswerKey("x", "result_x.txt", ("1",), ("0", "1"))) == 16 << 20
