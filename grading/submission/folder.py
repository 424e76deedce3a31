"""A submission: a folder of a stranger's files, which the grader reads as bytes.

Every file is opened here and nowhere else. It must be a regular file, inside the folder after all links are resolved.
Opening never waits, so a named pipe or a device is a finding and not a hang.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Optional, Union

from grading.archives.source import OPEN_FLAGS
from grading.contract.language import mark, reason_of, tr
from grading.errors import CouldNotGrade, FileMissing, FileProblem

MOST_LINKS = 40
"""Most links on the way to one file, as in Linux."""

MOST_PARTS = 200
"""Most names on the way to one file, those of links included."""

MOST_NAMES = 1_000
"""Most names that are read of one folder."""

PIECE = 1 << 20
"""Bytes read at once where a file is not parsed."""

_FOLDER_FLAGS = (
    getattr(os, "O_PATH", os.O_RDONLY)  # enter folders that cannot be listed
    | getattr(os, "O_DIRECTORY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
)

_LIST_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)

_KINDS = (
    (stat.S_ISDIR, mark("a folder")),
    (stat.S_ISLNK, mark("a link")),
    (stat.S_ISFIFO, mark("a named pipe")),
    (stat.S_ISSOCK, mark("a socket")),
    (stat.S_ISCHR, mark("a device")),
    (stat.S_ISBLK, mark("a device")),
)


class SubmittedFile:
    """One open file of a submission, read from front to back, once. Use it in a `with`."""

    def __init__(self, path: str, descriptor: int, size: int, digested: bool = False) -> None:
        """`digested`: closing reads the rest of the file, for the digest of all of it."""
        self.path = path
        """Path inside the submission, with forward slashes; the name in messages."""
        self.size = size
        """Bytes when it was opened."""
        self.position = 0
        """Bytes that have been read."""
        self.digest: Optional[str] = None
        """SHA-256 of the whole file, after a `digested` one is closed; None if it could not be read or changed meanwhile."""
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        self._hashers: list[hashlib._Hash] = []
        self._whole = self.hasher() if digested else None
        self._state = self._now()

    def __enter__(self) -> "SubmittedFile":
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        try:
            if self._whole is not None and error is None:
                with suppress(FileProblem):
                    for _ in self.pieces(self.size - self.position):
                        pass
                    self.require_unchanged()
                    self.digest = self._whole.hexdigest()
        finally:
            self._file.close()

    def hasher(self) -> "hashlib._Hash":
        """A SHA-256 of the bytes that are read from here on."""
        self._hashers.append(hashlib.sha256())
        return self._hashers[-1]

    def require_unchanged(self) -> None:
        """Raises FileProblem if the file was written to since it was opened: old and new bytes may be mixed."""
        if self._now() != self._state:
            raise FileProblem(
                tr("{path} changed while it was read", path=self.path),
                tr("submit a copy that no program is writing to"),
            )

    def _now(self) -> tuple[int, int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def read(self, count: int) -> bytes:
        """Exactly the next `count` bytes. Raises FileProblem if the file has become shorter or cannot be read."""
        pieces = []
        left = count
        while left > 0:
            try:
                piece = self._file.read(left)
            except OSError as error:
                raise _unreadable(self.path, error) from None
            if not piece:
                raise FileProblem(
                    tr("{path} became shorter while it was read", path=self.path),
                    tr("submit a copy that no program is writing to"),
                )
            for hasher in self._hashers:
                hasher.update(piece)
            pieces.append(piece)
            left -= len(piece)
            self.position += len(piece)
        return b"".join(pieces)

    def pieces(self, count: int) -> Iterator[bytes]:
        """The next `count` bytes, at most `PIECE` at once. Raises what `read` raises."""
        for start in range(0, count, PIECE):
            yield self.read(min(PIECE, count - start))


class Submission:
    """A submission's folder. Paths are those of `grading.contract`: relative, with forward slashes."""

    def __init__(self, folder: Path) -> None:
        """Raises CouldNotGrade if `folder` is not a folder: a mistyped path must cost nobody points."""
        if not folder.is_dir():
            found = tr("a file") if folder.exists() else tr("nothing")
            raise CouldNotGrade(
                tr("{folder}: expected the submission's folder, found {found}", folder=folder, found=found),
                tr("pass --submission DIR"),
            )
        self._root = os.path.realpath(folder)
        self._digested: dict[str, Optional[SubmittedFile]] = {}

    def open(self, path: str, most: int) -> SubmittedFile:
        """The file at `path`; one of more than `most` bytes gets no digest.

        Raises FileMissing if there is none, FileProblem unless it is regular and readable."""
        try:
            parts = self._resolve(path)
            _require_regular(path, os.lstat(os.path.join(self._root, *parts)))
            descriptor = self._open_resolved(parts)
        except (FileNotFoundError, NotADirectoryError):
            raise FileMissing(tr("{path} is missing", path=path), tr("put the file there")) from None
        except OSError as error:
            raise _unreadable(path, error) from None
        try:
            opened = os.fstat(descriptor)
            _require_regular(path, opened)
        except FileProblem:
            os.close(descriptor)
            raise
        digested = path in self._digested and opened.st_size <= most
        file = SubmittedFile(path, descriptor, opened.st_size, digested)
        if digested:
            self._digested[path] = file
        return file

    def digest_when_read(self, paths: Iterable[str]) -> None:
        """Asks for the digests of files before they are opened, so that none is opened for its digest alone."""
        self._digested.update(dict.fromkeys(paths))

    def digest(self, path: str) -> Optional[str]:
        """SHA-256 of such a file after it was read; None if it is missing, too large, unreadable or was changed."""
        file = self._digested[path]
        return None if file is None else file.digest

    def _resolve(self, path: str) -> list[str]:
        """The parts of `path` below the root after its links are followed: each is read once, their number is bounded, and
        every Python gives the same. Raises FileProblem for a link out and for too many links, OSError for a missing name."""
        waiting, links = path.split("/")[::-1], 0
        done: list[str] = []
        while waiting:
            part = waiting.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if not done:
                    raise _link_out(path)
                done.pop()
                continue
            here = os.path.join(self._root, *done, part)
            if not stat.S_ISLNK(os.lstat(here).st_mode):
                done.append(part)
                continue
            links += 1
            target = os.readlink(here)
            if os.path.isabs(target):
                if target != self._root and not target.startswith(self._root + os.sep):
                    raise _link_out(path)
                target, done = target[len(self._root) :], []
            waiting += target.replace(os.sep, "/").split("/")[::-1]
            if links > MOST_LINKS or len(waiting) + len(done) > MOST_PARTS:
                raise FileProblem(
                    tr(
                        "{path} is a link that leads to itself, or through more than {most_links} other links",
                        path=path,
                        most_links=MOST_LINKS,
                    ),
                    tr("put the file itself there"),
                )
        return done

    def _open_resolved(self, parts: Sequence[str]) -> int:
        """Opens a path without links, folder by folder, so that a link that appears meanwhile is not followed."""
        if os.open not in os.supports_dir_fd or not parts:
            return os.open(os.path.join(self._root, *parts), OPEN_FLAGS)
        *folders, name = parts
        inside = os.open(self._root, _FOLDER_FLAGS)
        try:
            for folder in folders:
                deeper = os.open(folder, _FOLDER_FLAGS, dir_fd=inside)
                os.close(inside)
                inside = deeper
            return os.open(name, OPEN_FLAGS, dir_fd=inside)
        finally:
            os.close(inside)

    def read(self, path: str, most: int, shorten: str = mark("submit a smaller file")) -> bytes:
        """All bytes of the file at `path`.

        Raises the errors of `open`, and FileProblem with the next step `shorten` if there are more than `most`."""
        with self.open(path, most) as file:
            if file.size > most:
                raise FileProblem(
                    tr(
                        "{path} has {size:,} bytes, more than the limit of {most:,}",
                        path=path,
                        size=file.size,
                        most=most,
                    ),
                    shorten,
                )
            data = file.read(file.size)
            file.require_unchanged()
            return data

    def names(self, path: str) -> list[str]:
        """Names in the folder at `path` (`""`: the submission itself), sorted; at most `MOST_NAMES` of them, and none where it
        cannot be listed, leads out of the submission, or is no folder."""
        try:
            folder = self._open_folder(self._resolve(path))
            try:
                with os.scandir(folder) as entries:
                    return sorted(entry.name for entry in islice(entries, MOST_NAMES))
            finally:
                if isinstance(folder, int):
                    os.close(folder)
        except (OSError, FileProblem):
            return []

    def _open_folder(self, parts: Sequence[str]) -> Union[int, str]:
        """A folder to list, opened as files are; its path where the system cannot."""
        if os.open not in os.supports_dir_fd or os.scandir not in os.supports_fd:
            return os.path.join(self._root, *parts)
        inside = os.open(self._root, _FOLDER_FLAGS)
        for name in (*parts, "."):
            flags = _FOLDER_FLAGS if name != "." else _LIST_FLAGS
            try:
                deeper = os.open(name, flags, dir_fd=inside)
            finally:
                os.close(inside)
            inside = deeper
        return inside

    def has(self, path: str) -> bool:
        """Whether anything is at `path`; it is not opened."""
        return os.path.lexists(os.path.join(self._root, *path.split("/")))


def _link_out(path: str) -> FileProblem:
    return FileProblem(tr("{path} is a link out of the submission", path=path), tr("put the file itself there"))


def _require_regular(path: str, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    kind = next((words for is_kind, words in _KINDS if is_kind(status.st_mode)), tr("not an ordinary file"))
    raise FileProblem(tr("{path} is {kind}", path=path, kind=kind), tr("put a regular file there"))


def _unreadable(path: str, error: OSError) -> FileProblem:
    if error.errno == errno.ELOOP:  # the path had no link a moment ago
        return FileProblem(
            tr("{path} changed into a link while it was opened", path=path),
            tr("submit a copy that no program is writing to"),
        )
    return FileProblem(
        tr("{path} cannot be read: {reason}", path=path, reason=reason_of(error)),
        tr("make it readable, or save it again"),
    )
