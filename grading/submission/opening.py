"""Opening a submission: a folder or an archive.

People submit the folder with `pre_data`, `saved_model` and `result`, or a folder around it. If the top has none of these
names and exactly one folder, that folder is the submission.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from grading.archives.unpack import is_archive, unpack
from grading.contract.language import mark, reason_of, tr
from grading.errors import CouldNotGrade, FileProblem
from grading.submission.folder import Submission

_PARTS = ("pre_data", "saved_model", "result")

NOT_PACKED = mark("neither a folder nor a .zip, .tar, .tar.gz or .tgz archive")
PACK = mark("submit the folder itself, or a .zip or .tar.gz of it")

_LITTER = ("__MACOSX", ".DS_Store")
"""Names that macOS adds to archives."""


@contextmanager
def opened(path: Path, scratch: Optional[Path] = None) -> Iterator[Submission]:
    """The submission in the folder or archive at `path`; an archive is unpacked below `scratch` and removed again.

    Raises CouldNotGrade if nothing is at `path`, FileProblem for another file, a refused archive or a folder that cannot be
    listed."""
    try:
        packed = path.is_file()
    except OSError as error:  # a name of 300 characters, say
        raise CouldNotGrade(
            tr("{path}: {reason}", path=path, reason=reason_of(error)), tr("correct --submission")
        ) from None
    if not packed:
        yield Submission(_root(path))
        return
    if not is_archive(path.name):
        raise FileProblem(tr("it is {not_packed}", not_packed=NOT_PACKED), PACK)
    with tempfile.TemporaryDirectory(prefix="submission-", dir=scratch) as folder:
        unpack(path, Path(folder))
        yield Submission(_root(Path(folder)))


def _root(folder: Path) -> Path:
    if not folder.is_dir():
        return folder  # Submission raises the error
    try:
        names = [entry.name for entry in folder.iterdir() if entry.name not in _LITTER]
    except OSError as error:
        raise FileProblem(
            tr("the folder cannot be listed: {reason}", reason=reason_of(error)),
            tr("make its files and folders readable"),
        ) from None
    if len(names) != 1 or any(name in _PARTS or name.startswith("result_") for name in names):
        return folder
    inner = folder / names[0]
    return inner if inner.is_dir() and not inner.is_symlink() else folder
