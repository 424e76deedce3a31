"""The output folder of a class: one run at a time, one class, and cards that are still right are not made again."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from support import submissions
from support.classes import files, run_class, zipped

from grading.classroom.hand_ins import hand_ins
from grading.classroom.output_folder import Damaged, kept_card
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


def changed(**changes):
    """The card with values at paths such as `report.points`."""

    def build(path):
        card = json.loads(path.read_bytes())
        for place, value in changes.items():
            *above, last = place.split("__")
            inner = card
            for each in above:
                inner = inner[int(each) if each.isdigit() else each]
            inner[int(last) if last.isdigit() else last] = value
        path.write_text(json.dumps(card))

    return build


def replaced(data):
    return lambda path: path.write_bytes(data)


def piped(path):
    path.unlink()
    os.mkfifo(path)


def linked(path):
    path.rename(path.with_name("away"))
    path.symlink_to("away")


def another(path):
    """Somebody else's card, whole."""
    path.write_bytes(path.with_name("other.json").read_bytes())


DAMAGES = {
    "empty": replaced(b""),
    "a list": replaced(b"[]"),
    "null": replaced(b"null"),
    "NaN": replaced(b"NaN"),
    "deep": replaced(b"[" * 200_000),
    "deep objects": replaced(b'{"a":' * 200_000),
    "not UTF-8": replaced(b"\xff\xfe"),
    "a number of many digits": replaced(b"1" * 100_000),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "another schema": lambda path: path.write_bytes(path.read_bytes().replace(b"labeltune.card/", b"labeltune.card/9")),
    "a pipe": piped,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link": linked,
    "another's": another,
    "1,000 points": changed(report__points=1000),
    "a little more": changed(report__points=100.5),
    "less than none": changed(report__points=-1),
    "points of text": changed(report__points="100"),
    "points that are true": changed(report__points=True),
    "no points": changed(report__points=None),
    "endless points": lambda path: path.write_bytes(
        path.read_bytes().replace(b'"points": 100.0', b'"points": 1e999', 1)
    ),
    "NaN points": lambda path: path.write_bytes(path.read_bytes().replace(b'"points": 100.0', b'"points": NaN', 1)),
    "points that are no sum": changed(report__points=50),
    "another maximum": changed(report__max_points=1000),
    "a part with too much": changed(report__parts__0__points=70),
    "a part of null": changed(report__parts__0=None),
    "parts of null": changed(report__parts=None),
    "no parts": changed(report__parts=[]),
    "a check with too much": changed(report__parts__2__checks__0__points=700),
    "reasons of numbers": changed(report__parts__0__reasons=[1]),
    "reasons of one text": changed(report__parts__0__reasons="abc"),
    "a check with a large maximum": changed(report__parts__0__checks__0__max_points=1e308),
    "a part of no dataset": changed(report__parts__0__dataset="other"),
    "points without measures": changed(report__datasets__0__measures=None),
    "a problem of text": changed(report__problem="none"),
    "nobody's fault": changed(report__problem={"fault": "nobody", "reason": "", "next_step": ""}),
    "datasets of null": changed(report__datasets=None),
    "a dataset twice": changed(report__datasets=[{}, {}]),
    "rows of text": changed(report__datasets__0__rows="10"),
    "more right than rows": changed(report__datasets__0__measures__correct=11),
    "an accuracy of 2": changed(report__datasets__0__measures__accuracy=2),
    "an accuracy of another count": changed(report__datasets__0__measures__accuracy=0.1),
    "an interval of one": changed(report__datasets__0__measures__interval=[0.5]),
    "measures of a list": changed(report__datasets__0__measures=[]),
    "advice of text": changed(report__advice=["a"]),
    "a text of null": changed(text=None),
    "a name of null": changed(name=None),
    "seconds of text": changed(seconds="1"),
    "wrong of a list": changed(wrong=[]),
    "wrong rows that are not": changed(wrong={"QQP": {"0": "fff"}}),
    "wrong twice": changed(wrong={"QQP": {"0": "1", "1": "1"}}),
    "wrong rows below zero": changed(wrong={"QQP": {"0": "-1"}}),
    "wrong in another dataset": changed(wrong={"CoLA": {"0": "1"}}),
    "a digest of text": changed(results={"QQP": "same"}),
    "digests of null": changed(adapters=None),
    "a fingerprint of a list": changed(fingerprint=[]),
    "shown of null": changed(shown={"reason": None, "next_step": None}),
}


def test_a_card_that_is_not_sound_is_made_again(exam, folder, out):
    """Whatever a card holds: it is believed, or made again with a word."""
    submissions.write_submission(folder / "other")
    run_class(exam, folder, out)
    card = out / "cards/good.json"
    whole = card.read_bytes()
    for words, damage in DAMAGES.items():
        damage(card)
        with pytest.raises(Damaged):
            kept_card(out, hand_ins(folder)[0][0])
        if card.is_dir():
            card.rmdir()
        card.unlink(missing_ok=True)
        card.write_bytes(whole)
        assert kept_card(out, hand_ins(folder)[0][0]) is not None, words


@pytest.mark.parametrize("damage", ["null", "deep", "a pipe", "1,000 points"])
def test_a_class_with_a_damaged_card(exam, folder, out, damage):
    run_class(exam, folder, out)
    DAMAGES[damage](out / "cards/good.json")
    cards, lines = run_class(exam, folder, out, resume=True)
    assert cards["good"].points == 100
    assert lines[0] == "'good': its card is damaged, so it is graded again"
    assert len(lines) == 3
    cards, lines = run_class(exam, folder, out, resume=True)
    assert lines[0] == "1 of 1 submissions were graded before and have not changed"


@pytest.mark.parametrize("damage", ["null", "a list", "deep", "a number of many digits", "a pipe", "a folder"])
def test_a_damaged_record_of_the_class(exam, folder, out, damage):
    run_class(exam, folder, out)
    DAMAGES[damage](out / "class.json")
    with pytest.raises(CouldNotGrade, match="is damaged: "):
        run_class(exam, folder, out, resume=True)


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
