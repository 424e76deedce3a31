"""The records: the JSON files in `pre_data/{dataset}`, checked record by record."""

from dataclasses import dataclass
from typing import Any

from grading import contract
from grading.checks.misplaced import with_misplaced
from grading.contract.language import joined, mark, tr
from grading.errors import FileMissing, FileProblem
from grading.grades import AnswerKey
from grading.rubric import Verdict, blocked, earned, lost, shared
from grading.submission.folder import Submission

RECORDS_LIMIT = 128 << 20
"""Most bytes of a record file; all 363,846 QQP rows with a long instruction are about 100 MB."""

_KEYS = {"train": contract.TRAIN_KEYS, "dev": contract.DEV_KEYS}

_PREPARE = mark("run the prepare stage: accelerate launch runner/main.py RECIPE --stages prepare")


@dataclass(frozen=True)
class Records:
    """The record files of one dataset, parsed once for the rubric and for the advice."""

    verdicts: list[Verdict]
    """The verdicts of `pre_data`."""
    train: list[Any]
    """The array of the train file, with any values in it; empty if it cannot be read."""
    dev: list[Any]
    """The same of the dev file."""


def check_records(submission: Submission, key: AnswerKey) -> Records:
    """The records of the dataset of `key`, and their verdicts."""
    train, of_train = _check_file(submission, contract.train_path(key.dataset), "train", key, 1)
    dev, of_dev = _check_file(submission, contract.dev_path(key.dataset), "dev", key, len(key.answers))
    return Records(of_train + of_dev, train, dev)


def _check_file(
    submission: Submission, path: str, part: str, key: AnswerKey, needed: int
) -> tuple[list[Any], list[Verdict]]:
    file_check, records_check, keys = f"{part} file", f"{part} records", _KEYS[part]
    try:
        records = read_array(submission, path)
    except FileProblem as problem:
        reason, step = problem.problem, problem.next_step
        if isinstance(problem, FileMissing):
            reason, step = with_misplaced(submission, path, key.dataset, reason, _PREPARE)
        return [], [lost(file_check, reason, step), blocked(records_check, file_check)]
    present = earned(file_check, tr("{path} is a JSON array", path=path))
    # only the first problem is kept: a file may have half a million bad records
    good, first = 0, ""
    for number, record in enumerate(records, start=1):
        fault = contract.record_problem(record, keys, key.labels)
        if fault is None:
            good += 1
        elif not first:
            first = tr("the first that is not is record {number:,}: {fault}", number=number, fault=fault)
    bad = good < len(records)
    found = [
        tr(
            "{path}: {good:,} of {records_count:,} records are well-formed",
            path=path,
            good=good,
            records_count=len(records),
        )
    ]
    if bad:
        found.append(first)
    if len(records) < needed:
        found.append(tr("at least {needed:,} are needed", needed=needed))
    step = _PREPARE
    if bad and needed == 1:
        step = tr("fix or leave out the named records, or {prepare}", prepare=_PREPARE)
    share = shared(records_check, good, max(len(records), needed), joined("; ", found), step)
    return records, [present, share]


def read_array(submission: Submission, path: str) -> list[Any]:
    """The array of a record file, with any values in it. Raises FileProblem."""
    try:
        records = contract.parse_json(submission.read(path, RECORDS_LIMIT))
    except contract.ContractError as error:
        raise FileProblem(tr("{path} is not strict JSON: {error}", path=path, error=error), _PREPARE) from None
    if not isinstance(records, list):
        raise FileProblem(tr("{path} is not a JSON array", path=path), _PREPARE)
    return records
