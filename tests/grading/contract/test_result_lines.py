"""Result files: line i is line i, whatever is on it."""

import random

import pytest

from grading import contract

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


def test_the_first_lines_and_how_many_there_are():
    """However a file is cut into lines, the first of them are the first of all, and the count is that of all."""
    draw = random.Random(0)
    pieces = [b"index\tprediction", b"\n", b"\r\n", b"0", b"0\t1", b"1\t0", b"\xef\xbb\xbf", b"\r", b" ", b""]
    for _ in range(5000):
        data = b"".join(draw.choices(pieces, k=draw.randint(0, 7)))
        lines = contract.parse_result(data)
        assert contract.count_lines(data) == len(lines), data
        for most in range(4):
            assert contract.parse_result(data, most) == lines[:most], data
