"""A table loses, merges and shifts no row, whatever is in it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.data.open_table import Wanted, open_table
from runner.data.table import Table
from runner.data.tsv import Row
from runner.errors import DataError

COLUMNS = ("id", "text")


def table(
    folder: Path,
    data: bytes,
    forms: tuple[tuple[str, ...], ...] = (COLUMNS,),
    header: bool = False,
    quoting: str = "auto",
) -> Table:
    path = folder / "t.tsv"
    path.write_bytes(data)
    return open_table(path, "data/t.tsv", Wanted(forms, (), header, quoting))  # type: ignore[arg-type]


def rows(folder: Path, data: bytes, **how: object) -> list[Row]:
    return list(table(folder, data, **how).rows())  # type: ignore[arg-type]


NASTY = [
    ("unbalanced quote", b'1\tsay "hello\n2\tb\n', ['say "hello', "b"]),
    ("quote at the start", b'1\t"hello\n2\tb"\n', ['"hello', 'b"']),
    ("whole field in quotes", b'1\t"hello"\n2\tb\n', ['"hello"', "b"]),
    ("line separator U+2028", "1\ta\u2028b\n2\tc\n".encode(), ["a\u2028b", "c"]),
    ("next line U+0085", "1\ta\u0085b\n2\tc\n".encode(), ["a\u0085b", "c"]),
    ("form feed and vertical tab", b"1\ta\fb\vc\n2\td\n", ["a\fb\vc", "d"]),
    ("carriage return inside", b"1\ta\rb\n2\tc\n", ["a\rb", "c"]),
    ("CRLF", b"1\ta\r\n2\tb\r\n", ["a", "b"]),
    ("CRLF on some lines", b"1\ta\r\n2\tb\n", ["a", "b"]),
    ("no final newline", b"1\ta\n2\tb", ["a", "b"]),
    ("byte order mark", b"\xef\xbb\xbf1\ta\n2\tb\n", ["a", "b"]),
    ("NUL", b"1\ta\0b\n2\tc\n", ["a\0b", "c"]),
    ("blank field", b"1\t\n2\tb\n", ["", "b"]),
    ("NA and null as text", b"NA\tNA\nnull\tnan\n", ["NA", "nan"]),
    ("spaces kept", b"1\t a \n2\tb\n", [" a ", "b"]),
    ("blank lines at the end", b"1\ta\n2\tb\n\n\n", ["a", "b"]),
    ("backslashes", b"1\ta\\\n2\t\\t\n", ["a\\", "\\t"]),
]


@pytest.mark.parametrize(("data", "texts"), [case[1:] for case in NASTY], ids=[case[0] for case in NASTY])
def test_nasty_files_keep_their_rows(tmp_path: Path, data: bytes, texts: list[str]) -> None:
    found = rows(tmp_path, data)
    assert [row.fields[1] for row in found] == texts
    assert [row.problem for row in found] == ["", ""]
    assert [row.line for row in found] == [1, 2]


def test_bad_rows_keep_their_place_and_say_what_was_expected(tmp_path: Path) -> None:
    found = rows(tmp_path, b"1\ta\n2\n\n4\td\te\n5\t\xff\n6\tf\n")
    assert [row.line for row in found] == [1, 2, 3, 4, 5, 6]
    assert [row.fields for row in found] == [
        ["1", "a"],
        ["2", ""],
        ["", ""],
        ["4", "d\te"],
        ["5", "\ufffd"],
        ["6", "f"],
    ]
    assert [row.problem for row in found] == [
        "",
        "expected 2 tab-separated fields (id, text), found 1: '2'",
        "expected a row, found a blank line",
        "expected 2 tab-separated fields (id, text), found 3: '4\\td\\te'",
        "expected UTF-8, found byte 0xff at byte 3 of the line",
        "",
    ]


@given(st.lists(st.binary().filter(lambda line: b"\n" not in line), min_size=1))
def test_any_lines_at_all_give_one_row_each(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    data = b"0\tfirst\n" + b"\n".join(lines) + b"\nlast\trow\n"
    path = tmp_path_factory.mktemp("any") / "t.tsv"
    path.write_bytes(data)
    found = list(
        open_table(path, "t", Wanted((COLUMNS,), header=False, quoting="none", format="tsv", encoding="utf-8")).rows()
    )
    assert [row.line for row in found] == list(range(1, len(lines) + 3))
    assert all(len(row.fields) == 2 for row in found)
    assert found[-1].fields == ["last", "row"]


@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_characters="\t\n\r\ufeff", exclude_categories=["Cs"])), min_size=2, max_size=2
        ),
        min_size=1,
    )
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, table_rows: list[list[str]]) -> None:
    data = "".join("\t".join(row) + "\n" for row in table_rows).encode()
    found = rows(tmp_path_factory.mktemp("any"), data, quoting="none")
    assert [row.fields for row in found] == (
        [] if table_rows == [["id", "text"]] else table_rows[table_rows[0] == list(COLUMNS) :]
    )


def test_the_header_is_checked(tmp_path: Path) -> None:
    assert [row.fields for row in rows(tmp_path, b"id\ttext\r\n1\ta\n", header=True)] == [["1", "a"]]
    with pytest.raises(DataError, match=r"data/t\.tsv:1: expected the header id \| text, found '1 \| a'"):
        table(tmp_path, b"1\ta\n2\tb\n", header=True)


def test_a_header_that_nobody_announced_is_recognised_and_said(tmp_path: Path) -> None:
    found = table(tmp_path, b"id\ttext\n1\ta\n")
    assert [row.line for row in found.rows()] == [2]
    assert found.notes == ("line 1 names the columns and is taken as the header",)


def test_the_form_is_told_by_the_number_of_fields(tmp_path: Path) -> None:
    forms = (("id", "mark", "text"), COLUMNS)
    assert table(tmp_path, b"1\ta\n2\tb\n", forms=forms).columns == COLUMNS
    assert table(tmp_path, b"1\t\ta\n2\n3\t\tb\n", forms=forms).columns == forms[0]
    with pytest.raises(
        DataError, match=r"expected rows of 3 \(id, mark, text\) or 2 \(id, text\) .* found none; most rows have 4"
    ):
        table(tmp_path, b"1\ta\tb\tc\n", forms=forms)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"data/t\.tsv: expected rows, found an empty file"),
        ("1\ta\n".encode("utf-16"), r"data/t\.tsv:1: expected UTF-8, found UTF-16"),
    ],
)
def test_files_that_are_no_tables_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        table(tmp_path, data)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data/t\.tsv: cannot read it: No such file"):
        open_table(tmp_path / "none.tsv", "data/t.tsv", Wanted((COLUMNS,)))


QUORA = b'id\ttext\n1\t"say ""hello"" now"\n2\t"two\nlines"\n3\tplain\n'


def test_quoras_own_quoting_is_recognised_and_said(tmp_path: Path) -> None:
    found = table(tmp_path, QUORA, header=True)
    assert found.csv_quoted
    assert "CSV-quoted" in found.notes[0]
    assert [(row.line, row.fields[1]) for row in found.rows()] == [
        (2, 'say "hello" now'),
        (3, "two\nlines"),
        (5, "plain"),
    ]


def test_one_field_that_csv_would_quote_makes_quotes_ordinary(tmp_path: Path) -> None:
    found = table(tmp_path, QUORA + b'4\tsay "no"\n', header=True)
    assert not found.csv_quoted
    assert found.notes == ("quotes are ordinary characters here (1 places could not be CSV-quoted)",)
    assert next(row.fields[1] for row in found.rows()) == '"say ""hello"" now"'


def test_the_recipe_can_say_which_quoting_it_is(tmp_path: Path) -> None:
    assert len(rows(tmp_path, QUORA, header=True, quoting="none")) == 4
    with pytest.raises(DataError, match=r"data/t\.tsv:6: expected a CSV-quoted row"):
        rows(tmp_path, QUORA + b'4\t"open\n', header=True, quoting="csv")


def test_open_quotes_that_csv_would_merge_rows_over_are_ordinary(tmp_path: Path) -> None:
    data = b'1\t"I said ""no"""\n2\t"hello\n3\tx\n4\t"\n5\tz\n'
    assert [row.line for row in rows(tmp_path, data)] == [1, 2, 3, 4, 5]


def test_two_lines_that_only_together_make_a_row_are_csv(tmp_path: Path) -> None:
    found = rows(
        tmp_path, b'id\ttext\tlabel\n1\t"two\nlines"\t0\n2\tplain\t1\n', forms=(("id", "text", "label"),), header=True
    )
    assert [row.fields for row in found] == [["1", "two\nlines", "0"], ["2", "plain", "1"]]


def test_what_csv_cannot_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data/t\.tsv:1: expected a CSV-quoted row"):
        rows(tmp_path, b"1\ta\rb\n", quoting="csv")


def test_blank_lines_at_the_end_of_one_column_are_no_rows_either(tmp_path: Path) -> None:
    found = rows(tmp_path, b"a\n\nb\n\n\n", forms=(("text",),))
    assert [(row.fields, bool(row.problem)) for row in found] == [(["a"], False), ([""], True), (["b"], False)]


def test_a_file_without_evidence_is_read_like_its_training_file(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(b'1\t"whole"\n')
    (tmp_path / "train.tsv").write_bytes(QUORA)
    train = open_table(tmp_path / "train.tsv", "train", Wanted((COLUMNS,)))
    assert not open_table(path, "t", Wanted((COLUMNS,))).csv_quoted
    found = open_table(path, "t", Wanted((COLUMNS,)), train)
    assert found.csv_quoted
    assert found.notes == ("is read as CSV-quoted, like the training file",)
    path.write_bytes(b'1\tsay "no"\n')
    assert not open_table(path, "t", Wanted((COLUMNS,)), train).csv_quoted
