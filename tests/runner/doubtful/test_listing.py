"""The listing: what was written is read back as the same text, by us and by a spreadsheet, and cannot harm a terminal."""

import math
from pathlib import Path

import pytest

from runner.data.exclusion import is_same, read_decisions
from runner.doubtful.listing import CONTRADICTED, Doubt, as_csv, table_rows, write_listing
from runner.errors import DataError

TEXTS = [
    "plain",
    "=1+1",
    "'=1+1",
    "-2",
    'a "quote", a comma; a tab\t.',
    "two\nlines",
    "a\r.",
    "\x1b[31mred \u202e",
    "",
    "是",
]


def doubts(*texts: str) -> list[Doubt]:
    return [
        Doubt(CONTRADICTED, None, line, "0", "1", (math.log(0.1), math.log(0.9)), text)
        for line, text in enumerate(texts, 1)
    ]


def test_every_text_comes_back(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(as_csv(doubts(*TEXTS)))
    read = read_decisions(tmp_path / "list.csv", "list.csv")
    assert [each.line for each in read] == list(range(1, len(TEXTS) + 1))
    for each, text in zip(read, TEXTS):
        assert is_same(each.text, text)
        assert not is_same(each.text, text + "x")
        assert not each.text.startswith(("=", "+", "-", "@"))
        assert each.keep


def test_excel_gets_its_mark_and_a_spreadsheet_may_use_semicolons(tmp_path: Path) -> None:
    data = as_csv(doubts("plain"))
    assert data.startswith(b"\xef\xbb\xbfkeep,reason,group,line,")
    (tmp_path / "list.csv").write_bytes(data.replace(b",", b";").replace(b"yes", b"NO"))
    assert [(each.line, each.text, each.keep) for each in read_decisions(tmp_path / "list.csv", "")] == [
        (1, "plain", False)
    ]


def test_no_escape_reaches_the_terminal() -> None:
    for row in table_rows(doubts(*TEXTS, "long " * 100)):
        assert all(cell.isprintable() for cell in row)
        assert all(len(cell) < 80 for cell in row)


def test_a_file_that_is_no_list_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "doubtful.csv"
    path.write_bytes(b"my notes")
    aside = write_listing(path, doubts("plain"))
    assert aside is not None
    assert aside.read_bytes() == b"my notes"
    assert path.read_bytes() == as_csv(doubts("plain"))
    assert write_listing(path, doubts("plain")) is None


def test_a_hand_made_list_without_keep_excludes_all_its_rows(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("line,input\n3,plain\n")
    assert [each.keep for each in read_decisions(tmp_path / "list.csv", "")] == [False]


def test_a_list_that_has_lost_its_column_keep_is_refused(tmp_path: Path) -> None:
    """Or a spreadsheet's user who renames a column would lose all listed rows."""
    path = tmp_path / "list.csv"
    path.write_bytes(as_csv(doubts("plain")).replace(b"keep", "保留".encode()))
    with pytest.raises(
        DataError, match=r"^list\.csv:1: expected the column keep, found '保留,reason,.*all rows would be"
    ):
        read_decisions(path, "list.csv")


def test_rows_that_were_emptied_in_a_spreadsheet_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(as_csv(doubts("plain", "other")) + b",,,,,,,,\r\n")
    assert [each.text for each in read_decisions(path, "")] == ["plain", "other"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "list.csv:1: expected a header with the columns line and input, found ''"),
        (b"line,text\n1,a\n", "list.csv:1: expected a header with the columns line and input, found 'line,text'"),
        (b"line,input\nx,a\n", "list.csv:2: line: expected a line number of the training file, found 'x'"),
        (b"line,input\n1,a\n1,a\n", "list.csv:3: line 1 is there twice"),
        (b"keep,line,input\nmaybe,1,a\n", "list.csv:2: keep: expected yes or no, found 'maybe'"),
        (b"line,input\n1,\xd6\xd0\n", "list.csv: expected UTF-8, found byte 0xd6 at offset 13"),
        (b'line,input\n1,"a\n', "list.csv:2: cannot be read as CSV (unexpected end of data)"),
    ],
)
def test_a_wrong_list_is_refused_in_words(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "list.csv").write_bytes(data)
    with pytest.raises(DataError) as error:
        read_decisions(tmp_path / "list.csv", "list.csv")
    assert error.value.what == message
    assert error.value.next_step


@pytest.mark.parametrize(("name", "found"), [("none.csv", "cannot read it: No such file"), ("", "expected a CSV file")])
def test_a_list_that_is_no_file_is_refused(tmp_path: Path, name: str, found: str) -> None:
    with pytest.raises(DataError, match=found):
        read_decisions(tmp_path / name, "list.csv")
