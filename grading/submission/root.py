"""The root of a submission: the folder that has `pre_data`, `saved_model` and `result`, wherever it is below the top.

People hand in a folder around it, beside a README, in another folder, or packed in a folder. Only folders and archives count,
so nothing else needs a list of names. What is found is one folder, one archive, or a sentence that names what is there instead.
"""

import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from grading import contract
from grading.archives.unpack import is_archive, is_other_archive
from grading.contract.language import mark, reason_of, tr
from grading.contract.near_names import is_near
from grading.errors import FileProblem, quoted
from grading.submission.directory import Directory
from grading.submission.folder import MOST_NAMES

PARTS = ("pre_data", "saved_model", "result")

MOST_DEEP = 4
"""Most folders around a submission."""

MOST_FOLDERS = 200
"""Most folders that are looked into."""

MOST_SEEN = 5_000
"""Most names that are looked at, in all folders together: no archive may hold more."""

MOST_SHOWN = 4
"""Most names that a message shows."""

NOT_PACKED = mark("neither a folder nor a .zip, .tar, .tar.gz or .tgz archive")
PACK = mark("submit the folder itself, or a .zip or .tar.gz of it")

_ONE = mark("submit one folder with {parts}, or one .zip of it", parts=", ".join(PARTS))

LITTER = ("__MACOSX", "Thumbs.db", "desktop.ini", "Icon\r")
"""Names that a system adds and nobody hands in; so are all that begin with a dot."""

_ENDINGS = ("_train.json", "_dev.json", contract.ADAPTER_WEIGHTS, contract.ADAPTER_CONFIG)
"""Ends of the names of a submission's files. One of them at the top: the folders around it are missing."""


@dataclass(frozen=True)
class Root:
    """Where the submission is below the top."""

    names: tuple[str, ...]
    """The folders on the way, the last name that of an archive if it is one."""
    is_packed: bool = False
    """Whether it is an archive."""


@dataclass
class _Seen:
    """What a look through the folders has met."""

    exact: list[tuple[str, ...]] = field(default_factory=list)
    """Folders with a part under its right name."""
    near: list[tuple[str, ...]] = field(default_factory=list)
    """Folders with a name that may be meant."""
    archives: list[tuple[str, ...]] = field(default_factory=list)
    others: list[tuple[str, ...]] = field(default_factory=list)
    """Archives of kinds that are not opened."""
    links: list[tuple[str, ...]] = field(default_factory=list)
    folders: int = 0
    names: int = 0

    def has_room(self) -> bool:
        """Whether one more folder may be looked into."""
        return self.folders < MOST_FOLDERS and self.names < MOST_SEEN


def find_root(top: Directory, is_unpacked: bool = False) -> Root:
    """The root below `top`. `is_unpacked`: `top` came out of an archive, and one in it is not opened.

    Raises FileProblem if there is none or more than one, and if `top` cannot be listed."""
    try:
        names = top.names(MOST_NAMES)
    except OSError as error:
        raise FileProblem(
            tr("the folder cannot be listed: {reason}", reason=reason_of(error)),
            tr("make its files and folders readable"),
        ) from None
    seen = _Seen()
    _look(top, (), names, seen)
    if () in seen.near and not seen.exact:
        return Root(())
    for found in (seen.exact, seen.near):
        if found:
            return Root(_only(found, mark("{count} folders that may each be the submission: {names}")))
    if seen.archives and not is_unpacked:
        return Root(_only(seen.archives, mark("{count} archives: {names}")), is_packed=True)
    raise _nothing(names, seen)


def _only(found: Sequence[tuple[str, ...]], words: str) -> tuple[str, ...]:
    if len(found) > 1:
        holds = tr(str(words), count=len(found), names=_shown(["/".join(path) for path in found]))
        raise FileProblem(tr("it holds {holds}", holds=holds), _ONE)
    return found[0]


def _look(here: Directory, path: tuple[str, ...], names: Sequence[str], seen: _Seen) -> None:
    """Adds what is at `here` to `seen`; a folder with a submission's parts is not looked into."""
    seen.folders += 1
    seen.names += len(names)
    if any(_is_full(here, part) for part in PARTS) or (not path and any(map(_is_result, names))):
        seen.exact.append(path)
        return
    # an empty folder, a file or a link with a part's name does not hide the submission below
    if (_has_part(here) or any(map(_may_be_part, names))) and not any(
        path[: len(other)] == other for other in seen.near
    ):
        seen.near.append(path)  # a folder below one of them is its own
    for name in names:
        if _is_litter(name):
            continue
        try:
            mode = here.status(name).st_mode
            if stat.S_ISLNK(mode):
                seen.links.append((*path, name))
            elif stat.S_ISREG(mode):
                if is_archive(name):
                    seen.archives.append((*path, name))
                elif is_other_archive(name):
                    seen.others.append((*path, name))
            elif stat.S_ISDIR(mode) and len(path) < MOST_DEEP and seen.has_room():
                _enter(here, (*path, name), seen)
        except OSError:
            continue  # it cannot be read, or is gone


def _enter(here: Directory, path: tuple[str, ...], seen: _Seen) -> None:
    inner = here.enter(path[-1])
    try:
        _look(inner, path, inner.names(MOST_NAMES), seen)
    finally:
        inner.close()


def _is_full(here: Directory, part: str) -> bool:
    """Whether a part is a folder that holds something, or one that cannot be listed."""
    try:
        if not stat.S_ISDIR(here.status(part).st_mode):
            return False
    except OSError:
        return False
    try:
        inner = here.enter(part)
    except OSError:
        return True
    try:
        return any(not _is_litter(name) for name in inner.names(MOST_NAMES))
    except OSError:
        return True
    finally:
        inner.close()


def _has_part(here: Directory) -> bool:
    """Whether a part is there, also if the folder has more names than are listed."""
    for part in PARTS:
        with suppress(OSError):
            here.status(part)
            return True
    return False


def _is_result(name: str) -> bool:
    """Whether it is a result at the top, where one may be."""
    return name.startswith("result_") and name.endswith(".txt")


def _may_be_part(name: str) -> bool:
    return (
        name.endswith(_ENDINGS) or name.casefold().startswith("result_") or any(is_near(part, name) for part in PARTS)
    )


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name in LITTER


def _nothing(names: Sequence[str], seen: _Seen) -> FileProblem:
    """The one sentence for a folder that holds no submission: it names what is there."""
    if seen.archives:
        packed = _shown(["/".join(path) for path in seen.archives])
        return FileProblem(tr("it holds only an archive inside the archive: {names}", names=packed), _ONE)
    if seen.others:
        packed = _shown(["/".join(path) for path in seen.others])
        return FileProblem(
            tr("it holds {names}, which is {not_packed}", names=packed, not_packed=NOT_PACKED),
            tr("unpack it, and {pack}", pack=PACK),
        )
    if seen.links:
        links = _shown(["/".join(path) for path in seen.links])
        return FileProblem(
            tr("this holds none of {parts}; links are not followed: {names}", parts=", ".join(PARTS), names=links), PACK
        )
    there = [name for name in names if not _is_litter(name)] or list(names)
    found = tr("it holds {names}", names=_shown(there)) if there else tr("it is empty")
    return FileProblem(tr("this holds none of {parts}; {found}", parts=", ".join(PARTS), found=found), _ONE)


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(_quoted_few(names))
    more = len(names) - MOST_SHOWN
    return tr("{shown} and {count:,} more", shown=shown, count=more) if more > 0 else shown


def _quoted_few(names: Sequence[str]) -> Iterator[str]:
    for name in names[:MOST_SHOWN]:
        yield quoted(name[:60])
