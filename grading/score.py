"""The command: grades a hand-in, or a whole class, and says what each is worth, each point with its reason.

    python -m grading.score [--submission HANDIN] [--answers DIR] [--datasets QQP,CoLA] [--json FILE] [--gradescope FILE]
    python -m grading.score --submissions DIR --answers DIR --out DIR [--jobs N] [--resume]
    python -m grading.score --rubric

Exit codes: 0 graded (whatever the points), 2 could not grade (the mistake is said in words), 1 the grader's own fault
(with its traceback), 130 interrupted. The files asked for are written in each of these cases but the last.
"""

import argparse
import dataclasses
import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from grading import contract, rubric
from grading.errors import CouldNotGrade, FileProblem, fault_of
from grading.files import write_json
from grading.grader import Exam
from grading.report.gradescope import as_gradescope
from grading.report.json_report import as_json, failure
from grading.report.text import as_text, failure_text
from grading.submission.opening import opened

OWN_ANSWERS = Path(__file__).resolve().parent.parent / contract.ANSWER_FOLDER
"""The keys of the grader's own checkout: never looked for in the submission, nor in the folder it is started from."""


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command line; the exit code. What is the grader's own fault is printed with its traceback."""
    parser = _parser()
    options = parser.parse_args(arguments)
    _require_together(parser, options)
    try:
        if options.rubric:
            _say(rubric.as_text())
            return 0
        exam = Exam(options.answers, options.datasets, options.base, options.data)
        return _grade_one(exam, options) if options.submissions is None else _grade_class(exam, options)
    except CouldNotGrade as mistake:
        words = f"grading: could not grade: {mistake.problem}. Next: {mistake.next_step}"
        print(ascii_safe(words, sys.stderr.encoding), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("grading: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the report has read enough of it: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _grade_one(exam: Exam, options: argparse.Namespace) -> int:
    mistake: Optional[CouldNotGrade] = None
    code = 0
    try:
        found, text, shown = _report(exam, options)
    except CouldNotGrade as error:
        mistake = error
        # what is wrong with a key can show a line of it: that is for standard error, and not for a report
        found = failure("examiner", "the examiner's own files cannot be used", "ask the examiner to mend them")
    except Exception as error:  # whatever it is: there is to be a report that says so
        fault, reason, step = fault_of(error)
        found = failure(fault, reason, step)
        if fault == "grader":
            traceback.print_exc()
            code = 1
    if found["problem"]:
        text = shown = failure_text(found)
    for path, value in ((options.json, found), (options.gradescope, as_gradescope(found, text))):
        if path is not None and not (path == "-" and value is found):
            try:
                write_json(Path(path), value)
            except CouldNotGrade as error:
                mistake = mistake or error  # the report itself is still to be printed
    if options.json == "-":
        _say(json.dumps(found, indent=2, allow_nan=False) + "\n")
    elif found["problem"] is None or found["problem"]["fault"] == "submission":
        _say(shown)
    if mistake is not None:
        raise mistake
    return code


def _report(exam: Exam, options: argparse.Namespace) -> tuple[Mapping[str, Any], str, str]:
    """The report of the hand-in as JSON object, as text and as text for this terminal. Raises CouldNotGrade."""
    ready = exam.open()
    try:
        with opened(options.submission) as submission:
            found = ready.grade(submission)
            if options.rerun:
                from grading.audit.rerun import rerun  # its runner loads torch, in a process of its own

                advice = rerun(submission, found.datasets, options.rerun, options.recipes)
                found = dataclasses.replace(found, advice=(*found.advice, *advice))
    except FileProblem as problem:
        failed = failure("submission", problem.problem, problem.next_step)
        return failed, "", ""
    return as_json(found), as_text(found), as_text(found, colour=_wants_colour())


def _grade_class(exam: Exam, options: argparse.Namespace) -> int:
    from grading.classroom.run import grade_class  # what a single hand-in does not need

    grade_class(exam, options.submissions, options.out, jobs=options.jobs, resume=options.resume, say=_say_line)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m grading.score",
        description="Grade hand-ins: 10 points for pre_data, 20 for saved_model, 70 x accuracy, with reasons.",
        epilog="Start it from your own checkout, not inside a submission. Exit codes: 0 graded, 2 could not grade.",
    )
    one = parser.add_argument_group("one hand-in")
    one.add_argument(
        "--submission",
        type=Path,
        default=Path("."),
        metavar="HANDIN",
        help="folder that holds pre_data, saved_model and result, or a .zip or .tar.gz of it (default: the current folder)",
    )
    one.add_argument(
        "--json", metavar="FILE", help="write the report as JSON too; -: to standard output, instead of the text"
    )
    one.add_argument("--gradescope", metavar="FILE", help="write Gradescope's results.json too")
    one.add_argument(
        "--rerun",
        type=_count,
        metavar="N",
        help="predict N rows again with the submitted adapter and compare; needs --recipes, and the runner's libraries",
    )
    one.add_argument(
        "--recipes",
        nargs="+",
        metavar="RECIPE|key=value",
        help="your recipes for --rerun, and changes to their keys, e.g. recipes/qqp.yaml base=/models/gemma-2b",
    )
    many = parser.add_argument_group("a whole class")
    many.add_argument(
        "--submissions", type=Path, metavar="DIR", help="folder of hand-ins: a folder or an archive each; needs --out"
    )
    many.add_argument("--out", type=Path, metavar="DIR", help="folder for the reports, class.csv and index.html")
    many.add_argument(
        "--jobs", type=_count, default=os.cpu_count() or 1, metavar="N", help="hand-ins at once (default: %(default)s)"
    )
    many.add_argument("--resume", action="store_true", help="go on with what is in --out")
    both = parser.add_argument_group("the exam")
    both.add_argument(
        "--answers",
        type=Path,
        default=OWN_ANSWERS,
        metavar="DIR",
        help=f"folder of the answer keys (default: {contract.ANSWER_FOLDER} beside grading/)",
    )
    both.add_argument(
        "--datasets",
        type=_datasets,
        metavar="NAMES",
        help="datasets to grade, e.g. QQP,CoLA (default: those that have an answer key)",
    )
    both.add_argument(
        "--base", type=Path, metavar="PATH", help="base model's folder or config.json: adapters must have its shapes"
    )
    both.add_argument(
        "--data", type=Path, metavar="DIR", help="the exam's TSV files, to set records beside (no points)"
    )
    both.add_argument("--rubric", action="store_true", help="print who gets which of the 100 points for what, and stop")
    return parser


def _require_together(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends the command where options are given that mean nothing together."""
    if (options.submissions is None) != (options.out is None):
        parser.error("--submissions and --out go together: hand-ins from there, reports to here")
    if (options.rerun is None) != (options.recipes is None):
        parser.error("--rerun and --recipes go together: how many rows, and how they are predicted")
    for name in ("json", "gradescope", "rerun"):
        if options.submissions is not None and getattr(options, name) is not None:
            parser.error(f"--{name} is for one hand-in; a class has a report for each in --out")
    if options.submissions is None and options.resume:
        parser.error("--resume is for a class: --submissions DIR --out DIR")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:9]) < 1:
        raise argparse.ArgumentTypeError(f"{text!a}: expected a whole number > 0")
    return int(text[:9])


def _datasets(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if not contract.is_dataset_name(name):
            raise argparse.ArgumentTypeError(f"{name!a} is no dataset's name; expected e.g. QQP,CoLA")
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text} names a dataset twice")
    return names


def _wants_colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _say(text: str) -> None:
    sys.stdout.write(ascii_safe(text, sys.stdout.encoding))
    sys.stdout.flush()  # here, where a reader that has gone away is met with an answer, and not at the interpreter's end


def _say_line(text: str) -> None:
    """A line of progress. That nobody reads it any more is no reason to leave a class half graded."""
    try:
        _say(f"{text}\n")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def ascii_safe(text: str, encoding: Optional[str]) -> str:
    """The text with escapes for what `encoding` cannot write: a quoted record must not end in a traceback."""
    encoding = encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


if __name__ == "__main__":
    sys.exit(main())
