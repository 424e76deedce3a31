"""The command, as an examiner runs it: exit codes, the files it writes, and that it needs nothing but Python."""

import errno
import json
import os
import subprocess
import sys
import zipfile

import pytest
from conftest import ROOT
from support import submissions
from support.classes import zipped
from support.commands import command, refusal, run

from grading import score


@pytest.fixture
def folder(tmp_path):
    return submissions.write_submission(tmp_path / "submission")


@pytest.fixture
def answers(tmp_path):
    return submissions.write_answers(tmp_path / "answers")


def test_datasets_in_the_order_that_was_asked(folder, answers, capsys):
    submissions.write_answers(answers, name="result_CoLA_64.txt")
    assert run(folder, answers, "--datasets", "QQP,CoLA") == 0
    out = capsys.readouterr().out
    assert out.startswith("QQP (counts 1/2), answer key result_QQP_46.txt\n")
    assert out.endswith("points: 50 / 100\n")
    assert run(folder, answers, "--datasets", "QQP") == 0
    assert capsys.readouterr().out.endswith("points: 100 / 100\n")


def test_no_submission(answers, tmp_path, capsys):
    assert "expected the submission's folder, found nothing" in refusal(capsys, tmp_path / "nothing", answers)


def test_a_json_report_that_cannot_be_written(folder, answers, tmp_path, capsys):
    for target, words in ((tmp_path / "no/report.json", "cannot be written"), (tmp_path, "needs a regular file")):
        assert run(folder, answers, "--json", str(target)) == 2
        out, err = capsys.readouterr()
        assert out.endswith("points: 100 / 100\n")
        assert words in err


@pytest.mark.parametrize("name", ["result_QQP_46.txt", "result_CoLA.txt"])
@pytest.mark.parametrize("option", ["--json", "--gradescope"])
def test_no_report_over_a_key_or_with_the_name_of_one(folder, answers, capsys, option, name):
    before = (answers / "result_QQP_46.txt").read_bytes()
    assert "the report must not be written over an answer key" in refusal(
        capsys, folder, answers, option, str(answers / name)
    )
    assert [path.name for path in answers.iterdir()] == ["result_QQP_46.txt"]
    assert (answers / "result_QQP_46.txt").read_bytes() == before


@pytest.mark.parametrize(
    "option", ["--submission", "--answers", "--submissions", "--out", "--base", "--data", "--json", "--gradescope"]
)
def test_an_empty_path_is_not_the_current_folder(folder, answers, capsys, option):
    """A variable of the shell that was not set."""
    with pytest.raises(SystemExit) as caught:
        run(folder, answers, option, "")
    assert caught.value.code == 2
    assert f"argument {option}: an empty text is no path; pass '.' for the current folder" in capsys.readouterr().err


@pytest.mark.parametrize("names", ["", "QQP,", "QQP,QQP", "../QQP", "QQP CoLA"])
def test_dataset_names_on_the_command_line(folder, answers, names, capsys):
    with pytest.raises(SystemExit) as caught:
        run(folder, answers, "--datasets", names)
    assert caught.value.code == 2
    assert "--datasets" in capsys.readouterr().err


def test_the_rubric_is_printed(capsys):
    assert score.main(["--rubric"]) == 0
    rows = [line[12:].split() for line in capsys.readouterr().out.splitlines()]
    points = {" ".join(row[:2]): int(row[2]) for row in rows if len(row) > 2 and row[2].isdigit()}
    assert points.pop("= all") == 100
    assert [points.pop(f"= {part}") for part in ("pre_data", "saved_model", "result")] == [10, 20, 70]


def test_only_the_standard_library_is_loaded(folder, answers):
    """Every module that the command loads is Python's own or the grader's."""
    program = f"""
import sys, os
sys.path.insert(0, {str(ROOT)!r})
before = set(sys.modules)
from grading import score
assert score.main(sys.argv[1:]) == 0
own = os.path.join({str(ROOT)!r}, "grading", "")
library = os.path.join(os.path.dirname(os.path.realpath(os.__file__)), "")
for name in set(sys.modules) - before:
    path = getattr(sys.modules[name], "__file__", None)
    if path is not None and not path.startswith(own):
        path = os.path.realpath(path)
        assert path.startswith(library) and "site-packages" not in path, (name, path)
"""
    arguments = ["--submission", folder, "--answers", answers]
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", program, *map(str, arguments)],
        capture_output=True, check=False, text=True, timeout=60,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stdout.endswith("points: 100 / 100\n")


def test_nothing_of_the_submission_is_imported(folder, answers):
    trap = b"import os\nos._exit(99)\n"
    for name in ("json.py", "sitecustomize.py", "usercustomize.py", "grading/__init__.py", "grading/score.py", "re.py"):
        submissions.write(folder / name, trap)
    found = command("--submission", folder, "--answers", answers)
    assert (found.returncode, found.stderr) == (0, b"")


def test_a_named_pipe_does_not_hang_the_command(folder, answers):
    for path in ("result/result_QQP.txt", "saved_model/QQP/adapter_model.safetensors", "pre_data/QQP/QQP_dev.json"):
        (folder / path).unlink()
        os.mkfifo(folder / path)
    found = command("--submission", folder, "--answers", answers)
    assert found.returncode == 0
    assert found.stdout.decode().count("is a named pipe") == 3


def test_a_terminal_that_knows_only_ascii(folder, answers):
    foreign = "\u00e9\u4e2d\x1b[2J"
    record = {"instruction": "", "input": "", "output": "", foreign: ""}
    submissions.write_json(folder / "pre_data/QQP/QQP_train.json", [record])
    (folder / "result/result_QQP.txt").write_bytes(f"{foreign}\n".encode())
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    found = command("--submission", folder, "--answers", answers, env=environment)
    assert (found.returncode, found.stderr) == (0, b"")
    assert b"\x1b" not in found.stdout
    assert rb"key '\xe9\u4e2d\x1b[2J' is not part of the record" in found.stdout
    assert rb"it is row 1: '\xe9\u4e2d\x1b[2J'" in found.stdout


def test_colour_is_for_terminals(folder, answers):
    pty = pytest.importorskip("pty")
    ends = pty.openpty()
    command_line = [sys.executable, "-S", "-m", "grading.score", "--submission", str(folder), "--answers", str(answers)]
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(command_line, cwd=ROOT, stdout=ends[1], env=environment)
    os.close(ends[1])
    shown = b""
    while b"points: " not in shown:
        shown += os.read(ends[0], 65536)
    assert process.wait(60) == 0
    os.close(ends[0])
    assert b"\x1b[32m" in shown
    assert b"\x1b" not in command("--submission", folder, "--answers", answers).stdout


def test_a_report_is_written_when_the_examiner_is_mistaken(folder, answers, tmp_path, capsys):
    (answers / "result_QQP_46.txt").write_bytes(b"")
    files = [tmp_path / "report.json", tmp_path / "results.json"]
    assert run(folder, answers, "--json", str(files[0]), "--gradescope", str(files[1])) == 2
    report, results = (json.loads(path.read_text()) for path in files)
    assert (report["points"], report["parts"], report["datasets"], report["advice"]) == (0, [], [], [])
    assert report["problem"]["fault"] == "examiner"
    assert report["problem"]["reason"] == "the examiner's own files cannot be used"
    assert (results["score"], results["tests"]) == (0, [])
    assert results["output"].startswith("not graded, the examiner's mistake: ")
    out, err = capsys.readouterr()
    assert out == ""
    assert "result_QQP_46.txt: the answer key is empty. Next: write one label a line into it" in err


def test_a_report_is_written_when_the_grader_breaks(folder, answers, tmp_path, capsys, monkeypatch):
    def broken(*arguments):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("grading.grader.check_records", broken)
    assert run(folder, answers, "--json", str(tmp_path / "report.json")) == 1
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["problem"]["fault"] == "grader"
    assert report["problem"]["reason"].startswith("ZeroDivisionError in test_score.py, line ")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("ZeroDivisionError: oh\n")


def test_an_archive_is_graded_like_its_folder(folder, answers, tmp_path, capsys):
    run(folder, answers)
    expected = capsys.readouterr().out
    for name, root in (("plain.zip", folder), ("around.zip", folder.parent)):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for path in sorted(folder.rglob("*")):
                archive.write(path, path.relative_to(root))
        assert run(tmp_path / name, answers) == 0
        assert capsys.readouterr().out == expected


def test_a_broken_archive_scores_zero(answers, tmp_path, capsys):
    submissions.write(tmp_path / "handin.zip", b"PK\3\4 and no more")
    assert run(tmp_path / "handin.zip", answers, "--json", str(tmp_path / "report.json")) == 0
    out = capsys.readouterr().out
    assert out.startswith("not graded, the submission's fault: ")
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["points"], report["problem"]["fault"]) == (0, "submission")


def test_a_file_of_another_kind_scores_zero_as_in_a_class(answers, tmp_path, capsys):
    submissions.write(tmp_path / "submission.rar", b"Rar!")
    assert run(tmp_path / "submission.rar", answers) == 0
    assert capsys.readouterr().out == (
        "not graded, the submission's fault: it is neither a folder nor a .zip, .tar, .tar.gz or .tgz archive\n"
        "  next: submit the folder itself, or a .zip or .tar.gz of it\n"
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--out", "x"], "--submissions and --out go together"),
        (["--submissions", "x"], "--submissions and --out go together"),
        (["--rerun", "3"], "--rerun and --recipes go together"),
        (["--rerun", "0", "--recipes", "x"], "expected a whole number > 0"),
        (["--submissions", "x", "--out", "y", "--json", "-"], "--json is for one submission"),
        (["--resume"], "--resume is for a class"),
    ],
)
def test_options_that_mean_nothing_together(options, words, capsys):
    with pytest.raises(SystemExit) as caught:
        score.main(options)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_a_reader_that_has_seen_enough(folder, answers):
    read, write = os.pipe()
    os.close(read)
    found = subprocess.run(
        [sys.executable, "-S", "-m", "grading.score", "--submission", str(folder), "--answers", str(answers)],
        cwd=ROOT, stdout=write, stderr=subprocess.PIPE, check=False, timeout=60,
    )  # fmt: skip
    os.close(write)
    assert (found.returncode, found.stderr) == (0, b"")


def test_a_full_disk_is_the_examiners_to_fix(folder, answers, tmp_path, capsys, monkeypatch):
    zipped(folder, tmp_path / "submission.zip")

    def full(path, *more, **named):
        raise OSError(errno.ENOSPC, "No space left on device", path)

    monkeypatch.setattr(os, "mkdir", full)
    assert run(tmp_path / "submission.zip", answers, "--json", str(tmp_path / "report.json")) == 2
    problem = json.loads((tmp_path / "report.json").read_text())["problem"]
    step = "the examiner frees space on the disk where it is unpacked, and grades again"
    assert problem == {"fault": "examiner", "reason": "no space is left to unpack it", "next_step": step}
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"grading: could not grade: no space is left to unpack it. Next: {step}\n")


def test_taking_too_much_memory_is_the_submissions_fault(folder, answers, tmp_path, monkeypatch):
    def full(*arguments):
        raise MemoryError

    monkeypatch.setattr("grading.grader.check_records", full)
    assert run(folder, answers, "--json", str(tmp_path / "report.json")) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["points"], report["problem"]["fault"]) == (0, "submission")


def test_names_that_are_too_long_are_said(folder, answers, tmp_path, capsys):
    long = "x" * 300
    assert "File name too long" in refusal(capsys, tmp_path / long, answers)
    assert run(folder, answers, "--json", str(tmp_path / long)) == 2
    assert "File name too long" in capsys.readouterr().err


def test_gradescope_has_no_dash(folder, answers, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(folder, answers, "--gradescope", "-") == 0
    assert json.loads((tmp_path / "-").read_text())["score"] == 100
