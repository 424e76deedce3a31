"""One submission alone: graded in a child process with the limits that each submission of a class has.

On Linux the child is a fork, which costs milliseconds. Elsewhere, or where other threads run, it is a new interpreter, as in a
class.
"""

import io
import json
import os
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, NoReturn, Optional

from grading.classroom.card import CARD_LIMIT
from grading.classroom.sandbox import Limits, limit_this_process, of_signal, start, unlimit_this_process
from grading.contract.language import english, reason_of, tr
from grading.errors import CouldNotGrade
from grading.files import remove_folder
from grading.grader import Exam
from grading.report.json_report import failure
from grading.report.text import failure_text

_UNBOUNDED = b"unbounded\n"
"""The child's word that what follows has no limits."""

_STATM = "/proc/self/statm"
"""Where Linux says how much memory a process has mapped."""


@dataclass(frozen=True)
class Outcome:
    """The result of grading one submission, also if that failed."""

    report: Mapping[str, Any]
    """The JSON object; its `problem` is not null if nothing was graded."""
    text: str
    """The report for people."""
    coloured: str
    """The same for this terminal."""
    exit_code: int = 0
    mistake: Optional[CouldNotGrade] = None
    """The examiner's mistake, which is for standard error: it can show a line of the key."""
    errors: str = ""
    """The error stream of the grader."""


@dataclass(frozen=True)
class Bounds:
    """What the work in a child is given."""

    limits: Limits
    prefix: str
    """Start of the names of its temporary folders: they are removed even if the child is ended."""
    lift: Callable[[], None]
    """Ends the limits. Call it once nothing of a submission is read without a limit of its own."""


def failed(fault: str, reason: str, next_step: str, mistake: Optional[CouldNotGrade] = None) -> Outcome:
    """The outcome where nothing was graded. `fault`: a key of `grading.errors.FAULTS`."""
    report = failure(fault, reason, next_step)
    text = failure_text(report)
    return Outcome(english(report), text, text, exit_code=1 if fault == "grader" else 0, mistake=mistake)


def can_fork() -> bool:
    """Whether a bounded child can be a fork of this process: on Linux, and without other threads of Python's but daemons, such as
    the one that watches progress bars."""
    threads = sys.modules.get("threading")
    others = [] if threads is None else [each for each in threads.enumerate() if each is not threads.main_thread()]
    return sys.platform == "linux" and os.path.exists(_STATM) and all(each.daemon for each in others)


def in_fork(work: Callable[[Bounds], Outcome], limits: Limits) -> Outcome:
    """The outcome of `work`, which runs in a fork with limits. Raises CouldNotGrade if there can be no process."""
    prefix = f"submission-{os.urandom(8).hex()}-"
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    reading, writing = os.pipe()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads that belong to libraries
            child = os.fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        raise CouldNotGrade(
            tr("no process could be started: {reason}", reason=reason_of(error)),
            tr("the examiner ends other programs, and grades again"),
        ) from None
    if child == 0:
        _be_child(work, limits, prefix, writing)
    os.close(writing)
    ended = False
    try:
        with os.fdopen(reading, "rb", buffering=0) as answer:
            data, ended = _received(answer, limits), True
    finally:
        if not ended or data is None:
            os.kill(child, signal.SIGKILL)  # it is not waited for yet, so the number is its own
        _, status = os.waitpid(child, 0)
        if not ended or data is None or status:
            _remove_leftovers(prefix)
    return _outcome(data, status, limits)


def in_interpreter(exam: Exam, path: Path, limits: Limits) -> Outcome:
    """The outcome of the submission at `path`, graded in a new interpreter with limits, without its advice of a rerun."""
    import tempfile

    try:
        folder = tempfile.TemporaryDirectory(prefix="grading-")
    except OSError as error:
        raise CouldNotGrade(
            tr("no temporary folder could be made: {reason}", reason=reason_of(error)),
            tr("the examiner frees space, and grades again"),
        ) from None
    with folder as work:
        try:
            child = start(path, path.name, exam, limits, Path(work))
        except OSError as error:
            raise CouldNotGrade(
                tr("no process could be started: {reason}", reason=reason_of(error)),
                tr("the examiner ends other programs, and grades again"),
            ) from None
        try:
            card = child.card()
            while card is None:
                time.sleep(0.005)
                card = child.card()
        finally:
            child.end()
        problem, errors = card.report["problem"], child.errors()
    if problem is None:
        return Outcome(english(dict(card.report)), card.text, card.text, errors=errors)
    mistake = CouldNotGrade(problem["reason"], problem["next_step"]) if problem["fault"] == "examiner" else None
    if mistake is not None:
        words = tr("the examiner's own files cannot be used"), tr("ask the examiner to fix them")
        return failed("examiner", *words, mistake)
    exit_code = 1 if problem["fault"] == "grader" else 0
    return Outcome(english(dict(card.report)), card.text, card.text, exit_code, errors=errors)


def _be_child(work: Callable[[Bounds], Outcome], limits: Limits, prefix: str, writing: int) -> NoReturn:
    """Does the work and writes the outcome; nothing of the parent's goes on after it."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends the child
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        errors = sys.stderr = io.StringIO()
        limit_this_process(replace(limits, open_files=limits.open_files + _highest_open()), _mapped())

        def lift() -> None:
            unlimit_this_process()
            os.write(writing, _UNBOUNDED)

        outcome = work(Bounds(limits, prefix, lift))
        _write(writing, outcome, errors.getvalue())
        code = 0
    except BaseException:
        with suppress(OSError):
            os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
    finally:
        os._exit(code)


def _mapped() -> int:
    """Bytes of memory that this process has mapped before it starts to grade."""
    with open(_STATM, encoding="ascii") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _highest_open() -> int:
    """The highest number of a file that the parent had open: the limit of open files is one of their numbers."""
    return max(int(name) for name in os.listdir("/proc/self/fd"))


def _write(writing: int, outcome: Outcome, errors: str) -> None:
    mistake = outcome.mistake
    value = {
        "report": english(dict(outcome.report)),
        "text": str(outcome.text),
        "coloured": str(outcome.coloured),
        "exit_code": outcome.exit_code,
        "mistake": None if mistake is None else [str(mistake.problem), str(mistake.next_step)],
        "errors": errors,
    }
    with os.fdopen(writing, "wb") as answer:
        answer.write(json.dumps(value, allow_nan=False).encode("ascii"))


def _received(answer: io.RawIOBase, limits: Limits) -> Optional[bytes]:
    """All that the child writes; None if it takes longer than it may."""
    deadline: Optional[float] = time.monotonic() + limits.seconds
    data = bytearray()
    while len(data) <= CARD_LIMIT:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and (left <= 0 or not select.select([answer], [], [], left)[0]):
            return None
        piece = answer.read(1 << 16)
        if not piece:
            break
        data += piece
        if data.startswith(_UNBOUNDED):
            del data[: len(_UNBOUNDED)]
            deadline = None
    return bytes(data)


def _outcome(data: Optional[bytes], status: int, limits: Limits) -> Outcome:
    if data is None:
        return failed(
            "submission",
            tr("grading it takes longer than {seconds:g} seconds", seconds=limits.seconds),
            tr("submit only the files that the exam asks for, in their usual size"),
        )
    if os.WIFSIGNALED(status):
        fault, reason, next_step = of_signal(os.WTERMSIG(status), limits)
        if fault != "examiner":
            return failed(fault, reason, next_step)
        next_step = tr("the examiner ends other programs, and grades again")
        return failed(fault, reason, next_step, CouldNotGrade(reason, next_step))
    if status:
        return failed(
            "grader",
            tr("the grading process failed with exit code {status}", status=os.WEXITSTATUS(status)),
            tr("the examiner sends the traceback to the grader's maintainers"),
        )
    value = json.loads(data)
    mistake = None if value["mistake"] is None else CouldNotGrade(*value["mistake"])
    return Outcome(value["report"], value["text"], value["coloured"], value["exit_code"], mistake, value["errors"])


def _remove_leftovers(prefix: str) -> None:
    """Removes the temporary folders of a child that was ended."""
    import tempfile

    with suppress(OSError):
        folder = tempfile.gettempdir()
        for name in os.listdir(folder):
            if name.startswith(prefix):
                remove_folder(Path(folder, name))
