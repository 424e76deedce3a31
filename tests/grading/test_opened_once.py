"""Each path of a submission is opened once, counted by an audit hook that no code of the grader can pass by."""

import hashlib
import json
import subprocess
import sys
from collections import Counter

import pytest
from conftest import ROOT
from support import submissions
from support.submissions.defects import CONFIG, DEV, RESULT, TRAIN, WEIGHTS

RUN_RECORD = "saved_model/QQP/run.json"
FILES = (TRAIN, DEV, CONFIG, WEIGHTS, RESULT, RUN_RECORD)

HOOK = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
log = os.open(sys.argv.pop(), os.O_WRONLY | os.O_CREAT | os.O_APPEND)  # one that a forked child shares
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        os.write(log, os.path.basename(os.fsencode(arguments[0])) + b"\\n")
sys.addaudithook(hook)
"""

ONE = """
from grading import score
assert score.main(["--submission", sys.argv[1], "--answers", sys.argv[2], "--json", sys.argv[3] + "/report.json"]) == 0
"""

CLASS = """
from pathlib import Path
from grading.classroom import worker
from grading.classroom.sandbox import Limits
from grading.grader import Exam
card = worker.grade("name", Path(sys.argv[1]), Exam(Path(sys.argv[2])), Path(sys.argv[3]), Limits())
assert card.points == 100 and card.wrong and card.adapters and card.results, card
"""


@pytest.mark.parametrize("program", [ONE, CLASS], ids=["one", "class"])
@pytest.mark.parametrize("recorded", [True, False])
def test_each_file_is_opened_once(tmp_path, program, recorded):
    folder = submissions.write_submission(tmp_path / "submission")
    answers = submissions.write_answers(tmp_path / "answers")
    outputs = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (TRAIN, DEV, WEIGHTS, RESULT)}
    record = {"stages": {"all": {"outputs": outputs if recorded else {}}}}
    submissions.write_json(folder / RUN_RECORD, record)
    command = [sys.executable, "-S", "-B", "-c", HOOK + program, str(folder), str(answers), str(tmp_path)]
    subprocess.run([*command, str(tmp_path / "log")], capture_output=True, check=True, timeout=60)
    counts = Counter((tmp_path / "log").read_text(encoding="utf-8", errors="replace").splitlines())
    names = [name.rpartition("/")[2] for name in FILES]
    assert {name: counts[name] for name in names} == dict.fromkeys(names, 1)
    if program is ONE:
        words = "4 files are as in" if recorded else "names none of the graded files"
        assert words in json.loads((tmp_path / "report.json").read_text())["advice"][1]["reason"]


def test_a_file_is_digested_whole_however_little_is_read(tmp_path):
    """One that is broken at its start may still be as the run wrote it. One that is too large is not read at all."""
    folder = submissions.write_submission(tmp_path / "submission")
    submissions.write(folder / RESULT, b"0\n" * (8 << 20) + b"0\n")
    submissions.write(folder / WEIGHTS, b"PK\3\4" + bytes(3 << 20))
    (folder / DEV).unlink()
    outputs = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (WEIGHTS, RESULT, TRAIN)}
    submissions.write_json(folder / RUN_RECORD, {"stages": {"all": {"outputs": {**outputs, DEV: "0" * 64}}}})
    answers = submissions.write_answers(tmp_path / "answers")
    command = [sys.executable, "-S", "-m", "grading.score", "--submission", str(folder), "--answers", str(answers)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert f"unreadable, too large or different from {RUN_RECORD}: {DEV}, {RESULT}\n" in done.stdout
