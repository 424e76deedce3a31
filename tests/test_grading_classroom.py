"""A class: real folders and archives, each graded by a real child process, whatever is in them."""

import contextlib
import csv
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
import submissions

from grading.classroom import run as classroom
from grading.classroom import sandbox
from grading.classroom import worker as child
from grading.classroom.hand_ins import stems
from grading.classroom.run import grade_class
from grading.classroom.sandbox import Limits
from grading.errors import CouldNotGrade, FileProblem
from grading.grader import Exam
from grading.report.json_report import as_json
from grading.report.text import as_text
from grading.submission import opening as handin
from grading.submission.folder import Submission

CHECKOUT = Path(__file__).resolve().parent.parent

TRAP = b"import os\nos._exit(99)\n"


@pytest.fixture
def exam(tmp_path):
    return Exam(submissions.write_answers(tmp_path / "answers"))


@pytest.fixture
def folder(tmp_path):
    """The folder of the hand-ins, with one in it that earns every point."""
    submissions.write_submission(tmp_path / "class/good")
    return tmp_path / "class"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def run(exam, folder, out, jobs=2, resume=False, **more):
    """The cards by name, and the lines that were said."""
    lines = []
    cards = grade_class(exam, folder, out, jobs=jobs, resume=resume, say=lines.append, **more)
    assert not (out / "work").exists()
    assert not (out / "class.lock").exists()
    assert (out / "class.csv").is_file()
    assert (out / "index.html").is_file()
    return {card.name: card for card in cards}, lines


def files(path):
    return sorted(each for each in path.rglob("*") if each.is_file())


def zipped(folder, archive):
    with zipfile.ZipFile(archive, "w") as file:
        for path in files(folder):
            file.write(path, path.relative_to(folder))


def large(folder, megabytes):
    """A sound hand-in with an adapter so large that grading it takes a while, and next to no space on the disk."""
    submissions.write_submission(folder)
    size = megabytes << 20
    tensors = {}
    begin = 0
    for side, shape in (("A", [submissions.RANK, size // 16]), ("B", [size // 16, submissions.RANK])):
        name = f"base_model.model.model.layers.0.self_attn.q_proj.lora_{side}.weight"
        tensors[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, begin + size // 2]}
        begin += size // 2
    path = folder / "saved_model/QQP/adapter_model.safetensors"
    header = submissions.framed(json.dumps(tensors).encode())
    path.write_bytes(header)
    os.truncate(path, len(header) + size)
    return folder


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

    cards, lines = run(exam, folder, out)

    graded = {name: card.points for name, card in cards.items() if card.report["problem"] is None}
    wanted = {"good": 100, "trapped": 100, "packed.zip": 100, "packed.tar.gz": 100, "piped": 30, "empty": 0}
    assert {name: graded[name] for name in wanted} == wanted
    assert 80 < graded["broken"] < 100
    assert all(graded[name] == 0 for name in hostile)
    problems = {name: card.report["problem"] for name, card in cards.items() if name not in graded}
    assert {each["fault"] for each in problems.values()} == {"submission"}
    assert set(problems) == {"climbs.zip", "cut.zip", "linked", "notes.txt", "pipe"}
    assert list(cards) == sorted(cards)
    assert sum(line.startswith("[") for line in lines) == len(cards)
    assert any(line.endswith("'good': 100 points") for line in lines)
    assert 'href="reports/good.txt"' in (out / "index.html").read_text()
    assert all(line.isascii() and "\n" not in line for line in lines)
    assert not any("hidden" in line for line in lines)
    assert not list(tmp_path.rglob("escaped"))
    named = stems(cards)
    for kind, suffixes in (("cards", [".json"]), ("reports", [".json", ".txt"]), ("errors", [])):
        expected = sorted(f"{stem}{suffix}" for stem in named.values() for suffix in suffixes)
        assert sorted(path.name for path in (out / kind).iterdir()) == expected
    assert {path.name for path in out.iterdir()} == {
        "cards", "reports", "errors", "class.csv", "class.json", "index.html",
    }  # fmt: skip


def test_what_is_neither_folder_nor_archive_is_refused_and_shown(exam, folder, out):
    """Everybody who handed something in is in the table: whoever is not would be taken for somebody who did not."""
    zipped(folder / "good", folder / "packed.zip")
    (folder / "late.7z").write_bytes(b"7z")
    (folder / "other.rar").write_bytes(b"Rar!")
    (folder / "link").symlink_to(folder / "good")
    (folder / "link.zip").symlink_to(folder / "packed.zip")
    (folder / "nowhere.tgz").symlink_to("nothing")
    os.mkfifo(folder / "f.zip")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(os.path.relpath(folder / "s.zip"))  # such a path may have 107 bytes
    (folder / ".hidden.7z").write_bytes(b"7z")
    (folder / ".DS_Store").write_bytes(b"")
    cards, lines = run(exam, folder, out)
    wanted = {
        "f.zip": "it is a named pipe",
        "late.7z": "it is neither a folder nor an archive that is read",
        "link": "it is a link, which is not followed",
        "link.zip": "it is a link, which is not followed",
        "nowhere.tgz": "it is a link, which is not followed",
        "other.rar": "it is neither a folder nor an archive that is read",
        "s.zip": "it is a socket",
    }
    refused = {name: card.report["problem"] for name, card in cards.items() if card.report["problem"]}
    assert {name: problem["reason"] for name, problem in refused.items()} == wanted
    step = "hand in the folder itself, or a .zip or .tar.gz of it"
    assert {(each["fault"], each["next_step"]) for each in refused.values()} == {("submission", step)}
    assert all(cards[name].points == 0 for name in wanted)
    rows = {row["name"]: row["problem"] for row in csv.DictReader((out / "class.csv").open(encoding="utf-8"))}
    assert rows == {"good": "", "packed.zip": "", **wanted}
    page = (out / "index.html").read_text(encoding="utf-8")
    assert all(f'href="reports/{stem}.txt"' in page for stem in stems(cards).values())
    assert lines[-1].startswith("9 hand-ins: ")
    (folder / "late.7z").unlink()
    submissions.write_submission(folder / "late.7z")
    cards, _ = run(exam, folder, out, resume=True)
    assert cards["late.7z"].points == 100


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
    cards, lines = run(exam, folder, out)
    gone = {"fault": "submission", "reason": "it is not there any more", "next_step": "hand it in again"}
    assert cards[path.name].report["problem"] == gone
    assert not list((out / "errors").iterdir())
    assert f"'{path.name}': not graded (submission): it is not there any more" in lines[-2] + lines[-3]
    (folder / ".away").rename(path)
    monkeypatch.undo()
    assert run(exam, folder, out, resume=True)[0][path.name].points == 100

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

    cards = {card.name: card for card in grade_class(exam, folder, out, jobs=1, resume=False, say=say)}
    assert cards["zlast"].report["problem"]["reason"] == "it is not there any more"
    assert cards["good"].points == 100


def test_no_report_shows_what_is_the_examiners(exam, folder, out, tmp_path):
    """A mistake on the examiner's side is told with its paths to the examiner alone."""
    tables = Exam(exam.answers, data=tmp_path / "the examiner's secret folder")
    cards, lines = run(tables, folder, out)
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
    cards, _ = run(exam, folder, out)
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
        run(exam, folder, tmp_path / str(jobs), jobs=jobs)
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


def write_nothing(folder):
    return folder


def write_large(folder):
    return large(folder, 1000)


def write_long_records(folder):
    path = folder / "pre_data/QQP/QQP_train.json"
    path.write_bytes(b"[" + b"[]," * (10 << 20) + b"[]]")


def write_long_entry(folder):
    submissions.write(folder / "result/large", bytes(2 << 20))
    zipped(folder, folder.parent / "packed.zip")


@pytest.mark.parametrize(
    ("write", "limits", "name", "fault", "words"),
    [
        (write_large, Limits(seconds=1.5), "good", "submission", "takes longer than 1.5 seconds"),
        (write_large, Limits(cpu_seconds=1), "good", "submission", "takes more than 1 seconds of CPU"),
        (
            write_long_records,
            Limits(address_space=256 << 20),
            "good",
            "submission",
            "grading it takes more than 256 MiB of memory",
        ),
        (write_long_entry, Limits(file_bytes=1 << 20), "packed.zip", "submission", "file of more bytes than are taken"),
        (write_nothing, Limits(open_files=1), "good", "examiner", "Too many open files"),
    ],
)
def test_limits(exam, folder, out, write, limits, name, fault, words):
    pytest.importorskip("resource")
    write(folder / "good")
    submissions.write_submission(folder / "other")
    cards, lines = run(exam, folder, out, limits=limits)
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
        ("pass", "grader", "left no sound card: JSONDecodeError"),
        ("print('{}')", "grader", "left no sound card: KeyError"),
        ("print('[' * 100000)", "grader", "left no sound card: RecursionError"),
        ("print('[]')", "grader", "left no sound card: TypeError"),
        ("print('x' * (33 << 20))", "grader", "left no sound card: ValueError"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "examiner", "the grading process was killed"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "grader", "died of signal 11"),
    ],
)
def test_a_child_that_fails(exam, folder, out, monkeypatch, boot, fault, words):
    monkeypatch.setattr(sandbox, "_BOOT", boot)
    cards, _ = run(exam, folder, out)
    problem = cards["good"].report["problem"]
    assert problem["fault"] == fault
    assert words in problem["reason"]


def test_the_graders_own_fault_is_kept_for_the_examiner_and_made_good(exam, folder, out, monkeypatch):
    monkeypatch.setattr(sandbox, "_BOOT", "raise ValueError('why')")
    run(exam, folder, out)
    assert "ValueError: why" in (out / "errors/good.txt").read_text()
    assert "why" not in (out / "reports/good.json").read_text() + (out / "reports/good.txt").read_text()
    monkeypatch.undo()
    cards, _ = run(exam, folder, out, resume=True)
    assert cards["good"].points == 100
    assert not (out / "errors/good.txt").exists()


def test_an_error_stream_is_kept_up_to_a_bound(exam, folder, out, monkeypatch):
    monkeypatch.setattr(sandbox, "_BOOT", "import sys; sys.stderr.write('x' * (1 << 20) + 'end'); sys.exit(1)")
    run(exam, folder, out)
    text = (out / "errors/good.txt").read_text()
    assert len(text) == sandbox.ERRORS_KEPT
    assert text.endswith("end")


@pytest.mark.parametrize(
    ("error", "fault", "words"),
    [
        (FileProblem("it is no archive", "pack it"), "submission", "it is no archive"),
        (CouldNotGrade("table: gone. Next: put it back"), "examiner", "table: gone"),
        (MemoryError(), "submission", "takes more than 2,048 MiB of memory"),
        (RecursionError(), "submission", "nested deeper"),
        (OSError(errno.ENOSPC, "No space", "/secret"), "examiner", "no space is left"),
        (OSError(errno.EIO, "I/O error", "/secret"), "grader", "OSError in test_grading_classroom.py, line "),
        (KeyError("secret"), "grader", "KeyError in test_grading_classroom.py, line "),
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


def test_resume_grades_what_is_new_or_changed(exam, folder, out):
    for name in ("changed", "kept", "gone"):
        submissions.write_submission(folder / name)
    zipped(folder / "good", folder / "packed.zip")
    (folder / "cut.zip").write_bytes(b"PK")
    run(exam, folder, out)
    before = {path.name: path.stat().st_mtime_ns for path in (out / "cards").iterdir()}
    (folder / "changed/result/result_QQP.txt").unlink()
    for path in files(folder / "gone"):
        path.unlink()
    submissions.write_submission(folder / "new")
    cards, lines = run(exam, folder, out, resume=True)
    assert lines[0] == "3 of 7 hand-ins were graded before and have not changed"
    done = {line.split("'")[1] for line in lines if line.startswith("[")}
    assert done == {"changed", "gone", "new", "cut.zip"}
    assert [cards[name].points for name in ("changed", "gone", "kept", "new", "packed.zip")] == [30, 0, 100, 100, 100]
    for name in ("kept.json", "good.json", "packed.zip.json"):
        assert (out / "cards" / name).stat().st_mtime_ns == before[name]


def test_a_card_that_is_not_sound_is_made_again(exam, folder, out):
    run(exam, folder, out)
    whole = (out / "cards/good.json").read_bytes()
    for bad in (b"", b"[]", whole[:-20], whole.replace(b"labeltune.card/", b"labeltune.card/9")):
        (out / "cards/good.json").write_bytes(bad)
        cards, lines = run(exam, folder, out, resume=True)
        assert cards["good"].points == 100
        assert len(lines) == 2


def test_resume_with_something_else(exam, folder, out, tmp_path):
    run(exam, folder, out)

    def refusal(other=exam):
        with pytest.raises(CouldNotGrade, match="Next: go on with what it was graded with") as caught:
            run(other, folder, out, resume=True)
        return str(caught.value).partition(" with ")[2].partition(". Next")[0]

    moved = Exam(submissions.write_answers(tmp_path / "the same key elsewhere"))
    cards, _ = run(moved, folder, out, resume=True)
    assert cards["good"].points == 100
    submissions.write_answers(tmp_path / "answers", ["1"] * 10)
    assert refusal() == "other answer keys"
    submissions.write_answers(tmp_path / "answers")
    assert refusal(Exam(exam.answers, data=tmp_path)) == "another --data"
    assert refusal(Exam(exam.answers, base=base(tmp_path / "base"))) == "another --base"
    about = json.loads((out / "class.json").read_text())
    (out / "class.json").write_text(json.dumps({**about, "grader": "0"}))
    assert refusal() == "another version of the grader"
    (out / "class.json").write_text("{}")
    with pytest.raises(CouldNotGrade, match="cannot be read as what the class was graded with"):
        run(exam, folder, out, resume=True)


def base(folder, layers=1):
    """The folder of a base model's configuration."""
    sizes = {"hidden_size": 3, "intermediate_size": 8, "num_attention_heads": 1, "head_dim": 4, "vocab_size": 9}
    submissions.write_json(folder / "config.json", {"model_type": "llama", "num_hidden_layers": layers, **sizes})
    return folder


def test_resume_with_other_contents_of_the_exams_files(exam, folder, out, tmp_path):
    data = tmp_path / "data"
    for part, labels in (("train", ["1"] * 4), ("dev", [None] * 10)):
        rows = [
            [str(row), *(["a {0}", "b {0}", label] if label else ["c {0}", "d {0}"])]
            for row, label in enumerate(labels)
        ]
        text = "".join("\t".join(row).format(place) + "\n" for place, row in enumerate(rows))
        submissions.write(data / f"QQP/QQP_{part}.tsv", text.encode())
    given = Exam(exam.answers, base=base(tmp_path / "base"), data=data)
    cards, _ = run(given, folder, out)
    assert cards["good"].points == 100
    shutil.copytree(data, tmp_path / "moved/data")
    same = Exam(exam.answers, base=base(tmp_path / "moved/base") / "config.json", data=tmp_path / "moved/data")
    assert run(same, folder, out, resume=True)[1][0] == "1 of 1 hand-ins were graded before and have not changed"

    def refusal():
        with pytest.raises(CouldNotGrade, match="Next: go on with what it was graded with") as caught:
            run(given, folder, out, resume=True)
        return str(caught.value).partition(" with ")[2].partition(". Next")[0]

    base(tmp_path / "base", layers=2)
    assert refusal() == "another --base"
    for part in ("train", "dev"):
        path = data / f"QQP/QQP_{part}.tsv"
        before = path.read_bytes()
        path.write_bytes(before + b"\n")
        assert refusal() == "another --base, another --data"
        path.unlink()
        assert refusal() == "another --base, another --data"
        path.write_bytes(before)
    base(tmp_path / "base")
    run(given, folder, out, resume=True)
    (data / "QQP/QQP_dev.tsv").unlink()
    (data / "QQP/QQP_dev.tsv").mkdir()
    with pytest.raises(CouldNotGrade, match=r"QQP_dev\.tsv: cannot be read: Is a directory\. Next: make it readable"):
        run(given, folder, out, resume=True)


def test_a_folder_that_is_not_free(exam, folder, out, tmp_path):
    def refusal(words, place=out, resume=False):
        with pytest.raises(CouldNotGrade, match=words):
            run(exam, folder, place, resume=resume)

    out.mkdir()
    (out / "notes.txt").touch()
    refusal("is not empty. Next: go on with the class that is in it with --resume, or name another folder with --out")
    refusal("holds no class.json", resume=True)
    refusal("lies inside the hand-ins' folder", folder / "good/out")
    refusal("lies inside the hand-ins' folder", tmp_path)
    refusal("lies inside the hand-ins' folder", folder)
    refusal("cannot be written: ", out / "notes.txt")
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
    (tmp_path / "nobody").mkdir()
    with pytest.raises(CouldNotGrade, match="no hand-in, expected a folder or an archive for each"):
        run(exam, tmp_path / "nobody", out)
    with pytest.raises(CouldNotGrade, match="expected the folder of the hand-ins: No such file or directory"):
        run(exam, tmp_path / "nowhere", out)


def test_two_runs_in_one_folder(exam, folder, out):
    out.mkdir()
    (out / "class.lock").write_text(f"{os.getppid()}\n")
    with pytest.raises(CouldNotGrade, match="another run grades into this folder"):
        run(exam, folder, out)
    gone = subprocess.Popen([sys.executable, "-S", "-c", "pass"])
    gone.wait()
    for stale in (gone.pid, os.getpid(), 10**30):  # our own: in a container the next run has the same number
        (out / "class.lock").write_text(f"{stale}\n")
        run(exam, folder, out, resume=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on(exam, folder, out, number):
    for place in range(4):
        large(folder / f"zlarge-{place}", 900)
    arguments = [sys.executable, "-S", "-m", "grading.score", "--jobs", "2"]
    arguments += ["--submissions", str(folder), "--answers", str(exam.answers), "--out", str(out)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": CHECKOUT}
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
        f"interrupted: {len(lines) - 1} of 5 hand-ins are graded and kept in {out}",
        "next: the same command with --resume",
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
        grade_class(exam, folder, out, jobs=3, resume=False, say=say)
    assert {path.name for path in out.iterdir()} == {"cards", "reports", "errors", "class.json"}
    assert [path.name for path in (out / "cards").iterdir()] == ["good.json"]
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_the_terminals_interrupt_does_not_reach_children(exam, folder, tmp_path):
    if not hasattr(os, "getsid"):
        pytest.skip("no sessions here")
    (tmp_path / "work").mkdir()
    running = sandbox.start(large(folder / "large", 900), "large", exam, Limits(), tmp_path / "work")
    assert os.getsid(running._process.pid) == running._process.pid
    running.end()
    running.end()
    assert running.card().report["problem"]["fault"] == "examiner"


def test_stems():
    names = ["plain-1.zip", "Case", "case", "a b", "..", "x" * 81, "\udcff", "", "-rf", ".hidden"]
    found = stems(names)
    assert found["plain-1.zip"] == "plain-1.zip"
    assert found["a b"].startswith("a-b-")
    assert len({stem.lower() for stem in found.values()}) == len(names)
    assert all(len(stem) <= 80 and stem.isascii() and stem[0] not in ".-" for stem in found.values())
    assert not any(character in stem for stem in found.values() for character in "/\\ \n:")
    # whoever names a hand-in like somebody else's files does not get them
    thief = found["a b"]
    assert (
        thief not in stems([*names, thief]).values() or stems([*names, thief])["a b"] != stems([*names, thief])[thief]
    )


def test_a_fingerprint_sees_what_a_candidate_may_change(folder):
    path = folder / "good"
    seen = {classroom.fingerprint(path)}
    assert classroom.fingerprint(path) in seen
    result = path / "result/result_QQP.txt"

    def change(action):
        action()
        mark = classroom.fingerprint(path)
        assert mark not in seen
        seen.add(mark)

    change(lambda: os.utime(result, (1, 1)))
    change(lambda: result.write_text("1\n"))
    change(lambda: result.chmod(0o600 if result.stat().st_mode & 0o77 else 0o644))
    change(lambda: result.rename(path / "result_QQP.txt"))
    change(lambda: (path / "link").symlink_to(folder))
    assert classroom.fingerprint(path / "nothing") is None
