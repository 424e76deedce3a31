"""A class: real folders and archives, each graded by a real child process, whatever is in them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT
from support import submissions
from support.classes import files, large, run_class, zipped

from grading.classroom import run as classroom
from grading.classroom import worker as child
from grading.classroom.hand_ins import stems
from grading.classroom.run import ClassFolders, grade_class
from grading.classroom.sandbox import Limits
from grading.contract.display import one_line
from grading.grader import Exam
from grading.report.json_report import as_json
from grading.report.text import as_text
from grading.submission import opening as handin
from grading.submission.folder import Submission

TRAP = b"import os\nos._exit(99)\n"


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


def hostile_names(folder):
    names = ["a b\nc", "A", "a", "%s", "<b>&", "-rf", "x" * 200, "\u00fc", "grading.py", "b-0123456789abcdef"]
    if sys.platform == "linux":
        names.append(os.fsdecode(b"\xff\xfe"))
    for name in names:
        (folder / name).mkdir()
    return names


def test_a_mixed_class(exam, folder, out, tmp_path):
    good = folder / "good"
    broken = submissions.write_submission(folder / "broken")
    weights = broken / "saved_model/QQP/adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    (folder / "empty").mkdir()
    trapped = submissions.write_submission(folder / "trapped")
    for name in ("json.py", "sitecustomize.py", "grading/__init__.py", "grading/classroom/worker.py", "hashlib.py"):
        submissions.write(trapped / name, TRAP)
    piped = submissions.write_submission(folder / "piped")
    (piped / "result/result_QQP.txt").unlink()
    os.mkfifo(piped / "result/result_QQP.txt")
    zipped(good, folder / "packed.zip")
    with tarfile.open(folder / "packed.tar.gz", "w:gz") as file:
        file.add(good, "somebody's folder")
    with zipfile.ZipFile(folder / "climbs.zip", "w") as file:
        file.writestr("../../escaped", b"x")
    (folder / "cut.zip").write_bytes((folder / "packed.zip").read_bytes()[:-30])
    (folder / "notes.txt").write_text("late: nobody")
    (folder / ".hidden").mkdir()
    (folder / "linked").symlink_to(good)
    os.mkfifo(folder / "pipe")
    hostile = hostile_names(folder)

    cards, lines = run_class(exam, folder, out)

    graded = {name: card.points for name, card in cards.items() if card.report["problem"] is None}
    wanted = {"good": 100, "trapped": 100, "packed.zip": 100, "packed.tar.gz": 100, "piped": 30}
    assert {name: graded[name] for name in wanted} == wanted
    assert 80 < graded["broken"] < 100
    problems = {name: card.report["problem"] for name, card in cards.items() if name not in graded}
    assert {each["fault"] for each in problems.values()} == {"submission"}
    assert set(problems) == {"climbs.zip", "cut.zip", "linked", "pipe", "empty", *hostile}
    empty = "this holds none of pre_data, saved_model, result; it is empty"
    assert {problems[name]["reason"] for name in ("empty", *hostile)} == {empty}
    assert lines[0] == "left out, for it is neither a folder nor an archive: 'notes.txt'"
    assert list(cards) == sorted(cards)
    assert sum(line.startswith("[") for line in lines) == len(cards)
    assert any(line.endswith("'good': 100 points") for line in lines)
    assert 'href="reports/good.txt"' in (out / "index.html").read_text()
    assert all(one_line(line) == line for line in lines)
    assert any("'ü': not graded (submission)" in line for line in lines)
    assert not any("hidden" in line for line in lines)
    assert not list(tmp_path.rglob("escaped"))
    named = stems(cards)
    for kind, suffixes in (("cards", [".json"]), ("reports", [".json", ".txt"]), ("errors", [])):
        expected = sorted(f"{stem}{suffix}" for stem in named.values() for suffix in suffixes)
        assert sorted(path.name for path in (out / kind).iterdir()) == expected
    assert {path.name for path in out.iterdir()} == {
        "cards", "reports", "errors", "class.csv", "class.json", "index.html",
    }  # fmt: skip


@pytest.mark.parametrize("what", ["folder", "archive"])
def test_a_hand_in_that_is_removed_meanwhile(exam, folder, out, monkeypatch, what):
    """Whether the child comes too late, or the parent, or it goes while it is read: one verdict, and nobody else's fault."""
    zipped(folder / "good", folder / "packed.zip")
    path = folder / ("good" if what == "folder" else "packed.zip")
    begin = classroom.start

    def late(where, *more):
        if where == path:
            path.rename(folder / ".away")
        return begin(where, *more)

    monkeypatch.setattr(classroom, "start", late)
    cards, lines = run_class(exam, folder, out)
    gone = {"fault": "submission", "reason": "it has been removed", "next_step": "submit it again"}
    assert cards[path.name].report["problem"] == gone
    assert not list((out / "errors").iterdir())
    assert f"'{path.name}': not graded (submission): it has been removed" in lines[-2] + lines[-3]
    (folder / ".away").rename(path)
    monkeypatch.undo()
    assert run_class(exam, folder, out, resume=True)[0][path.name].points == 100

    submission = handin.opened

    @contextlib.contextmanager
    def opened(where, scratch):
        with submission(where, scratch) as found:
            path.rename(folder / ".away")
            yield found

    monkeypatch.setattr(handin, "opened", opened)
    card = child.grade(path.name, path, exam, out, Limits())
    assert (card.points, card.report["problem"]) == (0, gone)


def test_a_hand_in_that_is_removed_before_its_turn(exam, folder, out):
    submissions.write_submission(folder / "zlast")

    def say(line):
        if (folder / "zlast").exists():
            (folder / "zlast").rename(folder / ".away")

    cards = {card.name: card for card in grade_class(exam, ClassFolders(folder, out), jobs=1, resume=False, say=say)}
    assert cards["zlast"].report["problem"]["reason"] == "it has been removed"
    assert cards["good"].points == 100


def test_no_report_shows_what_is_the_examiners(exam, folder, out, tmp_path):
    """A mistake on the examiner's side is told with its paths to the examiner alone."""
    tables = Exam(exam.answers, data=tmp_path / "the examiner's secret folder")
    cards, lines = run_class(tables, folder, out)
    problem = cards["good"].report["problem"]
    assert problem["fault"] == "examiner"
    assert str(tables.data) in problem["reason"]
    assert any(str(tables.data) in line for line in lines)
    assert "secret" in (out / "cards/good.json").read_text()
    shown = (out / "reports/good.json").read_text() + (out / "reports/good.txt").read_text()
    assert "secret" not in shown
    assert str(tmp_path) not in shown
    assert "not graded, the examiner's mistake: it could not be graded" in shown
    assert json.loads((out / "reports/good.json").read_text())["problem"]["fault"] == "examiner"


def test_a_child_says_what_this_process_says(exam, folder, out):
    zipped(folder / "good", folder / "packed.zip")
    (folder / "good/result/result_QQP.txt").write_text("1\n1\n\nx\n" + "0\n" * 7)
    cards, _ = run_class(exam, folder, out)
    found = exam.open().grade(Submission(folder / "good"))
    assert cards["good"].report == as_json(found)
    assert cards["good"].text == as_text(found)
    assert json.loads((out / "reports/good.json").read_text()) == as_json(found)
    assert (out / "reports/good.txt").read_text() == as_text(found)
    # rows 2 and 4 of 1 0 0 1 0 0 1 0 0 0 are 1 and invalid, row 7 is 0
    assert cards["good"].wrong == {"QQP": {"1": 0b10, "0": 0b1000000}}
    assert cards["packed.zip"].wrong == {"QQP": {}}
    assert cards["good"].adapters == cards["packed.zip"].adapters
    assert cards["good"].results["QQP"] != cards["packed.zip"].results["QQP"]


def test_one_at_a_time_or_four_give_the_same_bytes(exam, folder, tmp_path):
    for number in range(4):
        path = submissions.write_submission(folder / f"hand-in-{number}")
        (path / "result/result_QQP.txt").write_text("1\n" * number + "0\n" * (10 - number))
    (folder / "cut.zip").write_bytes(b"PK\x03\x04")
    found = []
    for jobs in (1, 4):
        run_class(exam, folder, tmp_path / str(jobs), jobs=jobs)
        reports = tmp_path / str(jobs) / "reports"
        found.append({path.name: path.read_bytes() for path in reports.iterdir()})
        for name in ("class.json", "class.csv", "index.html"):
            found[-1][name] = (tmp_path / str(jobs) / name).read_bytes()
        found[-1]["cards"] = [without_time(path) for path in files(tmp_path / str(jobs) / "cards")]
    assert found[0] == found[1]


def without_time(path):
    card = json.loads(path.read_text())
    assert card.pop("seconds") >= 0
    return card


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on(exam, folder, out, number):
    for place in range(4):
        large(folder / f"zlarge-{place}", 900)
    arguments = [sys.executable, "-S", "-m", "grading.score", "--jobs", "2"]
    arguments += ["--submissions", str(folder), "--answers", str(exam.answers), "--out", str(out)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    # tests that are run in the background hand an ignored Ctrl-C down
    listen = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    process = subprocess.Popen(arguments, **pipes, preexec_fn=listen)  # noqa: PLW1509  no threads here
    first = process.stdout.readline()
    assert "'good': 100 points" in first
    running = children_of(process.pid)
    asked = time.monotonic()
    process.send_signal(number)
    rest, errors = process.communicate(timeout=20)
    assert time.monotonic() - asked < 5
    assert (process.returncode, errors) == (130, "grading: interrupted\n")
    lines = rest.splitlines()
    assert lines[-2:] == [
        f"interrupted: {len(lines) - 1} of 5 submissions are graded and kept in {out}",
        "next: run the same command with --resume",
    ]
    assert not any(is_running(pid) for pid in running)
    assert (out / "cards/good.json").is_file()
    assert not (out / "work").exists()
    assert "good" in (out / "class.csv").read_text()
    assert (out / "index.html").is_file()
    for place in range(4):
        submissions.write_submission(folder / f"zlarge-{place}")
    done = subprocess.run([*arguments, "--resume"], **pipes, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((out / "cards").iterdir())) == 5


def children_of(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(number) for number in path.read_text().split()] if path.exists() else []


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_whoever_stops_reading_the_lines_loses_nothing(exam, folder, out):
    for place in range(2):
        large(folder / f"zlarge-{place}", 900)

    def say(line):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        grade_class(exam, ClassFolders(folder, out), jobs=3, resume=False, say=say)
    assert {path.name for path in out.iterdir()} == {"cards", "reports", "errors", "class.json"}
    assert [path.name for path in (out / "cards").iterdir()] == ["good.json"]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
