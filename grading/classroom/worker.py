"""The child: one hand-in graded in a process of its own, within limits, so that nothing in it can hold up a class.

`sandbox.start` is the parent's end, `main` the child's. A child gets an exam, a hand-in and its limits as a JSON object
and writes a card. It loads the grader from the parent's checkout and nothing else: no site packages, no environment, no
current folder.

Whatever happens becomes a card. The limits are the kernel's where Python's `resource` module exists (Linux, macOS; macOS
does not hold processes to their address space); elsewhere only the wall clock ends a child.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

from grading import contract
from grading.checks.adapter import WEIGHTS_LIMIT
from grading.checks.answer_key import AnswerKey
from grading.checks.predictions import read_predictions
from grading.checks.safetensors_file import WeightsError, read_header
from grading.classroom import card
from grading.classroom.card import GONE, Card, refused
from grading.classroom.sandbox import Limits, limit_this_process
from grading.errors import FileProblem, fault_of
from grading.grader import Exam
from grading.report.json_report import as_json
from grading.report.text import as_text
from grading.submission import opening as handin
from grading.submission.folder import Submission

_PIECE = 1 << 20


def grade(name: str, path: Path, exam: Exam, scratch: Path, limits: Limits) -> Card:
    """The card of the hand-in at `path`, in this process. What goes wrong is on it; nothing is raised for it."""
    started = time.perf_counter()
    made = None
    try:
        made = _graded(name, path, exam, scratch, started)
    except Exception as error:  # one hand-in of many: whatever this is, it must not be lost
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
    opened = exam.open()
    with handin.opened(path, scratch) as submission:
        report = opened.grade(submission)
        wrong, results = {}, {}
        for key in opened.keys:
            try:
                labels = read_predictions(submission, key).labels
            except FileProblem:
                continue
            wrong[key.dataset] = _wrong_rows(key, labels)
            lines = "\n".join(label or "" for label in labels)
            results[key.dataset] = hashlib.sha256(lines.encode("ascii")).hexdigest()
        digests = {key.dataset: _adapter_digest(submission, key.dataset) for key in opened.keys}
    adapters = {dataset: digest for dataset, digest in digests.items() if digest is not None}
    return Card(name, as_json(report), as_text(report), wrong, adapters, results, time.perf_counter() - started)


def _wrong_rows(key: AnswerKey, labels: Sequence[Optional[str]]) -> Mapping[str, int]:
    """The bits of `Card.wrong`. A row without a label gives none: nobody copies a missing line."""
    digits = {label: bytearray(b"0" * len(labels)) for label in key.labels}  # one string of bits, read at once: linear
    for row, (answer, label) in enumerate(zip(key.answers, labels), start=1):
        if label is not None and label != answer:
            digits[label][-row] = ord("1")
    bits = {label: int(text, 2) for label, text in digits.items()}
    return {label: rows for label, rows in bits.items() if rows}


def _adapter_digest(submission: Submission, dataset: str) -> Optional[str]:
    digest = hashlib.sha256()
    try:
        with submission.open(f"{contract.adapter_folder(dataset)}/{contract.ADAPTER_WEIGHTS}") as file:
            if file.size > WEIGHTS_LIMIT:
                return None
            header = read_header(file)  # tensors and values alone: other metadata does not make another adapter
            digest.update(repr([(tensor.name, tensor.dtype, tensor.shape) for tensor in header.tensors]).encode())
            values = header.tensors[-1].end if header.tensors else 0
            for begin in range(0, values, _PIECE):
                digest.update(file.read(min(_PIECE, values - begin)))
    except (FileProblem, WeightsError):
        return None
    return digest.hexdigest()


def _print_traceback(error: Exception) -> None:
    import traceback

    traceback.print_exception(type(error), error, error.__traceback__)
