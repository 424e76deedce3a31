"""A submission: a folder of a stranger's files, which the grader reads as bytes.

Every file is opened here and nowhere else. It must be a regular file, inside the folder after all links are resolved, and none
of the examiner's. Opening never waits, so a named pipe or a device is a finding and not a hang. The folder is opened once; all
below it is reached from there, name by name, so that no path is followed twice.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Optional, Union

from grading.contract.language import mark, reason_of, tr
from grading.errors import CouldNotGrade, FileMissing, FileProblem
from grading.submission.directory import Directory

MOST_LINKS = 40
"""Most links on the way to one file, as in Linux."""

MOST_PARTS = 200
"""Most names on the way to one file, those of links included."""

MOST_NAMES = 1_000
"""Most names that are read of one folder."""

PIECE = 1 << 20
"""Bytes read at once where a file is not parsed."""

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

    def require_at_most(self, most: int, shorten: str = mark("submit a smaller file")) -> None:
        """Raises FileProblem with the next step `shorten` if the file has more than `most` bytes."""
        if self.size > most:
            raise FileProblem(
                tr(
                    "{path} has {size:,} bytes, more than the limit of {most:,}",
                    path=self.path,
                    size=self.size,
                    most=most,
                ),
                shorten,
            )

    def require_unchanged(self) -> None:
        """Raises FileProblem if the file was written to since it was opened: old and new bytes may be mixed."""
        if self._now() != self._state:
            raise _changed(self.path)

    def _now(self) -> "State":
        return _state(os.fstat(self._file.fileno()))

    def read(self, count: int) -> bytes:
        """Exactly the next `count` bytes. Raises FileProblem if the file has become shorter or cannot be read."""
        pieces = []
        left = count
        while left > 0:
            try:
                piece = self._file.read(left)
            except OSError as error:
                raise unreadable(self.path, error) from None
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

    def __init__(self, folder: Union[Path, Directory]) -> None:
        """`folder`: where it is, for the examiner's own path; or the open directory. Raises CouldNotGrade if it is not a
        folder: a mistyped path must cost nobody points."""
        self._top = folder if isinstance(folder, Directory) else _directory_at(folder)
        self._digested: dict[str, Optional[SubmittedFile]] = {}
        self._states: dict[str, State] = {}
        self._keys: frozenset[tuple[int, int]] = frozenset()

    def refuse_keys(self, keys: Iterable[tuple[int, int]]) -> None:
        """Refuses the examiner's own files from here on, under whatever name. `keys`: their devices and inodes."""
        self._keys = frozenset(keys)

    def open(self, path: str, most: int) -> SubmittedFile:
        """The file at `path`; one of more than `most` bytes gets no digest.

        Raises FileMissing if there is none, FileProblem unless it is regular and readable, and the file that was there when
        it was opened before."""
        try:
            with self._reached(path) as (folder, name):
                _require_regular(path, folder.status(name))
                descriptor = folder.open(name)
        except (FileNotFoundError, NotADirectoryError):
            raise FileMissing(tr("{path} is missing", path=path), tr("put the file there")) from None
        except OSError as error:
            raise unreadable(path, error) from None
        try:
            opened = os.fstat(descriptor)
            _require_regular(path, opened)
            self._require_own(path, opened)
        except FileProblem:
            os.close(descriptor)
            raise
        digested = path in self._digested and opened.st_size <= most
        file = SubmittedFile(path, descriptor, opened.st_size, digested)
        if digested:
            self._digested[path] = file
        return file

    def _require_own(self, path: str, opened: os.stat_result) -> None:
        """Raises FileProblem for an answer key, and for another file than was read from `path` before."""
        if (opened.st_dev, opened.st_ino) in self._keys:
            raise FileProblem(
                tr("{path} is one of the examiner's own files: it is a link to an answer key", path=path),
                tr("put a file of your own there"),
            )
        state = _state(opened)
        if self._states.setdefault(path, state) != state:
            raise _changed(path)

    def digest_when_read(self, paths: Iterable[str]) -> None:
        """Asks for the digests of files before they are opened, so that none is opened for its digest alone."""
        self._digested.update(dict.fromkeys(paths))

    def digest(self, path: str) -> Optional[str]:
        """SHA-256 of such a file after it was read; None if it is missing, too large, unreadable or was changed."""
        file = self._digested[path]
        return None if file is None else file.digest

    @contextmanager
    def _reached(self, path: str) -> Iterator[tuple[Directory, str]]:
        """The open directory that holds the last part of `path`, and the name of that part, which is no link.

        Links inside the submission are followed: each is read once, their number is bounded, and a part `..` goes back to the
        directory that was entered before. Raises FileProblem for a link out and for too many links, OSError for a missing
        name."""
        waiting, links = path.split("/")[::-1], 0
        held, last = [self._top], "."
        try:
            while waiting:
                part = waiting.pop()
                if part in ("", "."):
                    continue
                if part == "..":
                    if len(held) == 1:
                        raise _link_out(path)
                    held.pop().close()
                    continue
                if stat.S_ISLNK(held[-1].status(part).st_mode):
                    links += 1
                    target = held[-1].target(part)
                    if os.path.isabs(target):
                        target = self._below(target, path)
                        while len(held) > 1:
                            held.pop().close()
                    waiting += target.replace(os.sep, "/").split("/")[::-1]
                    if links > MOST_LINKS or len(waiting) + len(held) > MOST_PARTS:
                        raise _too_many_links(path)
                elif any(each not in ("", ".") for each in waiting):
                    held.append(held[-1].enter(part))
                else:
                    last = part
            yield held[-1], last
        finally:
            for directory in held[1:]:
                directory.close()

    def _below(self, target: str, path: str) -> str:
        """The part of a link's whole path that is below the submission."""
        if target != self._top.path and not target.startswith(self._top.path + os.sep):
            raise _link_out(path)
        return target[len(self._top.path) :]

    def read(self, path: str, most: int, shorten: str = mark("submit a smaller file")) -> bytes:
        """All bytes of the file at `path`.

        Raises the errors of `open`, and FileProblem with the next step `shorten` if there are more than `most`."""
        with self.open(path, most) as file:
            file.require_at_most(most, shorten)
            data = file.read(file.size)
            file.require_unchanged()
            return data

    def names(self, path: str) -> list[str]:
        """Names in the folder at `path` (`""`: the submission itself), sorted; at most `MOST_NAMES` of them, and none where it
        cannot be listed, leads out of the submission, or is no folder."""
        try:
            with self._reached(path) as (folder, name):
                if name == ".":
                    return folder.names(MOST_NAMES)
                inner = folder.enter(name)
                try:
                    return inner.names(MOST_NAMES)
                finally:
                    inner.close()
        except (OSError, FileProblem):
            return []

    def has(self, path: str) -> bool:
        """Whether anything is at `path`; it is not opened."""
        try:
            with self._reached(path) as (folder, name):
                folder.status(name)
        except OSError:
            return False
        except FileProblem:  # a link out is something, too
            return True
        return True

    def close(self) -> None:
        """Closes the folder."""
        self._top.close()


def _directory_at(folder: Path) -> Directory:
    try:
        return Directory.at(folder)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.ELOOP):
            raise CouldNotGrade(
                tr("{folder}: cannot be read: {reason}", folder=folder, reason=reason_of(error)), tr("make it readable")
            ) from None
    found = tr("a file") if folder.exists() else tr("nothing")
    raise CouldNotGrade(
        tr("{folder}: expected the submission's folder, found {found}", folder=folder, found=found),
        tr("pass --submission DIR"),
    )


State = tuple[int, ...]
"""Device, inode, size and times of a file: whoever writes to it or exchanges it changes one of them."""


def _state(status: os.stat_result) -> State:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _changed(path: str) -> FileProblem:
    return FileProblem(
        tr("{path} changed while it was read", path=path), tr("submit a copy that no program is writing to")
    )


def _too_many_links(path: str) -> FileProblem:
    return FileProblem(
        tr(
            "{path} is a link that leads to itself, or through more than {most_links} other links",
            path=path,
            most_links=MOST_LINKS,
        ),
        tr("put the file itself there"),
    )


def _link_out(path: str) -> FileProblem:
    return FileProblem(tr("{path} is a link out of the submission", path=path), tr("put the file itself there"))


def _require_regular(path: str, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    kind = next((words for is_kind, words in _KINDS if is_kind(status.st_mode)), tr("not an ordinary file"))
    raise FileProblem(tr("{path} is {kind}", path=path, kind=kind), tr("put a regular file there"))


def unreadable(path: str, error: OSError) -> FileProblem:
    """The finding for what the system could not open or read."""
    if error.errno == errno.ELOOP:  # the path had no link a moment ago
        return FileProblem(
            tr("{path} changed into a link while it was opened", path=path),
            tr("submit a copy that no program is writing to"),
        )
    return FileProblem(
        tr("{path} cannot be read: {reason}", path=path, reason=reason_of(error)),
        tr("make it readable, or save it again"),
    )
