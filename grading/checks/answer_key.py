"""The answer keys: the examiner's files `result_{dataset}*.txt` in one folder, one label a line.

A key's answers are trusted, its format is checked. A bad key is the examiner's mistake: nobody loses points for it, and
nothing is graded until it is fixed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from grading import contract
from grading.contract.language import reason_of, tr
from grading.errors import CouldNotGrade, quoted
from grading.grades import AnswerKey

_KEY_NAMES = "result_{dataset}.txt or result_{dataset}_{number}.txt"


def read_keys(folder: Path, datasets: Optional[Sequence[str]] = None) -> list[AnswerKey]:
    """The keys of `datasets` in that order, or of all datasets in the folder by name. Raises CouldNotGrade."""
    found = _find_keys(folder)
    if not found:
        raise CouldNotGrade(
            tr("{folder}: no answer key, expected {key_names}", folder=folder, key_names=_KEY_NAMES),
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
        if len(found[dataset]) > 1:
            names = ", ".join(path.name for path in found[dataset])
            raise CouldNotGrade(
                tr(
                    "{folder}: {found_count} answer keys for {dataset}: {names}",
                    folder=folder,
                    found_count=len(found[dataset]),
                    dataset=quoted(dataset),
                    names=names,
                ),
                tr("keep one"),
            )
    return [_read_key(dataset, found[dataset][0]) for dataset in wanted]


def _find_keys(folder: Path) -> dict[str, list[Path]]:
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise CouldNotGrade(
            tr("{folder}: expected the folder of the answer keys: {reason}", folder=folder, reason=reason_of(error)),
            tr("pass it with --answers DIR"),
        ) from None
    found: dict[str, list[Path]] = {}
    for path in paths:
        dataset = contract.dataset_of_answer(path.name)
        if dataset is not None:
            found.setdefault(dataset, []).append(path)
    return found


def _read_key(dataset: str, path: Path) -> AnswerKey:
    try:
        answers = contract.parse_result(path.read_bytes())
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
                    "characters or letters, found {answer_count:,} characters",
                    path=path,
                    number=number,
                    answer_count=len(answer),
                ),
                tr("fix the line"),
            )
    return AnswerKey(dataset, path.name, tuple(answers), contract.label_set(answers))
