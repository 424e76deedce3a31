"""A table: a file of rows whose form is known, in any of the formats that can be read."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from runner.data.encoding import utf8_lines
from runner.data.json_rows import NamedRow, json_array, json_lines
from runner.data.parquet_rows import parquet_rows
from runner.data.tsv import BLANK, DELIMITER_NAMES, Delimited, Row, delimited_rows
from runner.errors import DataError
from runner.language import tr

NAMED_FORMATS = ("jsonl", "json", "parquet")
"""Formats whose values have names of their own; the others are delimited text."""


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
    format: str = "tsv"
    """`tsv`, `csv`, `jsonl`, `json` (an array of objects) or `parquet`."""
    codec: str = "utf-8"
    """Its encoding, for a text."""
    delimiter: str = "\t"
    """What is between two fields of delimited text."""
    needed: tuple[str, ...] = ()
    """Columns that a row of named values must have; the others may be missing."""

    def rows(self, only: Optional[Container[int]] = None) -> Iterator[Row]:
        """Every row in order, good or bad; or `only` those that begin on these lines, without parsing the others.

        Blank lines at the end of the file are ignored; other blank lines are bad rows.

        Raises DataError where the file cannot be followed, OSError where it cannot be read."""
        if self.format in NAMED_FORMATS:
            rows: Iterator[Row] = map(self._row, named_rows(self, only))
        else:
            rows = delimited_rows(self.text, self.columns, only)
        if self.has_header and (only is None or 1 in only):
            next(rows, None)
        # blank lines are held back until a row follows
        blank: list[Row] = []
        for row in rows:
            if row.problem == BLANK:
                blank.append(row)
                continue
            if blank:
                yield from blank
                blank.clear()
            yield row

    @property
    def text(self) -> Delimited:
        """The file as delimited text."""
        return Delimited(self.path, self.shown, self.codec, self.delimiter, self.csv_quoted)

    def described(self) -> str:
        """What the file was taken for, in words."""
        return tr("{form}; columns {columns}", form=self.form(), columns=", ".join(self.columns))

    def form(self) -> str:
        """Its format, encoding and header, in words."""
        if self.format == "parquet":
            return "parquet"
        encoding = self.codec.upper()
        if self.format in NAMED_FORMATS:
            return (
                tr("JSONL, {encoding}", encoding=encoding)
                if self.format == "jsonl"
                else tr("a JSON array, {encoding}", encoding=encoding)
            )
        kind = (
            "TSV" if self.format == "tsv" else tr("CSV with a {delimiter}", delimiter=DELIMITER_NAMES[self.delimiter])
        )
        return (
            tr("{kind}, {encoding}, a header", kind=kind, encoding=encoding)
            if self.has_header
            else tr("{kind}, {encoding}, no header", kind=kind, encoding=encoding)
        )

    def _row(self, named: NamedRow) -> Row:
        fields = [named.values.get(name) or "" for name in self.columns]
        problem = named.problem
        for name in self.needed if not problem else ():
            if name not in named.values:
                problem = tr(
                    "expected the key {name!r}, found {values}",
                    name=name,
                    values=", ".join(named.values)[:80] or tr("none"),
                )
            elif named.values[name] is None:
                problem = tr("expected a text or a number for {name!r}, found a list or an object", name=name)
        return Row(named.line, fields, problem)


def named_rows(table: Table, only: Optional[Container[int]] = None) -> Iterator[NamedRow]:
    """The rows of a file whose values have names."""
    if table.format == "parquet":
        return parquet_rows(table.path, table.shown, only)
    lines = utf8_lines(table.path, table.codec)
    if table.format == "jsonl":
        return json_lines(lines, only)
    try:
        return json_array(b"".join(lines).decode("utf-8"), table.shown, only)
    except UnicodeDecodeError as error:
        raise DataError(
            tr(
                "{shown}: expected {codec}, found byte 0x{byte:02x} at byte {offset}",
                shown=table.shown,
                codec=table.codec.upper(),
                byte=error.object[error.start],
                offset=error.start + 1,
            ),
            tr("save the file again"),
        ) from None
