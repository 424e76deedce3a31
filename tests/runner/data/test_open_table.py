"""What a file is taken for, what is refused, and where its bad rows are."""

from pathlib import Path
from typing import Any

import pytest

from runner.data.open_table import JSON_CURE, Wanted, open_table
from runner.data.table import Table
from runner.errors import DataError

FORM = ("id", "text", "label")
NEEDED = ("text", "label")
CHINESE = "".join(f"{n}\t这部电影第{n}次看还是很好看\t{n % 2}\n" for n in range(30))


def table(folder: Path, data: Any, forms: Any = (), **how: Any) -> Table:
    path = folder / "t"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return open_table(path, "data/t", Wanted(forms, NEEDED, **how))


HEAD = "columns id, text, label"
DESCRIBED: list[tuple[str, Any, str]] = [
    ("tsv", "id\ttext\tlabel\n1\ta\t0\n", f"TSV, UTF-8, a header; {HEAD}"),
    ("csv", "id,text,label\n1,a,0\n", f"CSV with a comma, UTF-8, a header; {HEAD}"),
    ("semicolon", "id;text;label\n1;a, b;0\n", f"CSV with a semicolon, UTF-8, a header; {HEAD}"),
    ("vertical bar", "id|text|label\n1|a, b|0\n", f"CSV with a vertical bar, UTF-8, a header; {HEAD}"),
    ("capitals and spaces", "ID, Text ,Label\n1,a,0\n", "CSV with a comma, UTF-8, a header; columns ID, text, label"),
    (
        "other names twice",
        "x,text,label,x,\n1,a,0,,\n",
        "CSV with a comma, UTF-8, a header; columns x, text, label, x, ",
    ),
    ("long field", f"id,text,label\n1,{'a' * 200_000},0\n", f"CSV with a comma, UTF-8, a header; {HEAD}"),
    ("jsonl", '{"id": 1, "text": "a", "label": 0}\n', f"JSONL, UTF-8; {HEAD}"),
    ("array", '[\n {"id": 1, "text": "a", "label": 0}]', f"a JSON array, UTF-8; {HEAD}"),
    ("utf-16", "id\ttext\tlabel\n1\ta\t0\n".encode("utf-16"), f"TSV, UTF-16, a header; {HEAD}"),
    ("bare utf-16", "id\ttext\tlabel\n1\ta\t0\n".encode("utf-16-be"), f"TSV, UTF-16-BE, a header; {HEAD}"),
]


@pytest.mark.parametrize(("data", "described"), [case[1:] for case in DESCRIBED], ids=[case[0] for case in DESCRIBED])
def test_what_a_file_was_taken_for_is_said(tmp_path: Path, data: Any, described: str) -> None:
    found = table(tmp_path, data, encoding="utf-16" if isinstance(data, bytes) else "auto")
    assert found.described() == described
    assert [row.fields[2] for row in found.rows()] == ["0"]


REFUSED: list[tuple[str, Any, str, str]] = [
    (
        "xlsx", b"PK\x03\x04rest", "data/t: expected a TSV, CSV, JSONL or parquet file, found an Excel file (.xlsx) or another "
        "zip archive", "save it in Excel as “CSV UTF-8 (comma delimited)” and name that file in the recipe",
    ),
    (
        "xls", b"\xd0\xcf\x11\xe0rest", "data/t: expected a TSV, CSV, JSONL or parquet file, found an Excel file (.xls)",
        "save it in Excel as “CSV UTF-8 (comma delimited)” and name that file in the recipe",
    ),
    (
        "gzip", b"\x1f\x8brest", "data/t: expected a TSV, CSV, JSONL or parquet file, found a file that gzip has compressed",
        "unpack it and name the unpacked file in the recipe",
    ),
    (
        "utf-16", CHINESE.encode("utf-16"), "data/t:1: expected UTF-8, found UTF-16",
        "add to the recipe, below task: encoding: utf-16; or save the file as UTF-8",
    ),
    (
        "gbk", ("id\ttext\tlabel\n" + CHINESE).encode("gbk"),
        "data/t:2: expected UTF-8, found GBK (GB18030) in 30 lines, the first is line 2",
        "add to the recipe, below task: encoding: gb18030; or save the file as UTF-8",
    ),
    (
        "western", ("id\ttext\tlabel\n" + "1\tcafé plaît\t0\n" * 5).encode("cp1252"),
        "data/t:2: expected UTF-8, found another encoding in 5 lines, the first is line 2: '1\\tcaf\\xe9 pla\\xeet\\t0\\n'",
        "save the file as UTF-8, or name its encoding in the recipe, below task: encoding: gb18030, big5 or cp1252 (labeltune "
        "new: --encoding); with encoding: utf-8 these lines are bad rows",
    ),
    (
        "other names", "number\tbody\tclass\n1\ta\t0\n",
        "data/t:1: expected a header with the columns text and label, found 'number | body | class'",
        "correct task.input or task.label, or list the file's columns in task.columns",
    ),
    (
        "other keys", '{"body": "a", "label": 0}\n', "data/t: expected the columns text, label, found body, label",
        "correct task.input or task.label: the file has no text",
    ),
    (
        "broken array", '[{"text": "a", "label": 1},\n{"text": "b", "label": 1},\n{"text" "c"}]',
        "data/t:3: cannot be read as JSON from here: '{\"text\" \"c\"}]'", "correct the file, or save it again",
    ),
    (
        "a page", b"\n<!DOCTYPE html>\n<html>"[1:], "data/t: expected a TSV, CSV, JSONL or parquet file, found an HTML page",
        "download the file itself: this page came in its place",
    ),
    (
        "sep", b"\xef\xbb\xbfsep=;\r\ntext;label\r\n",
        "data/t: expected a TSV, CSV, JSONL or parquet file, found Excel's line `sep=` above the column names",
        "delete the first line of the file",
    ),
    (
        "lists", '["a", 0]\n["b", 1]\n', "data/t:1: expected a JSON object in each line, or an array of objects, found a list",
        JSON_CURE,
    ),
    (
        "one object", '{"data": [{"text": "a", "label": 0}]}\n',
        "data/t: expected an object for each row, found a single one with the keys data", JSON_CURE,
    ),
    (
        "in several lines", '{\n "text": "a",\n "label": 0\n}\n',
        "data/t:1: expected a JSON object in each line, or an array of objects, found an object in several lines", JSON_CURE,
    ),
    (
        "the same name twice", "text\ttext\tlabel\na\tb\t0\n", "data/t:1: the column name 'text' is there twice",
        "rename one of the two in the file",
    ),
    (
        "broken parquet", b"PAR1 and nothing else", "data/t: cannot be read as parquet: Parquet magic bytes not found in footer.",
        "copy the file again",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("data", "what", "cure"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_cannot_be_read_is_named_with_the_cure(tmp_path: Path, data: Any, what: str, cure: str) -> None:
    with pytest.raises(DataError) as error:
        list(table(tmp_path, data).rows())
    assert error.value.what.startswith(what)
    assert error.value.next_step == cure


@pytest.mark.parametrize("named", ["gb18030", "gbk", "big5", "utf-16"])
def test_a_utf8_file_beside_others_is_read_as_utf8(tmp_path: Path, named: str) -> None:
    rows = list(table(tmp_path, CHINESE, forms=(FORM,), encoding=named).rows())
    assert rows[3].fields[1] == "这部电影第3次看还是很好看"


def test_a_format_that_the_recipe_names_is_held_to(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data/t:1: expected a JSON object, found 'id\\ttext\\tlabel\\n'"):
        table(tmp_path, "id\ttext\tlabel\n1\ta\t0\n", format="jsonl")
    commas = table(tmp_path, "id,text,label\n1,a\tb\tc,0\n", format="csv")
    assert [row.fields for row in commas.rows()] == [["1", "a\tb\tc", "0"]]
    assert [row.fields for row in table(tmp_path, "1\ta,b\t0\n", (FORM,), format="tsv").rows()] == [["1", "a,b", "0"]]


def test_bad_rows_of_named_formats_keep_their_place(tmp_path: Path) -> None:
    data = '{"text": "a", "label": 1}\nno\n\n{"text": "b"}\n{"text": ["c"], "label": 0, "more": [1]}\n'
    data += '{"text": "a", "text": "b"}\n{"text": "d", "label": 1.0, "more": {}}\n'
    data += '{"text": NaN, "label": 0}\n{"text": "\\ud800", "label": true}\n{"text": null, "label": 0}\n'
    rows = list(table(tmp_path, data).rows())
    assert [(row.line, row.problem) for row in rows] == [
        (1, ""),
        (2, "expected a JSON object, found 'no'"),
        (3, "expected a row, found a blank line"),
        (4, "expected the key 'label', found text"),
        (5, "expected a text or a number for 'text', found a list or an object"),
        (6, "the key 'text' is there twice"),
        (7, ""),
        (8, ""),
        (9, "expected a text or a number for 'text', found a list or an object"),
        (10, ""),
    ]
    assert rows[6].fields == ["d", "1.0", ""]
    assert rows[7].fields == rows[9].fields == ["", "0", ""]


def test_rows_of_an_array_and_of_quoted_csv_have_the_lines_of_the_file(tmp_path: Path) -> None:
    array = '[\n{"text": "a",\n "label": 0},\n\n{"text": "b", "label": 1}]\n'
    assert [row.line for row in table(tmp_path, array).rows()] == [2, 5]
    commas = 'text,label\n"two\nlines",0\nb,1\nc\n'
    found = table(tmp_path, commas)
    assert [(row.line, bool(row.problem)) for row in found.rows()] == [(2, False), (4, False), (5, True)]
    assert list(found.rows())[2].problem == "expected 2 comma-separated fields (text, label), found 1: 'c'"
    assert [row.fields[0] for row in found.rows(only={4})] == ["b"]
    assert [row.fields[0] for row in table(tmp_path, array).rows(only={5})] == ["b"]


@pytest.mark.parametrize(
    ("data", "cure"),
    [
        (
            "1\ta\t0\r2\tb\t1\r3\tc\t0\r",
            "its lines end with CR alone, as on an old Mac: save it again with line ends LF or CRLF",
        ),
        ('1, "a, b", 0\n2, "c, d", 1\n', "remove the spaces before the quotes that begin a field"),
        ("1 a 0\n", "correct task.columns, or task.dev_columns for the dev file"),
    ],
    ids=["carriage returns", "spaces before quotes", "neither"],
)
def test_a_file_without_a_fitting_row_says_why(tmp_path: Path, data: str, cure: str) -> None:
    with pytest.raises(
        DataError, match=r"data/t: expected rows of 3 \(id, text, label\) tab-separated fields"
    ) as error:
        table(tmp_path, data, (FORM,))
    assert error.value.next_step == cure


def test_a_tsv_file_with_a_quoted_field_in_every_row_is_csv_quoted(tmp_path: Path) -> None:
    found = table(tmp_path, "text\tlabel\n" + 'a\t"0"\n' * 30)
    assert found.notes == ("is CSV-quoted: 30 of 31 rows have a field in quotes",)
    assert {row.fields[1] for row in found.rows()} == {"0"}


def test_damage_in_another_encoding_is_a_bad_row(tmp_path: Path) -> None:
    data = ("id\ttext\tlabel\n" + CHINESE).encode("gb18030") + b"31\t\xff\xff\t0\n"
    rows = list(table(tmp_path, data, encoding="gb18030").rows())
    assert [row.problem for row in rows[29:]] == ["", "expected GB18030, found bytes that are none"]


HEADERS = [
    (
        "ids",
        "idx\tutterance\tgold\n",
        "1\tWe went there.\t0\n2\tWho is it?\t1\n3\tNo way out.\t1\n4\tFine by me.\t0\n",
        True,
    ),
    ("usual names", "编号\t文本\t标签\n", CHINESE, True),
    ("a sentence", "3\tHe left.\t0\n", CHINESE, False),
    (
        "a word among words",
        "apple\tred\tfruit\n",
        "pear\tgreen\tfruit\nleek\tgreen\tplant\npea\tgreen\tplant\nfig\tred\tfruit\n",
        False,
    ),
    ("an empty field", "idx\t\tgold\n", "1\tWe went.\t0\n" * 5, False),
]


@pytest.mark.parametrize(("first", "rest", "header"), [case[1:] for case in HEADERS], ids=[case[0] for case in HEADERS])
def test_a_header_with_other_names_is_told_by_the_other_rows(
    tmp_path: Path, first: str, rest: str, header: bool
) -> None:
    assert table(tmp_path, first + rest, (FORM,)).has_header == header
    if header:
        names = ", ".join(first.split())
        note = f"line 1 has other names, {names}; the columns are read in order as id, text, label"
        assert table(tmp_path, first + rest, (FORM,)).notes == (note,)
        with pytest.raises(DataError, match=r"data/t:1: expected a row, found what looks like column names"):
            table(tmp_path, first + rest, (FORM,), header=False)
        assert not table(tmp_path, first + rest, (FORM,), header=False, suspicious=False).has_header


def test_commas_in_a_file_of_one_column_are_no_delimiters(tmp_path: Path) -> None:
    forms = (("text",), ("text", "label"))
    path = tmp_path / "dev"
    path.write_text("Well, no.\nYes, please.\nBut, why?\n", encoding="utf-8")
    train = table(tmp_path, "text\tlabel\na\t0\n")
    found = open_table(path, "dev", Wanted(forms, ("text",)), train)
    assert [row.fields for row in found.rows()] == [["Well, no."], ["Yes, please."], ["But, why?"]]


def test_a_header_names_the_columns_in_any_order(tmp_path: Path) -> None:
    found = table(tmp_path, "label\tmore\ttext\n1\tx\ta\n", (FORM,), header=True)
    assert found.columns == ("label", "more", "text")
    assert found.notes == ("line 1 names the columns label, more, text; they are read by these names",)
