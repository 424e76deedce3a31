"""The child: one submission graded in a process of its own, within limits, so that nothing in it can hold up a class.

`sandbox.start` is the parent's end, `main` the child's. A child gets an exam, a submission and its limits as a JSON object
and writes a card. It loads the grader from the parent's checkout and nothing else: no site packages, no environment, no
current folder.

Whatever happens becomes a card. The limits are the kernel's where Python's `resource` module exists (Linux, macOS; macOS
does not hold processes to their address space); elsewhere only the wall clock ends a child.
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
    """The card of the submission at `path`, in this process. What goes wrong is on it; nothing is raised for it."""
    started = time.perf_counter()
    made = None
    try:
        made = _graded(name, path, exam, scratch, started)
    except Exception as error:  # one submission of many: whatever this is, it must not be lost
        # The frames of a failed attempt hold what took the memory: keep the words and let them go.
        fault, reason, next_step = fault_of(error, limits.address_space >> 20)
        if fault == "grader" and os.path.lexists(path):
            _print_traceback(error)
    if not os.path.lexists(path):  # whatever was found of it: half of it may have been gone by then
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
