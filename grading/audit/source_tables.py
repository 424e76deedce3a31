"""Source tables: the exam's own TSV files, compared with the inputs that were made from them.

How somebody put the columns of a row into an input is not known. It is learnt from the dev records, where record i is made
from row i: the text around the columns must be the same in all records.
"""

import csv
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from grading.contract.language import reason_of, tr
from grading.errors import CouldNotGrade

LEARNT_FROM = 20
"""Dev records that must agree on how an input is made of a row."""

LABELS_SEEN_IN = 2_000
"""First rows of a table, which decide the column of labels."""

_WIDEST = 6
"""Most columns of a table without names of which every order is tried."""

_MOST_COLUMNS = 3
"""Most columns in one input: every order of them is tried."""


@dataclass(frozen=True)
class Template:
    """How an input is made from a row."""

    columns: tuple[int, ...]
    """Columns of the row, in the order of the input."""
    pieces: tuple[str, ...]
    """The text before, between and after them: one piece more than columns."""

    def fill(self, row: Sequence[str]) -> Optional[str]:
        """The input of a row; None if the row has too few columns."""
        if max(self.columns) >= len(row):
            return None
        texts = (row[column].strip() for column in self.columns)
        return "".join(itertools.chain(*zip(self.pieces, texts), [self.pieces[-1]]))


@dataclass(frozen=True)
class Table:
    """One reading of a TSV file. Rows are read from the file each time: all of QQP is never in memory."""

    path: Path
    csv_quoted: bool
    """Whether quotes are CSV's, or ordinary characters."""
    head: Optional[tuple[str, ...]]
    """The first row if it is taken as the columns' names."""

    def rows(self) -> Iterator[list[str]]:
        """The rows below the head, without blank ones."""
        with self.path.open(encoding="utf-8-sig", errors="replace", newline="\n") as lines:
            split = (line.rstrip("\r\n").split("\t") for line in lines if line.strip())
            rows: Iterator[list[str]] = csv.reader(lines, delimiter="\t") if self.csv_quoted else split
            yield from itertools.islice((row for row in rows if row), 1 if self.head else 0, None)


def read_tables(path: Path) -> list[Table]:
    """Every way to read a TSV file: with and without a head, quotes as ordinary characters and as CSV's.

    Raises CouldNotGrade if it cannot be read: the file is the examiner's."""
    tables = []
    for csv_quoted in (False, True):
        headless = Table(path, csv_quoted, None)
        try:
            first = next(headless.rows(), None)
        except OSError as error:
            raise CouldNotGrade(
                tr("{path}: the exam's table cannot be read: {reason}", path=path, reason=reason_of(error)),
                tr("correct --data"),
            ) from None
        except csv.Error:
            continue
        if first:
            tables += [Table(path, csv_quoted, tuple(first)), headless]
    return tables


def learn(table: Table, inputs: Sequence[str]) -> Optional[Template]:
    """The template that makes input i from row i, for the first inputs at least; None if there is none."""
    pairs = list(itertools.islice(zip(table.rows(), inputs), LEARNT_FROM))
    if not pairs:
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
    """The template for another table: by the columns' names if both have them, else in every order of its columns."""
    if source.head and target.head and all(source.head[column] in target.head for column in template.columns):
        yield Template(tuple(target.head.index(source.head[column]) for column in template.columns), template.pieces)
        return
    width = max((len(row) for row in itertools.islice(target.rows(), LEARNT_FROM)), default=0)
    for columns in itertools.permutations(range(min(width, _WIDEST)), len(template.columns)):
        yield Template(columns, template.pieces)


def made(
    table: Table, template: Template, inputs: Collection[str], labels: Sequence[str], most: Optional[int] = None
) -> Mapping[str, set[str]]:
    """Those of the `inputs` that one of the first `most` rows makes, each with the labels of these rows."""
    column = _label_column(table, labels)
    found: dict[str, set[str]] = {}
    for row in itertools.islice(table.rows(), most):
        text = template.fill(row)
        if text is not None and text in inputs:
            found.setdefault(text, set()).update([] if column is None else [row[column].strip()])
    return found


def _label_column(table: Table, labels: Sequence[str]) -> Optional[int]:
    """The last column that has only labels, and more than one of them."""
    rows = list(itertools.islice(table.rows(), LABELS_SEEN_IN))
    for column in reversed(range(min((len(row) for row in rows), default=0))):
        values = {row[column].strip() for row in rows}
        if len(values) > 1 and values <= set(labels):
            return column
    return None
