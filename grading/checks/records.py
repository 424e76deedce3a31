"""The records: the JSON files in `pre_data/{dataset}`, read and checked record by record. None of them stays in memory."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from grading import contract
from grading.checks.misplaced import with_misplaced
from grading.contract.language import joined, mark, tr
from grading.errors import FileMissing, FileProblem
from grading.grades import AnswerKey
from grading.rubric import Verdict, blocked, earned, lost, shared
from grading.submission.folder import Submission

RECORDS_LIMIT = 512 << 20
"""Most bytes of a record file. All 363,846 QQP rows with an instruction of 56 Chinese characters, written as ASCII escapes, are
182 MiB."""

MOST_RECORDS = 5_000_000
"""Most records of a file; QQP has 363,846 rows. Each costs some time, however short it is."""

_KEYS = {"train": contract.TRAIN_KEYS, "dev": contract.DEV_KEYS}

_PATHS = {"train": contract.train_path, "dev": contract.dev_path}

_WRITE = mark("write the records again: one JSON array of objects, in UTF-8 (with labeltune: --stages prepare)")

Visitor = Callable[[Any], None]
"""Gets the elements of a record file, in order, with any values in them."""


def check_records(
    submission: Submission, key: AnswerKey, visitors: Mapping[str, Visitor]
) -> tuple[list[Verdict], frozenset[str]]:
    """The verdicts of `pre_data` for the dataset of `key`, and the parts, `train` and `dev`, whose file is an array to its end.

    `visitors`: who else looks at the records of a part. Those of dev come first."""
    readable = set()
    found = {}
    for part, needed in (("dev", len(key.answers)), ("train", 1)):
        try:
            found[part] = _check_file(submission, part, key, needed, visitors.get(part, lambda record: None))
            readable.add(part)
        except FileProblem as problem:
            reason, step = problem.problem, problem.next_step
            if isinstance(problem, FileMissing):
                path = _PATHS[part](key.dataset)
                reason, step = with_misplaced(submission, path, key.dataset, reason, _WRITE)
            found[part] = [lost(f"{part} file", reason, step), blocked(f"{part} records", f"{part} file")]
    return [*found["train"], *found["dev"]], frozenset(readable)


def _check_file(submission: Submission, part: str, key: AnswerKey, needed: int, visit: Visitor) -> list[Verdict]:
    """The verdicts of one file. Raises FileProblem if it is no array to its end."""
    path, keys = _PATHS[part](key.dataset), _KEYS[part]
    # only the first problem is kept: a file may have half a million bad records
    good, number, first = 0, 0, ""
    for record in read_records(submission, path):
        number += 1
        visit(record)
        if first and not contract.is_record(record, keys, key.labels):
            continue
        fault = contract.record_problem(record, keys, key.labels)
        if fault is None:
            good += 1
        elif not first:
            first = tr("the first that is not is record {number:,}: {fault}", number=number, fault=fault)
    found = [
        tr("{path}: {good:,} of {records_count:,} records are well-formed", path=path, good=good, records_count=number)
    ]
    if first:
        found.append(first)
    if number < needed:
        found.append(tr("at least {needed:,} are needed", needed=needed))
    step = tr("fix or leave out the named records, or {prepare}", prepare=_WRITE) if first and needed == 1 else _WRITE
    share = shared(f"{part} records", good, max(number, needed), joined("; ", found), step)
    return [earned(f"{part} file", tr("{path} is a JSON array", path=path)), share]


def read_records(submission: Submission, path: str) -> Iterator[Any]:
    """The elements of a record file, one by one, with any values in them.

    Raises FileProblem, if the file is no array also at its end: then those before count nothing."""
    with submission.open(path, RECORDS_LIMIT) as file:
        file.require_at_most(RECORDS_LIMIT)
        problem = None
        try:
            for number, record in enumerate(contract.read_array(file.pieces(file.size)), start=1):
                if number > MOST_RECORDS:
                    problem = tr("{path} has more than {most:,} records", path=path, most=MOST_RECORDS)
                    break
                yield record
        except contract.NotAnArray as error:
            problem = tr("{path} {error}", path=path, error=error)
        except contract.ContractError as error:
            problem = tr("{path} is not strict JSON: {error}", path=path, error=error)
        file.require_unchanged()
    # after the file is closed, which digests the rest of it
    if problem is not None:
        raise FileProblem(problem, _WRITE)
