"""The command: grades one submission, or a whole class, and gives a reason for each point.

    python -m grading.score [--submission PATH] [--answers DIR] [--datasets QQP,CoLA] [--json FILE] [--gradescope FILE]
    python -m grading.score --submissions DIR --answers DIR --out DIR [--jobs N] [--resume]
    python -m grading.score --rubric

Exit codes: 0 graded (whatever the points), 2 the examiner's mistake (a message explains it), 1 the grader's own fault
(with its traceback), 130 interrupted. The files that were asked for are written in the first three cases.
"""

import os
import sys

if __name__ == "__main__":  # nothing else is imported before: the folder that is searched first can hold an argparse.py
    CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if not __package__:
        sys.stderr.write(
            "grading: it was started as a file, so Python looks for its modules in the wrong folder\n"
            f"  next: start it in its own checkout: cd {ascii(CHECKOUT)[1:-1]} && "
            "python -m grading.score --submission PATH\n"
            "        or, where labeltune is installed: labeltune grade --submission PATH\n"
        )
        sys.exit(2)
    if os.path.realpath(sys.path[0] or os.curdir) == os.path.realpath(os.curdir) != os.path.realpath(CHECKOUT):
        sys.path[0] = CHECKOUT  # the current folder may be a submission: nothing is imported from it

import argparse
import dataclasses
import json
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Optional

from grading import contract, rubric
from grading.classroom.alone import Bounds, Outcome, can_fork, failed, in_fork, in_interpreter
from grading.classroom.sandbox import Limits
from grading.contract.display import one_line, printed, quoted, writable
from grading.contract.language import english, reason_of, speak_to_argparse, tr
from grading.errors import CouldNotGrade, fault_of
from grading.files import are_one, require_outside, write_json
from grading.grader import Exam
from grading.grades import Report
from grading.report.gradescope import as_gradescope
from grading.report.json_report import as_json
from grading.report.text import as_text
from grading.submission.opening import named, opened

OWN_ANSWERS = Path(__file__).resolve().parent.parent / contract.ANSWER_FOLDER
"""The keys of the grader's own checkout. Keys are never looked for in the submission or in the current folder."""


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs the command line and returns the exit code. The grader's own fault is printed with its traceback."""
    _hold_streams()
    parser = _parser()
    options = parser.parse_args(arguments)
    _require_together(parser, options)
    try:
        if options.rubric:
            lost = _printed(rubric.as_text())
            if lost is not None:
                raise lost
            return 0
        exam = Exam(options.answers, options.datasets, options.base, options.data)
        return _grade_one(exam, options) if options.submissions is None else _grade_class(exam, options)
    except CouldNotGrade as mistake:
        words = tr(
            "grading: could not grade: {problem}. Next: {next_step}",
            problem=mistake.problem,
            next_step=mistake.next_step,
        )
        _complain(f"{words}\n")
        return 2
    except KeyboardInterrupt:
        _complain(tr("grading: interrupted") + "\n")
        return 130
    except BrokenPipeError:  # the reader of the report has ended: `| head`
        _drop_output()
        return 0
    except Exception:  # of a class: the traceback may quote names too
        _print_traceback()
        return 1


def _grade_one(exam: Exam, options: argparse.Namespace) -> int:
    if not are_one(str(options.submission), os.curdir):  # the current folder is your own
        require_outside(options.submission, _targets(options))
    _require_no_key(options.answers, _targets(options))
    outcome = _bounded(exam, options)
    if outcome.errors:
        _complain(outcome.errors)
    unwritten = write_outputs(outcome, options)
    mistake = outcome.mistake or unwritten
    if mistake is not None:
        raise mistake
    return outcome.exit_code


def _require_no_key(answers: Path, targets: Sequence[Path]) -> None:
    """Raises CouldNotGrade if a report would be written over an answer key, or be taken for one."""
    for path in targets:
        if contract.dataset_of_answer(path.name) is not None and are_one(str(path.parent), str(answers)):
            raise CouldNotGrade(
                tr("{path}: the report must not be written over an answer key", path=path), tr("name another file")
            )


def _targets(options: argparse.Namespace) -> list[Path]:
    """The files that the options ask for."""
    return [
        Path(name) for name in (options.json if options.json != "-" else None, options.gradescope) if name is not None
    ]


def _bounded(exam: Exam, options: argparse.Namespace) -> Outcome:
    """The outcome of the submission that the options name, graded in a child with limits."""
    try:
        if can_fork():
            return in_fork(lambda bounds: grade_safely(exam, options, bounds), Limits())
        outcome = in_interpreter(exam, named(options.submission), Limits())
    except CouldNotGrade as mistake:
        return failed(
            "examiner", tr("the examiner's own files cannot be used"), tr("ask the examiner to fix them"), mistake
        )
    if options.rerun and outcome.report["problem"] is None:
        # it has been graded within the limits, which a rerun cannot have
        return grade_safely(exam, options, Bounds(Limits(), "submission-", lambda: None))
    return outcome


def grade_safely(exam: Exam, options: argparse.Namespace, bounds: Bounds) -> Outcome:
    """The outcome of the submission that the options name. An error becomes a report that says whose fault it is."""
    try:
        found = _report(exam, options, bounds)
        return Outcome(as_json(found), as_text(found), as_text(found, colour=_wants_colour()))
    except CouldNotGrade as mistake:
        return failed(
            "examiner", tr("the examiner's own files cannot be used"), tr("ask the examiner to fix them"), mistake
        )
    except Exception as error:  # whatever it is, there must be a report that says so
        fault, reason, next_step = fault_of(error, bounds.limits.address_space >> 20)
        if fault == "grader":
            _print_traceback()
        return failed(fault, reason, next_step, CouldNotGrade(reason, next_step) if fault == "examiner" else None)


def write_outputs(outcome: Outcome, options: argparse.Namespace) -> Optional[CouldNotGrade]:
    """Writes the files that the options ask for, and prints the report.

    Returns the first error of writing: the report must be printed all the same."""
    unwritten, written = None, 0
    json_file = None if options.json == "-" else options.json
    results = as_gradescope(outcome.report, outcome.text)
    for path, value in ((json_file, outcome.report), (options.gradescope, results)):
        try:
            if path is not None:
                write_json(Path(path), value)
                written += 1
        except CouldNotGrade as error:
            unwritten = unwritten or error
    problem, lost = outcome.report["problem"], None
    if options.json == "-":
        lost = _printed(json.dumps(english(outcome.report), indent=2, allow_nan=False) + "\n")
    elif problem is None or problem["fault"] == "submission":
        lost = _printed(outcome.coloured)
    if lost is not None and written and options.json != "-":
        _complain(f"{lost}\n")  # a file has the report
        lost = None
    return unwritten or lost


def _report(exam: Exam, options: argparse.Namespace, bounds: Bounds) -> Report:
    ready = exam.open()
    with opened(named(options.submission), prefix=bounds.prefix) as submission:
        found = ready.grade(submission)
        if options.rerun:
            bounds.lift()
            from grading.audit.rerun import rerun  # its runner loads torch, in a process of its own

            advice = rerun(submission, found.datasets, options.rerun, options.recipes)
            found = dataclasses.replace(found, advice=(*found.advice, *advice))
    return found


def _grade_class(exam: Exam, options: argparse.Namespace) -> int:
    from grading.classroom.run import ClassFolders, grade_class  # not needed for one submission

    folders = ClassFolders(options.submissions, options.out)
    grade_class(exam, folders, jobs=options.jobs, resume=options.resume, say=_say_line)
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser that repeats no argument raw: a name on the command line may hold terminal escapes."""

    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(writable(printed(message), file or sys.stderr), file)


def _parser() -> argparse.ArgumentParser:
    speak_to_argparse()
    parser = _Parser(
        prog="python -m grading.score",
        description=tr("Grade submissions: 10 points for pre_data, 20 for saved_model, 70 x accuracy, with reasons."),
        epilog=tr("Start it from your own checkout, not inside a submission. Exit codes: 0 graded, 2 could not grade."),
    )
    _add_one(parser.add_argument_group(tr("one submission")))
    _add_class(parser.add_argument_group(tr("a whole class")))
    _add_exam(parser.add_argument_group(tr("the exam")))
    return parser


def _add_one(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--submission",
        type=_path,
        default=Path("."),
        metavar="PATH",
        help=tr(
            "folder with pre_data, saved_model and result, or a .zip or .tar.gz of it (default: the current folder)"
        ),
    )
    group.add_argument(
        "--json",
        type=_file,
        metavar="FILE",
        help=tr("write the report as JSON too; -: to standard output, instead of the text"),
    )
    group.add_argument("--gradescope", type=_file, metavar="FILE", help=tr("write Gradescope's results.json too"))
    group.add_argument(
        "--rerun",
        type=_count,
        metavar="N",
        help=tr(
            "predict N rows again with the submitted adapter and compare; needs --recipes, and the runner's libraries"
        ),
    )
    group.add_argument(
        "--recipes",
        nargs="+",
        metavar="RECIPE|key=value",
        help=tr("your recipes for --rerun, and changes to their keys, e.g. recipes/qqp.yaml base=/models/gemma-2b"),
    )


def _add_class(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--submissions",
        type=_path,
        metavar="DIR",
        help=tr("folder of submissions, each a folder or an archive; needs --out"),
    )
    group.add_argument("--out", type=_path, metavar="DIR", help=tr("folder for the reports, class.csv and index.html"))
    group.add_argument(
        "--jobs",
        type=_count,
        default=os.cpu_count() or 1,
        metavar="N",
        help=tr("submissions at once (default: %(default)s)"),
    )
    group.add_argument("--resume", action="store_true", help=tr("resume the class in --out"))


def _add_exam(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--answers",
        type=_path,
        default=OWN_ANSWERS,
        metavar="DIR",
        help=tr(
            "folder of the answer keys (default: {answer_folder} beside grading/)", answer_folder=contract.ANSWER_FOLDER
        ),
    )
    group.add_argument(
        "--datasets",
        type=_datasets,
        metavar="NAMES",
        help=tr("datasets to grade, e.g. QQP,CoLA (default: those that have an answer key)"),
    )
    group.add_argument(
        "--base",
        type=_path,
        metavar="PATH",
        help=tr("base model's folder or config.json: adapters must have its shapes"),
    )
    group.add_argument(
        "--data", type=_path, metavar="DIR", help=tr("the exam's TSV files: compare the records with them (no points)")
    )
    group.add_argument("--rubric", action="store_true", help=tr("print how the 100 points are given, and stop"))


def _require_together(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends the command where options do not fit together."""
    if (options.submissions is None) != (options.out is None):
        parser.error(tr("--submissions and --out go together: where the submissions are, and where the reports go"))
    if (options.rerun is None) != (options.recipes is None):
        parser.error(tr("--rerun and --recipes go together: how many rows, and with which recipes"))
    for name in ("json", "gradescope", "rerun"):
        if options.submissions is not None and getattr(options, name) is not None:
            parser.error(tr("--{name} is for one submission; a class has a report for each in --out", name=name))
    if options.json is not None and options.gradescope is not None and are_one(options.json, options.gradescope):
        parser.error(tr("--json and --gradescope name one file; each needs its own"))
    if options.submissions is None and options.resume:
        parser.error(tr("--resume is for a class: --submissions DIR --out DIR"))


def _file(text: str) -> str:
    """A path as it is. An empty one is a variable of the shell that was not set: it does not mean the current folder."""
    if not text:
        raise argparse.ArgumentTypeError(tr("an empty text is no path; pass '.' for the current folder"))
    return text


def _path(text: str) -> Path:
    return Path(_file(text))


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:9]) < 1:
        raise argparse.ArgumentTypeError(tr("{text}: expected a whole number > 0", text=quoted(text)))
    return int(text[:9])


def _datasets(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if not contract.is_dataset_name(name):
            raise argparse.ArgumentTypeError(
                tr("{name} is not a dataset's name; expected e.g. QQP,CoLA", name=quoted(name))
            )
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(tr("{text} names a dataset twice", text=quoted(text)))
    return names


def _wants_colour() -> bool:
    return sys.stdout is not None and sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _say(text: str) -> None:
    """Prints to standard output. Raises OSError or ValueError if it is full or closed."""
    if sys.stdout is None:  # it was closed when Python started
        raise ValueError("closed")
    sys.stdout.write(writable(text, sys.stdout))
    sys.stdout.flush()  # now, so that a closed pipe is noticed here


def _printed(text: str) -> Optional[CouldNotGrade]:
    """Prints to standard output, and returns the mistake if it is full or closed. Raises BrokenPipeError: nobody reads on."""
    try:
        _say(text)
        return None
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        _drop_output()
        reason = reason_of(error) if isinstance(error, OSError) else tr("it is closed")
        return CouldNotGrade(
            tr("the report cannot be written to standard output: {reason}", reason=reason),
            tr("write it to a file with --json FILE, or free space"),
        )


def _say_line(text: str) -> None:
    """Prints a line of progress. An output that is full or closed does not stop a class: its files say the same."""
    try:
        _say(f"{printed(text)}\n")
    except (OSError, ValueError):
        _drop_output()


def _drop_output() -> None:
    _drop(sys.stdout)


def _drop(stream: Any) -> None:
    """Sends what is still to be printed nowhere, so that nothing fails at the end because of it."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _complain(text: str) -> None:
    """Prints to standard error, if it is there and not full."""
    try:
        sys.stderr.write(writable(printed(text), sys.stderr))
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        _drop(sys.stderr)


def _hold_streams() -> None:
    """Opens what was closed when Python started: else the first file that is opened would be the standard output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _print_traceback() -> None:
    _complain(traceback.format_exc())


if __name__ == "__main__":
    sys.exit(main())
