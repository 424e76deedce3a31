"""The child process: its limits, and what its parent makes of one that fails."""

import os

import pytest
from support import submissions
from support.classes import large, run_class, zipped

from grading.classroom import sandbox
from grading.classroom.sandbox import Limits
from grading.grader import Exam


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


def write_nothing(folder):
    return folder


def write_large(folder):
    return large(folder, 1000)


def write_wide_text(folder):
    """16 MB as one string, in which a character takes four bytes."""
    path = folder / "result/result_QQP.txt"
    path.write_bytes(b"0\n" * (7 << 20) + "\U0001f600".encode() + b"0\n" * (1 << 19))


def write_long_entry(folder):
    submissions.write(folder / "result/large", bytes(2 << 20))
    zipped(folder, folder.parent / "packed.zip")


@pytest.mark.parametrize(
    ("write", "limits", "name", "fault", "words"),
    [
        (write_large, Limits(seconds=1.5), "good", "submission", "takes longer than 1.5 seconds"),
        (write_large, Limits(cpu_seconds=1), "good", "submission", "takes more than 1 seconds of CPU"),
        (
            write_wide_text,
            Limits(address_space=64 << 20),
            "good",
            "submission",
            "grading it takes more than 64 MiB of memory",
        ),
        (
            write_long_entry,
            Limits(file_bytes=1 << 20),
            "packed.zip",
            "submission",
            "unpacks to a file that is too large",
        ),
        (write_nothing, Limits(open_files=1), "good", "examiner", "Too many open files"),
    ],
)
def test_limits(exam, folder, out, write, limits, name, fault, words):
    pytest.importorskip("resource")
    write(folder / "good")
    submissions.write_submission(folder / "other")
    cards, lines = run_class(exam, folder, out, limits=limits)
    problem = cards[name].report["problem"]
    assert (problem["fault"], cards[name].points) == (fault, 0)
    assert words in problem["reason"]
    assert any(words in line and f"({fault})" in line for line in lines)
    shown = (out / f"reports/{name}.txt").read_text()
    assert (words in shown) == (fault == "submission")
    assert f"({fault})" in "".join(lines)
    assert ("the examiner's mistake" in shown) == (fault == "examiner")
    assert not list((out / "errors").iterdir())
    if fault == "submission":
        assert cards["other"].points == 100


@pytest.mark.parametrize(
    ("boot", "fault", "words"),
    [
        ("import sys; sys.exit(3)", "grader", "failed with exit code 3"),
        ("pass", "grader", "wrote no valid card: JSONDecodeError"),
        ("print('{}')", "grader", "wrote no valid card: KeyError"),
        ("print('[' * 100000)", "grader", "wrote no valid card: RecursionError"),
        ("print('[]')", "grader", "wrote no valid card: TypeError"),
        ("print('x' * (33 << 20))", "grader", "wrote no valid card: ValueError"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "examiner", "the grading process was killed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "grader", "ended with signal 11"),
    ],
)
def test_a_child_that_fails(exam, folder, out, monkeypatch, boot, fault, words):
    monkeypatch.setattr(sandbox, "BOOT", boot)
    cards, _ = run_class(exam, folder, out)
    problem = cards["good"].report["problem"]
    assert problem["fault"] == fault
    assert words in problem["reason"]


def test_the_graders_own_fault_is_logged_and_graded_again(exam, folder, out, monkeypatch):
    monkeypatch.setattr(sandbox, "BOOT", "raise ValueError('why')")
    run_class(exam, folder, out)
    assert "ValueError: why" in (out / "errors/good.txt").read_text()
    assert "why" not in (out / "reports/good.json").read_text() + (out / "reports/good.txt").read_text()
    monkeypatch.undo()
    cards, _ = run_class(exam, folder, out, resume=True)
    assert cards["good"].points == 100
    assert not (out / "errors/good.txt").exists()


def test_an_error_stream_is_kept_up_to_a_bound(exam, folder, out, monkeypatch):
    monkeypatch.setattr(sandbox, "BOOT", "import sys; sys.stderr.write('x' * (1 << 20) + 'end'); sys.exit(1)")
    run_class(exam, folder, out)
    text = (out / "errors/good.txt").read_text()
    assert len(text) == sandbox.ERRORS_KEPT
    assert text.endswith("end")


@pytest.mark.skipif(not hasattr(os, "getsid"), reason="no sessions here")
def test_the_terminals_interrupt_does_not_reach_children(exam, folder, out, monkeypatch):
    monkeypatch.setattr(sandbox, "BOOT", "import os, sys; sys.exit(5 if os.getsid(0) == os.getpid() else 6)")
    cards, _ = run_class(exam, folder, out)
    assert cards["good"].report["problem"]["reason"] == "the grading process failed with exit code 5"


def test_a_child_may_be_ended_twice(exam, folder, tmp_path):
    (tmp_path / "work").mkdir()
    running = sandbox.start(large(folder / "large", 900), "large", exam, Limits(), tmp_path / "work")
    running.end()
    running.end()
    assert running.card().report["problem"]["fault"] == "examiner"
