"""The archive's file, opened once and read in bounded pieces; the limits of an archive; messages for refused ones."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

from grading.contract.language import mark, reason_of, tr
from grading.errors import FileProblem, quoted


@dataclass(frozen=True)
class Limits:
    """The limits of an archive."""

    entries: int = 5_000
    """Entries of the archive, and files and folders made from them; macOS's own files and parent folders count too."""
    expanded_bytes: int = 4 << 30
    """Bytes of all entries, with the headers for a tar: the disk space that an archive may fill."""
    entry_bytes: int = 5 << 28
    """Bytes of one entry, 1.25 GiB: an adapter slightly larger than its 1 GiB gets the verdict of its own check, as in a
    folder; a whole model is refused. Not more than the child process of a class may write to one file."""
    path_bytes: int = 512
    """Bytes of an entry's name in UTF-8. One part of it may have 255, as on file systems."""
    depth: int = 32
    """Parts of an entry's name."""
    archive_bytes: int = 4 << 30
    """Bytes of the archive itself."""


LIMITS = Limits()

CHUNK = 1 << 16
"""Bytes that are read or expanded at once."""

PACK_AGAIN = mark("pack the folder again with zip -r or tar -czf")
COPY_AGAIN = mark("copy or upload the archive again, or {pack_again}", pack_again=PACK_AGAIN)
SMALLER = mark("submit only pre_data, saved_model and result, without the base model and checkpoints")
SHORTER = mark("rename it, then {pack_again}", pack_again=PACK_AGAIN)
NO_LINKS = mark("put the file itself there and pack again with zip -r or tar -czhf --hard-dereference")

OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)  # a link here is new
    | getattr(os, "O_NONBLOCK", 0)  # a named pipe would wait for a writer
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


@dataclass(frozen=True)
class Entry:
    """One entry of any format. Read its bytes before the next entry."""

    path: str
    """Relative, with forward slashes, without `.` and empty parts; empty for the top folder itself."""
    is_folder: bool
    pieces: Iterator[bytes]
    """Its bytes, at most `CHUNK` at once. Raises FileProblem if they differ from the headers."""


class ArchiveFile:
    """The archive, opened once. Use it in a `with`."""

    def __init__(self, descriptor: int, limits: Limits) -> None:
        """`descriptor`: the file, open for reading; it is closed at the end, or now if the file is refused."""
        status = os.fstat(descriptor)
        self._file = os.fdopen(descriptor, "rb")
        self.size = status.st_size
        try:
            if not stat.S_ISREG(status.st_mode):
                raise not_regular()
            if self.size > limits.archive_bytes:
                raise FileProblem(
                    tr(
                        "has {size:,} bytes, more than the limit of {archive_bytes:,}",
                        size=self.size,
                        archive_bytes=limits.archive_bytes,
                    ),
                    SMALLER,
                )
        except FileProblem:
            self._file.close()
            raise

    def __enter__(self) -> "ArchiveFile":
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._file.close()

    def read_at(self, position: int, count: int) -> bytes:
        """Exactly `count` bytes from `position` on. Raises FileProblem if there are fewer."""
        try:
            self._file.seek(position)
            data = self._file.read(count)
        except OSError as error:
            raise _unreadable(error) from None
        if len(data) != count:
            raise truncated()
        return data

    def pieces(self, begin: int, end: int) -> Iterator[bytes]:
        """The bytes from `begin` to before `end`."""
        for position in range(begin, end, CHUNK):
            yield self.read_at(position, min(CHUNK, end - position))


def open_archive(path: Path) -> int:
    """A descriptor of the file at `path`, which is not followed if it is a link. Raises FileProblem."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise not_regular()
        return os.open(path, OPEN_FLAGS)
    except OSError as error:
        raise _unreadable(error) from None


def not_regular() -> FileProblem:
    return FileProblem(tr("is not a regular file"), tr("submit the archive itself"))


def refused(name: str, problem: str, next_step: str = PACK_AGAIN) -> FileProblem:
    return FileProblem(tr("entry {name} {problem}", name=quoted(name), problem=problem), next_step)


def truncated() -> FileProblem:
    return FileProblem(tr("is truncated"), COPY_AGAIN)


def too_many(limits: Limits) -> FileProblem:
    return FileProblem(tr("holds more than {entries:,} files and folders", entries=limits.entries), SMALLER)


def too_large(limits: Limits) -> FileProblem:
    return FileProblem(
        tr("expands to more than {expanded_bytes:,} bytes", expanded_bytes=limits.expanded_bytes), SMALLER
    )


def too_large_entry(name: str, size: int, limits: Limits) -> FileProblem:
    return refused(
        name,
        tr("has {size:,} bytes, more than the limit of {entry_bytes:,}", size=size, entry_bytes=limits.entry_bytes),
        SMALLER,
    )


def _unreadable(error: OSError) -> FileProblem:
    return FileProblem(
        tr("cannot be read: {reason}", reason=reason_of(error)), tr("make it readable, or save it again")
    )


def expanded(inflater: Any, piece: bytes) -> Iterator[bytes]:
    """The expanded `piece`, at most `CHUNK` of it in memory at once. Raises zlib.error."""
    while True:
        expanded = inflater.decompress(piece, CHUNK)
        if expanded:
            yield expanded
        piece = inflater.unconsumed_tail
        # after a full chunk zlib may have more
        if inflater.eof or (not piece and len(expanded) < CHUNK):
            return
