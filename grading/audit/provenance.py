"""The advice: what belongs together in a submission, looked at for the examiner. It carries no points.

None of it proves anything: a record of a run can be written by hand, and an honest run can differ from a rerun on another
machine. It says where to look.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from grading import contract
from grading.audit import source_tables as tables
from grading.checks.answer_key import AnswerKey
from grading.checks.records import RECORDS_LIMIT
from grading.errors import CouldNotGrade, FileProblem
from grading.grade import AGREES, LOOK, UNKNOWN, Advice
from grading.submission.folder import Submission

RUN_RECORD = "run.json"
"""The record of a run, beside the adapter."""


FIRST_ROWS = 20_000
"""Rows of the training table by which is told how records were made of it."""

_RECORD_LIMIT = 1 << 20
_PIECE = 1 << 20


def advise(submission: Submission, key: AnswerKey, data: Optional[Path]) -> Iterator[Advice]:
    """The advice on one dataset. `data`: the examiner's folder of TSV files, `{dataset}/{dataset}_{train,dev}.tsv` below it.

    Raises CouldNotGrade where a table in `data` cannot be read."""
    train, dev = (_records(submission, path(key.dataset)) for path in (contract.train_path, contract.dev_path))
    yield _trained_on_dev(key.dataset, train, dev)
    if data is not None:
        yield from _of_the_tables(key, train, dev, data)
    yield _of_the_run(submission, key.dataset)


def _trained_on_dev(dataset: str, train: Sequence[Any], dev: Sequence[Any]) -> Advice:
    check = "dev inputs in training"
    if not train or not dev:
        return Advice(dataset, check, UNKNOWN, "records cannot be read")
    asked = {_input(record) for record in dev} - {""}
    both = sum(1 for record in train if _input(record) in asked)
    words = f"{both:,} of {len(train):,} training inputs are dev inputs too"
    return Advice(dataset, check, LOOK if both else AGREES, words)


def _of_the_tables(key: AnswerKey, train: Sequence[Any], dev: Sequence[Any], data: Path) -> Iterator[Advice]:
    names = ("dev inputs and the exam's table", "training records and the exam's table")
    asked = [_input(record) for record in dev]
    learnt = _learn(_table(data, key.dataset, "dev"), asked)
    if learnt is None:
        words = f"no one way makes the first {tables.LEARNT_FROM} dev inputs of the rows of {key.dataset}_dev.tsv"
        yield Advice(key.dataset, names[0], LOOK if asked else UNKNOWN, words)
        yield Advice(key.dataset, names[1], UNKNOWN, "how inputs are made of rows is not known")
        return
    source, template = learnt
    same = [template.fill(row) == text.strip() for row, text in zip(source.rows(), asked)]
    words = f"{sum(same):,} of {len(asked):,} dev inputs are made of their row"
    if not all(same):
        words += f", the first that is not is record {same.index(False) + 1:,}"
    yield Advice(key.dataset, names[0], AGREES if sum(same) == len(asked) else LOOK, words)
    yield _of_the_training_table(key, train, data, source, template, names[1])


def _of_the_training_table(
    key: AnswerKey, train: Sequence[Any], data: Path, source: tables.Table, template: tables.Template, check: str
) -> Advice:
    wanted = {_input(record).strip() for record in train} - {""}
    ways = [
        (target, candidate)
        for target in tables.read_tables(_table(data, key.dataset, "train"))
        for candidate in tables.moved(template, source, target)
    ]
    if not ways or not wanted:
        return Advice(key.dataset, check, UNKNOWN, "there is nothing to compare")
    # the first rows tell which way it is, then all rows are gone through that way alone
    target, candidate = max(ways, key=lambda way: len(tables.made(way[0], way[1], wanted, key.labels, FIRST_ROWS)))
    known = tables.made(target, candidate, wanted, key.labels)
    rows = [known.get(_input(record).strip()) for record in train]
    met = sum(1 for labels in rows if labels is not None)
    right = sum(1 for labels, record in zip(rows, train) if labels and _text(record, "output") in labels)
    words = f"{met:,} of {len(train):,} training inputs are made of a row, {right:,} with that row's label"
    return Advice(key.dataset, check, AGREES if met == right == len(train) > 0 else LOOK, words)


def _learn(path: Path, inputs: Sequence[str]) -> Optional[tuple[tables.Table, tables.Template]]:
    """The reading of the table that makes most of the inputs, and how."""
    best, most = None, -1
    for table in tables.read_tables(path):
        template = tables.learn(table, inputs)
        if template is not None:
            same = sum(template.fill(row) == text.strip() for row, text in zip(table.rows(), inputs))
            if same > most:
                best, most = (table, template), same
    return best


def _of_the_run(submission: Submission, dataset: str) -> Advice:
    check = "files and the run record"
    path = f"{contract.adapter_folder(dataset)}/{RUN_RECORD}"
    try:
        record = contract.parse_json(submission.read(path, _RECORD_LIMIT))
        stages = record["stages"]
        outputs = {name: digest for stage in stages.values() for name, digest in stage["outputs"].items()}
    except (FileProblem, contract.ContractError) as problem:
        return Advice(dataset, check, UNKNOWN, str(problem))
    except (KeyError, TypeError, AttributeError):
        return Advice(dataset, check, UNKNOWN, f"{path} is not labeltune's")
    weights = f"{contract.adapter_folder(dataset)}/{contract.ADAPTER_WEIGHTS}"
    named = [
        name
        for name in (contract.train_path(dataset), contract.dev_path(dataset), weights, contract.result_path(dataset))
        if name in outputs
    ]
    if not named:
        return Advice(dataset, check, UNKNOWN, f"{path} names none of the files that count")
    changed = [name for name in named if _digest(submission, name) != outputs[name]]
    if changed:
        return Advice(dataset, check, LOOK, f"not as {path} says: {', '.join(changed)}")
    return Advice(dataset, check, AGREES, f"{len(named)} files are those of {path}, which anybody can write")


def _records(submission: Submission, path: str) -> Sequence[Any]:
    try:
        records = contract.parse_json(submission.read(path, RECORDS_LIMIT))
    except (FileProblem, contract.ContractError):
        return []
    return [record for record in records if isinstance(record, dict)] if isinstance(records, list) else []


def _input(record: Any) -> str:
    return _text(record, "input")


def _text(record: Any, key: str) -> str:
    text = record.get(key)
    return text if isinstance(text, str) else ""


def _table(data: Path, dataset: str, part: str) -> Path:
    path = data / dataset / f"{dataset}_{part}.tsv"
    if not path.is_file():
        raise CouldNotGrade(f"{path}: no such table", "correct --data, the folder of the exam's TSV files")
    return path


def _digest(submission: Submission, path: str) -> Optional[str]:
    """SHA-256 of a file of the submission, None where it cannot be read."""
    hasher = hashlib.sha256()
    try:
        with submission.open(path) as file:
            for start in range(0, file.size, _PIECE):
                hasher.update(file.read(min(_PIECE, file.size - start)))
    except FileProblem:
        return None
    return hasher.hexdigest()
