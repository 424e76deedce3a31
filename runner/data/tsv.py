"""TSV tables, read so that no row is lost, merged or shifted.

A line ends at LF (one CR before it is removed) and a field at a tab. U+2028, form feeds, NUL and quotes are ordinary
characters. Only Quora's own QQP file is CSV-quoted, where one row may span several lines. The quotes of the whole file, or the
recipe, decide this; it is never guessed row by row.
"""

from __future__ import annotations

import codecs
import csv
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Optional

from runner.errors import DataError

PROBE_ROWS = 1000
"""Rows that are read to find the form of a file."""


class Row(NamedTuple):
    """One row. It always has a value for every column: missing fields are empty, extra ones stay in the last."""

    line: int
    """Line in the file, counted from 1; the first one where a quoted row spans several."""
    fields: list[str]
    """The values, one per column."""
    problem: str
    """The problem of a bad row: expected and found. Empty for a good row."""


@dataclass(frozen=True)
class Table:
    """A file whose form is known."""

    path: Path
    """The file."""
    shown: str
    """The file as messages name it."""
    columns: tuple[str, ...]
    """Its columns, in order."""
    has_header: bool
    """Whether its first line names the columns."""
    csv_quoted: bool
    """Whether quotes are CSV quoting."""
    notes: tuple[str, ...]
    """What was recognised, and not set by the recipe, in words."""

    def rows(self, only: Optional[Container[int]] = None) -> Iterator[Row]:
        """Every row in order, good or bad; or `only` those that begin on these lines, without parsing the others.

        Blank lines at the end of the file are ignored; other blank lines are bad rows.

        Raises DataError where CSV quoting cannot be followed, OSError where the file cannot be read."""
        rows = _quoted_rows(self, only) if self.csv_quoted else _plain_rows(self, only)
        if self.has_header and (only is None or 1 in only):
            next(rows, None)
        # blank lines are held back until a row follows
        blank: list[Row] = []
        for row in rows:
            if row.problem == _BLANK:
                blank.append(row)
                continue
            if blank:
                yield from blank
                blank.clear()
            yield row


_BLANK = "expected a row, found a blank line"


def open_table(
    path: Path, shown: str, forms: Sequence[tuple[str, ...]], header: bool, quoting: str, like_csv: bool = False
) -> Table:
    """The table in `path`, whose columns are one of `forms`; `quoting` is `auto`, `none` or `csv`.

    Where `auto` finds no evidence for either, `like_csv` decides: a dev file is then read like its training file.
    Raises DataError where the file is missing, is not UTF-8, has not the expected header, or has none of the forms."""
    # opening a pipe would wait for a writer, and a device may have no end
    if path.exists() and not path.is_file():
        raise DataError(f"{shown}: expected a file, found a folder, a pipe or a device", "name the table in the recipe")
    try:
        with path.open("rb") as file:
            first = file.readline()
    except OSError as error:
        raise DataError(
            f"{shown}: cannot read it: {error.strerror}", "put the file there, or name another in the recipe"
        ) from None
    if first[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{shown}:1: expected UTF-8, found UTF-16", "save the file as UTF-8")
    if not first:
        raise DataError(f"{shown}: expected rows, found an empty file", "copy it again")
    csv_quoted, notes = _quoting(path, forms) if quoting == "auto" else (quoting == "csv", [])
    if quoting == "auto" and like_csv and not notes:
        csv_quoted, notes = True, ["is read as CSV-quoted, like the training file"]
    try:
        names = tuple(_split(first)) if not csv_quoted else tuple(next(csv.reader([_text(first)], delimiter="\t")))
    except csv.Error as error:
        raise _csv_error(shown, 1, error) from None
    if names in forms:
        if not header:
            notes.append("line 1 names the columns and is taken as the header")
        return Table(path, shown, names, True, csv_quoted, tuple(notes))
    if header:
        wanted = " or ".join(" | ".join(form) for form in forms)
        raise DataError(
            f"{shown}:1: expected the header {wanted}, found {' | '.join(names)[:200]!r}",
            "correct task.columns or task.dev_columns, or set task.header: false if the file has no header",
        )
    form = _form(Table(path, shown, forms[0], False, csv_quoted, ()), forms)
    if form != forms[0]:
        notes.append(f"has the columns {', '.join(form)}")
    return Table(path, shown, form, False, csv_quoted, tuple(notes))


def _form(table: Table, forms: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The form of most of the first rows."""
    if table.csv_quoted:
        lines = csv.reader((_text(line) for line in _lines(table.path)), delimiter="\t")
        try:
            sizes = Counter(len(fields) for fields in islice(lines, PROBE_ROWS))
        except csv.Error as error:
            raise _csv_error(table.shown, lines.line_num, error) from None
    else:
        sizes = Counter(len(_split(line)) for line in islice(_lines(table.path), PROBE_ROWS))
    fitting = [form for form in forms if sizes[len(form)]]
    if not fitting:
        size, _ = sizes.most_common(1)[0]
        wanted = " or ".join(f"{len(form)} ({', '.join(form)})" for form in forms)
        raise DataError(
            f"{table.shown}: expected rows of {wanted} tab-separated fields, found none; most rows have {size}",
            "correct task.columns, or task.dev_columns for the dev file",
        )
    return max(fitting, key=lambda form: sizes[len(form)])


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file with their ends. Iterating over a binary file splits at LF only."""
    with path.open("rb") as file:
        yield from file


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").lstrip("\ufeff")


def _split(line: bytes) -> list[str]:
    return _text(_strip_end(line)).split("\t")


def _strip_end(line: bytes) -> bytes:
    if line.endswith(b"\r\n"):
        return line[:-2]
    return line[:-1] if line.endswith((b"\n", b"\r")) else line


def _plain_rows(table: Table, only: Optional[Container[int]]) -> Iterator[Row]:
    wanted = len(table.columns)
    for number, raw in enumerate(_lines(table.path), 1):
        if only is not None and number not in only:
            continue
        line = _strip_end(raw)
        if number == 1 and raw.startswith(codecs.BOM_UTF8):
            line = line[len(codecs.BOM_UTF8) :]
        if not line:
            yield Row(number, [""] * wanted, _BLANK)
            continue
        try:
            fields, problem = line.decode("utf-8").split("\t"), ""
        except UnicodeDecodeError as error:
            fields, problem = _text(line).split("\t"), _not_utf8(line[error.start], error.start)
        if len(fields) != wanted:
            problem = problem or _count_problem(table.columns, fields)
            fields = _fitted(fields, wanted)
        yield Row(number, fields, problem)


def _quoted_rows(table: Table, only: Optional[Container[int]]) -> Iterator[Row]:
    broken: dict[int, str] = {}

    def lines() -> Iterator[str]:
        for number, line in enumerate(_lines(table.path), 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                broken[number] = _not_utf8(line[error.start], error.start)
            yield _text(line) if number == 1 else line.decode("utf-8", "replace")

    wanted = len(table.columns)
    reader = csv.reader(lines(), delimiter="\t", strict=True)
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise _csv_error(table.shown, start, error) from None
        if fields is None:
            return
        if only is not None and start not in only:
            continue
        problem = next((broken[n] for n in range(start, reader.line_num + 1) if n in broken), "")
        if not any(fields) and len(fields) < 2:
            fields, problem = [""] * wanted, _BLANK
        if len(fields) != wanted:
            problem = problem or _count_problem(table.columns, fields)
            fields = _fitted(fields, wanted)
        yield Row(start, fields, problem)


def _csv_error(shown: str, line: int, error: csv.Error) -> DataError:
    return DataError(
        f"{shown}:{line}: expected a CSV-quoted row, but it cannot be read as one ({error})",
        "fix the row, or set task.quoting: none if quotes are ordinary characters in this file",
    )


def _fitted(fields: list[str], wanted: int) -> list[str]:
    if len(fields) < wanted:
        return fields + [""] * (wanted - len(fields))
    return [*fields[: wanted - 1], "\t".join(fields[wanted - 1 :])]


def _not_utf8(byte: int, offset: int) -> str:
    return f"expected UTF-8, found byte 0x{byte:02x} at byte {offset + 1} of the line"


def _count_problem(columns: Sequence[str], fields: Sequence[str]) -> str:
    begin = "\t".join(fields)
    shown = repr(begin if len(begin) <= 80 else begin[:80] + "…")
    return f"expected {len(columns)} tab-separated fields ({', '.join(columns)}), found {len(fields)}: {shown}"


def _quoting(path: Path, forms: Sequence[tuple[str, ...]]) -> tuple[bool, list[str]]:
    """Whether the file is CSV-quoted, and a note where its quotes decided that.

    In a CSV-quoted file, every field with a quote begins with one and doubles those inside, and only a line whose last field is
    open continues in the next line. One line that breaks these rules proves that the file is not CSV-quoted. A field with
    doubled quotes, or two lines that only together make a row, are evidence that it is."""
    sizes = {len(form) for form in forms}
    literal = evidence = 0
    # number of fields of the previous line, if its last field is open
    open_fields = 0
    for line in _lines(path):
        if not open_fields and b'"' not in line:
            continue
        fields = _strip_end(line).split(b"\t")
        if open_fields:
            joined = fields[0].endswith(b'"') and open_fields + len(fields) - 1 in sizes
            evidence += joined and len(fields) not in sizes
            # a complete row where the open field should continue
            literal += len(fields) in sizes and not joined
        continues, open_fields = open_fields, 0
        for index, field in enumerate(fields):
            if b'"' not in field or (continues and index == 0):
                continue
            closed = len(field) > 1 and field.endswith(b'"')
            inside = field[1:-1] if closed else field[1:]
            if not field.startswith(b'"') or b'"' in inside.replace(b'""', b""):
                literal += 1
            elif closed:
                evidence += b'""' in inside
            elif index == len(fields) - 1:
                open_fields = len(fields)
            else:
                literal += 1
    # the file ends in an open field
    literal += bool(open_fields)
    if literal:
        return False, [f"quotes are ordinary characters here ({literal} places could not be CSV-quoted)"]
    if evidence:
        return True, [
            f"is CSV-quoted, as Quora's own file is ({evidence} places show it); one row may span several lines"
        ]
    return False, []
