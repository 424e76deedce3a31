"""The grader: one submission graded against an exam (the examiner's keys, base model and tables)."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Optional, Union

from grading import rubric
from grading.audit.origins import Origins
from grading.audit.provenance import about_run, read_run_record
from grading.checks.adapter import check_adapter
from grading.checks.answer_key import read_keys
from grading.checks.base_shapes import BaseShapes, read_base_shapes
from grading.checks.predictions import check_predictions
from grading.checks.records import check_records
from grading.contract.language import reason_of, tr
from grading.errors import CouldNotGrade, quoted
from grading.grades import Advice, AnswerKey, DatasetGrade, PartGrade, Report
from grading.submission.folder import Submission
from grading.submission.opening import named, opened


def grade(
    submission: Union[str, Path],
    answers: Union[str, Path],
    datasets: Optional[Sequence[str]] = None,
    base: Union[str, Path, None] = None,
    data: Union[str, Path, None] = None,
) -> Report:
    """Grade one submission.

    Args:
        submission: A folder with `pre_data`, `saved_model` and `result`, or a `.zip`, `.tar`, `.tar.gz` or `.tgz` of it.
        answers: The folder of the answer keys, `result_{dataset}*.txt`.
        datasets: The datasets to grade, in this order, each once; None: all that have an answer key.
        base: The base model's folder or `config.json`, whose shapes the adapters must have; None: shapes are not compared.
        data: The folder of the exam's TSV files, to compare the records with (no points); None: they are not compared.

    Returns:
        The report. `points` is an exact fraction from 0 to 100; `grading.report.text.as_text` and
        `grading.report.json_report.as_json` write the report down. The object holds the answer keys: never pickle it for a
        candidate.

    Raises:
        CouldNotGrade: The examiner's mistake: no such submission, no answer key or a bad one, an unreadable `base` or `data`.
        FileProblem: Another kind of file, a refused archive, or a folder that cannot be listed. The command gives 0 points.
        OSError: The temporary folder has no space for the archive, say.
    """
    for name, path in (("submission", submission), ("answers", answers), ("base", base), ("data", data)):
        if path is not None and (path == "" or "\0" in str(path)):
            raise CouldNotGrade(
                tr("{name}={path}: expected a path", name=name, path=quoted(path)),
                tr("pass '.', say, which is the current folder"),
            )
    exam = Exam(
        answers=Path(answers),
        datasets=None if datasets is None else _distinct(datasets),
        base=None if base is None else Path(base),
        data=None if data is None else Path(data),
    )
    ready = exam.open()
    with opened(named(Path(submission))) as found:
        return ready.grade(found)


def _distinct(datasets: Sequence[str]) -> tuple[str, ...]:
    names = () if isinstance(datasets, str) else tuple(datasets)
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        problem = tr(
            "datasets={datasets}: expected a list with the name of at least one dataset, each once",
            datasets=quoted(datasets),
        )
        raise CouldNotGrade(problem, tr("pass ['QQP'], say, or None for all that have an answer key"))
    return names


@dataclass(frozen=True)
class Exam:
    """The examiner's side, by path. The files are read by `open`, which may run in another process."""

    answers: Path
    """Folder of the answer keys."""
    datasets: Optional[tuple[str, ...]] = None
    """Datasets to grade; None: those that have a key."""
    base: Optional[Path] = None
    """Folder or `config.json` of the base model, whose shapes the adapters must have; None: they are not compared."""
    data: Optional[Path] = None
    """Folder of the exam's TSV files, which the records are compared with; None: they are not compared."""

    def as_json(self) -> dict[str, Any]:
        """The exam for another process."""
        return {
            "answers": str(self.answers),
            "datasets": self.datasets,
            "base": None if self.base is None else str(self.base),
            "data": None if self.data is None else str(self.data),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Exam":
        """The exam of such a JSON object."""
        return cls(
            answers=Path(value["answers"]),
            datasets=None if value["datasets"] is None else tuple(value["datasets"]),
            base=None if value["base"] is None else Path(value["base"]),
            data=None if value["data"] is None else Path(value["data"]),
        )

    def open(self) -> "OpenExam":
        """Reads the files that it names. Raises CouldNotGrade."""
        keys = read_keys(self.answers, self.datasets)
        base = None if self.base is None else read_base_shapes(self.base)
        return OpenExam(tuple(keys), base, self.data, _identities(self.answers))


def _identities(folder: Path) -> frozenset[tuple[int, int]]:
    """Device and inode of every file in the keys' folder, also of those that are not graded now. Raises CouldNotGrade."""
    try:
        with os.scandir(folder) as entries:
            found = [os.stat(entry.path) for entry in entries if entry.is_file()]
    except OSError as error:
        raise CouldNotGrade(
            tr("{folder}: expected the folder of the answer keys: {reason}", folder=folder, reason=reason_of(error)),
            tr("pass it with --answers DIR"),
        ) from None
    return frozenset((status.st_dev, status.st_ino) for status in found)


@dataclass(frozen=True)
class OpenExam:
    """An exam whose files have been read."""

    keys: tuple[AnswerKey, ...]
    """At least one; each is of another dataset, and all count the same."""
    base: Optional[BaseShapes] = None
    """Shapes of the base model, where the examiner gave one."""
    data: Optional[Path] = None
    """Folder of the exam's TSV files, where the examiner gave one."""
    key_files: frozenset[tuple[int, int]] = frozenset()
    """Device and inode of the files beside the keys, and of the keys: none of them is a submission's."""

    def grade(self, submission: Submission) -> Report:
        """The report of a submission. Raises CouldNotGrade where one of the exam's tables cannot be read."""
        submission.refuse_keys(self.key_files)
        found = [self._grade_dataset(submission, key) for key in self.keys]
        return Report(tuple(grade for grade, _ in found), tuple(each for _, advice in found for each in advice))

    def _grade_dataset(self, submission: Submission, key: AnswerKey) -> tuple[DatasetGrade, list[Advice]]:
        recorded = read_run_record(submission, key.dataset)
        submission.digest_when_read(recorded.digests)
        origins = Origins(key, self.data)
        visitors = {"dev": origins.see_dev, "train": origins.see_train}
        of_records, readable = check_records(submission, key, visitors)
        verdicts = {rubric.PRE_DATA: of_records}
        advice = list(origins.advice(readable))
        verdicts[rubric.SAVED_MODEL], adapter_digest = check_adapter(submission, key.dataset, self.base)
        verdicts[rubric.RESULT], metrics, predictions = check_predictions(submission, key)
        advice.append(about_run(submission, key.dataset, recorded))
        weight = Fraction(1, len(self.keys))
        parts = tuple(PartGrade(key.dataset, part, weight, tuple(verdicts[part])) for part in rubric.parts())
        return DatasetGrade(key, parts, metrics, predictions, adapter_digest), advice
