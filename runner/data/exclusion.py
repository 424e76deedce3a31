"""The exclusion: the rows of the training file that the user has decided not to use, in the CSV file of `samples.exclude`.

A row of that file names a line of the training file and the input there. With a column `keep`, only the rows with `no` in it
are excluded; without one, all rows are. `labeltune doubtful` writes such a file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from grading.contract.language import reason_of
from runner.errors import DataError
from runner.language import tr

LINE, INPUT, KEEP = "line", "input", "keep"
"""The columns that are read; others may be there."""

REASON = "reason"
"""A column of the lists of `labeltune doubtful`, which have the column `keep`."""

DELIMITERS = ",;\t"
"""Spreadsheets of some countries save CSV with semicolons, or with tabs."""

SHOWN_PROBLEMS = 10
"""Most wrong rows that one message names."""

SHOWN_TEXT = 60
"""Characters of an input in a message."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


@dataclass(frozen=True)
class Decision:
    """A row of the file."""

    line: int
    """The line of the training file that the row begins on."""
    text: str
    """Its input."""
    keep: bool
    """Whether it may be drawn."""


@dataclass(frozen=True)
class Exclusion:
    """The excluded rows."""

    shown: str = ""
    """The file as messages name it."""
    texts: Mapping[int, str] = field(default_factory=dict)
    """The input of each excluded row, by the line of the training file that it begins on."""

    def require_same(self, found: Mapping[int, str], train: str) -> None:
        """Raise DataError where the training file is not the one that was decided on.

        `found`: the inputs in the training file, by line. `train`: that file, as messages name it."""
        problems = []
        for line, text in self.texts.items():
            if line not in found:
                problems.append(
                    tr("{shown}: line {line}: no row of {train} begins there", shown=self.shown, line=line, train=train)
                )
            elif not is_same(text, found[line]):
                problems.append(
                    tr(
                        "{shown}: line {line}: expected the input of {train}:{line}, {expected}, found {found}",
                        shown=self.shown,
                        line=line,
                        train=train,
                        expected=short(found[line]),
                        found=short(text),
                    )
                )
        if problems:
            more = len(problems) - SHOWN_PROBLEMS
            lines = problems[:SHOWN_PROBLEMS] + (
                [tr("{shown}: and {more} more such rows", shown=self.shown, more=more)] if more > 0 else []
            )
            raise DataError(
                "\n".join(lines),
                tr(
                    "if the training file or task.input has changed, list the doubtful rows again (labeltune doubtful); else "
                    "correct these rows"
                ),
            )


def read_exclusion(path: Path, shown: str) -> Exclusion:
    """Read the file of `samples.exclude`. Raises DataError where it cannot be read as one."""
    return Exclusion(shown, {each.line: each.text for each in read_decisions(path, shown) if not each.keep})


def read_decisions(path: Path, shown: str) -> list[Decision]:
    """Every row of such a file. Raises DataError where it cannot be read as one."""
    try:
        # opening a pipe would wait for a writer
        if path.exists() and not path.is_file():
            raise DataError(
                tr("{shown}: expected a CSV file, found a folder, a pipe or a device", shown=shown), tr("name the file")
            )
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(
            tr("{shown}: cannot read it: {reason}", shown=shown, reason=reason_of(error)),
            tr("make it with labeltune doubtful, or leave samples.exclude out"),
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(
            tr(
                "{shown}: expected UTF-8, found byte 0x{byte:02x} at offset {offset}",
                shown=shown,
                byte=error.object[error.start],
                offset=error.start,
            ),
            tr("save it as 'CSV UTF-8'"),
        ) from None
    found: dict[int, Decision] = {}
    for place, decision in _decisions(text, shown):
        if decision.line in found:
            raise DataError(
                tr("{place}: line {line} is there twice", place=place, line=decision.line),
                tr("leave one of the two rows"),
            )
        found[decision.line] = decision
    return list(found.values())


def _decisions(text: str, shown: str) -> Iterator[tuple[str, Decision]]:
    """Each decision with its place in the file."""
    head = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=head.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = reader.fieldnames or ()
        missing = [name for name in (LINE, INPUT) if name not in columns]
        if missing:
            raise DataError(
                tr(
                    "{shown}:1: expected a header with the columns {line} and {input}, found {head!r}",
                    shown=shown,
                    line=LINE,
                    input=INPUT,
                    head=head.strip()[:100],
                ),
                tr("name a file such as labeltune doubtful writes"),
            )
        if KEEP not in columns and REASON in columns:
            raise DataError(
                tr(
                    "{shown}:1: expected the column {keep}, found {head!r}: without it, all rows would be excluded",
                    shown=shown,
                    keep=KEEP,
                    head=head.strip()[:100],
                ),
                tr(
                    "name that column {keep} again; to exclude all these rows, remove the column {reason}",
                    keep=KEEP,
                    reason=REASON,
                ),
            )
        for row in reader:
            # spreadsheets save rows that were emptied
            if not any(row.values()):
                continue
            place = f"{shown}:{reader.line_num}"
            yield place, Decision(_line(row[LINE], place), row[INPUT] or "", _keeps(row, place))
    except csv.Error as error:
        raise DataError(
            tr(
                "{shown}:{line_num}: cannot be read as CSV ({error})",
                shown=shown,
                line_num=reader.line_num + 1,
                error=error,
            ),
            tr("save it as CSV again"),
        ) from None


def _line(text: object, place: str) -> int:
    if not isinstance(text, str) or not (text.strip().isascii() and text.strip().isdigit()):
        raise DataError(
            tr(
                "{place}: {line}: expected a line number of the training file, found {text!r:.40}",
                place=place,
                line=LINE,
                text=text,
            ),
            tr("correct it"),
        )
    return int(text)


def _keeps(row: Mapping[str, object], place: str) -> bool:
    if KEEP not in row:
        return False
    answer = str(row[KEEP] or "").strip().lower()
    if answer not in ("yes", "no"):
        raise DataError(
            tr("{place}: {keep}: expected yes or no, found {answer!r}", place=place, keep=KEEP, answer=answer[:40]),
            tr("write no where the row is to be excluded, yes elsewhere"),
        )
    return answer == "yes"


def as_cell(text: str) -> str:
    """A text as a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def is_same(cell: str, text: str) -> bool:
    """Whether a cell holds this text, as `as_cell` or a spreadsheet has written it."""
    cell, text = (each.replace("\r\n", "\n") for each in (cell, text))
    return cell in (text, as_cell(text))


def short(text: str) -> str:
    """The beginning of a text in quotes, with escapes for all that a terminal would obey instead of showing it."""
    return repr(text if len(text) <= SHOWN_TEXT else f"{text[: SHOWN_TEXT - 1]}…")
