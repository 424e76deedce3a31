"""The child's own code: whatever is raised becomes a card that says whose fault it is."""

import errno
import json

import pytest
from support import submissions

from grading.classroom import worker as child
from grading.classroom.sandbox import Limits
from grading.errors import CouldNotGrade, FileProblem
from grading.grader import Exam
from grading.submission import opening as handin


@pytest.fixture
def exam(tmp_path):
    return Exam(submissions.write_answers(tmp_path / "answers"))


@pytest.fixture
def folder(tmp_path):
    """The folder of the submissions, with one in it that earns every point."""
    submissions.write_submission(tmp_path / "class/good")
    return tmp_path / "class"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("error", "fault", "words"),
    [
        (FileProblem("it is no archive", "pack it"), "submission", "it is no archive"),
        (CouldNotGrade("table: gone", "put it back"), "examiner", "table: gone"),
        (MemoryError(), "submission", "takes more than 2,048 MiB of memory"),
        (RecursionError(), "submission", "nested too deep"),
        (OSError(errno.ENOSPC, "No space", "/secret"), "examiner", "no space is left"),
        (OSError(errno.EIO, "I/O error", "/secret"), "grader", "OSError in test_worker.py, line "),
        (KeyError("secret"), "grader", "KeyError in test_worker.py, line "),
    ],
)
def test_whose_fault_it_is(exam, folder, tmp_path, monkeypatch, capsys, error, fault, words):
    def opened(path, scratch):
        raise error

    monkeypatch.setattr(handin, "opened", opened)
    card = child.grade("name", folder / "good", exam, tmp_path, Limits())
    problem = card.report["problem"]
    assert problem["fault"] == fault
    assert words in problem["reason"]
    assert "secret" not in json.dumps(card.report)
    assert problem["next_step"]
    assert ("Traceback" in capsys.readouterr().err) == (fault == "grader")
