"""Checks of the dev file's columns against the training file's columns of the same names, and of the inputs against the label.

Columns in another order and a wrong header raise no error by themselves: every answer is then wrong, silently. So a dev column
that cannot be the training file's is refused. The limits are wide: data of another source or year passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Callable, Optional

from runner.data.profile import Profile, profile
from runner.data.table import Table
from runner.errors import DataError
from runner.language import tr
from runner.recipe.schema import Task

ENOUGH_VALUES = 5
"""Values in each file that a comparison needs."""


def _empty(train: Profile, dev: Profile) -> Optional[str]:
    if train.empty > 0.1 * train.rows or dev.empty < max(0.5 * dev.rows, ENOUGH_VALUES):
        return None
    return tr(
        "{empty:,} of {rows:,} values are empty, in the training file {train_empty:,} of {train_rows:,}",
        empty=dev.empty,
        rows=dev.rows,
        train_empty=train.empty,
        train_rows=train.rows,
    )


def _numbers(train: Profile, dev: Profile) -> Optional[str]:
    if dev.numeric >= 0.8 and train.numeric <= 0.05:
        return tr(
            "{numeric:.0%} are numbers such as {example}, in the training file {train_numeric:.0%}",
            numeric=dev.numeric,
            example=dev.example,
            train_numeric=train.numeric,
        )
    if dev.numeric <= 0.2 and train.numeric >= 0.95:
        return tr(
            "{numeric:.0%} are numbers, in the training file {train_numeric:.0%} such as {example}",
            numeric=dev.numeric,
            train_numeric=train.numeric,
            example=train.example,
        )
    return None


def _labels(train: Profile, dev: Profile) -> Optional[str]:
    if dev.labels >= 0.9 and train.labels <= 0.1:
        return tr(
            "{labels:.0%} are labels such as {example}, in the training file {train_labels:.0%}",
            labels=dev.labels,
            example=dev.example,
            train_labels=train.labels,
        )
    return None


def _words(train: Profile, dev: Profile) -> Optional[str]:
    # a text without spaces that is not ASCII may be a whole sentence
    single = min(train, dev, key=lambda each: each.spaced)
    if not single.example.isascii():
        return None
    if dev.spaced <= 0.1 and train.spaced >= 0.8 and 2 * dev.lengths[1] <= train.lengths[1]:
        return tr(
            "{spaced:.0%} are single words such as {example!r}, in the training file "
            "{train_spaced:.0%} have several words, such as {train_example!r}",
            spaced=1 - dev.spaced,
            example=dev.example,
            train_spaced=train.spaced,
            train_example=train.example,
        )
    if dev.spaced >= 0.8 and train.spaced <= 0.1 and dev.lengths[1] >= 2 * train.lengths[1]:
        return tr(
            "{spaced:.0%} have several words, such as {example!r}, in the training file "
            "{train_spaced:.0%} are single words such as {train_example!r}",
            spaced=dev.spaced,
            example=dev.example,
            train_spaced=1 - train.spaced,
            train_example=train.example,
        )
    return None


def _lengths(train: Profile, dev: Profile) -> Optional[str]:
    """Ids and texts where texts have no spaces, as in Chinese."""
    shorter, longer = sorted((train, dev), key=lambda each: each.lengths[1])
    are_ids = shorter.digits >= 0.8 and shorter.spaced <= 0.1 and longer.spaced <= 0.5
    if not are_ids or longer.lengths[1] < 5 * shorter.lengths[1] or shorter.lengths[2] >= longer.lengths[0]:
        return None
    return tr(
        "half are shorter than {length} characters, such as {example!r}; in the training "
        "file half are shorter than {train_length}, such as {train_example!r}",
        length=dev.lengths[1] + 1,
        example=dev.example,
        train_length=train.lengths[1] + 1,
        train_example=train.example,
    )


def _repeated(train: Profile, dev: Profile) -> Optional[str]:
    few = dev.filled >= 20 and dev.different <= 5 and dev.spaced <= 0.1 and dev.lengths[1] * 3 <= train.lengths[1]
    if few and train.different >= 0.9 * train.filled:
        return tr(
            "the {filled:,} values are only {different} different ones, such as {example!r}",
            filled=dev.filled,
            different=dev.different,
            example=dev.example,
        )
    return None


CHECKS: tuple[Callable[[Profile, Profile], Optional[str]], ...] = (
    _empty,
    _numbers,
    _labels,
    _words,
    _lengths,
    _repeated,
)
"""Each gives what is different between a training column and a dev column, in words, or None."""


def differences(train: Profile, dev: Profile) -> Iterator[str]:
    """Why a dev column cannot be a training column."""
    if train.rows < ENOUGH_VALUES or dev.rows < ENOUGH_VALUES:
        return
    for check in CHECKS:
        if check is not _empty and min(train.filled, dev.filled) < ENOUGH_VALUES:
            continue
        found = check(train, dev)
        if found:
            yield found


def exchanged(names: Sequence[str], train: Sequence[Profile], dev: Sequence[Profile]) -> Optional[str]:
    """Two columns of text that have each other's lengths, in words; None where there are none."""
    columns = list(zip(names, train, dev))
    for at, (short, train_short, dev_short) in enumerate(columns):
        for long, train_long, dev_long in [*columns[:at], *columns[at + 1 :]]:
            enough = min(each.filled for each in (train_short, train_long, dev_short, dev_long)) >= ENOUGH_VALUES
            if (
                enough
                and train_long.lengths[0] > train_short.lengths[2]
                and dev_short.lengths[0] > dev_long.lengths[2]
                and train_long.lengths[1] >= 2 * train_short.lengths[1]
                and dev_short.lengths[1] >= 2 * dev_long.lengths[1]
            ):
                return tr(
                    "its columns {short} and {long} seem to be exchanged: half of the values have more "
                    "than {lengths} and {lengths_2} characters, in the training file more than "
                    "{lengths_3} and {lengths_4}",
                    short=short,
                    long=long,
                    lengths=dev_short.lengths[1] - 1,
                    lengths_2=dev_long.lengths[1] - 1,
                    lengths_3=train_short.lengths[1] - 1,
                    lengths_4=train_long.lengths[1] - 1,
                )
    return None


Rows = Sequence[Sequence[str]]


def check_dev(task: Task, names: Sequence[str], train: tuple[Table, Rows], dev: tuple[Table, Rows]) -> None:
    """Compare the columns `names` of both tables, each with some of its rows.

    Raises DataError where one cannot be the same thing in both."""
    train_table, dev_table = train[0], dev[0]
    labels = {*task.labels, *(task.label_names or {})}
    profiles = [
        [profile([row[table.columns.index(name)] for row in rows], tuple(labels)) for name in names]
        for table, rows in (train, dev)
    ]
    problems = [
        tr(
            "its column {name} cannot be the column {name} of {shown}: {found}",
            name=name,
            shown=train_table.shown,
            found=found,
        )
        for name, first, second in zip(names, *profiles)
        for found in differences(first, second)
    ]
    problem = problems[0] if problems else exchanged(names, *profiles)
    if problem:
        raise DataError(
            f"{dev_table.shown}: {problem}",
            tr(
                "correct task.header or task.dev_columns: the file's columns were read as {columns}; "
                "or set task.dev_differs: true if the file is right",
                columns=", ".join(dev_table.columns),
            ),
        )


def leaks(task: Task, names: Sequence[str], table: Table, rows: Rows) -> Iterator[str]:
    """Warnings about columns of the input that tell the label by themselves, and about an input of numbers alone."""
    at = table.columns.index(task.label)
    if len(rows) >= 4 * ENOUGH_VALUES and all(
        profile([row[table.columns.index(name)] for row in rows], ()).numeric >= 0.95 for name in names
    ):
        yield (
            tr(
                "task.input holds nothing but numbers, such as {first_rows!r}: if that is not the "
                "text, correct task.columns or task.input; the columns were read as {columns}",
                first_rows=rows[0][table.columns.index(names[0])][:40],
                columns=", ".join(table.columns),
            )
        )
    labelled = [(row, row[at]) for row in rows if row[at]]
    for name in names if len(labelled) >= 2 * ENOUGH_VALUES else ():
        place = table.columns.index(name)
        pairs = {(row[place].strip(), label) for row, label in labelled}
        values, labels = {value for value, _ in pairs}, {label for _, label in pairs}
        equal = sum(row[place].strip() == label.strip() for row, label in labelled)
        if len(labels) > 1 and (equal >= 0.99 * len(labelled) or len(pairs) == len(values) == len(labels)):
            yield (
                tr(
                    "the column {name} of task.input tells the label in every row ({value!r} is "
                    "{label!r}): the model will read the answer; take the column out of task.input "
                    "unless the rows to predict have it too",
                    name=name,
                    value=min(pairs)[0][:40],
                    label=min(pairs)[1],
                )
            )
