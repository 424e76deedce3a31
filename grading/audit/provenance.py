"""The provenance of a submission's files: are they those of the run record beside the adapter? It carries no points.

It tells the examiner where to look and proves nothing: a run record can be written by hand, and an honest run can differ
from a rerun on another machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grading import contract
from grading.contract.language import tr
from grading.errors import FileProblem
from grading.grades import AGREES, LOOK, UNKNOWN, Advice
from grading.submission.folder import Submission

RUN_RECORD = "run.json"
"""The record of a run, in the adapter's folder."""

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
