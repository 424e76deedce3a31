"""Source tables: the exam's own TSV files, compared with the inputs that were made from them.

How somebody put the columns of a row into an input is not known. It is learnt from the dev records, where record i is made
from row i: the text around the columns must be the same in all records.

A stranger writes the inputs, so the work must be linear in their length: no text of theirs is put together again for each row.
An input is compared with its row in place. A row of the training table is looked up by its columns alone, after the text before
and after them was taken off each input once.
"""

import csv
import itertools
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Optional

from grading.contract.language import reason_of, tr
from grading.errors import CouldNotGrade

LEARNT_FROM = 20
"""Dev records that must agree on how an input is made of a row."""

LABELS_SEEN_IN = 2_000
"""First rows of a table, which decide the column of labels."""

MOST_FIXED, MOST_BETWEEN = 16_384, 1_024
"""Most characters of an input beside its columns, and most of them between its columns."""

_WIDEST = 6
"""Most columns of a table of which every order is tried."""

_MOST_COLUMNS = 3
"""Most columns in one input: every order of them is tried."""


@dataclass(frozen=True)
class Template:
    """How an input is made from a row."""

    columns: tuple[int, ...]
    """Columns of the row, in the order of the input."""
    pieces: tuple[str, ...]
    """The text before, between and after them: one piece more than columns."""

    def makes(self, row: Sequence[str], text: str) -> bool:
        """Whether the input of a row is `text`."""
        if self._last_column >= len(row):
            return False
        place = 0
        for piece, column in zip(self.pieces, self.columns):
            if not text.startswith(piece, place):
                return False
            place += len(piece)
            cell = row[column].strip()
            if not text.startswith(cell, place):
                return False
            place += len(cell)
        return text[place:] == self.pieces[-1]

    def inside(self, text: str) -> Optional[str]:
        """An input without the text before and after its columns; None if it has not that text."""
        first, last = self.pieces[0], self.pieces[-1]
        if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
            return None
        return text[len(first) : len(text) - len(last)]

    def inside_of(self, row: Sequence[str]) -> Optional[str]:
        """What `inside` gives for the input of a row; None if the row has too few columns."""
        if self._last_column >= len(row):
            return None
        first, *others = self.columns
        parts = [row[first].strip()]
        for piece, column in zip(self.pieces[1:], others):
            parts += [piece, row[column].strip()]
        return "".join(parts)

    @cached_property
    def _last_column(self) -> int:
        return max(self.columns)


@dataclass(frozen=True)
class Table:
    """One reading of a TSV file. Rows are read from the file each time: all of QQP is never in memory."""

    path: Path
    csv_quoted: bool
    """Whether quotes are CSV's, or ordinary characters."""
    head: Optional[tuple[str, ...]]
    """The first row if it is taken as the columns' names."""

    def rows(self) -> Iterator[list[str]]:
        """The rows below the head, without blank ones. Raises CouldNotGrade if the file, the examiner's, cannot be read."""
        try:
            with self.path.open(encoding="utf-8-sig", errors="replace", newline="\n") as lines:
                rows = _csv_rows(lines) if self.csv_quoted else _plain_rows(lines)
                yield from itertools.islice(rows, 1 if self.head else 0, None)
        except OSError as error:
            raise CouldNotGrade(
                tr("{path}: the exam's table cannot be read: {reason}", path=self.path, reason=reason_of(error)),
                tr("correct --data"),
            ) from None


def _plain_rows(lines: Iterator[str]) -> Iterator[list[str]]:
    return (line.rstrip("\r\n").split("\t") for line in lines if line.strip())


def _csv_rows(lines: Iterator[str]) -> Iterator[list[str]]:
    """The rows with CSV's quotes. An ordinary row of GLUE may begin with a quote that no other closes: then the lines up to
    csv's limit are one field, which is an error. So is a NUL. The lines that it has read are no rows; those after them are."""
    reader = csv.reader(lines, delimiter="\t")
    while True:
        try:
            row = next(reader, None)
        except csv.Error:
            continue
        if row is None:
            return
        if row:
            yield row


def read_tables(path: Path) -> list[Table]:
    """Every way to read a TSV file: with and without a head, quotes as ordinary characters and as CSV's.

    Raises CouldNotGrade if it cannot be read."""
    tables = []
    for csv_quoted in (False, True):
        headless = Table(path, csv_quoted, None)
        first = next(headless.rows(), None)
        if first:
            tables += [Table(path, csv_quoted, tuple(first)), headless]
    return tables


def learn(table: Table, inputs: Sequence[str]) -> Optional[Template]:
    """The template that makes input i from row i, for the first inputs at least; None if there is none."""
    pairs = [(row, text.strip()) for row, text in itertools.islice(zip(table.rows(), inputs), LEARNT_FROM)]
    if not pairs or any(len(text) > sum(map(len, row)) + MOST_FIXED for row, text in pairs):
        return None
    width = min(len(row) for row, _ in pairs)
    used = [
        column
        for column in range(width)
        if all(row[column].strip() and row[column].strip() in text for row, text in pairs)
        and not all(row[column].strip().isdigit() for row, _ in pairs)  # row numbers
    ]
    row, text = max(pairs, key=lambda pair: len(pair[1]))
    for count in range(min(len(used), _MOST_COLUMNS), 0, -1):
        for order in itertools.permutations(used[:_WIDEST], count):
            template = _fit(order, row, text)
            if template and all(template.makes(row, text) for row, text in pairs):
                return template
    return None


def _fit(columns: tuple[int, ...], row: Sequence[str], text: str) -> Optional[Template]:
    pieces, rest = [], text
    for column in columns:
        before, found, rest = rest.partition(row[column].strip())
        if not found:
            return None
        pieces.append(before)
    if sum(map(len, pieces[1:])) > MOST_BETWEEN or sum(map(len, pieces)) + len(rest) > MOST_FIXED:
        return None
    return Template(columns, (*pieces, rest))


def moved(template: Template, source: Table, target: Table) -> Iterator[Template]:
    """The template for another table: by the columns' names if both have them, else in every order of its columns."""
    if source.head and target.head and all(source.head[column] in target.head for column in template.columns):
        yield Template(tuple(target.head.index(source.head[column]) for column in template.columns), template.pieces)
        return
    width = max((len(row) for row in itertools.islice(target.rows(), LEARNT_FROM)), default=0)
    for columns in itertools.permutations(range(min(width, _WIDEST)), len(template.columns)):
        yield Template(columns, template.pieces)


def most_made(
    table: Table, templates: Sequence[Template], wanted: Container[int], most: int
) -> tuple[int, Optional[Template]]:
    """The template by which the first `most` rows make most of the wanted inputs, and how many that are."""
    found: list[set[int]] = [set() for _ in templates]
    for row in itertools.islice(table.rows(), most):
        for template, made in zip(templates, found):
            hashed = hash(template.inside_of(row))
            if hashed in wanted:
                made.add(hashed)
    best = max(range(len(found)), key=lambda index: len(found[index]), default=None)
    return (0, None) if best is None else (len(found[best]), templates[best])


def labels_made(table: Table, template: Template, wanted: Container[int], labels: Sequence[str]) -> dict[int, int]:
    """The wanted inputs that a row makes: the hash of `Template.inside` to the labels of these rows, bit i for label i.

    Hashes and bits instead of texts, because a training table may have millions of rows."""
    column = _label_column(table, labels)
    bits = {label: 1 << index for index, label in enumerate(labels)}
    found: dict[int, int] = {}
    for row in table.rows():
        hashed = hash(template.inside_of(row))
        if hashed in wanted:
            label = row[column].strip() if column is not None and column < len(row) else ""
            found[hashed] = found.get(hashed, 0) | bits.get(label, 0)
    return found


def _label_column(table: Table, labels: Sequence[str]) -> Optional[int]:
    """The last column that has only labels, and more than one of them."""
    rows = list(itertools.islice(table.rows(), LABELS_SEEN_IN))
    for column in reversed(range(min((len(row) for row in rows), default=0))):
        values = {row[column].strip() for row in rows}
        if len(values) > 1 and values <= set(labels):
            return column
    return None
