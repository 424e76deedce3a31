"""Delimited text: TSV and CSV, read so that no row is lost, merged or shifted.

A line ends at LF (one CR before it is removed) and a field at the delimiter. U+2028, form feeds and NUL are ordinary
characters, and so are quotes in a TSV file. Only Quora's own QQP file is a CSV-quoted TSV, where one row may span several lines.
The quotes of the whole file, or the recipe, decide this; it is never guessed row by row.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Optional

from runner.data.encoding import utf8_lines
from runner.errors import DataError
from runner.language import mark, tr

PROBE_ROWS = 1000
"""Rows that are read to find the form of a file."""

DELIMITER_NAMES = {"\t": mark("tab"), ",": mark("comma"), ";": mark("semicolon"), "|": mark("vertical bar")}
"""The delimiters that are known, in the order in which they are tried."""


# a field may be as long as the file: the module's own limit is 128 KiB
csv.field_size_limit(1 << 30)


class Row(NamedTuple):
    """One row. It always has a value for every column: missing fields are empty, extra ones stay in the last."""

    line: int
    """Line in the file, counted from 1; the first one where a quoted row spans several."""
    fields: list[str]
    """The values, one per column."""
    problem: str
    """The problem of a bad row: expected and found. Empty for a good row."""


@dataclass(frozen=True)
class Delimited:
    """A text file and how its lines are split."""

    path: Path
    """The file."""
    shown: str
    """The file as messages name it."""
    codec: str
    """Its encoding."""
    delimiter: str = "\t"
    """One character between two fields."""
    csv_quoted: bool = False
    """Whether quotes are CSV quoting."""

    def lines(self) -> Iterator[bytes]:
        """Its lines with their ends, as UTF-8."""
        return utf8_lines(self.path, self.codec)

    def first_rows(self, count: int = PROBE_ROWS) -> list[list[str]]:
        """The fields of the first rows, as many as each has. Raises DataError where CSV quoting cannot be followed."""
        if not self.csv_quoted:
            return [split(line, self.delimiter) for line in islice(self.lines(), count)]
        reader = csv.reader(map(_text, self.lines()), delimiter=self.delimiter)
        try:
            return list(islice(reader, count))
        except csv.Error as error:
            raise _csv_error(self.shown, reader.line_num, error) from None


BLANK = mark("expected a row, found a blank line")
"""The problem of a line without text."""


def form_of(text: Delimited, forms: Sequence[tuple[str, ...]], rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The form of most of the first rows. Raises DataError where no row has one."""
    sizes = Counter(map(len, rows))
    fitting = [form for form in forms if sizes[len(form)]]
    if not fitting:
        size, _ = sizes.most_common(1)[0]
        wanted = tr(" or ").join(f"{len(form)} ({', '.join(form)})" for form in forms)
        raise DataError(
            tr(
                "{shown}: expected rows of {wanted} {delimiter}-separated fields, found none; most rows have {size}",
                shown=text.shown,
                wanted=wanted,
                delimiter=DELIMITER_NAMES[text.delimiter],
                size=size,
            ),
            _count_cure(text, rows),
        )
    return max(fitting, key=lambda form: sizes[len(form)])


def _count_cure(text: Delimited, rows: Sequence[Sequence[str]]) -> str:
    """What to do about a file in which no row has the right number of fields."""
    first = next(text.lines())
    if first.rstrip(b"\r\n").count(b"\r") > 1:
        return tr("its lines end with CR alone, as on an old Mac: save it again with line ends LF or CRLF")
    if any(re.search(r"[,;] +\"", field) for row in rows for field in row):
        return tr("remove the spaces before the quotes that begin a field")
    return tr("correct task.columns, or task.dev_columns for the dev file")


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").lstrip("\ufeff")


def split(line: bytes, delimiter: str) -> list[str]:
    """The fields of a line without quoting."""
    return _text(_strip_end(line)).split(delimiter)


def _strip_end(line: bytes) -> bytes:
    if line.endswith(b"\r\n"):
        return line[:-2]
    return line[:-1] if line.endswith((b"\n", b"\r")) else line


def delimited_rows(text: Delimited, columns: Sequence[str], only: Optional[Container[int]]) -> Iterator[Row]:
    """Every row, a header and blank lines included; or `only` those that begin on these lines."""
    return _quoted_rows(text, columns, only) if text.csv_quoted else _plain_rows(text, columns, only)


def _plain_rows(text: Delimited, columns: Sequence[str], only: Optional[Container[int]]) -> Iterator[Row]:
    wanted, delimiter = len(columns), text.delimiter
    for number, raw in enumerate(text.lines(), 1):
        if only is not None and number not in only:
            continue
        line = _strip_end(raw)
        if not line:
            yield Row(number, [""] * wanted, BLANK)
            continue
        try:
            fields, problem = line.decode("utf-8").split(delimiter), ""
        except UnicodeDecodeError as error:
            fields, problem = _text(line).split(delimiter), _bad_bytes(text, line, error)
        if len(fields) != wanted:
            problem = problem or _count_problem(text, columns, fields)
            fields = _fitted(fields, wanted, delimiter)
        yield Row(number, fields, problem)


def _quoted_rows(text: Delimited, columns: Sequence[str], only: Optional[Container[int]]) -> Iterator[Row]:
    broken: dict[int, str] = {}

    def lines() -> Iterator[str]:
        for number, line in enumerate(text.lines(), 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                broken[number] = _bad_bytes(text, line, error)
            yield _text(line) if number == 1 else line.decode("utf-8", "replace")

    wanted = len(columns)
    reader = csv.reader(lines(), delimiter=text.delimiter, strict=True)
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise _csv_error(text.shown, start, error) from None
        if fields is None:
            return
        if only is not None and start not in only:
            continue
        problem = next((broken[n] for n in range(start, reader.line_num + 1) if n in broken), "")
        if not any(fields) and len(fields) < 2:
            fields, problem = [""] * wanted, BLANK
        if len(fields) != wanted:
            problem = problem or _count_problem(text, columns, fields)
            fields = _fitted(fields, wanted, text.delimiter)
        yield Row(start, fields, problem)


def _csv_error(shown: str, line: int, error: csv.Error) -> DataError:
    return DataError(
        tr(
            "{shown}:{line}: expected a CSV-quoted row, but it cannot be read as one ({error})",
            shown=shown,
            line=line,
            error=error,
        ),
        tr("fix the row, or set task.quoting: none if quotes are ordinary characters in this file"),
    )


def _fitted(fields: list[str], wanted: int, delimiter: str) -> list[str]:
    if len(fields) < wanted:
        return fields + [""] * (wanted - len(fields))
    return [*fields[: wanted - 1], delimiter.join(fields[wanted - 1 :])]


def _bad_bytes(text: Delimited, line: bytes, error: UnicodeDecodeError) -> str:
    if text.codec != "utf-8":
        return tr("expected {codec}, found bytes that are none", codec=text.codec.upper())
    return tr(
        "expected UTF-8, found byte 0x{byte:02x} at byte {offset} of the line",
        byte=line[error.start],
        offset=error.start + 1,
    )


def _count_problem(text: Delimited, columns: Sequence[str], fields: Sequence[str]) -> str:
    begin = text.delimiter.join(fields)
    shown = repr(begin if len(begin) <= 80 else begin[:80] + "…")
    kind = DELIMITER_NAMES[text.delimiter]
    spaced = text.csv_quoted and any(field.lstrip().startswith('"') for field in fields)
    quote = tr("; remove the space before a quote that begins a field") if spaced else ""
    return tr(
        "expected {columns_count} {kind}-separated fields ({columns}), found {fields_count}: {shown}{quote}",
        columns_count=len(columns),
        kind=kind,
        columns=", ".join(columns),
        fields_count=len(fields),
        shown=shown,
        quote=quote,
    )


def tsv_quoting(text: Delimited, sizes: Container[int]) -> tuple[bool, list[str]]:
    """Whether a TSV file, whose rows have one of these numbers of fields, is CSV-quoted; and a note where its quotes decided.

    In a CSV-quoted file, every field with a quote begins with one and doubles those inside, and only a line whose last field is
    open continues in the next line. One line that breaks these rules proves that the file is not CSV-quoted. A field with
    doubled quotes, or two lines that only together make a row, are evidence that it is."""
    literal = evidence = enclosed = total = 0
    # number of fields of the previous line, if its last field is open
    open_fields = 0
    for line in text.lines():
        total += 1
        if not open_fields and b'"' not in line:
            continue
        fields = _strip_end(line).split(b"\t")
        if open_fields:
            joined = fields[0].endswith(b'"') and open_fields + len(fields) - 1 in sizes
            evidence += joined and len(fields) not in sizes
            # a complete row where the open field should continue
            literal += len(fields) in sizes and not joined
        continues, open_fields = open_fields, 0
        enclosed += any(len(field) > 1 and field.startswith(b'"') and field.endswith(b'"') for field in fields)
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
        return False, [
            tr("quotes are ordinary characters here ({literal} places could not be CSV-quoted)", literal=literal)
        ]
    if enclosed >= max(0.9 * (total - 1), 20):
        return True, [
            tr("is CSV-quoted: {enclosed} of {total} rows have a field in quotes", enclosed=enclosed, total=total)
        ]
    if evidence:
        return True, [
            tr(
                "is CSV-quoted, as Quora's own file is ({evidence} places show it); one row may span several lines",
                evidence=evidence,
            )
        ]
    return False, []
