"""How foreign text is shown: as it is written, unless it hides something."""

import io

import pytest
from conftest import ROOT

from grading.contract.display import one_line, printed, quoted, shown, told_apart, writable

AS_WRITTEN = (
    "王小明", "Łukasz Gómez", "e\u0301", "ế", "e\u0302\u0301", "कृष्णमूर्ति", "שָׁלוֹם", "กำ้", "မြန်မာ", "한글", "\u1112\u1161\u11ab",
    "が", "か\u3099", "😀", "❤\ufe0f", "🌡\ufe0f", "1\ufe0f\u20e3", "🇨🇳", "👍🏽", "a b", "（王）", "《x》", "½", "=1+1", "<b>",
)  # fmt: skip

ESCAPED = (
    # terminals: C0, DEL, C1
    "\x00", "\x07", "\x1b", "\r", "\t", "\x7f", "\x85", "\x9b",
    # spaces and lines
    "\xa0", "\u2003", "\u202f", "\u205f", "\u3000", "\u1680", "\u2028", "\u2029",
    # direction
    "\u061c", "\u200e", "\u200f", "\u202a", "\u202e", "\u2066", "\u2069",
    # nothing to see
    "\xad", "\u034f", "\u115f", "\u1160", "\u17b4", "\u180b", "\u180e", "\u200b", "\u200c", "\u200d", "\u2060", "\u2063",
    "\u2065", "\u206a", "\u2800", "\u2d7f", "\u3164", "\ufeff", "\uffa0", "\ufff0", "\ufff9", "\U0001d159", "\U0001d173",
    "\U000e0001", "\U000e0041", "\U000e007f", "\U00016fe4",
    # selectors after a letter
    "\ufe00", "\ufe0e", "\ufe0f", "\U000e0100",
    # marks of another script than the letter's
    "\u1039", "\u0e31", "\u05b0", "\u3164",
    # private, unassigned, half of a pair
    "\ue000", "\U000f0000", "\u0378", "\uffff", "\U0010ffff", "\ud800", "\udc80", "\udfff",
)  # fmt: skip


@pytest.mark.parametrize("text", AS_WRITTEN, ids=ascii)
def test_text_that_is_shown_as_it_is_written(text: str) -> None:
    assert shown(text) == one_line(text) == printed(text) == text
    assert quoted(text) == f"'{text}'"


@pytest.mark.parametrize("char", ESCAPED, ids=ascii)
def test_characters_that_are_escaped_everywhere(char: str) -> None:
    text = f"alice{char}x"
    escape = char.encode("ascii", "backslashreplace").decode() if char > "\x7f" else f"\\x{ord(char):02x}"
    assert shown(text) == one_line(text) == printed(text) == f"alice{escape}x"
    assert char not in quoted(text)
    assert char not in quoted([text])
    assert char not in quoted({text: text})


def test_stacked_marks() -> None:
    assert shown("a\u0301\u0302\u0303\u0304\u0305") == "a\u0301\u0302\u0303\\u0304\\u0305"
    assert shown("a\u0332\u0332") == "a\u0332\\u0332"
    assert shown("\u0301a") == "\\u0301a"
    assert shown("a \u0301") == "a \\u0301"
    assert shown("\u1161" * 3) == "\\u1161" * 3


def test_values_of_other_kinds() -> None:
    assert quoted(b"a\xff\xe7\x8e\x8b\x1b") == "'a\\xff王\\x1b'"
    assert quoted(["王", "a\u200b", 1, None]) == "['王', 'a\\u200b', 1, None]"
    assert quoted("it's\\\n") == r"'it\'s\\\n'"
    assert shown("back\\slash\n") == r"back\\slash\x0a"
    assert one_line("back\\slash\n") == r"back\slash\x0a"
    assert printed("two\n  lines\t") == "two\n  lines\\x09"


def test_a_long_text_is_cut_in_its_middle_and_never_inside_of_an_escape() -> None:
    assert quoted("a" * 500 + "b" * 500) == f"'{'a' * 80} ... {'b' * 80}' (1,000 characters)"
    assert quoted("\x1b" * 100, 10) == r"'\x1b ... \x1b' (100 characters)"
    assert quoted("\x1b" * 3, 10) == r"'\x1b ... \x1b' (3 characters)"
    assert one_line("x" * 11, 10) == "xxxxx ... xxxxx (11 characters)"
    assert shown("x" * 300, None) == "x" * 300
    assert quoted("e\u0301" * 50, 9) == "'e\u0301e\u0301 ... e\u0301e\u0301' (100 characters)"
    assert len(quoted("\U000e0001" * 10_000_000)) < 250


EIGHT_OF_ALICE = (
    "alice", "alice ", "ali\u200bce", "alice\ufe0f", "alice\u3164", "\u202dalice", "al\u00adice", "\u0430lice", "\uff41lice",
    "ali\u0441e",     "alice\u2800", "alice\U000e0020", "alic\u0435", " alice", "alice\\u200b", "al\u0456ce",
)  # fmt: skip


def test_names_that_would_look_the_same_are_told_apart() -> None:
    found = told_apart(EIGHT_OF_ALICE)
    assert found["alice"] == "alice"
    assert len(set(found.values())) == len(EIGHT_OF_ALICE)
    assert all(text.isascii() for name, text in found.items() if name != "\uff41lice")
    assert told_apart(["Jos\u00e9", "Jose\u0301"]) == {"Jos\u00e9": "Jos\u00e9", "Jose\u0301": "Jose\\u0301"}
    assert told_apart(["Jose\u0301"]) == {"Jose\u0301": "Jose\u0301"}
    assert told_apart(["a  b", "a b"]) == {"a  b": "a \\x20b", "a b": "a b"}
    assert told_apart(["口", "ロ", "王"]) == {"口": "口", "ロ": "\\u30ed", "王": "王"}
    assert told_apart(["❤", "❤\ufe0f"]) == {"❤": "❤", "❤\ufe0f": "\\u2764\\ufe0f"}


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "王é😀"),
        ("ascii", "\\u738b\\xe9\\U0001f600"),
        ("gbk", "王é\\U0001f600"),
        ("latin-1", "\\u738bé\\U0001f600"),
    ],
)
def test_a_stream_that_cannot_write_a_character_gets_its_escape(encoding: str, expected: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    assert writable("王é😀", stream) == expected
    stream.write(writable("王é😀", stream))
    assert writable("é", io.StringIO()) == "\\xe9"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_graders_own_messages_are_shown_as_they_are(language: str) -> None:
    text = (ROOT / f"grading/locale/{language}.po").read_text(encoding="utf-8")
    assert printed(text) == text
