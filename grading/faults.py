"""The faults: whose it is when a hand-in cannot be graded, said so that a candidate may read it.

What an error says of itself is not repeated: it could quote the key, or a path of the examiner's.
"""

import errno
import os
from collections.abc import Mapping
from typing import Optional

from grading.errors import CouldNotGrade, FileProblem

TELL_US = "the examiner sends the traceback to whoever maintains the grader"
"""Next step of the grader's own faults. The traceback is on standard error, or in the class's `errors/`."""

_NO_SPACE = (
    "examiner",
    "no space is left to unpack it",
    "the examiner makes room where --out lies, and grades again with --resume",
)

_OF_ERRNO: Mapping[int, tuple[str, str, str]] = {
    errno.ENOSPC: _NO_SPACE,
    getattr(errno, "EDQUOT", errno.ENOSPC): _NO_SPACE,
    errno.ENOMEM: ("examiner", "the system has no memory left", "the examiner lowers --jobs, and grades with --resume"),
    errno.EFBIG: ("submission", "it unpacks to a file of more bytes than are taken", "hand in the adapter alone"),
    errno.ENAMETOOLONG: ("submission", "it holds a name that is too long", "use the names that the exam gives"),
    errno.EACCES: ("submission", "it cannot be read: Permission denied", "make its files and folders readable"),
}
"""Fault, reason and next step of the errors of the system that come up outside the files that are graded."""


def fault_of(error: Exception, memory: Optional[int] = None) -> tuple[str, str, str]:
    """Fault (a key of `report.FAULTS`), reason and next step of what was raised instead of a report. A candidate may read
    them. `memory`: MiB that grading may take, None where the machine's own are the limit."""
    if isinstance(error, FileProblem):
        return "submission", error.problem, error.next_step
    if isinstance(error, CouldNotGrade):
        reason, _, step = str(error).partition(". Next: ")
        return "examiner", reason, step or "the examiner corrects it and grades again with --resume"
    if isinstance(error, MemoryError):
        return (
            "submission",
            f"grading it takes more than {memory:,} MiB of memory" if memory else "grading it takes too much memory",
            "hand in the files that the exam asks for, in their usual size",
        )
    if isinstance(error, RecursionError):
        return "submission", "it is nested deeper than the grader follows", "hand in plain files in plain folders"
    if isinstance(error, OSError) and error.errno is not None and error.errno in _OF_ERRNO:
        return _OF_ERRNO[error.errno]
    return "grader", f"{type(error).__name__}{_place(error)}", TELL_US


def _place(error: Exception) -> str:
    """Where in the grader an error was raised, without the error's own words: they could quote anything."""
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f" in {os.path.basename(trace.tb_frame.f_code.co_filename)}, line {trace.tb_lineno}"
