"""Races: a program of the candidate's exchanges a folder or a file for a link while it is graded.

Whatever the moment is: the report is the candidate's own or says that something is missing. Nobody else's hand-in is graded, nor
the key.
"""

import os
import subprocess
import sys
import zipfile

import pytest
from support import submissions

from grading.classroom import worker
from grading.classroom.sandbox import Limits
from grading.grader import Exam
from grading.submission.directory import HOLDS, Directory

pytestmark = pytest.mark.skipif(not HOLDS, reason="names cannot be reached through a descriptor here")

OWN = ["1"] * len(submissions.ANSWERS)
"""The candidate's own answers: 3 of 10 are right."""

OWN_CORRECT = sum(one == other for one, other in zip(OWN, submissions.ANSWERS))

PLACES = {
    "entry": ("", "good"),
    "wrapper": ("around", "good"),
    "wrapper of a wrapper": ("outer/inner", "good"),
    "folder": ("result", "good/result"),
    "folder to the keys": ("result", "keys"),
    "deep folder": ("saved_model/QQP", "good/saved_model/QQP"),
    "file": ("result/result_QQP.txt", "good/result/result_QQP.txt"),
    "file to the key": ("result/result_QQP.txt", "keys/result_QQP.txt"),
    "archive": ("handin.zip", "good.zip"),
}
"""What is exchanged, below the candidate's entry, and what the link leads to."""


@pytest.fixture
def exam(tmp_path):
    submissions.write_answers(tmp_path / "keys", name="result_QQP.txt")
    return Exam(tmp_path / "keys")


@pytest.fixture
def place(tmp_path, request):
    """The candidate's entry in the class, what is exchanged in it, and where the link leads."""
    inside, target = PLACES[request.param]
    good = submissions.write_submission(tmp_path / "good")
    packed(good, tmp_path / "good.zip")
    entry = tmp_path / "class/eve"
    depth = inside if request.param.startswith("wrapper") else ""
    if request.param == "archive":
        entry.mkdir(parents=True)
        submissions.write_submission(tmp_path / "own", answers=OWN)
        packed(tmp_path / "own", entry / "handin.zip")
    else:
        submissions.write_submission(entry / depth)
        submissions.write(entry / depth / "result/result_QQP.txt", "".join(f"{each}\n" for each in OWN).encode())
    return entry, entry / inside if inside else entry, tmp_path / target


def packed(folder, archive):
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder))


def fair(card, capsys):
    """That the card is the candidate's own, whole or with a part missing."""
    measures = card.metrics("QQP")
    assert not measures or measures["correct"] == OWN_CORRECT
    assert card.points <= 30 + 7 * OWN_CORRECT
    problem = card.report["problem"]
    assert problem is None or problem["fault"] == "submission", problem
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_exchanged_before_every_step(exam, place, tmp_path, monkeypatch, capsys):
    """Each call to the system is one step; the exchange happens before the first, the second, and so on."""
    entry, inside, target = place
    steps, moment = 0, 0

    def stepping(name):
        call = getattr(Directory, name)

        def counted(self, *arguments):
            nonlocal steps
            steps += 1
            if steps == moment:
                inside.rename(tmp_path / "away")
                inside.symlink_to(target)
            return call(self, *arguments)

        monkeypatch.setattr(Directory, name, counted)

    for name in ("enter", "status", "target", "open", "names"):
        stepping(name)
    whole = worker.grade("eve", entry, exam, tmp_path, Limits())
    assert whole.metrics("QQP")["correct"] == OWN_CORRECT
    most = steps
    while moment < most:
        steps, moment = 0, moment + 1
        fair(worker.grade("eve", entry, exam, tmp_path, Limits()), capsys)
        inside.unlink()
        (tmp_path / "away").rename(inside)
    assert moment > 3


SWAPPER = """
import os, sys, time
inside, target, away = sys.argv[1:]
print("ready", flush=True)
pause = 0
while True:
    os.rename(inside, away)
    os.symlink(target, inside)
    for _ in range(pause % 50): pass
    os.unlink(inside)
    os.rename(away, inside)
    time.sleep((pause % 7) / 20_000)
    pause += 1
"""


def race(exam, place, tmp_path, capsys, tries):
    entry, inside, target = place
    command = [sys.executable, "-S", "-c", SWAPPER, str(inside), str(target), str(tmp_path / "away")]
    graded = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as swapper:
        try:
            assert swapper.stdout.readline() == b"ready\n"
            for _ in range(tries):
                card = worker.grade("eve", entry, exam, tmp_path, Limits())
                fair(card, capsys)
                graded += card.points > 0
        finally:
            swapper.kill()
    return graded


@pytest.mark.parametrize("place", ["entry", "wrapper", "folder to the keys", "file to the key"], indirect=True)
def test_a_race(exam, place, tmp_path, capsys):
    race(exam, place, tmp_path, capsys, 60)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_a_long_race(exam, place, tmp_path, capsys):
    assert race(exam, place, tmp_path, capsys, 1_000) > 0


LINKS = {
    "a hard link": lambda place, key: os.link(key, place),
    "a hard link of a hard link": lambda place, key: (os.link(key, f"{place}~"), os.link(f"{place}~", place)),
    "a link to a hard link": lambda place, key: (os.link(key, f"{place}~"), os.symlink(f"{place.name}~", place)),
}


@pytest.mark.parametrize("words", LINKS)
@pytest.mark.parametrize(
    ("path", "check"),
    [
        ("result/result_QQP.txt", "accuracy"),
        ("pre_data/QQP/QQP_train.json", "train file"),
        ("pre_data/QQP/QQP_dev.json", "dev file"),
        ("saved_model/QQP/adapter_config.json", "config file"),
        ("saved_model/QQP/adapter_model.safetensors", "weights file"),
    ],
)
def test_a_link_to_the_key_is_refused(exam, tmp_path, words, path, check):
    folder = submissions.write_submission(tmp_path / "own")
    (folder / path).unlink()
    LINKS[words](folder / path, tmp_path / "keys/result_QQP.txt")
    card = worker.grade("own", folder, exam, tmp_path, Limits())
    reasons = [reason for part in card.report["parts"] for reason in part["reasons"]]
    words = f"{path} is one of the examiner's own files: it is a link to an answer key"
    assert any(reason.startswith(f"{check} 0/") and words in reason for reason in reasons)
    assert card.points < 100


def test_a_key_inside_the_submission_is_not_its_result(tmp_path):
    """The keys' folder may be in the graded folder, as in the examiner's own checkout: a link to it is inside."""
    folder = submissions.write_submission(tmp_path / "own")
    submissions.write_answers(folder / "data", name="result_QQP.txt")
    submissions.write_answers(folder / "data", name="result_CoLA.txt")
    for name in ("result_QQP.txt", "result_CoLA.txt"):
        (folder / "result/result_QQP.txt").unlink()
        (folder / "result/result_QQP.txt").symlink_to(f"../data/{name}")
        card = worker.grade("own", folder, Exam(folder / "data", ("QQP",)), tmp_path, Limits())
        assert card.metrics("QQP") == {}
        assert card.points == 30
    submissions.write(folder / "result/copy.txt", (folder / "data/result_QQP.txt").read_bytes())
    (folder / "result/result_QQP.txt").unlink()
    (folder / "result/result_QQP.txt").symlink_to("copy.txt")
    assert worker.grade("own", folder, Exam(folder / "data", ("QQP",)), tmp_path, Limits()).points == 100


def test_a_file_that_is_read_again_must_be_the_same(tmp_path):
    """Whoever opens a file twice, for points and for a rerun, gets the same bytes or a finding."""
    from grading.errors import FileProblem
    from grading.submission.folder import Submission

    def exchanged(path):
        path.rename(tmp_path / "away")
        submissions.write(path, b"1\n")

    def rewritten(path):
        path.write_bytes(b"1\n")
        os.utime(path, ns=(1, 1))

    def linked(path):
        path.rename(path.with_name("other"))
        path.symlink_to("b")

    submissions.write(tmp_path / "in/b", b"1\n")
    for change in (exchanged, rewritten, linked):
        submissions.write(tmp_path / "in/a", b"0\n")
        os.utime(tmp_path / "in/a", ns=(1, 1))
        submission = Submission(tmp_path / "in")
        assert submission.read("a", 9) == submission.read("a", 9) == b"0\n"
        change(tmp_path / "in/a")
        with pytest.raises(FileProblem, match="a changed while it was read"):
            submission.read("a", 9)
        (tmp_path / "in/a").unlink()
