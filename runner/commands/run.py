"""The command: arguments in, exit code out.

0: done; 2: a mistake of the user's, reported in words; 1: a bug of ours, with its traceback; 130, 143 and the like: stopped by
a signal. (`accelerate launch` turns every code but 0 into 1.)
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from gettext import gettext
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Optional

from grading.contract.language import reason_of, speak_to_argparse
from runner import __version__
from runner.commands.workspace_option import OF_A_RUN, add_workspace
from runner.distributed.processes import is_main_process
from runner.errors import UserError, redact_secrets
from runner.language import mark, tr
from runner.recipe.loader import LoadedRecipe, is_override, load_recipes
from runner.reporting.summary import summary
from runner.system.console import console_logging, patient_streams
from runner.system.memory import OutOfMemory, is_out_of_memory
from runner.system.signals import Stopped, handle_signals
from runner.workspace.paths import STAGE_NAMES

if TYPE_CHECKING:
    from runner.reporting.run_result import RunResult

EPILOG = mark(
    """\
examples:
  accelerate launch -q runner/main.py recipes/qqp.yaml
  accelerate launch -q runner/main.py recipes/cola.yaml base=/models/gemma-2b train.epochs=2
  python runner/main.py --check recipes/*.yaml
then:
  python -m grading.score
"""
)

EXIT_CODE_FILE = "LABELTUNE_EXIT_CODE_FILE"
"""Environment variable: a file that takes the exit code, for whoever started the launcher, which loses it."""

MAIN_FIRST = 6.0
"""Seconds in which a launcher ends the other processes after the main one has ended; Accelerate 0.26 looks every 5 s."""


def main(arguments: Optional[Sequence[str]] = None, prog: str = "runner/main.py") -> int:
    """Run the command and return its exit code. `prog`: its name in help and usage."""
    return start(_parser(prog), arguments, _run)


def start(
    parser: argparse.ArgumentParser,
    arguments: Optional[Sequence[str]],
    act: Callable[[argparse.Namespace], Optional[int]],
) -> int:
    """Run a command that may be one of several processes, and return its exit code.

    `parser`: its options, `workspace` among them. `act`: what it does; it returns the exit code, or None for 0. Its errors
    and signals become messages and codes."""
    code: object = 1
    try:
        options = parser.parse_intermixed_args(arguments)
        with patient_streams():
            code = _code(options, act)
        return code
    except SystemExit as error:
        code = error.code
        raise
    finally:
        file = os.environ.get(EXIT_CODE_FILE)
        if file and is_main_process():
            with suppress(OSError):
                Path(file).write_text(str(code), encoding="ascii")


def execute(
    recipes: Sequence[LoadedRecipe],
    root: Path,
    stages: Iterable[str] = STAGE_NAMES,
    fresh: bool = False,
    verbose: bool = False,
) -> list[RunResult]:
    """Run the recipes as a command does: log records are printed, and a signal stops the run where nothing is lost."""
    from runner import pipeline

    with handle_signals(), console_logging(is_main_process(), verbose):
        return pipeline.run(recipes, root, stages, fresh)


def require_workspace(folder: Path) -> None:
    """Raise UserError where the workspace is not there."""
    if not folder.is_dir():
        raise UserError(
            tr("--workspace {folder}: no such folder", folder=folder),
            tr("make it, or name the one that holds your data/"),
        )


def load_named(arguments: Sequence[str]) -> list[LoadedRecipe]:
    """The recipes among the arguments, with the changes among them. Raises UserError where none is named, and RecipeError."""
    recipes = [Path(argument) for argument in arguments if not is_override(argument)]
    if not recipes:
        raise UserError(tr("no recipe named"), tr("name one, for instance recipes/qqp.yaml; recipes are YAML files"))
    return load_recipes(recipes, [argument for argument in arguments if is_override(argument)])


def _run(options: argparse.Namespace) -> int:
    loaded = load_named(options.arguments)
    require_workspace(options.workspace)
    if options.check or options.timed:
        return _check(loaded, options)
    if is_main_process():
        # the imports that follow take a while
        names = ", ".join(one.recipe.task.name for one in loaded)
        print(f"{names}: {', '.join(options.stages)}", flush=True)
    results = execute(loaded, options.workspace, options.stages, options.fresh, options.verbose)
    if is_main_process():
        print("\n".join(summary(results, options.workspace)))
    return 0


def _code(options: argparse.Namespace, act: Callable[[argparse.Namespace], Optional[int]]) -> int:
    try:
        return act(options) or 0
    except (UserError, OSError, RuntimeError, MemoryError) as error:
        found = _user_error(error, options.workspace)
        if found is None:
            raise
        _report(found)
        return 2
    except Stopped as stopped:
        if is_main_process():
            print(stopped, file=sys.stderr)
        else:
            # the launcher ends all processes when the first has ended: let the main one report
            time.sleep(MAIN_FIRST)
        return stopped.code
    except KeyboardInterrupt:
        print(tr("interrupted before anything was begun"), file=sys.stderr)
        return 130


def _check(recipes: Sequence[LoadedRecipe], options: argparse.Namespace) -> int:
    """Print what can be known about the recipes before a run; 2 where a run of one of them would fail."""
    from runner.lookahead.report import look_ahead

    found = look_ahead(recipes, options.workspace, options.stages)
    for one in found:
        if options.timed and not one.findings.problems:
            from runner.lookahead.timing import add_times

            add_times(one, options.workspace)
        print(redact_secrets(one.text()), flush=True)
    return 2 if any(one.findings.problems for one in found) else 0


def _user_error(error: BaseException, workspace: Path) -> Optional[UserError]:
    """The error as one that the user can fix; None where it is a bug of ours."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError):
        # without a number it is not the system's
        if error.errno is None:
            return None
        # the second name is the one that a temporary file should get
        where = error.filename2 or error.filename or tr("the disk of {workspace}", workspace=workspace.resolve())
        return UserError(f"{where}: {reason_of(error)}", tr("fix the cause and run again; finished stages are kept"))
    if is_out_of_memory(error):
        return OutOfMemory(error)
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return None
    from runner.distributed.collectives import unreachable

    return unreachable(error)


def _report(error: UserError) -> None:
    """Print an error once. Most errors reach every process, and the launcher ends the others when the first has reported it;
    a process that still runs after `MAIN_FIRST` seconds has an error of its own."""
    if not is_main_process():
        time.sleep(MAIN_FIRST)
        print(
            tr("process {rank} of {world_size}:", rank=os.environ["RANK"], world_size=os.environ["WORLD_SIZE"]),
            file=sys.stderr,
        )
    print(redact_secrets(str(error)), file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Says how a key is changed to those who write it as an option."""

    def error(self, message: str) -> NoReturn:
        # argparse has translated its own words
        if gettext("unrecognized arguments: %s") % "--" in message:
            message += tr("; a key of the recipe is changed without hyphens: train.epochs=3")
        super().error(message)


def _parser(prog: str) -> argparse.ArgumentParser:
    speak_to_argparse()
    parser = _Parser(
        prog=prog,
        description=tr("Runs recipes: prepare the data, fine-tune a LoRA adapter, evaluate it, predict the dev rows."),
        epilog=tr(EPILOG),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "arguments", nargs="+", metavar="RECIPE|key.sub=value", help=tr("recipes to run, and changes to their keys")
    )
    add_workspace(parser, OF_A_RUN)
    parser.add_argument(
        "--check",
        action="store_true",
        help=tr("look at recipes, data, base and machine, say what a run would do, and stop"),
    )
    # a name with its value: `--check` alone must not take the recipe after it for a value
    parser.add_argument(
        "--check=timed",
        "--timed",
        dest="timed",
        action="store_true",
        help=tr("the same, and measure a few steps of training"),
    )
    parser.add_argument(
        "--stages",
        type=_stages,
        default=STAGE_NAMES,
        metavar="LIST",
        help=tr("stages to run (default: {stages})", stages=",".join(STAGE_NAMES)),
    )
    parser.add_argument("--fresh", action="store_true", help=tr("also run stages whose inputs have not changed"))
    parser.add_argument("--verbose", action="store_true", help=tr("also print what needs no decision"))
    parser.add_argument(
        "--version",
        action="version",
        version=f"labeltune {__version__}",
        help=tr("show program's version number and exit"),
    )
    return parser


def _stages(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in STAGE_NAMES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            tr("{text!r}: expected some of {stages}, separated by commas", text=text, stages=", ".join(STAGE_NAMES))
        )
    return names
