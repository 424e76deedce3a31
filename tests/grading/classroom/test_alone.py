"""One submission alone: the same bounded child as in a class, and reports that nobody can turn aside."""

import json
import os
import subprocess
import sys
import tempfile
import threading

import pytest
from conftest import ROOT
from support import submissions
from support.classes import large, zipped
from support.commands import command, refusal, run

from grading import score
from grading.classroom import alone
from grading.classroom.alone import Outcome, in_fork
from grading.classroom.sandbox import Limits

forks = pytest.mark.skipif(not alone.can_fork(), reason="no bounded fork here")


@pytest.fixture
def folder(tmp_path):
    return submissions.write_submission(tmp_path / "submission")


@pytest.fixture
def answers(tmp_path):
    return submissions.write_answers(tmp_path / "answers")


@pytest.fixture(params=["fork", "interpreter"])
def way(request, monkeypatch):
    """Both ways to a bounded child."""
    if request.param == "interpreter":
        monkeypatch.setattr(score, "can_fork", lambda: False)
    elif not alone.can_fork():
        pytest.skip("no bounded fork here")
    return request.param


def bounded(monkeypatch, **limits):
    monkeypatch.setattr(score, "Limits", lambda: Limits(**limits))


def test_both_ways_give_one_report(folder, answers, tmp_path, way, capsys):
    assert run(folder, answers, "--json", str(tmp_path / "report.json")) == 0
    out, err = capsys.readouterr()
    assert (out.splitlines()[-1], err) == ("points: 100 / 100", "")
    assert json.loads((tmp_path / "report.json").read_text())["points"] == 100


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"seconds": 0.3}, "takes longer than 0.3 seconds"),
        ({"cpu_seconds": 1}, "takes more than 1 seconds of CPU"),
        ({"address_space": 16 << 20}, "takes more than 16 MiB of memory"),
    ],
)
def test_limits(folder, answers, tmp_path, way, monkeypatch, capsys, limits, words):
    pytest.importorskip("resource")
    if "address_space" in limits:
        # a fork has it besides what its parent has
        limits = {"address_space": (16 if way == "fork" else 40) << 20}
        words = words if way == "fork" else words.replace("16", "40")
        # one string of 60 MiB: a block as large as this is new memory, whatever the parent has left free
        (folder / "result/result_QQP.txt").write_bytes(b"0\n" * (7 << 20) + "\U0001f600".encode() + b"0\n" * (1 << 19))
    else:
        large(folder, 1000)
    bounded(monkeypatch, **limits)
    assert run(folder, answers, "--json", str(tmp_path / "report.json")) == 0
    problem = json.loads((tmp_path / "report.json").read_text())["problem"]
    assert problem["fault"] == "submission"
    assert words in problem["reason"]
    assert capsys.readouterr().out.startswith("not graded, the submission's fault: ")


def test_an_archive_that_is_ended_leaves_nothing(folder, answers, tmp_path, way, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    zipped(large(folder, 900), tmp_path / "a.zip")
    bounded(monkeypatch, seconds=0.5)
    assert run(tmp_path / "a.zip", answers, "--json", str(tmp_path / "report.json")) == 0
    assert "takes longer" in json.loads((tmp_path / "report.json").read_text())["problem"]["reason"]
    assert list((tmp_path / "temporary").iterdir()) == []


@forks
@pytest.mark.parametrize(
    ("do", "fault", "words"),
    [
        (lambda: os._exit(3), "grader", "failed with exit code 3"),
        (lambda: os.kill(os.getpid(), 9), "examiner", "was killed"),
        (lambda: os.kill(os.getpid(), 10), "grader", "ended with signal 10"),
        (lambda: {}["no"], "grader", "failed with exit code 1"),
    ],
)
def test_a_child_that_fails(capfd, do, fault, words):
    outcome = in_fork(lambda bounds: do(), Limits())
    assert outcome.report["problem"]["fault"] == fault
    assert words in outcome.report["problem"]["reason"]


@forks
def test_a_rerun_has_no_limits_of_the_childs(monkeypatch):
    """What follows `lift` may take longer, and more."""
    import time

    def work(bounds):
        bounds.lift()
        time.sleep(0.4)
        return Outcome({"problem": None}, "text", "text")

    assert in_fork(work, Limits(seconds=0.2)).text == "text"
    ended = in_fork(lambda bounds: time.sleep(9), Limits(seconds=0.2))
    assert "takes longer than 0.2 seconds" in ended.report["problem"]["reason"]


def shell(redirections, *arguments):
    line = f'"$@" {redirections}'
    words = [sys.executable, "-S", "-m", "grading.score", *map(str, arguments)]
    return subprocess.run(["sh", "-c", line, "sh", *words], cwd=ROOT, capture_output=True, check=False, timeout=60)


def test_no_space_for_a_temporary_folder_is_the_examiners_to_fix(folder, answers, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(score, "can_fork", lambda: False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert run(folder, answers) == 2
    found = capsys.readouterr().err
    assert "no temporary folder could be made: No such file or directory. Next: the examiner frees space" in found


def test_a_daemon_thread_of_a_library_does_not_forbid_a_fork():
    ended = threading.Event()
    threading.Thread(target=ended.wait, daemon=True).start()
    try:
        assert alone.can_fork() == (sys.platform == "linux")
    finally:
        ended.set()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
@pytest.mark.parametrize("redirections", [">/dev/full", ">&-", ">&- 2>&-", ">/dev/full 2>/dev/full", "<&- >&-"])
def test_standard_output_that_is_full_or_closed(folder, answers, tmp_path, redirections):
    """The report is in the file, and nothing of the report is in a file that the grader opens later."""
    done = shell(redirections, "--submission", folder, "--answers", answers, "--json", tmp_path / "report.json")
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert json.loads((tmp_path / "report.json").read_text())["points"] == 100
    done = shell(redirections, "--submission", folder, "--answers", answers)
    assert (done.returncode, b"Traceback" in done.stderr) == (2, False)
    assert b"the report cannot be written to standard output" in done.stderr or "2>" in redirections
    submissions.write_submission(tmp_path / "class/one")
    submissions.write_submission(tmp_path / "class/two")
    out = tmp_path / "out"
    done = shell(redirections, "--submissions", tmp_path / "class", "--answers", answers, "--out", out)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert sorted(path.name for path in (out / "cards").iterdir()) == ["one.json", "two.json"]
    assert (out / "class.csv").read_text().count(",100") >= 2
    assert shell(redirections, "--rubric").returncode == 2


def test_a_report_is_not_written_into_the_submission(folder, answers, tmp_path, capsys):
    (tmp_path / "link").symlink_to(folder / "result")
    for name in (folder / "report.json", folder / "result/../r", tmp_path / "link/report.json"):
        for option in ("--json", "--gradescope"):
            words = "the report must not be written into the submission"
            assert words in refusal(capsys, folder, answers, option, str(name))
    assert run(folder, answers, "--json", str(tmp_path / "submission.json")) == 0
    zipped(folder, tmp_path / "a.zip")
    before = (tmp_path / "a.zip").read_bytes()
    capsys.readouterr()
    assert words in refusal(capsys, tmp_path / "a.zip", answers, "--json", str(tmp_path / "a.zip"))
    assert (tmp_path / "a.zip").read_bytes() == before


def test_a_report_may_be_written_into_the_current_folder(folder, answers, monkeypatch):
    monkeypatch.chdir(folder)
    assert score.main(["--answers", str(answers), "--json", "report.json"]) == 0
    assert json.loads((folder / "report.json").read_text())["points"] == 100


def test_a_report_is_not_written_through_a_link(folder, answers, tmp_path, capsys):
    (tmp_path / "victim").write_text("whole")
    (tmp_path / "report.json").symlink_to("victim")
    (tmp_path / "nowhere.json").symlink_to("nothing")
    for name in ("report.json", "nowhere.json"):
        assert run(folder, answers, "--json", str(tmp_path / name)) == 2
        assert "the report needs a regular file" in capsys.readouterr().err
    assert (tmp_path / "victim").read_text() == "whole"
    assert not (tmp_path / "nothing").exists()
    # a name of the partial file that could be foreseen is left alone
    (tmp_path / ".r.json.partial").symlink_to("victim")
    assert run(folder, answers, "--json", str(tmp_path / "r.json")) == 0
    assert (tmp_path / "victim").read_text() == "whole"
    assert {path.name for path in tmp_path.iterdir() if path.name.endswith(".partial")} == {".r.json.partial"}
    long = "x" * 250 + ".json"
    assert run(folder, answers, "--json", str(tmp_path / long)) == 0


def test_one_file_for_two_reports(folder, answers, tmp_path, capsys):
    (tmp_path / "other.json").write_text("")
    os.link(tmp_path / "other.json", tmp_path / "hard.json")
    (tmp_path / "link").symlink_to(".")
    for one, other in (("r.json", "r.json"), ("r.json", "./link/r.json"), ("other.json", "hard.json")):
        with pytest.raises(SystemExit) as caught:
            run(folder, answers, "--json", f"{tmp_path}/{one}", "--gradescope", f"{tmp_path}/{other}")
        assert caught.value.code == 2
        assert "--json and --gradescope name one file" in capsys.readouterr().err


def started(where, answers, *words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-S", *words, "--answers", str(answers)]
    return subprocess.run(line, cwd=where, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(("where", "name"), [(".", "grading/score.py"), ("grading", "score.py"), (".", "grading")])
def test_a_start_as_a_file_says_how_to_start(answers, where, name):
    found = started(ROOT / where, answers, name)
    assert (found.returncode, found.stdout) == (2, "")
    assert "next: start it in " in found.stderr
    assert "python -m grading.score --submission PATH" in found.stderr


@pytest.mark.parametrize("name", ["argparse.py", "json.py", "pathlib.py", "traceback.py", "ctypes/__init__.py"])
def test_nothing_is_imported_from_the_current_folder(folder, answers, name):
    submissions.write(folder / name, b"raise SystemExit(99)")
    for module in ("grading.score", "grading"):
        found = started(folder, answers, "-m", module)
        assert (found.returncode, found.stderr) == (0, "")
        assert found.stdout.endswith("points: 100 / 100\n")


def test_the_package_can_be_started(folder, answers):
    line = [sys.executable, "-S", "-m", "grading", "--submission", str(folder), "--answers", str(answers)]
    assert subprocess.run(line, cwd=ROOT, capture_output=True, check=True, timeout=60).stdout.endswith(b"100 / 100\n")
    assert command("--submission", folder, "--answers", answers).returncode == 0
