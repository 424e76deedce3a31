"""Strict JSON: exactly one reading, or one message; and the same element by element, in bounded memory."""

import json
import random
import tracemalloc

import pytest

from grading import contract
from grading.contract.strict_json import ELEMENT_LIMIT

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
    ("a comma before a bracket", b"[\n1,\n\n]", "line 2 cannot be read as JSON"),
    ("a comma before a brace", b'{\n"a": 1\n, \n}', "line 3 cannot be read as JSON"),
    ("a comma before a bracket inside", b"[\n[1,\n], 2]", "line 2 cannot be read as JSON"),
    ("two commas", b"[1,\n,\n2]", "line 2 cannot be read as JSON"),
    ("UTF-16", "[]".encode("utf-16"), "expected UTF-8 text, found UTF-16; save it as UTF-8"),
    ("UTF-16 without a mark", "[]".encode("utf-16-be"), "expected UTF-8 text, found UTF-16; save it as UTF-8"),
    ("UTF-32", "[]".encode("utf-32"), "expected UTF-8 text, found UTF-32; save it as UTF-8"),
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


def outcome(read, *arguments):
    try:
        return read(*arguments)
    except contract.ContractError as error:
        return str(error)


def elements(pieces):
    return list(contract.read_array(pieces))


def pieces_of(data, draw):
    start = 0
    while start < len(data):
        size = draw.choice((1, 2, 3, 7, 50))
        yield data[start : start + size]
        start += size


@pytest.mark.parametrize(("data", "message"), [row[1:] for row in STRICT], ids=[row[0] for row in STRICT])
def test_arrays_that_are_refused(data, message):
    draw = random.Random(0)
    if data[:1] in (b"[", b"\xff", b"\xef", b"\0"):
        assert outcome(elements, [data]) == message
        if len(data) < 1000:
            assert outcome(elements, pieces_of(data, draw)) == message


PIECES = [
    *"[]{},:", '"a"', '"b"', "1", "1e5", "-", "2.5", "NaN", "-Infinity", "true", "fals", "null", "\n", " ", '"\\u', '"', "\\",
    "\x01", "\xe9", "\t", '{"a": 1}', '{"a": "x\\n"}', "[]", "{}", "0." + "1" * 50,
]  # fmt: skip


def test_an_array_has_one_reading_however_it_is_cut():
    """The whole array at once, element by element, and in pieces of any size: the same values or the same message."""
    draw = random.Random(0)
    for number in range(1500):
        if number % 2:
            text = "[" + "".join(draw.choices(PIECES, k=draw.randint(0, 12)))
        else:
            rows = [{"instruction": "\xe9\n", "input": f"q{row}", "output": "1"} for row in range(draw.randint(0, 3))]
            text = json.dumps(rows, indent=draw.choice((None, 1)), ensure_ascii=draw.random() < 0.5)
            place = draw.randrange(1, len(text))
            text = text[:place] + draw.choice((*PIECES, "")) + text[place + draw.randint(0, 2) :]
        data = text.encode()
        whole = outcome(contract.parse_json, data)
        assert outcome(elements, [data]) == whole, text
        assert outcome(elements, pieces_of(data, draw)) == whole, text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{}", "is not a JSON array"),
        (b' {"a": [1]}\n', "is not a JSON array"),
        (b'"text"', "is not a JSON array"),
        (b"12", "is not a JSON array"),
        (b"{}\n{}\n", "is JSON Lines, an object a line, and not one JSON array"),
        (b'{"data": [' + b"{}," * (ELEMENT_LIMIT // 2) + b"{}]}", "is not a JSON array"),
        (b"{}\n[]", "line 2 cannot be read as JSON"),
        (b"{\n}}", "line 2 cannot be read as JSON"),
        (b'{"a": NaN}', "NaN is not a JSON value"),
        (b"", "line 1 cannot be read as JSON"),
        (b"\n\n", "line 3 cannot be read as JSON"),
    ],
)
def test_what_is_no_array(data, message):
    with pytest.raises(contract.ContractError) as caught:
        list(contract.read_array(data[start : start + 999] for start in range(0, len(data), 999)))
    assert str(caught.value) == message


WORST = {
    "one string": b'["' + b"\\n" * (1 << 20) + b'"]',
    "strings": b"[" + b",".join([b'"' + b"\\u4e2d" * 80_000 + b'"'] * 5) + b"]",
    "one array": b"[[" + b"[]," * (1 << 19) + b"0]]",
    "arrays": b"[" + b"[]," * (1 << 19) + b"0]",
    "nested": b"[" + b",".join([b"[" + b"[]," * 200_000 + b"0]"] * 3) + b"]",
    "objects": b"[" + b",".join([b"[" + b'{"":0},' * 100_000 + b"0]"] * 3) + b"]",
    "keys": b"[" + b",".join([b"{" + b",".join(b'"%d":0' % key for key in range(80_000)) + b"}"] * 3) + b"]",
    "spaces": b"[" + b" " * (8 << 20) + b"0]",
    "spaces after a comma": b"[0," + b" " * (8 << 20) + b"0]",
    "not Latin": ('["' + "a" * 900_000 + "\U0001f600" + '"]').encode(),
}


@pytest.mark.parametrize("data", WORST.values(), ids=WORST)
def test_the_memory_is_that_of_one_element(data):
    """8 MiB of escapes took 524 MB."""
    pieces = (data[start : start + (1 << 20)] for start in range(0, len(data), 1 << 20))
    tracemalloc.start()
    found = outcome(lambda: sum(1 for _ in contract.read_array(pieces)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found, int) or "has more than 1,048,576 characters" in found
    assert peak < 64 << 20
