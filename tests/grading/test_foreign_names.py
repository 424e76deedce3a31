"""Hostile names through every command and every output: what comes out is safe, and honest names are as they were written."""

import csv
import dataclasses
import io
import json
import os
import re
import sys
import zipfile

import pytest
from support import submissions
from support.classes import files, zipped
from support.commands import command

from grading import score
from grading.audit import rerun
from grading.contract.display import one_line
from grading.grader import Exam
from grading.report.text import as_text
from grading.submission.opening import opened

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such file names")

HOSTILE = (
    "\x1b[31mred", "\x1b]0;title\x07", "bell\x07", "line\nbreak", "\rreturn", "tab\t", "\x7f", "c1\x9b2J", "\u202egnp.exe",
    "iso\u2066late", "zero\u200bwidth", "join\u200d", "\ufeffmark", "tag\U000e0041", "filler\u3164", "blank\u2800", "pick\ufe0f",
    "wide\u3000", "hard\xa0", "soft\xad", "line\u2028", "zalgo" + "\u0301" * 9, "private\ue000", "raw\udc9b31m\udcff",
)  # fmt: skip
ALL = "".join(HOSTILE)

HONEST = ("王小明", "José Łukasz", "😀", "O'Neil")

UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\xa0\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\u2800\u3000\u3164\ue000-\uf8ff"
    "\ufe00-\ufe0f\ufeff\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]|\u0301{2}"
)


def require_safe(data: bytes) -> str:
    text = data.decode("utf-8")
    assert not UNSAFE.search(text), ascii(text)
    assert all(one_line(line) == line for line in text.split("\n")), ascii(text)
    return text


def written(path, data):
    submissions.write(path, data)
    return path


def hostile_submission(folder):
    """A submission whose every value that a report may show is hostile."""
    submissions.write_submission(folder)
    record = {"instruction": "i", "input": "x", "output": ALL.encode("utf-8", "replace").decode(), "more": ""}
    submissions.write_json(folder / "pre_data/QQP/QQP_train.json", [record])
    submissions.write_json(folder / "pre_data/QQP/QQP_dev.json", [{record["output"]: ""}])
    config = {"peft_type": record["output"], "r": record["output"], "target_modules": [record["output"]]}
    submissions.write_json(folder / "saved_model/QQP/adapter_config.json", config)
    tensors = {record["output"]: {"dtype": record["output"], "shape": [1], "data_offsets": [0, 4]}}
    header = submissions.framed(json.dumps(tensors, ensure_ascii=False).encode())
    (folder / "saved_model/QQP/adapter_model.safetensors").write_bytes(header + bytes(4))
    (folder / "result/result_QQP.txt").write_bytes(f"{record['output']}\n".encode())
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of a hostile name that holds everything."""
    return tmp_path_factory.mktemp("hostile") / ALL.replace("/", "")


@pytest.fixture(scope="module")
def answers(place):
    return submissions.write_answers(place / "answers")


COMMANDS = {
    "a folder": lambda at: ["--submission", hostile_submission(at / "one")],
    "nothing there": lambda at: ["--submission", at / "nothing"],
    "a name that is too long": lambda at: ["--submission", at / ("\x1b" * 300)],
    "another kind of file": lambda at: ["--submission", written(at / f"{HOSTILE[0]}.rar", b"Rar!")],
    "a broken archive": lambda at: ["--submission", written(at / f"{ALL}.zip", b"PK\3\4" + ALL.encode("utf-8", "replace"))],
    "no keys": lambda at: ["--answers", at / "nothing"],
    "a bad key": lambda at: ["--answers", written(at / "bad/result_QQP.txt", b"\x1b[31m\n").parent],
    "no base": lambda at: ["--base", at / "nothing"],
    "a bad base": lambda at: ["--base", written(at / "config.json", json.dumps({"model_type": "\x1b\u202e"}).encode())],
    "no tables": lambda at: ["--submission", submissions.write_submission(at / "good"), "--data", at / "nothing"],
    "a report nowhere": lambda at: ["--json", at / "nowhere" / "report.json", "--gradescope", at / "nowhere"],
    "datasets": lambda at: ["--datasets", ALL],
    "datasets twice": lambda at: ["--datasets", "QQP,QQP"],
    "a dataset without a key": lambda at: ["--datasets", "\u115f"],
    "a number": lambda at: ["--rerun", ALL, "--recipes", "x"],
    "an option": lambda at: [f"--{ALL}"],
    "an argument": lambda at: [ALL],
    "no recipe": lambda at: ["--submission", submissions.write_submission(at / "good"),
                             "--rerun", "1", "--recipes", at / f"{ALL}.yaml"],
    "no class": lambda at: ["--submissions", at / "nothing", "--out", at / "out"],
    "a class inside of itself": lambda at: ["--submissions", at, "--out", at / "out"],
    "a class that cannot be written": lambda at: ["--submissions", at / "answers", "--out", written(at / "file", b"")],
}  # fmt: skip


@pytest.mark.parametrize(("case", "language"), list(zip(COMMANDS, ["en", "zh"] * len(COMMANDS))))
def test_every_command_prints_safely(place, answers, case, language):
    arguments = COMMANDS[case](place)
    if "--answers" not in arguments:
        arguments += ["--answers", answers]
    found = command(*arguments, env={**os.environ, "PYTHONUTF8": "1", "LABELTUNE_LANG": language})
    assert found.returncode in (0, 2)
    assert found.stdout + found.stderr
    require_safe(found.stdout)
    assert "Traceback" not in require_safe(found.stderr)


def test_the_language_variable_is_shown_safely(place, answers):
    folder = submissions.write_submission(place / "good")
    environment = {**os.environ, "PYTHONUTF8": "1", "LABELTUNE_LANG": ALL}
    found = command("--submission", folder, "--answers", answers, env=environment)
    assert b"expected en or zh" in found.stderr
    require_safe(found.stderr)


def test_a_fault_of_the_graders_own_is_told_safely(place, answers, capsys, monkeypatch):
    """The traceback quotes what it failed on."""

    def broken(*arguments, **named):
        raise ZeroDivisionError(ALL)

    monkeypatch.setattr("grading.grader.check_records", broken)
    folder = submissions.write_submission(place / "good")
    assert score.main(["--submission", str(folder), "--answers", str(answers)]) == 1
    monkeypatch.setattr("grading.classroom.run.hand_ins", broken)
    assert score.main(["--submissions", str(folder), "--answers", str(answers), "--out", str(place / "broken")]) == 1
    out, err = capsys.readouterr()
    assert err.count("Traceback") == 2
    require_safe((out + err).encode())


def test_the_words_of_other_programs_are_shown_safely(place, answers):
    """The runner's, and those of PEFT below it."""
    with opened(submissions.write_submission(place / "good")) as submission:
        report = Exam(answers).open().grade(submission)
    for found, problem in (({"problem": ALL}, ""), (None, ALL)):
        advice = rerun._compare(report.datasets[0], [0], found, one_line(problem))
        require_safe(as_text(dataclasses.replace(report, advice=(advice,))).encode())
        require_safe(advice.reason.encode())


def test_a_class_of_hostile_and_honest_names(place, answers, tmp_path):
    folder, out = place / "class", tmp_path / "王"
    for name in (*HONEST, *HOSTILE):
        submissions.write_submission(folder / name)
    hostile_submission(folder / "values")
    zipped(folder / "王小明", folder / "李.zip")
    with zipfile.ZipFile(folder / "entry.zip", "w") as archive:
        archive.writestr("../\x1b[31m\u202e王", b"")
    submissions.write(folder / "\x1b[31m.rar", b"")
    found = command("--submissions", folder, "--answers", answers, "--out", out, env={**os.environ, "PYTHONUTF8": "1"})
    assert (found.returncode, found.stderr) == (0, b"")
    lines = require_safe(found.stdout)
    written = {path.relative_to(out).as_posix(): path for path in files(out)}
    assert written["class.csv"].read_bytes().startswith(b"\xef\xbb\xbfrank,name,points,")
    texts = {name: require_safe(path.read_bytes().replace(b"\xef\xbb\xbf", b"", 1))
             for name, path in written.items()}  # fmt: skip
    require_safe("\n".join(written).encode())
    rows = list(csv.reader(io.StringIO(texts["class.csv"])))
    for name in HONEST:
        assert f"'{name}': 100 points" in lines
        assert f"reports/{name}.txt" in written
        assert name in [row[1] for row in rows]
        assert f"<bdi>{name.replace(chr(39), '&#x27;')}</bdi>" in texts["index.html"]
    assert r"'\x1b[31mred': 100 points" in lines
    assert len({row[1] for row in rows}) == len(rows) == len(HONEST) + len(HOSTILE) + 5
    assert r"'../\x1b[31m\u202e王'" in texts["reports/entry.zip.txt"]


def test_a_terminal_of_another_encoding(place, answers):
    folder = place / "class"
    submissions.write_submission(folder / "王😀")
    for encoding in ("ascii", "gbk", "latin-1", "cp1252"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"}
        found = command("--submission", folder / "nothing-王-😀", "--answers", answers, env=environment)
        assert found.returncode == 2
        text = found.stderr.decode(encoding)
        assert ("nothing-王-\\U0001f600" if encoding == "gbk" else "nothing-\\u738b-\\U0001f600") in text
