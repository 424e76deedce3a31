"""The shared format: strict JSON, result files, labels, names and records."""

import json

import pytest

from grading import contract

STRICT = [
    ("not UTF-8", b'["\xff"]', "expected UTF-8 text, found byte 0xff at offset 2"),
    ("byte order mark", b"\xef\xbb\xbf[]", "starts with a byte order mark; save it as UTF-8 without one"),
    ("empty", b"", "line 1 cannot be read as JSON"),
    ("cut short", b'[\n{"a": 1', "line 2 cannot be read as JSON"),
    ("second value", b"[] []", "line 1 cannot be read as JSON"),
    ("repeated key", b'[{"a": 1, "a": 2}]', "key 'a' is repeated in one object"),
    ("NaN", b"[NaN]", "NaN is no JSON value"),
    ("infinity", b"[-Infinity]", "-Infinity is no JSON value"),
    ("overflow", b"[1e999]", "a number out of range: 1e999"),
    ("endless number", b"9" * 5000, "a number of 5000 digits"),
    ("endless fraction", b"0." + b"9" * 5000, "a number out of range: 0." + "9" * 38),
    ("bare surrogate", b'["\\ud800"]', "a string holds a bare surrogate: '\\ud800'"),
    ("bare surrogate in a key", b'{"\\udfff": 1}', "a string holds a bare surrogate: '\\udfff'"),
    ("33 levels", b"[" * 33 + b"]" * 33, "nested deeper than 32 levels"),
    ("100,000 levels", b"[" * 100000, "nested deeper than 32 levels"),
]


@pytest.mark.parametrize(("data", "message"), [row[1:] for row in STRICT], ids=[row[0] for row in STRICT])
def test_json_that_is_refused(data, message):
    with pytest.raises(contract.ContractError) as caught:
        contract.parse_json(data)
    assert str(caught.value) == message


def test_json_that_is_read():
    assert contract.parse_json(b' {"a": [1, -2.5, true, null, "\\ud83d\\ude00\xc3\xa9"]}\n') == {
        "a": [1, -2.5, True, None, "\U0001f600\xe9"]
    }
    assert contract.parse_json(b"[" * 32 + b"]" * 32)  # the deepest that is allowed


RESULTS = [
    ("as written", b"1\n0\n", ["1", "0"]),
    ("no final newline", b"1\n0", ["1", "0"]),
    ("CRLF", b"1\r\n0\r\n", ["1", "0"]),
    ("byte order mark", b"\xef\xbb\xbf1\n0\n", ["1", "0"]),
    ("empty", b"", []),
    ("only a newline", b"\n", [""]),
    ("two final newlines", b"1\n\n", ["1", ""]),
    ("blank line inside", b"1\n\n0\n", ["1", "", "0"]),
    ("padding stays", b" 1\n0 \n", [" 1", "0 "]),
    ("U+2028 ends no line", b"1\xe2\x80\xa80\n", ["1\u20280"]),
    ("form feed and NEL end no line", b"1\x0c0\xc2\x850\n", ["1\x0c0\x850"]),
    ("lone carriage return ends no line", b"1\r0\n", ["1\r0"]),
    ("one carriage return is stripped", b"1\r\r\n", ["1\r"]),
]


@pytest.mark.parametrize(("data", "lines"), [row[1:] for row in RESULTS], ids=[row[0] for row in RESULTS])
def test_result_lines(data, lines):
    assert contract.parse_result(data) == lines


def test_result_that_is_not_text():
    with pytest.raises(contract.ContractError, match="found byte 0xff at offset 2"):
        contract.parse_result(b"1\n\xff")


def test_results_come_back_as_written():
    hypothesis = pytest.importorskip("hypothesis")
    from hypothesis import strategies

    labels = strategies.text(strategies.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=32)

    @hypothesis.given(strategies.lists(labels))
    def check(written):
        assert all(contract.is_label(label) for label in written)
        assert contract.parse_result(contract.format_result(written)) == written

    check()


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


NAMES = [
    ("result_QQP_46.txt", "QQP"),
    ("result_CoLA_64.txt", "CoLA"),
    ("result_QQP.txt", "QQP"),
    ("result_sst-2.txt", "sst-2"),
    ("result_my_task_7.txt", "my_task"),
    ("result_a_1b.txt", "a_1b"),
    ("result_46.txt", "46"),
    ("result_.txt", None),
    ("result__46.txt", None),
    ("result_QQP_46.txt.bak", None),
    ("result_QQP\n.txt", None),
    ("Result_QQP.txt", None),
    ("result_../QQP.txt", None),
    ("README.md", None),
]


@pytest.mark.parametrize(("file_name", "dataset"), NAMES)
def test_dataset_of_an_answer_key(file_name, dataset):
    assert contract.dataset_of_answer(file_name) == dataset


def test_any_dataset_name_is_found_again_in_its_key():
    hypothesis = pytest.importorskip("hypothesis")
    from hypothesis import strategies

    @hypothesis.given(strategies.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True), strategies.integers(0, 999))
    def check(name, number):
        if contract.is_dataset_name(name):
            assert contract.dataset_of_answer(f"result_{name}.txt") == name
            assert contract.dataset_of_answer(f"result_{name}_{number}.txt") == name

    check()


def test_what_can_name_a_dataset():
    assert all(contract.is_dataset_name(name) for name in ("QQP", "CoLA", "sst-2", "my_task", "a_1b", "x" * 64))
    assert not any(
        contract.is_dataset_name(name)
        for name in ("", ".", "..", "a/b", "a\\b", "-a", "_a", "a_46", "a b", "a\n", "\xe9", "x" * 65)
    )


def test_paths_stay_below_the_submission():
    assert contract.train_path("QQP") == "pre_data/QQP/QQP_train.json"
    assert contract.dev_path("QQP") == "pre_data/QQP/QQP_dev.json"
    assert contract.adapter_folder("QQP") == "saved_model/QQP"
    assert contract.result_paths("QQP") == ("result/result_QQP.txt", "result_QQP.txt")


def test_the_label_set_is_the_keys():
    assert contract.label_set(["1", "0", "1"]) == ("0", "1")
    assert contract.label_set(["1"]) == ("0", "1")  # a key of one answer still has the exam's two labels
    assert contract.label_set(["yes", "no", "yes"]) == ("no", "yes")
    assert contract.label_set(["2", "0", "1"]) == ("0", "1", "2")


def test_what_can_be_a_label():
    assert all(contract.is_label(text) for text in ("0", "1", "entailment", "~", "x" * 32))
    assert not any(contract.is_label(text) for text in ("", " ", "1 ", "1\n", "\xb9", "\uff11", "a b", "x" * 33))


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


def test_a_dev_record_has_no_answer():
    assert contract.record_problem({"instruction": "i", "input": "x"}, contract.DEV_KEYS, contract.LABELS) is None
    problem = contract.record_problem(GOOD, contract.DEV_KEYS, contract.LABELS)
    assert problem == "key 'output' is not part of the record"
