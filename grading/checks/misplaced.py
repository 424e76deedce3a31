"""A misplaced file: what the submission has in the place of a file that is missing, for the reason in the report.

It earns nothing: a grader that guesses can be led to guess right. Only names are read, in a bounded number of folders.
"""

import re
from collections.abc import Iterator
from typing import Optional

from grading.contract.language import tr
from grading.contract.near_names import is_near, squashed
from grading.errors import quoted
from grading.submission.folder import Submission

MOST_ALIKE = 3
"""Most names that are taken for one name on the way."""

MOST_DEEPER = 64
"""Most folders that are looked into below the right one."""

LONGER = 8
"""Most characters that a name may have more than the expected one: ` (1)`, `.txt`, `_old`."""

_ENDINGS = ("json", "txt", "safetensors")
"""Endings of the files that a submission has."""

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def with_misplaced(submission: Submission, path: str, dataset: str, reason: str, step: str) -> tuple[str, str]:
    """The reason and the next step for the missing file `path`, with the file that may be meant."""
    found = find_misplaced(submission, path, dataset)
    if found is None:
        return reason, step
    shown = quoted(found)
    return tr("{reason}; there is {shown}", reason=reason, shown=shown), tr(
        "if {shown} is meant, move it to {path}; else {step}", shown=shown, path=path, step=step
    )


def find_misplaced(submission: Submission, path: str, dataset: str) -> Optional[str]:
    """A file that may be meant by the missing `path`: with almost the same name, in a folder with almost the same name, one
    folder deeper, or in a folder above."""
    *folders, name = path.split("/")
    levels = [[""]]
    for folder in folders:
        here = [_join(above, each) for above in levels[-1] for each in _alike(submission, above, folder, dataset)]
        if not here:
            break
        levels.append(here[: MOST_ALIKE + 1])
    right_depth = len(levels) == len(folders) + 1
    for level in levels[:0:-1]:
        for found in _in_folders(submission, level, name, dataset):
            if found != path:
                return found
        if right_depth and level is levels[-1]:
            for found in _deeper(submission, level, name):
                return found
    return next((found for found in _in_folders(submission, [""], name, dataset) if found != path), None)


def _in_folders(submission: Submission, folders: list[str], name: str, dataset: str) -> Iterator[str]:
    for folder in folders:
        for each in _alike(submission, folder, name, dataset):
            yield _join(folder, each)


def _deeper(submission: Submission, folders: list[str], name: str) -> Iterator[str]:
    """The file one folder deeper, as in `checkpoint-500/`; the highest number first."""
    for folder in folders:
        inner = sorted(submission.names(folder), key=_number, reverse=True)[:MOST_DEEPER]
        for each in inner:
            if name in submission.names(_join(folder, each)):
                yield f"{_join(folder, each)}/{name}"


def _alike(submission: Submission, folder: str, wanted: str, dataset: str) -> list[str]:
    """The names in a folder that may be meant by `wanted`: that name first."""
    names = submission.names(folder)
    near = [wanted] if wanted in names else []
    return near + [each for each in names if each != wanted and _is_like(wanted, each, dataset)][:MOST_ALIKE]


def _is_like(wanted: str, found: str, dataset: str) -> bool:
    if len(found) > len(wanted) + LONGER:
        return False
    stem, _, ending = wanted.rpartition(".")
    # another ending, a second one, or a copy's number; a pickle is another thing
    if ending in _ENDINGS and squashed(found).startswith(squashed(stem)) and not found.endswith(_PICKLES):
        return True
    head, has_dataset, tail = wanted.partition(dataset)
    if not has_dataset:
        return is_near(wanted, found)
    bare = found.strip().casefold()
    if not (bare.startswith(head.casefold()) and bare.endswith(tail.casefold())):
        return squashed(wanted) == squashed(found)
    return is_near(dataset, found.strip()[len(head) : len(bare) - len(tail)]) or squashed(wanted) == squashed(found)


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _number(name: str) -> tuple[int, str]:
    found = re.search(r"[0-9]{1,9}$", name)
    return (int(found[0]) if found else -1, name)
