"""The predictions: a submission's result file, compared line by line with the answer key.

Line *i* answers dev row *i*. A line that is missing or has no label of the key counts as wrong; extra lines are not read.
Reports have counts and the number of the first bad line, never an answer.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Optional

from grading import contract
from grading.checks.misplaced import with_misplaced
from grading.contract.language import joined, mark, tr, trn
from grading.contract.metrics import Metrics, measure
from grading.errors import FileMissing, FileProblem, quoted
from grading.grades import AnswerKey
from grading.rubric import Verdict, lost, shared
from grading.submission.folder import Submission

LEAST_LIMIT = 16 << 20
"""Bytes that every result file may have, however short its key: the 390,965 rows of GLUE's test set of QQP, numbered and with
labels of a word, have 9 MB."""

LINE_BYTES = 32
"""Bytes that each row of the key adds to the limit, besides its longest label: the row's number, a tab and the line's end."""

_NEARLY: tuple[tuple[Callable[[str, Sequence[str]], bool], str], ...] = (
    (lambda line, labels: not line.strip(), mark("a blank line")),
    (lambda line, labels: "\0" in line, mark("with zero bytes, as in UTF-16; save it as UTF-8")),
    (lambda line, labels: line.strip() in labels, mark("with spaces around the label")),
    (lambda line, labels: unicodedata.normalize("NFKC", line) in labels, mark("the label in other characters")),
    (lambda line, labels: "." in line and line.rstrip("0").rstrip(".") in labels, mark("a decimal number")),
    (
        lambda line, labels: "\t" in line,
        mark("with a tab: rows are numbered from 0 below the header index, tab, prediction"),
    ),
    (lambda line, labels: bool(set(re.findall(r"\w+", line)) & set(labels)), mark("with other words around the label")),
)
"""Likely meanings of a bad line; the first match is reported. None of them counts: a grader that guesses can be
led to guess right."""

_PREDICT = mark("write the predictions again, one label a line, in UTF-8 (with labeltune: --stages predict)")


@dataclass(frozen=True)
class Predictions:
    """A result file, row by row of its key."""

    path: str
    """Where it was found inside the submission."""
    labels: tuple[Optional[str], ...]
    """One for each row of the key; None if there is no line, or no label of the key on it."""
    remarks: tuple[str, ...]
    """Notes for the report about unusual lines and files."""


def check_predictions(
    submission: Submission, key: AnswerKey
) -> tuple[list[Verdict], Optional[Metrics], Optional[tuple[Optional[str], ...]]]:
    """The verdict of `result` for the dataset of `key`, its metrics and its labels (None: no file could be read)."""
    try:
        predictions = read_predictions(submission, key)
    except FileProblem as problem:
        reason, step = problem.problem, problem.next_step
        if isinstance(problem, FileMissing):
            reason, step = with_misplaced(submission, contract.result_path(key.dataset), key.dataset, reason, step)
        return [lost("accuracy", reason, step)], None, None
    metrics = measure(key.answers, predictions.labels, key.labels)
    reason = tr(
        "{path}: {correct:,} of {rows:,} rows are right",
        path=predictions.path,
        correct=metrics.correct,
        rows=metrics.rows,
    )
    if None in predictions.labels:
        step = tr(
            "write one of {labels} and nothing else on each of the {rows:,} lines",
            labels=contract.label_words(key.labels),
            rows=metrics.rows,
        )
    else:
        step = tr("try other settings and compare them on a hold-out of the training records")
    reason = joined("; ", (reason, *predictions.remarks))
    return [shared("accuracy", metrics.correct, metrics.rows, reason, step)], metrics, predictions.labels


def read_predictions(submission: Submission, key: AnswerKey) -> Predictions:
    """The predictions for the dataset of `key`. Raises FileProblem if its file is missing or cannot be read as lines."""
    path, data = _read_first(submission, contract.result_paths(key.dataset), limit_for(key))
    rows = len(key.answers)
    try:
        lines = contract.parse_result(data, rows)
    except contract.ContractError as error:
        raise FileProblem(tr("{path}: {error}", path=path, error=error), _PREDICT) from None
    count, known = contract.count_lines(data), frozenset(key.labels)
    labels = tuple(line if line in known else None for line in lines)
    remarks = []
    others = [other for other in contract.result_paths(key.dataset) if other != path and submission.has(other)]
    if others:
        remarks.append(tr("{others} also exists and is not read", others=", ".join(others)))
    if None in labels:
        first = labels.index(None)
        line = lines[first][:40]
        kind = next((words for is_kind, words in _NEARLY if is_kind(line, key.labels)), tr("which is not a label"))
        remarks.append(
            trn(
                "1 line is not one of {labels} and counts as wrong, it is row {row:,}: {line}, {kind}",
                "{count:,} lines are not one of {labels} and count as wrong, the first is row {row:,}: {line}, {kind}",
                labels.count(None),
                labels=contract.label_words(key.labels),
                row=first + 1,
                line=quoted(lines[first], 40),
                kind=kind,
            )
        )
    if count != rows:
        rest = tr("rows without a line count as wrong") if count < rows else tr("the extra lines are not read")
        found = trn("{count:,} line", "{count:,} lines", count)
        expected = trn("{count:,} row", "{count:,} rows", rows)
        remarks.append(tr("it has {lines} for {rows}, {rest}", lines=found, rows=expected, rest=rest))
    return Predictions(path, labels + (None,) * (rows - len(labels)), tuple(remarks))


def limit_for(key: AnswerKey) -> int:
    """Most bytes of a result file for this key."""
    longest = max(len(label.encode("utf-8")) for label in key.labels)
    return max(LEAST_LIMIT, len(key.answers) * (longest + LINE_BYTES))


def _read_first(submission: Submission, paths: tuple[str, ...], most: int) -> tuple[str, bytes]:
    for path in paths:
        try:
            return path, submission.read(path, most, shorten=tr("write one label a line"))
        except FileMissing:
            continue  # a broken file at the first place still counts
    raise FileMissing(tr("{path} is missing, and so is {other_path}", path=paths[0], other_path=paths[1]), _PREDICT)
