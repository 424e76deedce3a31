"""Unpacking: a zip, a tar or a gzipped tar from a stranger, into an empty folder.

Nothing in an archive is trusted. The grader has its own readers, because `zipfile` and `tarfile` read a whole directory or
extended header into memory before it can be checked, and accept different archives in different versions of Python. Only
zlib is shared with them. An archive that breaks one rule is refused as a whole: a grade must not depend on which of two
entries a reader prefers. Archives inside an archive are ordinary files.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from grading.archives.names import folded, is_litter
from grading.archives.source import (
    LIMITS,
    PACK_AGAIN,
    SHORTER,
    ArchiveFile,
    Entry,
    Limits,
    open_archive,
    refused,
    too_many,
)
from grading.archives.tar_reader import BLOCK, gzipped_tar_entries, is_tar_header, tar_entries
from grading.archives.zip_reader import zip_entries
from grading.contract.display import one_line, told_apart
from grading.contract.language import mark, reason_of, tr
from grading.errors import FileProblem, quoted

_CREATE_FLAGS = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def is_archive(name: str) -> bool:
    """Whether a file of this name is an archive: `.zip`, `.tar`, `.tar.gz` or `.tgz`, in upper or lower case."""
    return _format_of(name) is not None


_OTHER_SUFFIXES = (
    *(".7z", ".rar", ".gz", ".bz2", ".xz", ".zst", ".lzma", ".lz", ".lz4", ".z", ".tbz", ".tbz2", ".txz", ".tzst"),
    *(".zipx", ".cab", ".iso", ".jar", ".arj", ".lzh", ".dmg", ".001"),
)
"""Suffixes of packed files that the grader does not open."""


def is_other_archive(name: str) -> bool:
    """Whether a file of this name is packed in a way that the grader does not open, such as `.7z` or `.rar`."""
    return name.lower().endswith(_OTHER_SUFFIXES) and not is_archive(name)


def looks_packed(first: bytes) -> bool:
    """Whether a file with these first bytes is an archive, whatever its name is."""
    return first.startswith(_PACKED)


def unpack(path: Path, into: Path, limits: Limits = LIMITS) -> None:
    """Unpacks the archive at `path`, which is no link, into the empty folder `into`. Raises what `unpack_open` raises."""
    with _naming(path.name):
        _required_format(path.name)
        descriptor = open_archive(path)
    unpack_open(descriptor, path.name, into, limits)


def unpack_open(descriptor: int, name: str, into: Path, limits: Limits = LIMITS) -> None:
    """Unpacks the archive called `name` that is open at `descriptor`, and closes it, into the empty folder `into`.

    Raises FileProblem for any fault of the archive; `into` then has the entries before it, within `limits`, and the caller
    removes them. Raises OSError if `into` cannot be written, which is not the archive's fault."""
    with _naming(name), ArchiveFile(descriptor, limits) as file:
        form = _required_format(name)
        first = file.read_at(0, min(BLOCK, file.size))
        if not form.agrees(first):
            raise FileProblem(tr("expected {words}, found {found}", words=form.words, found=_found(first)), PACK_AGAIN)
        tree = _Tree(into, limits)
        for entry in form.entries(file, limits):
            tree.add(entry)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Puts the archive's name before the problem."""
    try:
        yield
    except FileProblem as problem:
        raise FileProblem(
            tr("{name}: {problem}", name=quoted(name), problem=problem.problem), problem.next_step
        ) from None


class _Tree:
    """The folder that is filled. Nobody else writes there, and no link is made: everything in it is ours."""

    def __init__(self, into: Path, limits: Limits) -> None:
        self._into = os.fspath(into)
        self._limits = limits
        self._made: dict[str, tuple[str, bool]] = {}
        """Folded path to the path as it was made, and whether it is a folder."""

    def add(self, entry: Entry) -> None:
        """Makes the file or folder. Its bytes are read to the end, even for a file that is not needed."""
        parts = entry.path.split("/") if entry.path else []
        if not parts or is_litter(parts):
            for _ in entry.pieces:
                pass
            return
        # One rule for all machines, whether their file system ignores case, normalises names or neither.
        keys = [folded(part) for part in parts]
        for depth in range(1, len(parts)):
            self._folder("/".join(parts[:depth]), "/".join(keys[:depth]))
        if entry.is_folder:
            self._folder(entry.path, "/".join(keys))
            for _ in entry.pieces:
                pass
            return
        self._reserve(entry.path, "/".join(keys), is_folder=False)
        with os.fdopen(self._make(entry.path, is_folder=False), "wb") as file:
            for piece in entry.pieces:
                file.write(piece)

    def _folder(self, path: str, key: str) -> None:
        if self._reserve(path, key, is_folder=True):
            self._make(path, is_folder=True)

    def _reserve(self, path: str, key: str, is_folder: bool) -> bool:
        """Whether `path`, with the folded `key`, must still be made. Raises FileProblem if it conflicts with another entry."""
        there, there_is_folder = self._made.get(key, (None, False))
        if there is None:
            if len(self._made) >= self._limits.entries:
                raise too_many(self._limits)
            self._made[key] = path, is_folder
            return True
        if there != path:
            first, second = (f"'{one_line(each, 160)}'" for each in told_apart((there, path)).values())
            problem = tr("entries {there} and {path} differ only in case or Unicode form", there=first, path=second)
            raise FileProblem(problem, SHORTER)
        if is_folder and there_is_folder:
            return False
        problem = tr("is a file and a folder at once") if is_folder or there_is_folder else tr("is there twice")
        raise refused(path, problem)

    def _make(self, path: str, is_folder: bool) -> int:
        full = os.path.join(self._into, *path.split("/"))
        try:
            if is_folder:
                os.mkdir(full, 0o700)
                return -1
            return os.open(full, _CREATE_FLAGS, 0o600)
        except UnicodeEncodeError:
            problem = tr(
                "cannot be stored under its name: file names here are {encoding}", encoding=sys.getfilesystemencoding()
            )
            raise refused(path, problem, SHORTER) from None
        except OSError as error:
            if error.errno not in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EEXIST):
                raise  # a full disk is not the archive's fault
            raise refused(
                path, tr("cannot be stored under its name: {reason}", reason=reason_of(error)), SHORTER
            ) from None


@dataclass(frozen=True)
class _Format:
    words: str
    """The format's name in messages."""
    agrees: Callable[[bytes], bool]
    """Whether a file with these first bytes, at most a block of them, can have the format."""
    entries: Callable[[ArchiveFile, Limits], Iterator[Entry]]


def _starts_as_zip(first: bytes) -> bool:
    return first.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def _starts_as_gzip(first: bytes) -> bool:
    return first.startswith(b"\x1f\x8b")


def _starts_as_tar(first: bytes) -> bool:
    return is_tar_header(first) or first == bytes(BLOCK) or (len(first) == BLOCK and first[257:262] == b"ustar")


_GZIPPED = _Format(mark("a gzipped tar"), _starts_as_gzip, gzipped_tar_entries)

_FORMATS = {
    ".zip": _Format(mark("a zip archive"), _starts_as_zip, zip_entries),
    ".tar": _Format(mark("a tar archive"), _starts_as_tar, tar_entries),
    ".tar.gz": _GZIPPED,
    ".tgz": _GZIPPED,
}

_OTHER_FORMATS = {
    b"PK\x07\x08": mark("one part of a split zip archive"),
    b"PK": mark("a zip archive"),
    b"\x1f\x8b": mark("a gzip file"),
    b"Rar!": mark("a RAR archive"),
    b"7z\xbc\xaf\x27\x1c": mark("a 7z archive"),
    b"BZh": mark("a bzip2 file"),
    b"\xfd7zXZ\0": mark("an xz file"),
    b"\x28\xb5\x2f\xfd": mark("a Zstandard file"),
    b"%PDF": mark("a PDF"),
    b"MZ": mark("a Windows program"),
    b"<": mark("a web page"),
}


_PACKED = (b"PK\x03\x04", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf\x27\x1c", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")


def _format_of(name: str) -> Optional[_Format]:
    lowered = name.lower()
    return next((form for suffix, form in _FORMATS.items() if lowered.endswith(suffix)), None)


def _required_format(name: str) -> _Format:
    form = _format_of(name)
    if form is None:
        raise FileProblem(tr("is not one of {formats}", formats=", ".join(_FORMATS)), PACK_AGAIN)
    return form


def _found(first: bytes) -> str:
    if not first:
        return tr("an empty file")
    if _starts_as_tar(first):
        return tr("a tar archive")
    known = next((words for start, words in _OTHER_FORMATS.items() if first.startswith(start)), None)
    return known or tr("a file that starts with {first}", first=quoted(first[:8]))
