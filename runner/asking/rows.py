"""The rows to ask: lines of a pipe, or a file in any format that a recipe can name. A row that cannot be read keeps its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, Union

from runner.asking.input_form import InputForm
from runner.data.encoding import CODECS, EncodingError
from runner.data.open_table import Columns, Wanted, open_table
from runner.data.table import Table
from runner.data.tsv import BLANK
from runner.errors import DataError, UserError
from runner.language import tr
from runner.recipe.schema import dev_forms


class AskedRow(NamedTuple):
    """A row to ask."""

    line: int
    """Its line in the file or the pipe, from 1; in parquet its number."""
    fields: tuple[str, ...]
    """The columns of the input, in the form's order."""
    problem: str = ""
    """Why it cannot be answered; empty for a good row."""
    cells: tuple[str, ...] = ()
    """All columns of its file, in the file's order."""


@dataclass(frozen=True)
class FileForm:
    """What the user says about a file."""

    header: bool = False
    """Whether its first line names the columns, whatever the names are. The task's own names are found in any case."""
    format: Literal["auto", "tsv", "csv", "jsonl", "parquet"] = "auto"
    """What it is."""
    encoding: str = "auto"
    """Its encoding, as `task.encoding`."""


@dataclass(frozen=True)
class AskedFile:
    """A file of rows to ask, opened."""

    table: Table
    """The file."""
    form: InputForm
    """How its rows become inputs."""

    @property
    def columns(self) -> Columns:
        """All its columns."""
        return self.table.columns

    def rows(self) -> Iterator[AskedRow]:
        """Every row in order, those that cannot be read with their problem."""
        places = [self.table.columns.index(name) for name in self.form.columns]
        for row in self.table.rows():
            asked = tuple(row.fields[place] for place in places)
            yield AskedRow(row.line, asked, row.problem or _empty(asked), tuple(row.fields))


def _empty(fields: Sequence[str]) -> str:
    return "" if any(field.strip() for field in fields) else tr("expected a text, found none")


def open_file(path: Path, form: InputForm, how: FileForm) -> AskedFile:
    """Open a file of rows. Raises DataError where it cannot be read, or has not the columns of the input."""
    if not path.is_file():
        found = tr("found a folder, a pipe or a device") if path.exists() else tr("there is none")
        raise DataError(
            tr("{path}: expected a file of rows, {found}", path=path, found=found),
            tr("name a file of rows; without a file, or with `-`, a pipe is read"),
        )
    wanted = _wanted(form, how)
    try:
        return AskedFile(_table(path, wanted), form)
    except EncodingError as error:
        # as `labeltune new` does: the encoding is found in the file's bytes
        return AskedFile(_table(path, replace(wanted, encoding=error.encoding)), form)
    except DataError as error:
        # the cures speak of the recipe, and here is none to change
        if "task." not in error.next_step and error.next_step:
            raise
        cure = tr(
            "name the columns {columns} in its first line, or give the columns in this order; "
            "--header, --format and --encoding say what the file is",
            columns=", ".join(form.columns),
        )
        raise DataError(error.what, cure) from None


def _table(path: Path, wanted: Wanted) -> Table:
    """The file. Its first line is a header where it names the columns; where it only looks like names, it is answered as a row,
    because a row that is taken for a header would be lost."""
    table = open_table(path, str(path), wanted)
    if table.has_header and wanted.header == "auto":
        names = [name.strip().lower() for name in table.text.first_rows(1)[0]]
        if not {name.lower() for name in wanted.needed} <= set(names):
            return open_table(path, str(path), replace(wanted, header=False, suspicious=False))
    return table


def _wanted(form: InputForm, how: FileForm) -> Wanted:
    """The forms of the task's own files, and one with the columns of the input alone."""
    task = form.task
    forms = dev_forms(task.columns, task.label, task.dev_columns) if task and task.columns else ()
    if all(len(each) != len(form.columns) for each in forms):
        forms = (*forms, form.columns)
    quoting = task.quoting if task else "auto"
    header: Union[bool, Literal["auto"]] = how.header or "auto"
    return Wanted(forms, form.columns, header, quoting, how.format, how.encoding, own_names=True)


def require_pipe(how: FileForm) -> None:
    """Raise UserError where an option cannot be used for a pipe."""
    if how.header or how.format != "auto":
        raise UserError(
            tr("--header and --format are for a file; a pipe has a row in each line, with a tab between two texts"),
            tr("leave them out, or write the rows into a file"),
        )
    if how.encoding == "utf-16":
        raise UserError(
            tr("--encoding utf-16 is for a file; a pipe is read line by line"), tr("write the rows into a file")
        )


def piped_rows(lines: Iterable[bytes], form: InputForm, encoding: str = "auto") -> Iterator[AskedRow]:
    """A row for each line: the columns of the input, with a tab between two. Blank lines at the end are no rows.

    `encoding`: as `task.encoding`; `auto` is UTF-8."""
    blank: list[AskedRow] = []
    for number, line in enumerate(lines, 1):
        row = _piped_row(number, line, form, CODECS[encoding])
        if row.problem == BLANK:
            blank.append(row._replace(problem=tr(BLANK)))
            continue
        yield from blank
        blank.clear()
        yield row


def _piped_row(number: int, line: bytes, form: InputForm, codec: str) -> AskedRow:
    raw = line.rstrip(b"\r\n")
    raw = raw[3:] if number == 1 and raw.startswith(b"\xef\xbb\xbf") else raw
    size = len(form.columns)
    text = raw.decode(codec, "replace")
    fields = text.split("\t") if size > 1 else [text]
    problem = ""
    if not text.strip():
        problem = BLANK
    elif "\ufffd" in text and not _is_in(raw, codec):
        problem = (
            tr("expected text in UTF-8; --encoding gbk, for example, reads another encoding")
            if codec == "utf-8"
            else tr("expected text in {codec}, as --encoding says", codec=codec)
        )
    elif len(fields) != size:
        problem = tr(
            "expected {size} texts with a tab between them ({columns}), found {found}",
            size=size,
            columns=", ".join(form.columns),
            found=len(fields),
        )
    whole = (*fields[: size - 1], "\t".join(fields[size - 1 :]), *[""] * (size - len(fields)))
    return AskedRow(number, whole, problem, whole)


def _is_in(raw: bytes, codec: str) -> bool:
    try:
        raw.decode(codec)
    except UnicodeDecodeError:
        return False
    return True
