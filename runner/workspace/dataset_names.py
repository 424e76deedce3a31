"""The names of the datasets that the workspace knows: those of the answer keys and of the data's folders.

`task.name` names the result file, and the grader looks for the name of its answer key: `cola` for `CoLA` costs all points.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Optional

from grading import contract
from grading.contract.near_names import differs_in_spelling_only, is_near
from runner.errors import UserError
from runner.language import tr

DATA_FOLDER = "data/questionBData"
"""Where the exam's tables are, below the workspace."""

MOST = 1_000
"""Most names that are read of one folder."""


def check_dataset_name(name: str, root: Path) -> Optional[str]:
    """A sentence about a dataset's name that is probably misspelled; None where nothing is wrong with it.

    Raises UserError where an answer key's name differs only in case, spaces, hyphens, underscores or dots."""
    keys = _names_of_keys(root / contract.ANSWER_FOLDER)
    if name in keys:
        return None
    for known, file in keys.items():
        if differs_in_spelling_only(known, name):
            raise UserError(
                tr(
                    "task.name: {name!r} is not {known!r}, the dataset of {file}: the grader would look "
                    "for {result_path}, and find nothing",
                    name=name,
                    known=known,
                    file=file,
                    result_path=contract.result_path(known),
                ),
                tr(
                    "write task.name: {known}; if it is another dataset, choose a name that is not so alike",
                    known=known,
                ),
            )
    bare = name.removeprefix("result_").removesuffix(".txt")
    for known in {bare, bare.removesuffix("_train"), bare.removesuffix("_dev")} & {*keys}:
        raise UserError(
            tr(
                "task.name: {name!r} is not {known!r}, the dataset of {keys}: the grader would look "
                "for {result_path}, and find nothing",
                name=name,
                known=known,
                keys=keys[known],
                result_path=contract.result_path(known),
            ),
            tr("write task.name: {known}, the dataset's name alone", known=known),
        )
    folders = _names_of_folders(root / DATA_FOLDER)
    for known, where in [*keys.items(), *({} if name in folders else folders).items()]:
        if is_near(known, name):
            return tr(
                "task.name: {name!r} is almost {known!r}, the dataset of {where}; is that meant?",
                name=name,
                known=known,
                where=where,
            )
    return None


def _names_of_keys(folder: Path) -> dict[str, Path]:
    """Each answer key's file by the dataset that it is for."""
    found = ((contract.dataset_of_answer(path.name), path) for path in _listed(folder))
    return {name: path for name, path in found if name is not None}


def _names_of_folders(folder: Path) -> dict[str, Path]:
    """The data's folders by name, and the tables that lie flat by the dataset that they are of."""
    found = {}
    for path in _listed(folder):
        name = path.name.removesuffix("_train.tsv") if path.suffix else path.name
        if contract.is_dataset_name(name) and (not path.suffix or path.name.endswith("_train.tsv")):
            found[name] = path
    return found


def _listed(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(islice(folder.iterdir(), MOST))
    return []
