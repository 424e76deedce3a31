"""The command: grades one submission and says what it is worth, each point with its reason.

    python -m grading.score [--submission DIR] [--answers DIR] [--datasets QQP,CoLA] [--json FILE] [--rubric]

Exit codes: 0 graded (whatever the points), 2 could not grade (the mistake is said in words), 1 the grader's own fault
(with its traceback), 130 interrupted.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Optional

from grading import contract, rubric
from grading.adapter import check_adapter
from grading.answers import AnswerKey, read_keys
from grading.errors import CouldNotGrade
from grading.predictions import check_predictions
from grading.records import check_records
from grading.report import DatasetGrade, PartGrade, Report, as_json, as_text
from grading.submission import Submission

OWN_ANSWERS = Path(__file__).resolve().parent.parent / contract.ANSWER_FOLDER
"""The keys of the grader's own checkout: never looked for in the submission, nor in the folder it is started from."""


def grade(submission: Submission, keys: Sequence[AnswerKey]) -> Report:
    """The report of a submission. Each of the `keys` (at least one) names a dataset and counts as much as any other."""
    weight = Fraction(1, len(keys))
    return Report(tuple(_grade_dataset(submission, key, weight) for key in keys))


def _grade_dataset(submission: Submission, key: AnswerKey, weight: Fraction) -> DatasetGrade:
    accuracy, measures = check_predictions(submission, key)
    verdicts = {
        rubric.PRE_DATA: check_records(submission, key),
        rubric.SAVED_MODEL: check_adapter(submission, key.dataset),
        rubric.RESULT: accuracy,
    }
    parts = tuple(PartGrade(key.dataset, part, weight, tuple(verdicts[part])) for part in rubric.parts())
    return DatasetGrade(key, parts, measures)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command line; the exit code. Raises what is the grader's own fault."""
    options = _parser().parse_args(arguments)
    if options.rubric:
        _say(rubric.as_text())
        return 0
    try:
        keys = read_keys(options.answers, options.datasets)
        report = grade(Submission(options.submission), keys)
        if options.json == "-":
            _say(_json_text(report))
            return 0
        _say(as_text(report, colour=_wants_colour()))
        if options.json is not None:
            _write_json(Path(options.json), report)
    except CouldNotGrade as mistake:
        print(f"grading: could not grade: {ascii_safe(str(mistake), sys.stderr.encoding)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("grading: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m grading.score",
        description="Grade one submission: 10 points for pre_data, 20 for saved_model, 70 x accuracy, with reasons.",
        epilog="Start it from your own checkout, not inside a submission. Exit codes: 0 graded, 2 could not grade.",
    )
    parser.add_argument(
        "--submission",
        type=Path,
        default=Path("."),
        metavar="DIR",
        help="folder that holds pre_data, saved_model and result (default: the current folder)",
    )
    parser.add_argument(
        "--answers",
        type=Path,
        default=OWN_ANSWERS,
        metavar="DIR",
        help=f"folder of the answer keys (default: {contract.ANSWER_FOLDER} beside grading/)",
    )
    parser.add_argument(
        "--datasets",
        type=_datasets,
        metavar="NAMES",
        help="datasets to grade, e.g. QQP,CoLA (default: those that have an answer key)",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the report as JSON too; -: to standard output, instead of the text"
    )
    parser.add_argument(
        "--rubric", action="store_true", help="print who gets which of the 100 points for what, and stop"
    )
    return parser


def _datasets(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if not contract.is_dataset_name(name):
            raise argparse.ArgumentTypeError(f"{name!a} is no dataset's name; expected e.g. QQP,CoLA")
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text} names a dataset twice")
    return names


def _json_text(report: Report) -> str:
    return json.dumps(as_json(report), indent=2, allow_nan=False) + "\n"


def _write_json(path: Path, report: Report) -> None:
    """Written aside and renamed: a report that exists is whole."""
    if path.exists() and not path.is_file():  # renaming over /dev/stdout would replace the device
        raise CouldNotGrade(
            f"{path}: the JSON report needs a regular file. Next: name one, or pass --json - for standard output"
        )
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        try:
            aside.write_text(_json_text(report), encoding="ascii")
            os.replace(aside, path)
        finally:
            if aside.exists():
                aside.unlink()
    except OSError as error:
        raise CouldNotGrade(
            f"{path}: the JSON report cannot be written: {error.strerror}. Next: name a file in a folder that exists"
        ) from None


def _wants_colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _say(text: str) -> None:
    sys.stdout.write(ascii_safe(text, sys.stdout.encoding))


def ascii_safe(text: str, encoding: Optional[str]) -> str:
    """The text with escapes for what `encoding` cannot write: a quoted record must not end in a traceback."""
    encoding = encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


if __name__ == "__main__":
    sys.exit(main())
