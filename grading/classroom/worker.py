"""The worker: one submission graded in a child process, within limits, so that nothing in it can stop a class.

`sandbox.start` is the parent's side, `main` the child's. A child gets an exam, a submission and its limits as a JSON object
and writes a card. It loads only the grader, from the parent's checkout: no site packages, no environment variables, no
current folder.

Every error becomes a card. The limits are the kernel's where Python has its `resource` module (Linux, macOS; macOS does not
enforce the memory limit); elsewhere only the wall clock ends a child.
"""

import json
import os
import sys
import time
from pathlib import Path

from grading.classroom import card
from grading.classroom.card import GONE, Card, refused
from grading.classroom.sandbox import Limits, limit_this_process
from grading.errors import fault_of
from grading.grader import Exam
from grading.report.json_report import as_json
from grading.report.text import as_text
from grading.submission import opening


def grade(name: str, path: Path, exam: Exam, scratch: Path, limits: Limits) -> Card:
    """The card of the submission at `path`, graded in this process. Errors are on the card; none is raised."""
    started = time.perf_counter()
    made = None
    try:
        made = _graded(name, path, exam, scratch, started)
    except opening.NotThere:
        fault, reason, next_step = GONE
    except Exception as error:
        # The frames of a failed attempt hold its memory: keep the text and release them.
        fault, reason, next_step = fault_of(error, limits.address_space >> 20)
        if fault == "grader" and os.path.lexists(path):
            _print_traceback(error)
    # it may have been removed while it was read, so nothing found counts
    if not os.path.lexists(path):
        fault, reason, next_step = GONE
    elif made is not None:
        return made
    return refused(name, fault, reason, next_step, time.perf_counter() - started)


def main() -> None:
    """The child: a request on standard input, a card on standard output."""
    request = json.load(sys.stdin.buffer)
    limits = Limits(**request["limits"])
    limit_this_process(limits)
    exam, path, scratch = Exam.from_json(request["exam"]), Path(request["path"]), Path(request["scratch"])
    made = grade(request["name"], path, exam, scratch, limits)
    sys.stdout.write(json.dumps(card.to_json(made), allow_nan=False))
    sys.stdout.flush()


def _graded(name: str, path: Path, exam: Exam, scratch: Path, started: float) -> Card:
    ready = exam.open()
    with opening.opened(path, scratch) as submission:
        report = ready.grade(submission)
    grades = {grade.key.dataset: grade for grade in report.datasets}
    return Card(
        name=name,
        report=as_json(report),
        text=as_text(report),
        wrong={dataset: each.wrong_rows() for dataset, each in grades.items() if each.predictions is not None},
        adapters={dataset: each.adapter_digest for dataset, each in grades.items() if each.adapter_digest},
        results={dataset: each.result_digest for dataset, each in grades.items() if each.result_digest},
        seconds=time.perf_counter() - started,
    )


def _print_traceback(error: Exception) -> None:
    import traceback

    traceback.print_exception(type(error), error, error.__traceback__)
