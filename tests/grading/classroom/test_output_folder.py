"""The output folder of a class: one run at a time, one class, and cards that are still right are not made again."""

import json
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from support import submissions
from support.classes import files, run_class, zipped

from grading.errors import CouldNotGrade
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


def test_resume_grades_what_is_new_or_changed(exam, folder, out):
    for name in ("changed", "kept", "gone"):
        submissions.write_submission(folder / name)
    zipped(folder / "good", folder / "packed.zip")
    (folder / "cut.zip").write_bytes(b"PK")
    run_class(exam, folder, out)
    before = {path.name: path.stat().st_mtime_ns for path in (out / "cards").iterdir()}
    (folder / "changed/result/result_QQP.txt").unlink()
    for path in files(folder / "gone"):
        path.unlink()
    submissions.write_submission(folder / "new")
    cards, lines = run_class(exam, folder, out, resume=True)
    assert lines[0] == "3 of 7 submissions were graded before and have not changed"
    done = {line.split("'")[1] for line in lines if line.startswith("[")}
    assert done == {"changed", "gone", "new", "cut.zip"}
    assert [cards[name].points for name in ("changed", "gone", "kept", "new", "packed.zip")] == [30, 0, 100, 100, 100]
    for name in ("kept.json", "good.json", "packed.zip.json"):
        assert (out / "cards" / name).stat().st_mtime_ns == before[name]


def test_a_card_that_is_not_sound_is_made_again(exam, folder, out):
    run_class(exam, folder, out)
    whole = (out / "cards/good.json").read_bytes()
    for bad in (b"", b"[]", whole[:-20], whole.replace(b"labeltune.card/", b"labeltune.card/9")):
        (out / "cards/good.json").write_bytes(bad)
        cards, lines = run_class(exam, folder, out, resume=True)
        assert cards["good"].points == 100
        assert len(lines) == 2


def test_resume_with_something_else(exam, folder, out, tmp_path):
    run_class(exam, folder, out)

    def refusal(other=exam):
        with pytest.raises(CouldNotGrade, match="the class was graded with ") as caught:
            run_class(other, folder, out, resume=True)
        return caught.value.problem.partition(" with ")[2]

    moved = Exam(submissions.write_answers(tmp_path / "the same key elsewhere"))
    cards, _ = run_class(moved, folder, out, resume=True)
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
    with pytest.raises(CouldNotGrade, match="is damaged: "):
        run_class(exam, folder, out, resume=True)


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
    cards, _ = run_class(given, folder, out)
    assert cards["good"].points == 100
    shutil.copytree(data, tmp_path / "moved/data")
    same = Exam(exam.answers, base=base(tmp_path / "moved/base") / "config.json", data=tmp_path / "moved/data")
    assert (
        run_class(same, folder, out, resume=True)[1][0] == "1 of 1 submissions were graded before and have not changed"
    )

    def refusal():
        with pytest.raises(CouldNotGrade, match="the class was graded with ") as caught:
            run_class(given, folder, out, resume=True)
        return caught.value.problem.partition(" with ")[2]

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
    run_class(given, folder, out, resume=True)
    (data / "QQP/QQP_dev.tsv").unlink()
    (data / "QQP/QQP_dev.tsv").mkdir()
    with pytest.raises(CouldNotGrade, match=r"QQP_dev\.tsv: cannot be read: Is a directory\n") as caught:
        run_class(given, folder, out, resume=True)
    assert caught.value.next_step == "make it readable"


def test_a_folder_that_is_not_free(exam, folder, out, tmp_path):
    def refusal(words, place=out, resume=False):
        with pytest.raises(CouldNotGrade, match=words) as caught:
            run_class(exam, folder, place, resume=resume)
        return caught.value.next_step

    out.mkdir()
    (out / "notes.txt").touch()
    step = "resume the class that is in it with --resume, or name another folder with --out"
    assert refusal("is not empty\n") == step
    refusal("holds no class.json", resume=True)
    refusal("must not be inside each other", folder / "good/out")
    refusal("must not be inside each other", tmp_path)
    refusal("must not be inside each other", folder)
    refusal("cannot be written: ", out / "notes.txt")
    assert [path.name for path in out.iterdir()] == ["notes.txt"]
    (tmp_path / "nobody").mkdir()
    with pytest.raises(CouldNotGrade, match="no submission found, expected a folder or an archive for each"):
        run_class(exam, tmp_path / "nobody", out)
    with pytest.raises(CouldNotGrade, match="expected the folder of the submissions: No such file or directory"):
        run_class(exam, tmp_path / "nowhere", out)


@pytest.mark.parametrize("resume", [False, True])
def test_leftovers_of_a_killed_run_and_of_older_versions(exam, folder, out, resume):
    out.mkdir()
    for name in (".class.json.partial", ".class.json.123.partial", "class.lock"):
        (out / name).write_bytes(b"{")
    cards, _ = run_class(exam, folder, out, resume=resume)
    assert cards["good"].points == 100
    assert not (out / ".class.json.partial").exists()


HOLDER = """
import sys
from pathlib import Path
from grading.classroom.output_folder import locked
with locked(Path(sys.argv[1]), resume=False):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_two_runs_in_one_folder(exam, folder, out):
    """The lock goes with its process, however that ends, and leaves no file."""
    pytest.importorskip("fcntl")
    command = [sys.executable, "-S", "-c", HOLDER, str(out)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(CouldNotGrade) as caught:
            run_class(exam, folder, out)
        assert caught.value.problem == f"{out}: another run grades into this folder"
        assert caught.value.next_step == "wait for it, end it, or name another folder with --out"
        other.kill()
    assert list(out.iterdir()) == []
    run_class(exam, folder, out)
