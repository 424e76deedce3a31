"""What belongs together in a submission: said, without points, and never in the way of them."""

import hashlib
import json

import pytest
from support import submissions
from support.submissions.defects import DEV, RESULT, TRAIN, WEIGHTS

from grading import contract
from grading.checks.answer_key import read_keys
from grading.errors import CouldNotGrade
from grading.grader import OpenExam
from grading.grades import AGREES, LOOK, UNKNOWN
from grading.submission.folder import Submission

ROWS = [(f"Is {number} prime?", f"Can {number} be divided?", str(number % 2)) for number in range(40)]
INPUT = "Question 1: {}\nQuestion 2: {}\nSame?"
HEAD = "id\tquestion1\tquestion2\tis_duplicate\n"


@pytest.fixture
def folder(tmp_path):
    """A submission whose records are made of the tables in `tmp_path/data`."""
    folder = submissions.write_submission(tmp_path / "submission")
    write_tables(tmp_path / "data", ROWS)
    records = [
        {"instruction": "Same?", "input": INPUT.format(one, two), "output": label} for one, two, label in ROWS[30:]
    ]
    submissions.write_json(folder / TRAIN, records)
    submissions.write_json(
        folder / DEV, [{"instruction": "Same?", "input": INPUT.format(one, two)} for one, two, _ in ROWS[:25]]
    )
    return folder


def write_tables(data, rows, quoted="{}", head=True):
    train = [f"{number}\t{quoted.format(one)}\t{two}\t{label}\n" for number, (one, two, label) in enumerate(rows)]
    submissions.write(data / "QQP/QQP_train.tsv", "".join([HEAD * head, *train[25:]]).encode())
    dev = [line.rpartition("\t")[0] + "\n" for line in train[:25]]
    submissions.write(data / "QQP/QQP_dev.tsv", "".join(["id\tquestion1\tquestion2\n" * head, *dev]).encode())


def advice(folder, data=True):
    keys = tuple(read_keys(submissions.write_answers(folder.parent / "answers")))
    report = OpenExam(keys, data=folder.parent / "data" if data else None).grade(Submission(folder))
    return {found.check: (found.state, found.reason) for found in report.advice}


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("quoted", ["{}", '"{}"'])
def test_records_made_of_the_tables_agree(folder, tmp_path, quoted, head):
    write_tables(tmp_path / "data", ROWS, quoted, head)
    found = advice(folder)
    assert found["dev inputs and the exam's table"] == (AGREES, "25 of 25 dev inputs are made from their row")
    assert found["training records and the exam's table"] == (
        AGREES, "10 of 10 training inputs are made from a row, 10 with that row's label",
    )  # fmt: skip


def test_changed_records_differ(folder):
    dev, train = (json.loads((folder / path).read_bytes()) for path in (DEV, TRAIN))
    dev[22]["input"] = dev[23]["input"]
    train[0]["input"], train[1]["output"] = "made up", "01"[train[1]["output"] == "0"]
    submissions.write_json(folder / DEV, dev)
    submissions.write_json(folder / TRAIN, train)
    found = advice(folder)
    assert found["dev inputs and the exam's table"] == (
        LOOK, "24 of 25 dev inputs are made from their row, the first that is not is record 23",
    )  # fmt: skip
    assert found["training records and the exam's table"] == (
        LOOK, "9 of 10 training inputs are made from a row, 8 with that row's label",
    )  # fmt: skip


def test_inputs_of_something_else(folder):
    submissions.write_json(folder / DEV, [{"instruction": "x", "input": f"anything {row}"} for row in range(25)])
    found = advice(folder)
    assert found["dev inputs and the exam's table"][0] == LOOK
    assert found["training records and the exam's table"][0] == UNKNOWN


def test_dev_inputs_in_training_are_counted(folder):
    assert advice(folder)["dev inputs in training"] == (AGREES, "0 of 10 training inputs are dev inputs too")
    train, dev = (json.loads((folder / path).read_bytes()) for path in (TRAIN, DEV))
    submissions.write_json(folder / TRAIN, [*train, {**dev[3], "output": "1"}])
    assert advice(folder)["dev inputs in training"] == (LOOK, "1 of 11 training inputs are dev inputs too")


def test_files_and_the_run_record(folder):
    check = "files and the run record"
    assert advice(folder)[check] == (UNKNOWN, "saved_model/QQP/run.json is missing")
    outputs = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (TRAIN, DEV, WEIGHTS, RESULT)}
    submissions.write_json(folder / "saved_model/QQP/run.json", {"stages": {"all": {"outputs": outputs}}})
    assert advice(folder)[check] == (
        AGREES, "4 files are as in saved_model/QQP/run.json, which anybody can write",
    )  # fmt: skip
    (folder / RESULT).write_bytes(contract.format_result(submissions.ANSWERS[::-1]))
    different = "missing, unreadable, too large or different from saved_model/QQP/run.json: "
    assert advice(folder)[check] == (LOOK, different + RESULT)
    (folder / RESULT).unlink()
    submissions.write_json(folder / "saved_model/QQP/run.json", {"stages": {"all": {"outputs": {RESULT: None}}}})
    assert advice(folder)[check] == (LOOK, different + RESULT)
    submissions.write(folder / "saved_model/QQP/run.json", b"{")
    assert advice(folder)[check] == (
        UNKNOWN, "saved_model/QQP/run.json is not strict JSON: line 1 cannot be read as JSON",
    )  # fmt: skip
    for text in (b"[]", b'{"stages": {"a": 1}}', b'{"stages": {"a": {"outputs": []}}}'):
        submissions.write(folder / "saved_model/QQP/run.json", text)
        assert advice(folder)[check][0] == UNKNOWN


def test_records_of_any_shape_are_no_reason_to_stop(folder):
    for records in ([], {}, [1, None], [{"input": ["x"], "output": {}}] * 30):
        submissions.write_json(folder / TRAIN, records)
        submissions.write_json(folder / DEV, records)
        assert advice(folder)["dev inputs in training"]
    (folder / DEV).unlink()
    assert advice(folder)["dev inputs and the exam's table"][0] == UNKNOWN


def test_without_the_tables_nothing_is_said_of_them(folder):
    assert set(advice(folder, data=False)) == {"dev inputs in training", "files and the run record"}


def test_missing_tables_are_the_examiners_mistake(folder, tmp_path):
    (tmp_path / "data/QQP/QQP_train.tsv").unlink()
    with pytest.raises(CouldNotGrade, match=r"QQP_train\.tsv: no such table\n") as caught:
        advice(folder)
    assert caught.value.next_step == "correct --data, the folder of the exam's TSV files"
