"""The rerun: some dev rows predicted again with the submitted adapter, by the runner in a process of its own.

It alone needs torch, and it alone loads the adapter: the runner gets a copy of the files in a temporary folder. Another
kind of machine can give another label for a few rows that are close to the boundary.
"""

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from grading import contract
from grading.checks.adapter import CONFIG_LIMIT, WEIGHTS_LIMIT
from grading.checks.adapter_config import ConfigError, parse_config
from grading.checks.records import read_records
from grading.contract.display import one_line
from grading.contract.language import mark, tr
from grading.errors import FileProblem
from grading.grades import AGREES, LOOK, UNKNOWN, Advice, AnswerKey, DatasetGrade
from grading.submission.folder import Submission

CHECK = mark("predictions and a rerun")

SECONDS, SECONDS_A_ROW, MOST_SECONDS = 600, 30, 3600
"""Most seconds that the runner may take: to load what it needs, for each row, and in all."""

_CHECKOUT = Path(__file__).resolve().parents[2]
_OPTIONAL_FILES = ("prompt.json", "calibration.json", "ensemble.json")
"""Files of the runner's beside an adapter that decide its predictions, or say that others decide too, where they are there."""
_OPTIONAL_LIMIT = 1 << 20
_START = "import sys; sys.path[0] = sys.argv.pop(1); from runner.commands.rerun import main; sys.exit(main())"
"""Used instead of `-m`, which would put the current folder on the import path."""


def rerun(
    submission: Submission, grades: Sequence[DatasetGrade], count: int, recipes: Sequence[str]
) -> Iterator[Advice]:
    """Advice on each dataset: whether `count` rows, drawn by the key, get the submitted labels again.

    Only an adapter that has passed every check is loaded. `recipes`: the runner's arguments, recipe files and changes to
    their keys."""
    with tempfile.TemporaryDirectory(prefix="rerun-") as name:
        folder, drawn = Path(name), {}
        for grade in grades:
            dataset = grade.key.dataset
            if not grade.has_sound_adapter:
                yield Advice(dataset, CHECK, UNKNOWN, tr("the adapter has not passed every check, so it is not loaded"))
                continue
            try:
                drawn[dataset] = _copy_rows(submission, grade.key, count, folder)
            except FileProblem as error:
                yield Advice(dataset, CHECK, UNKNOWN, error.problem)
        if not drawn:
            return
        found, problem = _run(folder, recipes, sum(map(len, drawn.values())))
        for grade in grades:
            dataset = grade.key.dataset
            if dataset in drawn:
                yield _compare(grade, drawn[dataset], found.get(dataset), problem)


def _copy_rows(submission: Submission, key: AnswerKey, count: int, folder: Path) -> list[int]:
    """Copies the adapter and the drawn dev records into `folder`; returns the rows' numbers, from 0."""
    _require_quick(submission, key.dataset)
    drawn = _draw(submission, key, count, len(key.answers))
    adapter = contract.adapter_folder(key.dataset)
    for name, most in (
        (f"{adapter}/{contract.ADAPTER_WEIGHTS}", WEIGHTS_LIMIT),
        (f"{adapter}/{contract.ADAPTER_CONFIG}", CONFIG_LIMIT),
    ):
        _copy(submission, name, most, folder / name)
    for name in (f"{adapter}/{each}" for each in _OPTIONAL_FILES):
        if submission.has(name):
            _copy(submission, name, _OPTIONAL_LIMIT, folder / name)
    dev = folder / contract.dev_path(key.dataset)
    dev.parent.mkdir(parents=True, exist_ok=True)
    dev.write_bytes(b"".join(contract.format_records(drawn.values())))
    return list(drawn)


def _require_quick(submission: Submission, dataset: str) -> None:
    """Raises FileProblem if PEFT would run a regular expression that may take very long: Python interrupts none."""
    path = f"{contract.adapter_folder(dataset)}/{contract.ADAPTER_CONFIG}"
    try:
        slow = parse_config(submission.read(path, CONFIG_LIMIT)).expressions
    except ConfigError as error:  # it has changed since it was graded
        raise FileProblem(tr("{path} {error}", path=path, error=error), tr("save the adapter with PEFT")) from None
    if slow:
        problem = tr(
            "{path} has regular expressions that may take very long ({keys}), so the adapter is not loaded",
            path=path,
            keys=", ".join(slow),
        )
        raise FileProblem(problem, tr("name the modules in a list"))


def _draw(submission: Submission, key: AnswerKey, count: int, known: int) -> dict[int, dict[str, str]]:
    """Up to `count` of the first `known` dev records by their numbers from 0, drawn by the key. Raises FileProblem."""
    path = contract.dev_path(key.dataset)
    rows = sorted(random.Random("".join(key.answers)).sample(range(known), min(count, known)))
    wanted, drawn, found = set(rows), {}, 0
    for number, record in enumerate(read_records(submission, path)):
        if number >= known:
            continue
        found += 1
        if contract.record_problem(record, contract.DEV_KEYS, key.labels):
            raise FileProblem(tr("{path} does not hold dev records", path=path), tr("prepare them again"))
        if number in wanted:
            drawn[number] = record
    # with fewer records than the key has rows, they are drawn again
    return drawn if found == known else _draw(submission, key, count, found)


def _copy(submission: Submission, name: str, most: int, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with submission.open(name, most) as file, target.open("wb") as copy:
        file.require_at_most(most)
        for piece in file.pieces(file.size):
            copy.write(piece)
        file.require_unchanged()


def _run(folder: Path, recipes: Sequence[str], rows: int) -> tuple[dict[str, Any], str]:
    """The runner's answer for each dataset, and the last line of its error stream."""
    command = [sys.executable, "-c", _START, str(_CHECKOUT), *recipes, "--workspace", str(folder)]
    seconds = min(MOST_SECONDS, SECONDS + SECONDS_A_ROW * rows)
    try:
        ran = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {}, tr("the runner took more than {seconds:,} s", seconds=seconds)
    found = {}
    for line in ran.stdout.decode("utf-8", "replace").splitlines():
        try:
            value = json.loads(line)
            found[value["dataset"]] = value
        except (ValueError, KeyError, TypeError):
            continue  # a line that a library printed
    last = [line for line in ran.stderr.decode("utf-8", "replace").splitlines() if line.strip()][-1:]
    return found, one_line(last[0].strip()) if last else tr(
        "the runner ended with {returncode}", returncode=ran.returncode
    )


def _compare(grade: DatasetGrade, rows: Sequence[int], found: Optional[Mapping[str, Any]], problem: str) -> Advice:
    dataset = grade.key.dataset
    if found is None or "problem" in found:
        words = str(found["problem"]) if found else tr("no recipe of this dataset answered: {problem}", problem=problem)
        return Advice(dataset, CHECK, UNKNOWN, one_line(words, 400))
    if grade.predictions is None:
        return Advice(dataset, CHECK, UNKNOWN, tr("the result file cannot be read"))
    same = sum(1 for row, label in zip(rows, found["labels"]) if grade.predictions[row] == label)
    words = tr("{same:,} of {rows_count:,} drawn rows come out as submitted", same=same, rows_count=len(rows))
    members = found.get("members")
    if members and same < len(rows):
        words += tr(
            "; the submission says that its labels are the mean of {members:,} adapters "
            "(ensemble.json), and it holds one of them, so this one alone may differ",
            members=members,
        )
    return Advice(dataset, CHECK, AGREES if same == len(rows) else LOOK, words)
