"""Opening a table: what a file is, by its content and the recipe: format, encoding, delimiter, quoting, header, columns.

Nothing is decided silently: `Table.described` has the outcome, and `Table.notes` what the recipe does not say.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal, Optional, Union

from grading.contract.language import reason_of
from runner.data.encoding import find_codec, utf8_lines
from runner.data.header import looks_like_names
from runner.data.json_rows import is_list, is_object
from runner.data.table import NAMED_FORMATS, Table, named_rows
from runner.data.tsv import DELIMITER_NAMES, PROBE_ROWS, Delimited, form_of, split, tsv_quoting
from runner.errors import DataError
from runner.language import mark, tr

Columns = tuple[str, ...]

REFUSED = (
    (b"PK\x03\x04", mark("an Excel file (.xlsx) or another zip archive")),
    (b"\xd0\xcf\x11\xe0", mark("an Excel file (.xls)")),
    (b"\x1f\x8b", mark("a file that gzip has compressed")),
    (b"BZh", mark("a file that bzip2 has compressed")),
    (b"<!doctype", mark("an HTML page")),
    (b"<html", mark("an HTML page")),
    (b"%pdf", mark("a PDF file")),
    (b"version https://git-lfs", mark("a Git LFS pointer: its repository was cloned without git-lfs")),
    (b"sep=", mark("Excel's line `sep=` above the column names")),
)
"""First bytes of files that are not read, in small letters, and what they are."""

CURES = {
    "an Excel": mark("save it in Excel as “CSV UTF-8 (comma delimited)” and name that file in the recipe"),
    "a file": mark("unpack it and name the unpacked file in the recipe"),
    "an HTML": mark("download the file itself: this page came in its place"),
    "a PDF": mark("save its table as CSV and name that file in the recipe"),
    "a Git": mark("git lfs install && git lfs pull in that folder"),
    "Excel's": mark("delete the first line of the file"),
}

JSON_CURE = mark(
    "save the rows with pandas: table.to_json('rows.jsonl', orient='records', lines=True, force_ascii=False)"
)

GUESS_ROWS = 200
"""Rows that are read to find the delimiter."""


@dataclass(frozen=True)
class Wanted:
    """What the recipe says about a file."""

    forms: tuple[Columns, ...]
    """The columns that the file may have; none where it must name them itself."""
    needed: Columns = ()
    """Columns without which it cannot be used; with them, a file that names its columns is read by these names."""
    header: Union[bool, Literal["auto"]] = "auto"
    """Whether its first line names the columns."""
    quoting: Literal["auto", "none", "csv"] = "auto"
    """Whether quotes are CSV quoting."""
    format: Literal["auto", "tsv", "csv", "jsonl", "parquet"] = "auto"
    """What it is."""
    encoding: str = "auto"
    """Its encoding, as in the recipe."""
    own_names: bool = False
    """Whether a header with other names is read by the order of the columns."""
    suspicious: bool = True
    """Whether a first line that looks like names is refused where the recipe says that there is no header."""


def open_table(path: Path, shown: str, wanted: Wanted, like: Optional[Table] = None) -> Table:
    """The table in `path`. Where the content decides nothing, the file is read as `like` is: a dev file as its training file.

    Raises DataError where the file is missing, is in a format or an encoding that is not read, has not the expected header, or
    has none of the forms."""
    named, codec = named_format(path, shown, wanted)
    if named:
        return _named(Table(path, shown, (), False, False, (), named, codec, needed=wanted.needed), wanted)
    if wanted.format == "jsonl":
        raise DataError(
            tr(
                "{shown}:1: expected a JSON object, found {text!r}",
                shown=shown,
                text=next(utf8_lines(path, codec))[:80].decode("utf-8", "replace"),
            ),
            tr("correct the file, or set task.format: auto"),
        )
    text, notes = _dialect(Delimited(path, shown, codec), wanted, like)
    return _with_columns(text, notes, wanted)


def named_format(path: Path, shown: str, wanted: Wanted) -> tuple[str, str]:
    """The format of a file whose values have names, nothing for delimited text; and the codec of a text."""
    if _first_bytes(path, shown).startswith(b"PAR1") or wanted.format == "parquet":
        return "parquet", "utf-8"
    codec = find_codec(path, shown, wanted.encoding)
    return _json_format(path, shown, codec) if wanted.format in ("auto", "jsonl") else "", codec


def _first_bytes(path: Path, shown: str) -> bytes:
    """The first bytes of a file that can be read."""
    # opening a pipe would wait for a writer, and a device may have no end
    if path.exists() and not path.is_file():
        raise DataError(
            tr("{shown}: expected a file, found a folder, a pipe or a device", shown=shown),
            tr("name the table in the recipe"),
        )
    try:
        with path.open("rb") as file:
            first = file.read(64)
    except OSError as error:
        slash = tr("write / between folders, ") if "\\" in shown else ""
        raise DataError(
            tr("{shown}: cannot read it: {reason}", shown=shown, reason=reason_of(error)),
            tr(
                "{slash}put the file at {absolute}, or name another in the recipe",
                slash=slash,
                absolute=path.absolute(),
            ),
        ) from None
    if not first:
        raise DataError(tr("{shown}: expected rows, found an empty file", shown=shown), tr("copy it again"))
    for begin, kind in REFUSED:
        if first.removeprefix(BOM_UTF8).lower().startswith(begin.lower()):
            cure = next(cure for words, cure in CURES.items() if kind.startswith(words))
            raise DataError(
                tr("{shown}: expected a TSV, CSV, JSONL or parquet file, found {kind}", shown=shown, kind=kind), cure
            )
    return first


def _json_format(path: Path, shown: str, codec: str) -> str:
    """`jsonl` or `json` for a file of JSON objects; else nothing. Raises DataError for JSON in another form."""
    line = next((line for line in utf8_lines(path, codec) if line.strip()), b"")
    if is_object(line):
        return "jsonl"
    other = tr("an object in several lines") if line.strip() == b"{" else tr("a list") if is_list(line) else ""
    if other:
        raise DataError(
            tr(
                "{shown}:1: expected a JSON object in each line, or an array of objects, found {other}",
                shown=shown,
                other=other,
            ),
            JSON_CURE,
        )
    if not line.lstrip().startswith(b"["):
        return ""
    # an array of objects: `[` and then `{`, which no line of a table begins with
    begin = b"".join(islice(utf8_lines(path, codec), 20)).split(b"[", 1)[1].lstrip()
    return "json" if begin.startswith(b"{") else ""


def _named(table: Table, wanted: Wanted) -> Table:
    """A table whose values have names: its columns are the names in its first rows."""
    names: dict[str, None] = {}
    rows = list(islice(named_rows(table), PROBE_ROWS))
    for row in rows:
        names.update(dict.fromkeys(row.values))
    if len(rows) == 1 and None in rows[0].values.values():
        raise DataError(
            tr(
                "{shown}: expected an object for each row, found a single one with the keys {names}",
                shown=table.shown,
                names=", ".join(names)[:200],
            ),
            JSON_CURE,
        )
    if not names:
        raise DataError(
            tr("{shown}: expected rows with names, found none", shown=table.shown), tr("copy the file again")
        )
    missing = [name for name in wanted.needed if name not in names]
    if missing:
        raise DataError(
            tr(
                "{shown}: expected the columns {needed}, found {names}",
                shown=table.shown,
                needed=", ".join(wanted.needed),
                names=", ".join(names)[:300],
            ),
            tr("correct task.input or task.label: the file has no {missing}", missing=", ".join(missing)),
        )
    return replace(table, columns=tuple(names))


def _dialect(text: Delimited, wanted: Wanted, like: Optional[Table]) -> tuple[Delimited, list[str]]:
    """The text with its delimiter and quoting, and notes about them."""
    as_like = like is not None and like.format not in NAMED_FORMATS
    delimiter = _delimiter(text, wanted, like.delimiter if like is not None and as_like else "\t")
    if delimiter != "\t":
        return replace(text, delimiter=delimiter, csv_quoted=wanted.quoting != "none"), []
    if wanted.quoting != "auto":
        return replace(text, csv_quoted=wanted.quoting == "csv"), []
    sizes = {len(form) for form in wanted.forms}
    names = _spelled([name.strip() for name in split(next(text.lines()), "\t")], wanted.needed)
    if not sizes or set(wanted.needed) <= set(names):
        sizes.add(len(names))
    csv_quoted, notes = tsv_quoting(text, sizes)
    if like is not None and as_like and like.csv_quoted and not notes:
        csv_quoted, notes = True, [tr("is read as CSV-quoted, like the training file")]
    return replace(text, csv_quoted=csv_quoted), notes


def _delimiter(text: Delimited, wanted: Wanted, preferred: str) -> str:
    """The first delimiter with which the header has the needed columns, or half of the first rows have a form.

    Where one column is a form, fields prove nothing: a sentence has commas. The file is then split as its training file is."""
    tried = {"tsv": ("\t",), "csv": (",", ";", "|")}.get(wanted.format, tuple(DELIMITER_NAMES))
    tried = (preferred, *(each for each in tried if each != preferred)) if preferred in tried else tried
    sizes = {len(form) for form in wanted.forms if len(form) > 1}
    for delimiter in tried:
        rows = _try(replace(text, delimiter=delimiter, csv_quoted=delimiter != "\t" and wanted.quoting != "none"))
        names = _spelled([name.strip() for name in rows[0]], wanted.needed) if rows else ()
        if len(names) > 1 and wanted.needed and set(wanted.needed) <= set(names):
            return delimiter
        proves = delimiter == tried[0] or all(len(form) > 1 for form in wanted.forms)
        if proves and sum(len(row) in sizes for row in rows) * 2 >= len(rows) > 0:
            return delimiter
    return tried[0]


def _try(text: Delimited) -> list[list[str]]:
    """The first rows of a text; none where it cannot be read so."""
    try:
        rows = text.first_rows(GUESS_ROWS)
    except DataError:
        return []
    return [row for row in rows if any(row)]


def _with_columns(text: Delimited, notes: list[str], wanted: Wanted) -> Table:
    """The table of a delimited text: the columns of its header, or those of the recipe's forms."""
    rows = text.first_rows()
    names = tuple(rows[0])

    def table(columns: Columns, has_header: bool) -> Table:
        kind = "tsv" if text.delimiter == "\t" else "csv"
        known = (text.path, text.shown, columns, has_header, text.csv_quoted, tuple(notes), kind)
        return Table(*known, text.codec, text.delimiter, wanted.needed)

    if names in wanted.forms:
        if wanted.header is False:
            notes.append(tr("line 1 names the columns and is taken as the header"))
        return table(names, True)
    stripped = _spelled([name.strip() for name in names], wanted.needed)
    named = bool(wanted.needed) and all(stripped.count(name) == 1 for name in wanted.needed)
    # without a header, a row may hold a column's name as its text
    if named and (wanted.header is not False or _is_header(rows, wanted)):
        if wanted.forms:
            notes.append(
                tr("line 1 names the columns {stripped}; they are read by these names", stripped=", ".join(stripped))
            )
        return table(stripped, True)
    alike = [form for form in wanted.forms if len(form) == len(names)]
    is_header = _is_header(rows, wanted)
    if wanted.header is True and not (wanted.own_names and is_header and alike):
        raise _other_header(text, names, wanted)
    if is_header and wanted.header is False and wanted.suspicious and alike:
        raise DataError(
            tr(
                "{shown}:1: expected a row, found what looks like column names: {names!r}",
                shown=text.shown,
                names=" | ".join(names)[:200],
            ),
            tr("set task.header: auto; or set task.dev_differs: true if line 1 is a row"),
        )
    if is_header and wanted.header is not False:
        if not alike:
            raise _other_header(text, names, wanted)
        notes.append(
            tr(
                "line 1 has other names, {names}; the columns are read in order as {alike}",
                names=", ".join(names),
                alike=", ".join(alike[0]),
            )
        )
        return table(alike[0], True)
    if not wanted.forms:
        raise _other_header(text, names, wanted)
    form = form_of(text, wanted.forms, rows)
    if form != wanted.forms[0]:
        notes.append(tr("has the columns {form}", form=", ".join(form)))
    return table(form, False)


def _spelled(names: Sequence[str], needed: Columns) -> Columns:
    """The names of a header, a needed one as the recipe spells it where it differs in capitals alone."""
    spelling = {name.lower(): name for name in needed if name not in names}
    alike = [name.lower() for name in names]
    return tuple(
        spelling[low] if low in spelling and alike.count(low) == 1 else name for name, low in zip(names, alike)
    )


def _is_header(rows: Sequence[Sequence[str]], wanted: Wanted) -> bool:
    known = {name for form in wanted.forms for name in form}
    return looks_like_names(rows[0], rows[1:], tuple(known))


def _other_header(text: Delimited, names: Columns, wanted: Wanted) -> DataError:
    found = tr("found {names!r}", names=" | ".join(names)[:200])
    twice = [name for name in wanted.needed if names.count(name) > 1]
    if twice:
        return DataError(
            tr("{shown}:1: the column name {twice!r} is there twice", shown=text.shown, twice=twice[0]),
            tr("rename one of the two in the file"),
        )
    if not wanted.forms:
        needed = tr(" and ").join(wanted.needed)
        return DataError(
            tr(
                "{shown}:1: expected a header with the columns {needed}, {found}",
                shown=text.shown,
                needed=needed,
                found=found,
            ),
            tr("correct task.input or task.label, or list the file's columns in task.columns"),
        )
    listed = tr(" or ").join(" | ".join(form) for form in wanted.forms)
    missing = [name for name in wanted.needed if name not in names]
    if missing and len(missing) < len(wanted.needed):
        cure = tr(
            "the file has no column {missing}: name another file, or correct task.input or task.label",
            missing=", ".join(missing),
        )
    else:
        cure = tr("correct task.columns or task.dev_columns, or set task.header: auto if not every file has a header")
    return DataError(
        tr("{shown}:1: expected the header {listed}, {found}", shown=text.shown, listed=listed, found=found), cure
    )
