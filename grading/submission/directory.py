"""A directory that is held open: what is in it is reached through its descriptor, one name at a time.

A path can lead elsewhere from one moment to the next; a descriptor cannot. So a link that appears meanwhile is an error, and is
never followed. Where the system has no such calls (Windows), each name is looked at and then opened by its path: a program that
exchanges the two at the right moment can then have its link followed.
"""

import os
import stat
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Optional, Union

from grading.archives.source import OPEN_FLAGS

_ENTER_FLAGS = (
    getattr(os, "O_PATH", os.O_RDONLY)  # enter folders that cannot be listed
    | getattr(os, "O_DIRECTORY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
)

_LIST_FLAGS = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)

HOLDS = (
    {os.open, os.stat, os.readlink} <= os.supports_dir_fd
    and os.scandir in os.supports_fd
    and hasattr(os, "O_NOFOLLOW")
    and hasattr(os, "O_DIRECTORY")
)
"""Whether this system can reach names through a descriptor."""


class Directory:
    """One open directory. It is closed by `close`, or when nobody uses it any more."""

    def __init__(self, path: str, descriptor: Optional[int] = None) -> None:
        """Use `at` and `enter`. `descriptor`: None where the system cannot hold one."""
        self.path = path
        """Where it was when it was opened, for messages and for links with a whole path; nothing is opened by it."""
        self._descriptor = descriptor

    @classmethod
    def at(cls, path: Union[str, Path]) -> "Directory":
        """The directory at a path of the examiner's; links on the way are followed. Raises OSError."""
        real = os.path.realpath(path)
        if not HOLDS:
            if not os.path.isdir(real):
                raise NotADirectoryError(str(path))
            return cls(real)
        return cls(real, os.open(real, _ENTER_FLAGS))

    def enter(self, name: str) -> "Directory":
        """The directory `name` in it. Raises OSError; also if it is a link."""
        path = self.path if name == "." else os.path.join(self.path, name)
        if self._descriptor is None:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                raise NotADirectoryError(path)
            return Directory(path)
        return Directory(path, os.open(name, _ENTER_FLAGS, dir_fd=self._descriptor))

    def status(self, name: str) -> os.stat_result:
        """What `name` in it is; a link is not followed. Raises OSError."""
        if self._descriptor is None:
            return os.lstat(os.path.join(self.path, name))
        return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)

    def target(self, name: str) -> str:
        """Where the link `name` leads. Raises OSError."""
        if self._descriptor is None:
            return os.readlink(os.path.join(self.path, name))
        return os.readlink(name, dir_fd=self._descriptor)

    def open(self, name: str) -> int:
        """A descriptor to read `name` from, without waiting for a named pipe. Raises OSError; also if it is a link."""
        if self._descriptor is None:
            return os.open(os.path.join(self.path, name), OPEN_FLAGS)
        return os.open(name, OPEN_FLAGS, dir_fd=self._descriptor)

    def names(self, most: int) -> list[str]:
        """Its names, sorted, at most `most` of them. Raises OSError if it cannot be listed."""
        if self._descriptor is None:
            return _names(self.path, most)
        listed = os.open(".", _LIST_FLAGS, dir_fd=self._descriptor)
        try:
            return _names(listed, most)
        finally:
            os.close(listed)

    def close(self) -> None:
        """Closes it. Closing twice is no error."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


def descend(top: Directory, names: Sequence[str]) -> Directory:
    """The directory below `top` by its names; `top` stays open. Raises OSError; also for a link on the way."""
    here = top
    for name in names:
        inner = here.enter(name)
        if here is not top:
            here.close()
        here = inner
    return here


def _names(where: Union[int, str], most: int) -> list[str]:
    with os.scandir(where) as entries:
        return sorted(entry.name for entry in islice(entries, most))
