"""The entries of the submissions' folder, and the names of their files in the output folder."""

import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from grading.archives.unpack import is_archive
from grading.classroom.card import GONE
from grading.contract.language import mark, reason_of, tr
from grading.errors import CouldNotGrade
from grading.submission.root import NOT_PACKED, PACK

ENTRIES_LIMIT = 20_000
"""Most files of a folder that are compared to see whether it changed. A folder with more is always graded again."""

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True)
class HandIn:
    """One entry of the submissions' folder."""

    name: str
    """Its name in that folder."""
    stem: str
    """The name of its files in the output folder."""
    path: Path


def stems(names: Iterable[str]) -> dict[str, str]:
    """The file name for each name: the name itself if it has 1 to 80 of `A-Za-z0-9._-`, starts with neither dot nor dash
    and differs from all others in more than case; else a cleaned form with a part of its SHA-256."""
    hashed = {name: _hashed(name) for name in names}
    spelt = Counter(name.lower() for name in hashed)
    spelt.update(stem.lower() for stem in hashed.values())  # nobody can take another's file name
    return {
        name: name if _PLAIN.fullmatch(name) and spelt[name.lower()] == 1 else stem for name, stem in hashed.items()
    }


def _hashed(name: str) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:60].strip("-")
    return f"{cleaned}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}".lstrip("-")


def refusal_of(path: Path) -> Optional[tuple[str, str, str]]:
    """Fault, reason and next step if the entry is not a submission that can be opened; else None."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return GONE
    except OSError as error:
        words = tr("it cannot be examined: {reason}", reason=reason_of(error))
        return "examiner", words, tr("the examiner makes it readable and grades again with --resume")
    if stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and is_archive(path.name)):
        return None
    words = next((words for is_kind, words in _KINDS if is_kind(mode)), NOT_PACKED)
    return "submission", tr("it is {words}", words=words), PACK


_KINDS: Sequence[tuple[Callable[[int], bool], str]] = (
    (stat.S_ISLNK, mark("a link, which is not followed")),
    (stat.S_ISFIFO, mark("a named pipe")),
    (stat.S_ISSOCK, mark("a socket")),
    (stat.S_ISCHR, mark("a device")),
    (stat.S_ISBLK, mark("a device")),
)


def fingerprint(path: Path) -> Optional[str]:
    """A digest of the names, kinds, sizes and times of a submission's files, without opening them.

    None if it cannot be listed, or has more than `ENTRIES_LIMIT` files."""
    digest = hashlib.sha256()
    try:
        for number, (name, status) in enumerate(_statuses(path)):
            if number == ENTRIES_LIMIT:
                return None
            size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
            digest.update(os.fsencode(name) + b"\0")
            digest.update(f"{status.st_mode} {size} {status.st_mtime_ns}\n".encode("ascii"))
    except (OSError, RecursionError):  # before Python 3.12 os.walk is recursive
        return None
    return digest.hexdigest()


def _statuses(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The path itself and everything below it, in a fixed order; no link is followed."""
    own = os.lstat(path)
    yield "", own
    if not stat.S_ISDIR(own.st_mode):
        return
    for folder, folders, files in os.walk(path, onerror=_raise):
        folders.sort()
        for name in sorted(folders + files):
            inside = os.path.join(folder, name)
            yield os.path.relpath(inside, path), os.lstat(inside)


def _raise(error: OSError) -> None:
    raise error


def hand_ins(submissions: Path) -> Iterator[HandIn]:
    """The entries by name, without those that begin with a dot. Raises CouldNotGrade if there is none."""
    try:
        taken = sorted(name for name in os.listdir(submissions) if not name.startswith("."))
    except OSError as error:
        raise CouldNotGrade(
            tr(
                "{submissions}: expected the folder of the submissions: {reason}",
                submissions=submissions,
                reason=reason_of(error),
            ),
            tr("pass it with --submissions DIR"),
        ) from None
    if not taken:
        raise CouldNotGrade(
            tr("{submissions}: no submission found, expected a folder or an archive for each", submissions=submissions),
            tr("pass --submissions DIR"),
        )
    named = stems(taken)
    for name in taken:
        yield HandIn(name, named[name], submissions / name)
