"""The tables: the exam's own TSV files, set beside the inputs that were made of them.

How somebody put the columns of a row into an input is not known, so it is learnt from the dev records: record i is of row
i. The words around the columns must then be the same in all records.
"""

import csv
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from grading.errors import CouldNotGrade

LEARNT_FROM = 20
"""Dev records that must agree on how an input is made of a row."""

_MOST_COLUMNS = 3
"""Columns of one input that are looked for: every order of them is tried."""

Rows = list[list[str]]


@dataclass(frozen=True)
class Template:
    """How an input is made of a row."""

    columns: tuple[int, ...]
    """Columns of the row, in the order of the input."""
    pieces: tuple[str, ...]
    """What stands before, between and behind them: one more than columns."""

    def fill(self, row: Sequence[str]) -> Optional[str]:
        """The input of a row; None where the row has too few columns."""
        if max(self.columns) >= len(row):
            return None
        texts = (row[column].strip() for column in self.columns)
        return "".join(itertools.chain(*zip(self.pieces, texts), [self.pieces[-1]]))


@dataclass(frozen=True)
class Table:
    """One reading of a TSV file."""

    head: Optional[tuple[str, ...]]
    """The first row where it is taken for the columns' names."""
    rows: Rows


def read_tables(path: Path) -> Iterator[Table]:
    """Every way to read a TSV file: with and without a head, quotes as ordinary characters and as CSV's.

    Raises CouldNotGrade: the file is the examiner's."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CouldNotGrade(f"{path}: the exam's table cannot be read: {error}. Next: correct --data") from None
    plain = [line.rstrip("\r").split("\t") for line in text.split("\n") if line.strip()]
    readings = [plain]
    if '"' in text:
        readings.append([row for row in csv.reader(io.StringIO(text, newline=""), delimiter="\t") if row])
    for rows in readings:
        if rows:
            yield Table(tuple(rows[0]), rows[1:])
            yield Table(None, rows)


def learn(table: Table, inputs: Sequence[str]) -> Optional[Template]:
    """The template of which input i is made of row i, for the first inputs at least; None where there is none."""
    pairs = list(zip(table.rows, inputs))[:LEARNT_FROM]
    if not pairs:
        return None
    width = min(len(row) for row, _ in pairs)
    used = [
        column
        for column in range(width)
        if all(row[column].strip() and row[column].strip() in text for row, text in pairs)
        and not all(row[column].strip().isdigit() for row, _ in pairs)  # numbers of rows turn up anywhere
    ]
    row, text = max(pairs, key=lambda pair: len(pair[1]))
    for count in range(min(len(used), _MOST_COLUMNS), 0, -1):
        for order in itertools.permutations(used, count):
            template = _fit(order, row, text)
            if template and all(template.fill(row) == text.strip() for row, text in pairs):
                return template
    return None


def _fit(columns: tuple[int, ...], row: Sequence[str], text: str) -> Optional[Template]:
    pieces, rest = [], text.strip()
    for column in columns:
        before, found, rest = rest.partition(row[column].strip())
        if not found:
            return None
        pieces.append(before)
    return Template(columns, (*pieces, rest))


def moved(template: Template, source: Table, target: Table) -> Iterator[Template]:
    """The template for another table: by the columns' names where both have them, else every order of its columns."""
    if source.head and target.head and all(source.head[column] in target.head for column in template.columns):
        yield Template(tuple(target.head.index(source.head[column]) for column in template.columns), template.pieces)
        return
    width = max((len(row) for row in target.rows[:LEARNT_FROM]), default=0)
    for columns in itertools.permutations(range(min(width, 8)), len(template.columns)):
        yield Template(columns, template.pieces)


def label_column(table: Table, labels: Sequence[str]) -> Optional[int]:
    """The last column that holds labels and nothing else, and more than one of them."""
    width = min((len(row) for row in table.rows), default=0)
    for column in reversed(range(width)):
        values = {row[column].strip() for row in table.rows}
        if len(values) > 1 and values <= set(labels):
            return column
    return None


def inputs_of(table: Table, template: Template, labels: Sequence[str]) -> Mapping[str, set[str]]:
    """Each input that the table's rows make, with the labels that they give it (none where no column holds labels)."""
    column = label_column(table, labels)
    found: dict[str, set[str]] = {}
    for row in table.rows:
        text = template.fill(row)
        if text is not None:
            found.setdefault(text, set()).update([] if column is None else [row[column].strip()])
    return found
