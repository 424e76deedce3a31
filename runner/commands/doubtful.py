"""The command `labeltune doubtful`: list the labelled rows that cross-fitted adapters contradict, for the user to decide."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Optional

from grading.contract.language import speak_to_argparse
from runner.commands.run import load_named, require_workspace, start
from runner.commands.tables import table
from runner.commands.workspace_option import OF_A_RUN, add_workspace
from runner.distributed.processes import is_main_process
from runner.errors import UserError
from runner.language import mark, tr
from runner.system.console import console_logging
from runner.system.signals import handle_signals

if TYPE_CHECKING:
    from runner.doubtful.find import Found

PRINTED = 10
"""Most contradicted rows, and most rows with several labels, that are printed; the file has all that are listed."""

MOST_FOLDS = 20

DESCRIPTION = mark("""\
List the labelled rows whose label may be wrong.

All rows that the recipe draws are split into folds. For each fold an adapter is trained on the others, exactly as the recipe
says, and scores the fold. Listed are the rows whose label these adapters contradict most confidently, and all inputs that
the training file has with several labels. Nothing is changed: you decide, row by row.
""")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit code."""
    return start(_parser(), arguments, _run)


def _run(options: argparse.Namespace) -> None:
    recipes = load_named(options.arguments)
    if len(recipes) > 1:
        raise UserError(
            tr("expected one recipe, found {recipes_count}", recipes_count=len(recipes)),
            tr("run the command once for each"),
        )
    require_workspace(options.workspace)
    from runner.doubtful.find import find_doubtful

    with handle_signals(), console_logging(is_main_process()):
        found = find_doubtful(recipes[0], options.workspace, options.folds, options.top)
        for line in _lines(found) if found else ():
            print(line)


def _lines(found: Found) -> Iterator[str]:
    """What the user reads."""
    from runner.doubtful.listing import CONTRADICTED, table_rows

    first = [doubt for doubt in found.doubts if doubt.reason == CONTRADICTED]
    groups = [doubt for doubt in found.doubts if doubt.reason != CONTRADICTED]
    yield ""
    yield tr(
        "{contradicted:,} labels are contradicted; {first_count:,} of them are listed, the most confident ones first",
        contradicted=found.contradicted,
        first_count=len(first),
    )
    yield from table(table_rows(first[:PRINTED])) if first else ()
    yield ""
    yield tr(
        "{groups:,} inputs have several labels, in {groups_count:,} rows", groups=found.groups, groups_count=len(groups)
    )
    yield from table(table_rows(groups[:PRINTED])) if groups else ()
    if not found.doubts:
        return
    yield ""
    yield tr("all listed rows: {file}", file=found.file)
    yield (
        tr(
            "next: read them; write no into the column keep where the label is wrong or cannot "
            "be decided, and run\n  labeltune run RECIPE samples.exclude={file}\nor correct the "
            "labels in the training file. A row is not wrong because it is hard: a hold-out "
            "without its hard rows\ngives a higher number, not a better adapter",
            file=found.file,
        )
    )


def _parser() -> argparse.ArgumentParser:
    speak_to_argparse()
    parser = argparse.ArgumentParser(
        prog="labeltune doubtful", description=tr(DESCRIPTION), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "arguments", nargs="+", metavar="RECIPE|key.sub=value", help=tr("one recipe, and changes to its keys")
    )
    parser.add_argument(
        "--folds", type=_folds, default=3, metavar="N", help=tr("number of parts, and of trainings (default: 3)")
    )
    parser.add_argument(
        "--top", type=_count, default=50, metavar="N", help=tr("most contradicted rows to list (default: 50)")
    )
    add_workspace(parser, OF_A_RUN)
    return parser


def _folds(text: str) -> int:
    if not text.isdigit() or not 2 <= int(text) <= MOST_FOLDS:
        raise argparse.ArgumentTypeError(
            tr("{text!r}: expected a whole number from 2 to {most_folds}", text=text, most_folds=MOST_FOLDS)
        )
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(tr("{text!r}: expected a whole number above 0", text=text))
    return int(text)
