"""The advice: do the parts of a submission fit each other, and the exam's tables? It carries no points.

It tells the examiner where to look and proves nothing: a run record can be written by hand, and an honest run can differ
from a rerun on another machine.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from grading import contract
from grading.audit import source_tables as tables
from grading.checks.records import Records
from grading.contract.language import tr
from grading.errors import CouldNotGrade, FileProblem
from grading.grades import AGREES, LOOK, UNKNOWN, Advice, AnswerKey
from grading.submission.folder import Submission

RUN_RECORD = "run.json"
"""The record of a run, in the adapter's folder."""

FIRST_ROWS = 20_000
"""First rows of the training table, which decide how records were made from it."""

_RECORD_LIMIT = 1 << 20


@dataclass(frozen=True)
class RunRecord:
    """The digests of the graded files in `run.json`, the record of a run in the adapter's folder."""

    path: str
    digests: Mapping[str, Any]
    """Path to the SHA-256 of the file as the run wrote it; empty if there is a problem."""
    problem: str = ""
    """Why there is no digest; empty if there is one."""


def read_run_record(submission: Submission, dataset: str) -> RunRecord:
    """The run record of one dataset."""
    folder = contract.adapter_folder(dataset)
    path = f"{folder}/{RUN_RECORD}"
    try:
        stages = contract.parse_json(submission.read(path, _RECORD_LIMIT))["stages"]
        outputs = {name: digest for stage in stages.values() for name, digest in stage["outputs"].items()}
    except FileProblem as error:
        return RunRecord(path, {}, error.problem)
    except contract.ContractError as error:
        return RunRecord(path, {}, tr("{path} is not strict JSON: {error}", path=path, error=error))
    except (KeyError, TypeError, AttributeError):
        return RunRecord(path, {}, tr("{path} was not written by labeltune", path=path))
    weights = f"{folder}/{contract.ADAPTER_WEIGHTS}"
    names = (contract.train_path(dataset), contract.dev_path(dataset), weights, contract.result_path(dataset))
    digests = {name: outputs[name] for name in names if name in outputs}
    return RunRecord(path, digests, "" if digests else tr("{path} names none of the graded files", path=path))


def about_run(submission: Submission, dataset: str, record: RunRecord) -> Advice:
    """Whether the files are those of the run record. Call it after they have been read with their digests."""
    check = tr("files and the run record")
    if record.problem:
        return Advice(dataset, check, UNKNOWN, record.problem)
    found = {name: submission.digest(name) for name in record.digests}
    changed = [name for name, digest in record.digests.items() if found[name] is None or found[name] != digest]
    if changed:
        words = tr(
            "missing, unreadable, too large or different from {path}: {changed}",
            path=record.path,
            changed=", ".join(changed),
        )
        return Advice(dataset, check, LOOK, words)
    words = tr(
        "{digests_count} files are as in {path}, which anybody can write",
        digests_count=len(record.digests),
        path=record.path,
    )
    return Advice(dataset, check, AGREES, words)


def about_records(key: AnswerKey, records: Records, data: Optional[Path]) -> Iterator[Advice]:
    """The advice on the records of one dataset. `data`: the examiner's folder of `{dataset}/{dataset}_{train,dev}.tsv`.

    Raises CouldNotGrade if a table in `data` cannot be read."""
    train, dev = ([each for each in part if isinstance(each, dict)] for part in (records.train, records.dev))
    yield _trained_on_dev(key.dataset, train, dev)
    if data is not None:
        yield from _of_the_tables(key, train, dev, data)


def _trained_on_dev(dataset: str, train: Sequence[Any], dev: Sequence[Any]) -> Advice:
    check = tr("dev inputs in training")
    if not train or not dev:
        return Advice(dataset, check, UNKNOWN, tr("records cannot be read"))
    asked = {_input(record) for record in dev} - {""}
    both = sum(1 for record in train if _input(record) in asked)
    words = tr("{both:,} of {train_count:,} training inputs are dev inputs too", both=both, train_count=len(train))
    return Advice(dataset, check, LOOK if both else AGREES, words)


def _of_the_tables(key: AnswerKey, train: Sequence[Any], dev: Sequence[Any], data: Path) -> Iterator[Advice]:
    names = (tr("dev inputs and the exam's table"), tr("training records and the exam's table"))
    asked = [_input(record) for record in dev]
    learnt = _learn(_table(data, key.dataset, "dev"), asked)
    if learnt is None:
        words = tr(
            "no single template makes the first {learnt_from} dev inputs from the rows of {dataset}_dev.tsv",
            learnt_from=tables.LEARNT_FROM,
            dataset=key.dataset,
        )
        yield Advice(key.dataset, names[0], LOOK if asked else UNKNOWN, words)
        yield Advice(key.dataset, names[1], UNKNOWN, tr("how inputs are made from rows is not known"))
        return
    source, template = learnt
    same = [template.fill(row) == text.strip() for row, text in zip(source.rows(), asked)]
    words = tr("{same:,} of {asked_count:,} dev inputs are made from their row", same=sum(same), asked_count=len(asked))
    if not all(same):
        words += tr(", the first that is not is record {record:,}", record=same.index(False) + 1)
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
        return Advice(key.dataset, check, UNKNOWN, tr("there is nothing to compare"))
    # the first rows decide which way it is; then all rows are read in that way only
    target, candidate = max(ways, key=lambda way: len(tables.made(way[0], way[1], wanted, key.labels, FIRST_ROWS)))
    known = tables.made(target, candidate, wanted, key.labels)
    rows = [known.get(_input(record).strip()) for record in train]
    met = sum(1 for labels in rows if labels is not None)
    right = sum(1 for labels, record in zip(rows, train) if labels and _text(record, "output") in labels)
    words = tr(
        "{met:,} of {train_count:,} training inputs are made from a row, {right:,} with that row's label",
        met=met,
        train_count=len(train),
        right=right,
    )
    return Advice(key.dataset, check, AGREES if met == right == len(train) > 0 else LOOK, words)


def _learn(path: Path, inputs: Sequence[str]) -> Optional[tuple[tables.Table, tables.Template]]:
    """The reading of the table that gives most of the inputs, and its template."""
    best, most = None, -1
    for table in tables.read_tables(path):
        template = tables.learn(table, inputs)
        if template is not None:
            same = sum(template.fill(row) == text.strip() for row, text in zip(table.rows(), inputs))
            if same > most:
                best, most = (table, template), same
    return best


def _input(record: Any) -> str:
    return _text(record, "input")


def _text(record: Any, key: str) -> str:
    text = record.get(key)
    return text if isinstance(text, str) else ""


def _table(data: Path, dataset: str, part: str) -> Path:
    path = data / dataset / f"{dataset}_{part}.tsv"
    if not path.is_file():
        raise CouldNotGrade(
            tr("{path}: no such table", path=path), tr("correct --data, the folder of the exam's TSV files")
        )
    return path
