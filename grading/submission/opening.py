"""Opening a submission: a folder or an archive, or one of them in a folder around it.

The folder that holds it is the examiner's, and links on the way to it are followed. From the entry itself on no link is: it is
opened once, and all below it is reached through that descriptor. `root` says where below the top the submission is.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from grading.archives.unpack import is_archive, unpack_open
from grading.contract.language import tr
from grading.errors import CouldNotGrade, FileProblem
from grading.submission.directory import Directory, descend
from grading.submission.folder import Submission, unreadable
from grading.submission.root import NOT_PACKED, PACK, Root, find_root

_MOST_LINKS = 40
"""Most links from the examiner's path to the submission."""


class NotThere(CouldNotGrade):
    """Nothing that can be graded is at the path: the examiner mistyped it, or, in a class, it has been removed."""


@dataclass(frozen=True)
class _Place:
    """Where archives are unpacked."""

    scratch: Optional[Path]
    prefix: str


@contextmanager
def opened(path: Path, scratch: Optional[Path] = None, prefix: str = "submission-") -> Iterator[Submission]:
    """The submission in the folder or archive at `path`, which is no link; an archive is unpacked into a folder below `scratch`
    whose name starts with `prefix`, and removed again.

    Raises CouldNotGrade if nothing is at `path`, FileProblem for another file, a refused archive, or a folder that cannot be
    listed or holds no submission."""
    place = _Place(scratch, prefix)
    with _entry(path) as (around, name):
        if stat.S_ISDIR(_status(around, name, path).st_mode):
            with _folder(_enter(around, [name]), place) as submission:
                yield submission
        else:
            if not is_archive(name):
                raise FileProblem(tr("it is {not_packed}", not_packed=NOT_PACKED), PACK)
            with _unpacked(around, name, place) as submission:
                yield submission


def named(path: Path) -> Path:
    """The path of a submission that the examiner named: a link of the examiner's own is followed, another's is not.

    A link belongs to whoever made it, so nobody else can exchange the submission for a link that is followed. Raises
    CouldNotGrade."""
    for _ in range(_MOST_LINKS):
        try:
            status = os.lstat(path)
            if not stat.S_ISLNK(status.st_mode):
                return path
            if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
                break
            path = path.parent / os.readlink(path)
        except OSError:
            return path  # `opened` says what is wrong
    raise CouldNotGrade(
        tr("{path}: it is a link of somebody else's, which is not followed", path=path),
        tr("pass the folder or archive itself with --submission"),
    )


@contextmanager
def _entry(path: Path) -> Iterator[tuple[Directory, str]]:
    """The directory around the entry at `path`, and the entry's name in it. Raises CouldNotGrade."""
    try:
        around = Directory.at(path.parent if path.name not in ("", "..") else path)
    except OSError as error:
        raise _not_there(path, error) from None
    try:
        yield around, path.name if path.name not in ("", "..") else "."
    finally:
        around.close()


def _status(around: Directory, name: str, path: Path) -> os.stat_result:
    try:
        status = around.status(name)
    except OSError as error:  # a name of 300 characters, say
        raise _not_there(path, error) from None
    if stat.S_ISLNK(status.st_mode):
        raise FileProblem(tr("it is a link, which is not followed"), PACK)
    if not (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)):
        raise NotThere(
            tr("{folder}: expected the submission's folder, found {found}", folder=path, found=tr("a file")),
            tr("pass --submission DIR"),
        )
    return status


def _not_there(path: Path, error: OSError) -> CouldNotGrade:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return NotThere(
            tr("{folder}: expected the submission's folder, found {found}", folder=path, found=tr("nothing")),
            tr("pass --submission DIR"),
        )
    return CouldNotGrade(f"{path}: {error.strerror}", tr("correct --submission"))


def _enter(top: Directory, names: Sequence[str]) -> Directory:
    """A folder of the submission's. Raises FileProblem if it has changed since it was looked at."""
    try:
        return descend(top, names)
    except (FileNotFoundError, NotADirectoryError):
        raise FileProblem(
            tr("the folder changed while it was opened"), tr("submit a copy that no program is writing to")
        ) from None
    except OSError as error:
        raise unreadable(tr("the folder"), error) from None


@contextmanager
def _folder(top: Directory, place: _Place, is_unpacked: bool = False) -> Iterator[Submission]:
    """The submission below `top`, which is closed."""
    try:
        root = find_root(top, is_unpacked)
        if root.is_packed:
            with _inner_archive(top, root, place) as submission:
                yield submission
            return
        submission = Submission(_enter(top, root.names) if root.names else top)
        try:
            yield submission
        finally:
            submission.close()
    finally:
        top.close()


@contextmanager
def _inner_archive(top: Directory, root: Root, place: _Place) -> Iterator[Submission]:
    *folders, name = root.names
    around = _enter(top, folders)
    try:
        with _unpacked(around, name, place) as submission:
            yield submission
    finally:
        around.close()


@contextmanager
def _unpacked(around: Directory, name: str, place: _Place) -> Iterator[Submission]:
    import tempfile  # a folder needs none of it

    try:
        descriptor = around.open(name)
    except OSError as error:
        raise unreadable(tr("the archive"), error) from None
    with tempfile.TemporaryDirectory(prefix=place.prefix, dir=place.scratch) as folder:
        unpack_open(descriptor, name, Path(folder))
        with _folder(Directory.at(folder), place, is_unpacked=True) as submission:
            yield submission
