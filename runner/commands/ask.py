"""The command `labeltune ask`: a finished run answers what is typed, a pipe, or a file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from grading.contract.language import speak_to_argparse
from runner.commands.run import start
from runner.commands.workspace_option import OF_RUNS, add_workspace
from runner.language import mark, tr, trn
from runner.system.console import progress
from runner.system.packages import RUN, require_packages
from runner.workspace.run_files import recipe_of, workspace_of
from runner.workspace.runs import named_adapter

if TYPE_CHECKING:
    from runner.asking.answer_file import Answered
    from runner.asking.asker import Asker
    from runner.asking.rows import AskedFile, AskedRow

SHOWN_PROBLEMS = 20
"""Rows without an answer that are named; the output has all of them."""

AT_ONCE = 512
"""Rows that are read before they are answered, in a file."""

DESCRIPTION = mark(
    """\
A finished run answers new rows: label and probability, with its calibration, both orders of a pair and all members of an
ensemble, as its predict stage does. Nothing in result/ changes.

  labeltune ask saved_model/QQP                             type a text or a pair
  labeltune ask saved_model/QQP < pairs.tsv                 a pipe: one row a line, a tab between two texts
  labeltune ask saved_model/QQP rows.csv --out answers.csv  a file: TSV, CSV, JSONL, JSON or parquet

RUN is an adapter's folder, an id of `labeltune runs`, or a workspace with one dataset. Exit codes: 0, or 2 where a row could
not be answered; each such row is named, and the others are answered.
"""
)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit code."""
    return start(_parser(), arguments, _run)


def _run(options: argparse.Namespace) -> int:
    from runner.asking.answer_file import require_new_file
    from runner.asking.input_form import form_of
    from runner.asking.rows import FileForm, open_file, require_pipe

    folder = named_adapter(options.run, options.workspace)
    form = form_of(recipe_of(folder))
    if options.out:
        require_new_file(options.out, workspace_of(folder), options.overwrite)
    # a file is opened before the model is loaded
    how = FileForm(options.header, options.format, options.encoding)
    file = open_file(options.file, form, how) if options.file and str(options.file) != "-" else None
    if file is None:
        require_pipe(how)
    require_packages(RUN)
    if file:
        _note(f"{file.table.shown}: {file.table.described()}")
        for note in file.table.notes:
            _note(f"{file.table.shown}: {note}")
    _note(tr("loading torch, transformers and peft"))
    from runner.asking.asker import Asker

    with Asker.load(folder, options.base, options.device, options.trust_remote_code) as asker:
        for note in asker.notes:
            _note(note)
        if file is None and sys.stdin.isatty() and not options.out:
            return _converse(asker, options)
        return _answer_all(asker, file, options)


def _answer_all(asker: Asker, file: Optional[AskedFile], options: argparse.Namespace) -> int:
    from runner.asking.answer_file import Form, write_answers
    from runner.asking.rows import piped_rows

    rows = file.rows() if file else piped_rows(sys.stdin.buffer, asker.form, options.encoding)
    form = Form(file.columns if file else asker.columns, asker.labels)
    # a pipe is answered as it comes; more rows of a file share a batch
    answered = _answers(asker, rows, options.batch, AT_ONCE if file else options.batch)
    kept, failed, cut = [], [], 0
    for each, is_cut in progress(None, "ask", answered) if options.out else answered:
        cut += is_cut
        if each.problem:
            failed.append(each)
        if options.out:
            kept.append(each)
        else:
            _print_row(asker, each, options)
    if options.out:
        write_answers(options.out, form, kept)
        _note(trn("1 row → {out}", "{count:,} rows → {out}", len(kept), out=options.out))
    if cut:
        _note(trn("1 input was cut to prompt.max_length", "{count:,} inputs were cut to prompt.max_length", cut))
    return _report(failed, file.table.shown if file else tr("line"))


def _answers(asker: Asker, rows: Iterable[AskedRow], batch: int, at_once: int) -> Iterator[tuple[Answered, bool]]:
    """Each row with its answer, and whether its input was cut."""
    from runner.asking.answer_file import Answered

    rest = iter(rows)
    while chunk := list(islice(rest, at_once)):
        good = [row for row in chunk if not row.problem]
        found = iter(asker.answer([row.fields for row in good], batch))
        for row in chunk:
            if row.problem:
                yield Answered(row, None, row.problem), False
            else:
                answer = next(found)
                yield Answered(row, answer.prediction, answer.problem), answer.is_cut


def _print_row(asker: Asker, answered: Answered, options: argparse.Namespace) -> None:
    """A line: label, probability and texts with tabs between them. A row without an answer has its line too."""
    prediction = answered.prediction
    probability = prediction.probabilities.get(prediction.label) if prediction else None
    cells = (prediction.label if prediction else "", "" if probability is None else f"{probability:.6f}")
    texts = [text.replace("\t", " ").replace("\n", " ") for text in answered.row.fields]
    if sys.stdout.isatty():
        # a program reads the texts as they are; a terminal would obey what is in them
        from runner.asking.coloured import harmless

        texts = list(map(harmless, texts))
    print("\t".join([*cells, *texts]), flush=True)
    if prediction:
        for line in _more(asker, answered.row.fields, options):
            print(line, flush=True)


def _report(failed: Sequence[Answered], where: str) -> int:
    for each in failed[:SHOWN_PROBLEMS]:
        place = f"{where}:{each.row.line}" if where != tr("line") else f"{where} {each.row.line}"
        print(tr("{place}: not answered: {problem}", place=place, problem=each.problem), file=sys.stderr)
    if len(failed) > SHOWN_PROBLEMS:
        print(tr("… {count:,} rows in all were not answered", count=len(failed)), file=sys.stderr)
    return 2 if failed else 0


def _converse(asker: Asker, options: argparse.Namespace) -> int:
    """Answer what is typed, until the end of the input."""
    import contextlib

    with contextlib.suppress(ImportError):
        # arrow keys and earlier lines, where Python has them
        import readline  # noqa: F401
    print(tr("type a text; an empty line or Ctrl-D ends"))
    while True:
        fields = _typed(asker.columns)
        if fields is None:
            return 0
        answer = asker.answer([fields])[0]
        if answer.prediction is None:
            print(answer.problem)
            continue
        shares = ", ".join(f"{label}: {share:.4f}" for label, share in answer.prediction.probabilities.items())
        print(f"  {answer.prediction.label}   ({shares})")
        if answer.prediction.text is not None:
            print(tr("  generated: {text!r}", text=answer.prediction.text))
        for line in _more(asker, fields, options):
            print(line)


def _typed(columns: Sequence[str]) -> Optional[tuple[str, ...]]:
    """The row that the user types; None at the end. A pair may be typed in one line, with a tab."""
    found: list[str] = []
    try:
        while len(found) < len(columns):
            text = input(f"{columns[len(found)]}> ")
            if not text and not found:
                return None
            found += text.split("\t") if len(columns) > 1 else [text]
    except (EOFError, KeyboardInterrupt):
        print()
        return None
    return tuple(found[: len(columns)])


def _more(asker: Asker, fields: Sequence[str], options: argparse.Namespace) -> Iterator[str]:
    """The lines that the options ask for, besides the answer."""
    if options.prompt:
        from runner.asking.coloured import harmless

        yield from (f"  | {harmless(line)}" for line in asker.prompt_text(fields).split("\n"))
    if options.why:
        from runner.asking.coloured import shown_reasons

        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        yield from shown_reasons(asker.why(fields), asker.columns, colour)


def _note(text: str) -> None:
    """Standard output has nothing but answers."""
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    from runner.data.encoding import CODECS

    speak_to_argparse()
    parser = argparse.ArgumentParser(
        prog="labeltune ask", description=tr(DESCRIPTION), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help=tr("the run that answers"))
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help=tr("rows to answer; `-` for a pipe"))
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=tr("write the answers to FILE.csv, FILE.jsonl or FILE.parquet")
    )
    parser.add_argument("--overwrite", action="store_true", help=tr("replace the file of --out"))
    parser.add_argument("--why", action="store_true", help=tr("show what leaving out each word does to the answer"))
    parser.add_argument("--prompt", action="store_true", help=tr("show the prompt as the model reads it"))
    parser.add_argument("--batch", type=_count, default=16, metavar="N", help=tr("rows computed at once (default: 16)"))
    parser.add_argument("--base", help=tr("the base model, where it is not where it was: a folder or a hub id"))
    parser.add_argument("--device", help=tr("such as cuda or cpu (default: a GPU where there is one)"))
    parser.add_argument("--trust-remote-code", action="store_true", help=tr("run Python code in the base's folder"))
    parser.add_argument("--header", action="store_true", help=tr("the file's first line names its columns"))
    parser.add_argument("--format", choices=("auto", "tsv", "csv", "jsonl", "parquet"), default="auto")
    parser.add_argument("--encoding", choices=sorted(CODECS), default="auto")
    add_workspace(parser, OF_RUNS)
    return parser


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(tr("{text!r}: expected a whole number above 0", text=text))
    return int(text)
