"""The two errors of the grader, one for the examiner's mistakes and one for the submission's; and whose fault any other is.

A report never repeats the text of another error: it could quote the key, or a path of the examiner's.
"""

import errno
import os
from collections.abc import Mapping
from typing import Optional

from grading.contract.display import quoted as quoted  # noqa: PLC0414  for those who raise errors
from grading.contract.language import mark, tr, translated


class _Explained(Exception):
    """An error with what is wrong and what to do about it."""

    def __init__(self, problem: str, next_step: str) -> None:
        problem, next_step = translated(problem), translated(next_step)
        super().__init__(problem, next_step)
        self.problem = problem
        """What was expected, where, and what was found."""
        self.next_step = next_step
        """What to do about it."""

    def __str__(self) -> str:
        return with_next_step(self.problem, self.next_step)


def with_next_step(problem: str, next_step: str) -> str:
    """A message in two lines: what is wrong, and what to do about it."""
    return tr("{problem}\n  next: {next_step}", problem=problem, next_step=next_step)


class CouldNotGrade(_Explained):
    """The examiner's mistake: no answer key, no such folder. Exit code 2, points for nobody."""


class FileProblem(_Explained):
    """A file of the submission that cannot be used. It costs the points of the checks that need the file."""


class FileMissing(FileProblem):
    """Nothing is at the path, so another place may be tried."""


TELL_US = mark("the examiner sends the traceback to the grader's maintainers")
"""Next step of the grader's own faults. The traceback is on standard error, or in the class's `errors/`."""

_NO_SPACE = (
    "examiner",
    mark("no space is left to unpack it"),
    mark("the examiner frees space on the disk where it is unpacked, and grades again"),
)

_OF_ERRNO: Mapping[int, tuple[str, str, str]] = {
    errno.ENOSPC: _NO_SPACE,
    getattr(errno, "EDQUOT", errno.ENOSPC): _NO_SPACE,
    errno.ENOMEM: (
        "examiner",
        mark("the system is out of memory"),
        mark("the examiner ends other programs, and grades again"),
    ),
    errno.EFBIG: ("submission", mark("it unpacks to a file that is too large"), mark("submit the adapter alone")),
    errno.ENAMETOOLONG: (
        "submission",
        mark("it holds a name that is too long"),
        mark("use the names that the exam gives"),
    ),
    errno.EACCES: (
        "submission",
        mark("it cannot be read: Permission denied"),
        mark("make its files and folders readable"),
    ),
}
"""Fault, reason and next step of system errors that come from outside the graded files."""


def fault_of(error: Exception, memory: Optional[int] = None) -> tuple[str, str, str]:
    """Fault (a key of `FAULTS`), reason and next step of an error that was raised instead of a report. A candidate may read
    them. `memory`: MiB that grading may use; None: all that the machine has."""
    if isinstance(error, FileProblem):
        return "submission", error.problem, error.next_step
    if isinstance(error, CouldNotGrade):
        return "examiner", error.problem, error.next_step
    if isinstance(error, MemoryError):
        return (
            "submission",
            tr("grading it takes more than {memory:,} MiB of memory", memory=memory)
            if memory
            else tr("grading it takes too much memory"),
            tr("submit only the files that the exam asks for, in their usual size"),
        )
    if isinstance(error, RecursionError):
        return "submission", tr("it is nested too deep"), tr("submit plain files in plain folders")
    if isinstance(error, OSError) and error.errno is not None and error.errno in _OF_ERRNO:
        fault, reason, next_step = _OF_ERRNO[error.errno]
        return fault, translated(reason), translated(next_step)
    return "grader", _place(error), translated(TELL_US)


def _place(error: Exception) -> str:
    """The error's type and where in the grader it was raised, without its text, which could quote anything."""
    trace, name = error.__traceback__, type(error).__name__
    if trace is None:
        return name
    while trace.tb_next is not None:
        trace = trace.tb_next
    file = os.path.basename(trace.tb_frame.f_code.co_filename)
    return tr("{error_type} in {file}, line {line}", error_type=name, file=file, line=trace.tb_lineno)


FAULTS: Mapping[str, str] = {
    "submission": mark("the submission's fault"),
    "examiner": mark("the examiner's mistake"),
    "grader": mark("the grader's own fault"),
}
"""Whose fault it is that nothing was graded, for messages."""
