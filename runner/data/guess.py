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
from runner.data.header import COMMON_NAMES, is_number, looks_like_names
from runner.data.open_table import GUESS_ROWS, Wanted, named_format, open_table
from runner.data.profile import Profile, profile
from runner.data.table import NAMED_FORMATS, Table
from runner.data.tsv import DELIMITER_NAMES, Delimited
from runner.errors import DataError
from runner.language import mark, tr

SAMPLE_ROWS = 2000
"""Rows whose columns are profiled; labels are counted in all rows."""

MOST_LABELS = 200
"""Labels of a column with a usual name."""

MOST_VALUES = 50
"""Labels of a column with another name."""

MOST_INPUTS = 3
FIRST_ROWS = 10
"""Rows among which a header may be that is not in line 1."""

_WORDS = """
label labels label_id class category target is_duplicate gold_label gold sentiment quality answer score rating polarity y
stars star toxic spam emotion intent 标签 类别 分类 情感 情感倾向 情绪 意图 极性 星级 评分
"""
LABEL_NAMES = frozenset([*_WORDS.split(), "class index"])
"""Names of label columns in well-known data sets, in small letters."""

_OTHER_WORDS = "split set subset fold partition lang language country region user source genre"
OTHER_NAMES = frozenset(_OTHER_WORDS.split())
"""Names of columns with few values that are hardly ever what a model should answer."""

NO_LABEL = frozenset(["", "-", "?", "nan", "none", "null", "n/a", "<na>"])
"""What files write where a row has no label, in small letters."""


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
    unlabelled: int = 0
    """Rows without a label."""
    bad: int = 0
    """Rows that cannot be read."""
    first_bad: str = ""
    """The line and the problem of the first of them."""


def guess(path: Path, shown: str, encoding: str = "auto") -> Guess:
    """Look at a labelled file. `encoding`: as in the recipe. Raises DataError where it cannot be read, or has no column of
    labels or of text."""
    table, encoding = _table(path, shown, encoding)
    found = _read(table)
    label_at = _label_column(table, found)
    if label_at is not None and not table.has_header and _hidden_header(table, found, label_at):
        first = table.text.first_rows(1)[0]
        columns = tuple(name.strip() for name in first) + ("",) * (len(table.columns) - len(first))
        table = replace(table, columns=columns, has_header=True)
        found = _read(table)
    if label_at is None:
        raise DataError(
            tr("{shown}: found no column of labels: {why_not}", shown=shown, why_not=_why_not(table, found)), _BY_HAND
        )
    profiles = [profile([fields[place] for fields in found.sample], ()) for place in range(len(table.columns))]
    places, reason = _inputs(table, profiles, label_at)
    if not places:
        raise DataError(
            tr(
                "{shown}: found no column of text beside the label {columns}",
                shown=shown,
                columns=table.columns[label_at],
            ),
            _BY_HAND,
        )
    named = table.has_header or table.format in NAMED_FORMATS
    if not named:
        table = replace(table, columns=_made_names(profiles, label_at, places))
    _require_names(table, [*places, label_at])
    counts, rows = found.counts[label_at], found.rows
    labels, names = _labels(counts)
    by_label = Counter[str]()
    for value, count in counts.items():
        by_label[names.get(value, value)] += count
    label = table.columns[label_at]
    usual = tr("a usual name of a label column; ") if named and _usual(label) == 2 else ""
    others = [table.columns[place] for place in _label_columns(table, found) if place != label_at] if named else []
    also = tr("; it could also be {others}", others=", ".join(others[:3])) if others else ""
    return Guess(
        table=table,
        encoding=encoding,
        rows=rows,
        label=label,
        label_reason=tr(
            "{usual}{counts_count} different values in {rows:,} rows{also}",
            usual=usual,
            counts_count=len(counts),
            rows=rows,
            also=also,
        ),
        labels=labels,
        label_names=names,
        counts={each: by_label[each] for each in labels},
        inputs=tuple(table.columns[place] for place in places),
        input_reason=reason,
        unlabelled=rows - sum(by_label[each] for each in labels),
        bad=found.bad,
        first_bad=found.first_bad,
    )


_BY_HAND = mark("write the recipe by hand: docs/how-to/own-tsv.md")


@dataclass
class _Read:
    """What was read of a file."""

    sample: list[list[str]]
    """The fields of the first good rows."""
    lines: list[int]
    """The lines of the first of them."""
    counts: list[Counter[str]]
    """How often each value of a column was found, up to the first few values."""
    rows: int = 0
    """The good rows."""
    blank: int = 0
    """Those of them whose values are all empty."""
    bad: int = 0
    """The others."""
    first_bad: str = ""
    """The line and the problem of the first of them."""


def _read(table: Table) -> _Read:
    found = _Read([], [], [Counter[str]() for _ in table.columns])
    for row in table.rows():
        if row.problem:
            found.bad += 1
            found.first_bad = found.first_bad or tr("line {line}: {problem}", line=row.line, problem=row.problem)
            continue
        found.rows += 1
        if not any(row.fields):
            found.blank += 1
            continue
        if len(found.sample) < SAMPLE_ROWS:
            found.sample.append(row.fields)
            found.lines.append(row.line)
        for counter, value in zip(found.counts, row.fields):
            if len(counter) <= MOST_LABELS:
                counter[value] += 1
    return found


def _hidden_header(table: Table, found: _Read, label_at: int) -> bool:
    """Whether line 1 is a header that does not look like one: its word in the column of the label is in no other row.

    Raises DataError where such a row is below line 1."""
    counts = {value: count for value, count in found.counts[label_at].items() if value.strip().lower() not in NO_LABEL}
    if len(counts) < 3 or sorted(counts.values())[1] < 4:
        return False
    for fields, line in zip(found.sample[:FIRST_ROWS], found.lines):
        value = fields[label_at].strip()
        if counts.get(fields[label_at]) == 1 and not is_number(value):
            if line == 1:
                return True
            raise DataError(
                tr(
                    "{shown}:{line}: found what looks like column names: {fields!r}",
                    shown=table.shown,
                    line=line,
                    fields=" | ".join(fields)[:200],
                ),
                tr("delete the {line} lines above it in the file", line=line - 1)
                if line > 2
                else tr("delete line 1 of the file"),
            )
    return False


def _require_names(table: Table, places: Sequence[int]) -> None:
    """Raise DataError where a recipe cannot name these columns."""
    for place in places:
        name = table.columns[place]
        if table.columns.count(name) > 1:
            raise DataError(
                tr("{shown}:1: the column name {name!r} is there twice", shown=table.shown, name=name),
                tr("rename one of the two in the file"),
            )
        if not name.strip() or set(name) & set("{}!:[]"):
            raise DataError(
                tr("{shown}:1: the column {name!r} cannot be named in task.input", shown=table.shown, name=name),
                tr("give it a name in the file, without { } [ ] ! and :"),
            )


def _table(path: Path, shown: str, encoding: str) -> tuple[Table, str]:
    """The file in the form that its content shows, and its encoding as the recipe must name it."""
    try:
        named, codec = named_format(path, shown, Wanted((), encoding=encoding))
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
    """The delimiter that gives most first rows the same number of fields, two or more; best the first row too."""
    best, share = "", (False, 0.0)
    for delimiter in DELIMITER_NAMES:
        try:
            rows = replace(text, delimiter=delimiter, csv_quoted=delimiter != "\t").first_rows(GUESS_ROWS)
        except DataError:
            continue
        sizes = Counter(len(row) for row in rows if any(row))
        size, count = sizes.most_common(1)[0] if sizes else (0, 0)
        fits = bool(rows) and len(rows[0]) == size
        if size > 1 and (fits, count) > (share[0], 1.05 * share[1]):
            best, share = delimiter, (fits, count)
    if not best:
        if next(text.lines()).rstrip(b"\r\n").count(b"\r") > 1:
            raise DataError(
                tr("{shown}: expected lines, found line ends with CR alone, as on an old Mac", shown=text.shown),
                tr("save it again with line ends LF or CRLF"),
            )
        raise DataError(
            tr(
                "{shown}: expected columns separated by tabs, commas, semicolons or vertical bars, found one column",
                shown=text.shown,
            ),
            tr(
                "a labelled file has a column with the text and one with the label: write a tab "
                "between them in each line"
            ),
        )
    return best


def _usual(name: str) -> int:
    """How much a name is that of a label: 2 as a whole, 1 if its last word is one, -1 if it is usually something else."""
    name = name.strip().lower()
    if name in LABEL_NAMES:
        return 2
    last = re.split(r"[_\s-]", name)[-1]
    return 1 if last in LABEL_NAMES else -1 if last in OTHER_NAMES else 0


def _label_columns(table: Table, found: _Read) -> list[int]:
    """The columns that can be labels, the likeliest first."""

    def points(place: int) -> Optional[tuple[int, bool, int, float, int]]:
        values = {value: count for value, count in found.counts[place].items() if value.strip().lower() not in NO_LABEL}
        usual = _usual(table.columns[place])
        filled = sum(values.values())
        most = MOST_LABELS if usual == 2 else MOST_VALUES
        # without a header, some lines may be above the columns' names
        least = 0.5 if usual > 0 else 1 if table.has_header or table.format in NAMED_FORMATS else 0.95
        fits = (
            len(values) >= 2 and len(found.counts[place]) <= most and all(len(value.strip()) <= 32 for value in values)
        )
        if not fits or len(values) * 2 > filled or filled + found.blank < least * found.rows:
            return None
        return usual, len(values) <= 10, -len(values), -max(values.values()) / filled, place

    scored = [(score, place) for place in range(len(found.counts)) for score in [points(place)] if score is not None]
    return [place for _, place in sorted(scored, reverse=True)]


def _label_column(table: Table, found: _Read) -> Optional[int]:
    """The column that looks most like labels."""
    places = _label_columns(table, found)
    return places[0] if places else None


def _why_not(table: Table, found: _Read) -> str:
    """Why no column can be the label."""
    if not found.rows:
        return (
            tr("no row can be read ({first_bad})", first_bad=found.first_bad)
            if found.bad
            else tr("the file has no rows")
        )
    needed = tr("expected 2 to {most_values} different values, each in several rows", most_values=MOST_VALUES)
    listed = [
        tr("{column} more than {most}", column=table.columns[place], most=MOST_LABELS)
        if len(values) > MOST_LABELS
        else f"{table.columns[place]} {len(values)}"
        for place, values in enumerate(found.counts)
    ]
    return tr(
        "{needed}; different values in {rows:,} rows: {listed}",
        needed=needed,
        rows=found.rows,
        listed=", ".join(listed[:8]),
    )


_PLAIN_ID = re.compile(r"(?:.*[ _#-])?(?:id|idx|index|guid|no|编号|序号)\d?", re.IGNORECASE)


def _inputs(table: Table, profiles: Sequence[Profile], label_at: int) -> tuple[list[int], str]:
    """The columns of text, and why."""
    texts = []
    for place, each in enumerate(profiles):
        name = table.columns[place]
        if (
            place == label_at
            or each.filled < 0.5 * each.rows
            or each.numeric > 0.5
            or _is_parse(name)
            or _is_time(each)
        ):
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


def _is_parse(name: str) -> bool:
    """Whether a column holds the syntax trees or tokens of another one, as in MNLI and SNLI."""
    return bool(re.search(r"parse|tokens|pos_tags", name, re.IGNORECASE))


_TIME = re.compile(r"\d{1,2}:\d{2}|\d{4}[-/.]\d{1,2}[-/.]\d{1,2}")


def _is_time(each: Profile) -> bool:
    return each.digits >= 0.95 and each.lengths[2] <= 40 and bool(_TIME.search(each.example))


def _made_names(profiles: Sequence[Profile], label_at: int, inputs: Sequence[int]) -> tuple[str, ...]:
    """Names for the columns of a file without a header."""
    names = [f"column{place + 1}" for place in range(len(profiles))]
    names[label_at] = "label"
    for number, place in enumerate(inputs, 1):
        names[place] = "text" if len(inputs) == 1 else f"text{number}"
    return tuple(names)


def _labels(values: Counter[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The labels for the values of a column, and what the file holds instead of them. Values that differ only in spaces,
    capitals or a decimal point are one label, as most rows write it."""
    spellings: dict[str, Counter[str]] = {}
    plain = {}
    for value, count in values.items():
        if value.strip().lower() in NO_LABEL:
            continue
        text = re.sub(r"\s+", "_", value.strip())
        text = text[: -len(".0")] if re.fullmatch(r"-?\d+\.0", text) else text
        plain[value] = text
        spellings.setdefault(text.lower(), Counter())[text] += count
    chosen = {key: max(found, key=lambda text: (found[text], text)) for key, found in spellings.items()}
    labels = sorted({text for text in chosen.values() if contract.is_label(text)})
    names = {}
    for value, text in plain.items():
        label = chosen[text.lower()]
        if label in labels and label != value:
            names[value] = label
    return tuple(labels), names
