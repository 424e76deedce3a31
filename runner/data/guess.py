"""A guess at what a labelled file holds: its form, the column of the label, the labels and the columns that a model should read.

Each guess has its reason, in words: it is written into a recipe that a person reads.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from grading import contract
from runner.data.encoding import EncodingError
from runner.data.header import COMMON_NAMES, looks_like_names
from runner.data.labels import near_label
from runner.data.open_table import GUESS_ROWS, Wanted, named_format, open_table
from runner.data.profile import Profile, profile
from runner.data.table import NAMED_FORMATS, Table
from runner.data.tsv import DELIMITER_NAMES, Delimited
from runner.errors import DataError
from runner.language import tr

SAMPLE_ROWS = 2000
"""Rows whose columns are profiled; labels are counted in all rows."""

MOST_LABELS = 50
MOST_INPUTS = 3

_WORDS = """
label labels label_id class category target is_duplicate gold_label gold sentiment quality answer score rating polarity y
标签 类别 分类 情感 情感倾向 极性
"""
LABEL_NAMES = frozenset([*_WORDS.split(), "class index"])
"""Names of label columns in well-known data sets, in small letters."""


@dataclass(frozen=True)
class Guess:
    """What a file seems to hold."""

    table: Table
    """The file in its form."""
    encoding: str
    """`task.encoding`."""
    rows: int
    """Its rows."""
    label: str
    """The column of the label."""
    label_reason: str
    """Why."""
    labels: tuple[str, ...]
    """The labels, sorted."""
    label_names: dict[str, str]
    """What the file holds instead of a label."""
    counts: dict[str, int]
    """Rows of each label."""
    inputs: tuple[str, ...]
    """The columns to read."""
    input_reason: str
    """Why."""


def guess(path: Path, shown: str) -> Guess:
    """Look at a labelled file. Raises DataError where it cannot be read, or has no column of labels or of text."""
    table, encoding = _table(path, shown)
    sample, counts, rows = _read(table)
    label_at = _label_column(table, counts, rows)
    if label_at is None:
        raise DataError(
            tr(
                "{shown}: found no column of labels: 2 to {most_labels} different values, each in several rows",
                shown=shown,
                most_labels=MOST_LABELS,
            ),
            tr("write the recipe by hand: docs/how-to/own-tsv.md"),
        )
    profiles = [profile([fields[place] for fields in sample], ()) for place in range(len(table.columns))]
    places, reason = _inputs(table, profiles, label_at)
    if not places:
        raise DataError(
            tr(
                "{shown}: found no column of text beside the label {columns}",
                shown=shown,
                columns=table.columns[label_at],
            ),
            tr("write the recipe by hand: docs/how-to/own-tsv.md"),
        )
    named = table.has_header or table.format in NAMED_FORMATS
    if not named:
        table = replace(table, columns=_made_names(profiles, label_at, places))
    labels, names = _labels(counts[label_at])
    by_label = Counter[str]()
    for value, count in counts[label_at].items():
        by_label[names.get(value, value)] += count
    label = table.columns[label_at]
    usual = tr("a usual name of a label column; ") if named and label.lower() in LABEL_NAMES else ""
    return Guess(
        table=table,
        encoding=encoding,
        rows=rows,
        label=label,
        label_reason=tr(
            "{usual}{counts_count} different values in {rows:,} rows",
            usual=usual,
            counts_count=len(counts[label_at]),
            rows=rows,
        ),
        labels=labels,
        label_names=names,
        counts={each: by_label[each] for each in labels},
        inputs=tuple(table.columns[place] for place in places),
        input_reason=reason,
    )


def _read(table: Table) -> tuple[list[list[str]], list[Counter[str]], int]:
    """The first good rows, how often each value of a column was found (up to the first few values), and the number of rows."""
    sample: list[list[str]] = []
    counts = [Counter[str]() for _ in table.columns]
    rows = 0
    for row in table.rows():
        if row.problem:
            continue
        rows += 1
        if len(sample) < SAMPLE_ROWS:
            sample.append(row.fields)
        for counter, value in zip(counts, row.fields):
            if len(counter) <= MOST_LABELS:
                counter[value] += 1
    return sample, counts, rows


def _table(path: Path, shown: str) -> tuple[Table, str]:
    """The file in the form that its content shows, and its encoding as the recipe must name it."""
    encoding = "auto"
    try:
        named, codec = named_format(path, shown, Wanted(()))
    except EncodingError as error:
        encoding = error.encoding
        named, codec = named_format(path, shown, Wanted((), encoding=encoding))
    if named:
        return open_table(path, shown, Wanted((), encoding=encoding)), encoding
    delimiter = _delimiter(Delimited(path, shown, codec))
    wanted = Wanted((), encoding=encoding, format="tsv" if delimiter == "\t" else "csv")
    text = Delimited(path, shown, codec, delimiter, delimiter != "\t")
    first = [row for row in text.first_rows() if any(row)]
    width = Counter(map(len, first)).most_common(1)[0][0]
    is_header = looks_like_names(first[0], first[1:]) or _has_usual_names(first[0])
    columns = tuple(name.strip() for name in first[0]) if is_header else tuple(f"column{n + 1}" for n in range(width))
    needed = columns if is_header else ()
    wanted = replace(wanted, forms=(columns,), header="auto" if is_header else False, needed=needed, suspicious=False)
    return open_table(path, shown, wanted), encoding


def _has_usual_names(names: Sequence[str]) -> bool:
    usual = COMMON_NAMES | LABEL_NAMES
    return len(set(names)) == len(names) > 1 and sum(name.strip().lower() in usual for name in names) >= 2


def _delimiter(text: Delimited) -> str:
    """The delimiter that gives most first rows the same number of fields, two or more."""
    best, share = "", 0.0
    for delimiter in DELIMITER_NAMES:
        try:
            rows = replace(text, delimiter=delimiter, csv_quoted=delimiter != "\t").first_rows(GUESS_ROWS)
        except DataError:
            continue
        sizes = Counter(len(row) for row in rows if any(row))
        size, count = sizes.most_common(1)[0] if sizes else (0, 0)
        if size > 1 and count > 1.05 * share:
            best, share = delimiter, count
    if not best:
        raise DataError(
            tr("{shown}: expected columns separated by tabs, commas or semicolons, found one column", shown=text.shown),
            tr("a labelled file has a column with the text and one with the label"),
        )
    return best


def _label_column(table: Table, counts: Sequence[Counter[str]], rows: int) -> Optional[int]:
    """The column that looks most like labels."""

    def points(place: int) -> Optional[tuple[bool, bool, int, int]]:
        values = counts[place]
        filled = rows - values.get("", 0)
        fits = 2 <= len(values) <= MOST_LABELS and filled == rows and all(len(value.strip()) <= 32 for value in values)
        if not fits or len(values) * 2 > rows or not all(map(str.strip, values)):
            return None
        usual = table.columns[place].lower() in LABEL_NAMES
        return usual, len(values) <= 10, -len(values), place

    found = [(score, place) for place in range(len(counts)) for score in [points(place)] if score is not None]
    return max(found)[1] if found else None


_PLAIN_ID = re.compile(r"(?:.*[ _#-])?(?:id|idx|index|guid|no|编号|序号)\d?", re.IGNORECASE)


def _inputs(table: Table, profiles: Sequence[Profile], label_at: int) -> tuple[list[int], str]:
    """The columns of text, and why."""
    texts = []
    for place, each in enumerate(profiles):
        name = table.columns[place]
        if place == label_at or each.filled < 0.5 * each.rows or each.numeric > 0.5 or set(name) & set("{}!:[]"):
            continue
        is_id = each.digits >= 0.8 and each.example.isascii()
        is_text = each.spaced >= 0.3 or each.lengths[1] >= 20 or (each.lengths[1] >= 6 and not is_id)
        if is_text and each.different >= 0.1 * each.filled and not _PLAIN_ID.fullmatch(name):
            texts.append(place)
    longest = sorted(texts, key=lambda place: -profiles[place].lengths[1])[:MOST_INPUTS]
    chosen = [place for place in texts if place in longest]
    lengths = ", ".join(tr("about {length} characters", length=profiles[place].lengths[1]) for place in chosen)
    kind = (
        tr("the column of text")
        if len(chosen) == 1
        else tr("the {chosen_count} columns of text, in the file's order", chosen_count=len(chosen))
    )
    return chosen, f"{kind}: {lengths}"


def _made_names(profiles: Sequence[Profile], label_at: int, inputs: Sequence[int]) -> tuple[str, ...]:
    """Names for the columns of a file without a header."""
    names = [f"column{place + 1}" for place in range(len(profiles))]
    names[label_at] = "label"
    for number, place in enumerate(inputs, 1):
        names[place] = "text" if len(inputs) == 1 else f"text{number}"
    return tuple(names)


def _labels(values: Counter[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The labels for the values of a column, and what the file holds instead of them."""
    plain = {value: re.sub(r"\s+", "_", value.strip()) for value in values}
    whole = {value: text[: -len(".0")] for value, text in plain.items() if re.fullmatch(r"-?\d+\.0", text)}
    if len(whole) == len(plain):
        plain = whole
    labels = sorted({text for text in plain.values() if contract.is_label(text) and text != "?"})
    names = {}
    for value, text in plain.items():
        label = text if text in labels else near_label(text, labels)
        if label is not None and label != value:
            names[value] = label
    return tuple(labels), names
