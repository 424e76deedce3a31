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

from grading.archives.names import folded
from grading.archives.source import OPEN_FLAGS
from grading.archives.unpack import is_archive, is_other_archive, looks_packed
from grading.classroom.card import GONE
from grading.contract.display import shown, told_apart
from grading.contract.language import mark, reason_of, tr
from grading.errors import CouldNotGrade, quoted
from grading.submission.directory import Directory
from grading.submission.root import LITTER, NOT_PACKED, PACK, PARTS

ENTRIES_LIMIT = 20_000
"""Most files of a folder that are compared to see whether it changed. A folder with more is always graded again."""

_MOST_SHOWN = 5
"""Most names that a message shows."""

LONGEST_STEM = 80
"""Most characters of a file name that is the submission's own; it may have 200 bytes, too, since more is added to it."""

_UNSAFE = re.compile(r'[<>:"/\\|?*]|^[-. ~]|[. ]$')
"""What a file name must not have on Windows, or what a shell takes for something else at its start."""

_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?: *\..*)?", re.IGNORECASE)
"""Names that are devices on Windows, whatever their ending."""


@dataclass(frozen=True)
class HandIn:
    """One entry of the submissions' folder."""

    name: str
    """Its name in that folder."""
    stem: str
    """The name of its files in the output folder."""
    path: Path
    shown: str
    """Its name as people see it, different from all others of the class."""


def stems(names: Iterable[str]) -> dict[str, str]:
    """The file name for each name: the name itself if that is a file name on every system, shows all of its characters, and
    differs from all others in more than case and Unicode form; else a cleaned form with a part of its SHA-256."""
    hashed = {name: _hashed(name) for name in names}
    spelt = Counter(map(folded, hashed))
    spelt.update(map(folded, hashed.values()))  # nobody can take another's file name
    looks = told_apart(hashed)
    return {
        name: name if looks[name] == name and _is_file_name(name) and spelt[folded(name)] == 1 else stem
        for name, stem in hashed.items()
    }


def _is_file_name(name: str) -> bool:
    fits = 0 < len(name) <= LONGEST_STEM and len(name.encode("utf-8", "surrogatepass")) <= 200
    return fits and not _UNSAFE.search(name) and not _DEVICE.fullmatch(name)


def _hashed(name: str) -> str:
    cleaned = "".join(char if char.isalnum() or char == "_" else "-" for char in name if shown(char) == char)
    short = re.sub("-+", "-", cleaned).encode("utf-8")[:120].decode("utf-8", "ignore")[:60].strip("-")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{short}-{digest[:16]}".lstrip("-")


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
    around = Directory.at(path.parent)
    own = around.status(path.name)
    yield "", own
    if stat.S_ISDIR(own.st_mode):
        yield from _inside(around, path.name, "")


def _inside(around: Directory, name: str, path: str) -> Iterator[tuple[str, os.stat_result]]:
    here = around.enter(name)
    try:
        for each in here.names(ENTRIES_LIMIT + 1):
            status = here.status(each)
            yield f"{path}/{each}", status
            if stat.S_ISDIR(status.st_mode):
                yield from _inside(here, each, f"{path}/{each}")
    finally:
        here.close()


def hand_ins(submissions: Path) -> tuple[list[HandIn], list[str]]:
    """The submissions by name, and the names of other files, which nobody hands in; names that begin with a dot are neither.

    Raises CouldNotGrade if there is no submission."""
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
    candidates = [name for name in taken if _is_candidate(submissions / name)]
    others = [name for name in taken if name not in set(candidates) and name not in LITTER]
    if not candidates:
        found = tr("; it holds {names}", names=names_of(others)) if others else ""
        raise CouldNotGrade(
            tr("{submissions}: no submission found, expected a folder or an archive for each", submissions=submissions)
            + found,
            tr("pass --submissions DIR"),
        )
    if len(set(PARTS) & set(candidates)) > 1:
        raise CouldNotGrade(
            tr(
                "{submissions}: this is one submission, and no folder of submissions; it holds {names}",
                submissions=submissions,
                names=", ".join(part for part in PARTS if part in candidates),
            ),
            tr("pass it with --submission, or pass the folder around it with --submissions DIR"),
        )
    named, seen = stems(candidates), told_apart(candidates)
    return [HandIn(name, named[name], submissions / name, seen[name]) for name in candidates], others


def names_of(names: Sequence[str]) -> str:
    """Some of the names, for a message."""
    return ", ".join([quoted(name, 60) for name in names[:_MOST_SHOWN]] + ["..."] * (len(names) > _MOST_SHOWN))


def _is_candidate(path: Path) -> bool:
    """Whether somebody may have handed the entry in: everything but litter, and files that are no archive by their name."""
    if path.name in LITTER:
        return False
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode) or is_archive(path.name) or is_other_archive(path.name):
            return True
        # an upload may have lost its ending; a file with another one says what it is
        return not path.suffix and looks_packed(_first_bytes(path))
    except OSError:
        return True  # whoever cannot be read is told so


def _first_bytes(path: Path) -> bytes:
    descriptor = os.open(path, OPEN_FLAGS)
    try:
        return os.read(descriptor, 8)
    finally:
        os.close(descriptor)
