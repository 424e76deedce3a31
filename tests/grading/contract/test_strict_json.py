"""Strict JSON: exactly one reading, or one message."""

import pytest

from grading import contract

STRICT = [
    ("not UTF-8", b'["\xff"]', "expected UTF-8 text, found byte 0xff at offset 2"),
    ("byte order mark", b"\xef\xbb\xbf[]", "starts with a byte order mark; save it as UTF-8 without one"),
    ("empty", b"", "line 1 cannot be read as JSON"),
    ("cut short", b'[\n{"a": 1', "line 2 cannot be read as JSON"),
    ("second value", b"[] []", "line 1 cannot be read as JSON"),
    ("repeated key", b'[{"a": 1, "a": 2}]', "key 'a' is repeated in one object"),
    ("NaN", b"[NaN]", "NaN is not a JSON value"),
    ("infinity", b"[-Infinity]", "-Infinity is not a JSON value"),
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
