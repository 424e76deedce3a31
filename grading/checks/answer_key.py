"""The answer keys: the examiner's files `result_{dataset}*.txt` in one folder, one label a line.

A key's answers are trusted, its format is checked. A bad key is the examiner's mistake: nobody loses points for it, and
nothing is graded until it is fixed.
"""

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from grading import contract
from grading.contract.language import reason_of, tr
from grading.contract.near_names import squashed
from grading.errors import CouldNotGrade, quoted
from grading.grades import AnswerKey

_MOST_SHOWN = 4
"""Most names that a message shows."""

MOST_LABELS = 4_096
"""Most different labels of a key: reports and the record of a class grow with rows times labels."""

_NEARLY_KEY = re.compile(
    r"\s*(?:results?[\W_]+\w.*\.txt|result_\w.*\.[ct]sv)\W*(?:\d+\W*|txt\W*)?", re.IGNORECASE | re.DOTALL
)
"""A file that is probably meant as a key: `result_QQP_46 (1).txt`, `Result-QQP.TXT`, `result_QQP.txt.txt`, `result_QQP.csv`."""

_COPY = re.compile(r"_\d+(?:\W|copy|[^\x00-\x7f]).*", re.IGNORECASE | re.DOTALL)
"""What follows a dataset's name in the name of a key's copy: `_46-1`, `_46副本`."""

_ENDINGS = (".txt", ".csv", ".tsv")


def read_keys(folder: Path, datasets: Optional[Sequence[str]] = None) -> list[AnswerKey]:
    """The keys of `datasets` in that order, or of all datasets in the folder by name. Raises CouldNotGrade."""
    found, strays = _find_keys(folder)
    _require_no_stray(folder, strays, datasets)
    if not found:
        raise CouldNotGrade(
            tr(
                "{folder}: no answer key, expected {key_names}; {found}",
                folder=folder,
                key_names=_key_names(),
                found=_what_is_in(folder),
            ),
            tr("pass the keys' folder with --answers DIR"),
        )
    wanted = sorted(found) if datasets is None else datasets
    for dataset in wanted:
        if dataset not in found:
            raise CouldNotGrade(
                tr(
                    "{folder}: no answer key for {dataset}, only for {found}",
                    folder=folder,
                    dataset=quoted(dataset),
                    found=", ".join(sorted(found)),
                ),
                tr("correct --datasets, or add the key"),
            )
        paths = [path for other in found if other.casefold() == dataset.casefold() for path in found[other]]
        if len(paths) > 1:  # two names that differ only in case are one on other systems
            names = ", ".join(path.name for path in paths)
            raise CouldNotGrade(
                tr(
                    "{folder}: {found_count} answer keys for {dataset}: {names}",
                    folder=folder,
                    found_count=len(paths),
                    dataset=quoted(dataset),
                    names=names,
                ),
                tr("keep one"),
            )
    return [_read_key(dataset, found[dataset][0]) for dataset in wanted]


def _key_names() -> str:
    return tr("{plain} or {numbered}", plain="result_{dataset}.txt", numbered="result_{dataset}_{number}.txt")


def _what_is_in(folder: Path) -> str:
    """What a folder without keys holds, for the examiner who named the wrong one."""
    names = sorted(os.listdir(folder))
    if not names:
        return tr("it is empty")
    more = len(names) - _MOST_SHOWN
    shown = ", ".join(quoted(name[:60]) for name in names[:_MOST_SHOWN])
    return tr(
        "it holds {names}", names=tr("{shown} and {count:,} more", shown=shown, count=more) if more > 0 else shown
    )


def _require_no_stray(folder: Path, strays: Sequence[str], datasets: Optional[Sequence[str]]) -> None:
    """Raises CouldNotGrade for a file that is nearly named as a key, of the `datasets` if they are given."""
    for name in strays:
        if datasets is None or any(squashed(dataset) in squashed(name) for dataset in datasets):
            raise CouldNotGrade(
                tr(
                    "{folder}: {name} looks like an answer key, but a key is named {key_names}",
                    folder=folder,
                    name=quoted(name),
                    key_names=_key_names(),
                ),
                tr("rename it, or move it out of the folder"),
            )


def _find_keys(folder: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """The keys by dataset, and the names of files that are nearly named as one."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise CouldNotGrade(
            tr("{folder}: expected the folder of the answer keys: {reason}", folder=folder, reason=reason_of(error)),
            tr("pass it with --answers DIR"),
        ) from None
    found: dict[str, list[Path]] = {}
    strays = []
    for path in paths:
        dataset = contract.dataset_of_answer(path.name)
        if dataset is not None and not dataset.casefold().endswith(_ENDINGS):
            found.setdefault(dataset, []).append(path)
        elif len(path.name) < 256 and _NEARLY_KEY.fullmatch(path.name):
            strays.append(path.name)
    copies = [
        dataset
        for dataset in found
        if any(dataset.startswith(other) and _COPY.fullmatch(dataset[len(other) :]) for other in found)
    ]
    for dataset in copies:
        strays += [path.name for path in found.pop(dataset)]
    return found, strays


def _bytes_of(path: Path) -> bytes:
    """The bytes of a key. A named pipe is not waited for. Raises OSError, and CouldNotGrade for what is no regular file."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise CouldNotGrade(
                tr("{path}: the answer key is not a regular file", path=path), tr("make it a readable file")
            )
        return file.read()


def _kind_of_line(line: str) -> str:
    """What is wrong with a line of a key, without a character of it."""
    if not line.strip():
        return tr("a blank line")
    if line != line.strip() or "\r" in line:
        return tr("spaces or a line end of an old Mac beside a label")
    return tr("{count:,} characters", count=len(line))


def _read_key(dataset: str, path: Path) -> AnswerKey:
    try:
        answers = contract.parse_result(_bytes_of(path))
    except OSError as error:
        raise CouldNotGrade(
            tr("{path}: the answer key cannot be read: {reason}", path=path, reason=reason_of(error)),
            tr("make it a readable file"),
        ) from None
    except contract.ContractError as error:
        raise CouldNotGrade(
            tr("{path}: bad answer key: {error}", path=path, error=error), tr("save it as UTF-8 text")
        ) from None
    if not answers:
        raise CouldNotGrade(tr("{path}: the answer key is empty", path=path), tr("write one label a line into it"))
    for number, answer in enumerate(answers, start=1):
        if not contract.is_label(answer):
            raise CouldNotGrade(
                tr(
                    "{path}:{number}: bad answer key: expected one label of 1 to 32 visible ASCII "
                    "characters or letters, found {found}",
                    path=path,
                    number=number,
                    found=_kind_of_line(answer),
                ),
                tr("fix the line"),
            )
    labels = contract.label_set(answers)
    if len(labels) > MOST_LABELS:
        raise CouldNotGrade(
            tr(
                "{path}: bad answer key: {count:,} different labels, more than {most:,}",
                path=path,
                count=len(labels),
                most=MOST_LABELS,
            ),
            tr("give a file with one label a line"),
        )
    return AnswerKey(dataset, path.name, tuple(answers), labels)
