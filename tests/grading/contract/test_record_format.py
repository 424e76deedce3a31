"""Records and labels: their shape, as it is written and read."""

import json

import pytest

from grading import contract


def test_records_come_back_as_written():
    hypothesis = pytest.importorskip("hypothesis")
    from hypothesis import strategies

    text = strategies.text(strategies.characters(exclude_categories=["Cs"]))

    @hypothesis.given(strategies.lists(strategies.fixed_dictionaries({"instruction": text, "input": text})))
    def check(written):
        data = b"".join(contract.format_records(written))
        assert contract.parse_json(data) == written == json.loads(data)

    check()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_records_are_written_one_a_line(count):
    record = {"instruction": "Same?", "input": "a\nb"}
    written = b"".join(contract.format_records([record] * count))
    assert written.endswith(b"]\n")
    assert written.count(b"\n") == (count + 2 if count else 1)
    assert contract.parse_json(written) == [record] * count


def test_a_bare_surrogate_is_not_written():
    with pytest.raises(UnicodeEncodeError):
        list(contract.format_records([{"instruction": "i", "input": "\ud800"}]))


def test_the_label_set_is_the_keys():
    assert contract.label_set(["1", "0", "1"]) == ("0", "1")
    assert contract.label_set(["1"]) == ("0", "1")  # a key of one answer still has the exam's two labels
    assert contract.label_set(["yes", "no", "yes"]) == ("no", "yes")
    assert contract.label_set(["2", "0", "1"]) == ("0", "1", "2")


def test_what_can_be_a_label():
    assert all(contract.is_label(text) for text in ("0", "1", "entailment", "~", "x" * 32, "正面", "négatif", "负面-1"))
    assert not any(
        contract.is_label(text)
        for text in ("", " ", "1 ", "1\n", "\xb9", "\uff11", "正 面", "\u200b正", "\ufeff1", "e\u0301", "a b", "x" * 33)
    )


GOOD = {"instruction": "Same?", "input": "", "output": "1"}

RECORDS = [
    ("good", GOOD, None),
    ("array", ["1"], "expected an object, found an array"),
    ("null", None, "expected an object, found null"),
    ("no input", {"instruction": "i", "output": "1"}, "key 'input' is missing"),
    ("extra key", {**GOOD, "id": "7"}, "key 'id' is not part of the record"),
    ("number", {**GOOD, "output": 1}, "'output' is a number, expected a string"),
    ("boolean", {**GOOD, "input": True}, "'input' is true or false, expected a string"),
    ("no instruction", {**GOOD, "instruction": " \n"}, "'instruction' is empty"),
    ("other label", {**GOOD, "output": "2"}, "'output' is '2', expected one of 0, 1"),
    ("padded label", {**GOOD, "output": " 1"}, "'output' is ' 1', expected one of 0, 1"),
]


@pytest.mark.parametrize(("record", "problem"), [row[1:] for row in RECORDS], ids=[row[0] for row in RECORDS])
def test_training_records(record, problem):
    assert contract.record_problem(record, contract.TRAIN_KEYS, contract.LABELS) == problem
    assert contract.is_record(record, contract.TRAIN_KEYS, contract.LABELS) == (problem is None)


def test_a_dev_record_has_no_answer():
    assert contract.record_problem({"instruction": "i", "input": "x"}, contract.DEV_KEYS, contract.LABELS) is None
    problem = contract.record_problem(GOOD, contract.DEV_KEYS, contract.LABELS)
    assert problem == "key 'output' is not part of the record"
