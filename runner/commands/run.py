"""The command: arguments in, exit code out. 0: done; 2: the user's mistake, said in words; 1: our fault, with its
traceback; 130, 143 and the like: stopped by a signal. (`accelerate launch` turns every code but 0 into 1.)"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Optional

from runner import __version__, pipeline
from runner.distributed.processes import is_main_process
from runner.errors import UserError, without_secrets
from runner.recipe.loader import LoadedRecipe, is_override, load_recipes
from runner.system.console import console_logging, patient_streams
from runner.system.memory import OutOfMemory, is_out_of_memory
from runner.system.signals import Stopped, handle_signals

EPILOG = """\
examples:
  accelerate launch runner/main.py recipes/qqp.yaml
  accelerate launch runner/main.py recipes/cola.yaml base=/models/gemma-2b train.epochs=2
  python runner/main.py --check recipes/*.yaml
then:
  python -m grading.score
"""

MAIN_FIRST = 6.0
"""Seconds in which a launcher ends the other processes after the main one has ended; Accelerate 0.26 looks every 5 s."""


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs the command and returns its exit code."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    recipes = [Path(argument) for argument in options.arguments if not is_override(argument)]
    overrides = [argument for argument in options.arguments if is_override(argument)]
    with patient_streams():
        return _run(options, recipes, overrides)


def _run(options: argparse.Namespace, recipes: Sequence[Path], overrides: Sequence[str]) -> int:
    try:
        if not recipes:
            raise UserError("no recipe named", "name one, for instance recipes/qqp.yaml; they are YAML files")
        loaded = load_recipes(recipes, overrides)
        if options.check:
            for one in loaded:
                print(f"{one.path}: fine")
            return 0
        if not options.workspace.is_dir():
            raise UserError(
                f"--workspace {options.workspace}: no such folder", "make it, or name the one that holds your data/"
            )
        execute(loaded, options.workspace, options.stages, options.fresh)
    except UserError as error:
        _tell(error)
        return 2
    except OSError as error:
        if error.errno is None:
            raise  # not the system's word: ours to mend
        where = error.filename or f"the disk of {options.workspace.resolve()}"
        _tell(UserError(f"{where}: {error.strerror}", "see to it and run again; what was finished stays"))
        return 2
    except (RuntimeError, MemoryError) as error:
        found = OutOfMemory(error) if is_out_of_memory(error) else _of_others(error)
        if found is None:
            raise
        _tell(found)
        return 2
    except Stopped as stopped:
        if is_main_process():
            print(stopped, file=sys.stderr)
        else:
            time.sleep(MAIN_FIRST)  # the launcher ends all when the first has ended: let that be the one that speaks
        return stopped.code
    except KeyboardInterrupt:
        print("interrupted before anything was begun", file=sys.stderr)
        return 130
    return 0


def execute(
    recipes: Sequence[LoadedRecipe], root: Path, stages: Iterable[str] = pipeline.STAGES, fresh: bool = False
) -> None:
    """Run the recipes as a command does: log records are printed, and signals stop the run where nothing is lost."""
    with handle_signals(), console_logging(is_main_process()):
        pipeline.run(recipes, root, stages, fresh)


def _of_others(error: BaseException) -> Optional[UserError]:
    """What to say where this process has lost the others of its launch, in an exchange or in a layer that is split."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return None
    from runner.distributed.collectives import unreachable

    return unreachable(error)


def _tell(error: UserError) -> None:
    """Prints an error once. Most meet every process alike, and the launcher ends the others when the first has said it;
    one that is still there after `MAIN_FIRST` seconds has met an error of its own."""
    if not is_main_process():
        time.sleep(MAIN_FIRST)
        print(f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']}:", file=sys.stderr)
    print(without_secrets(str(error)), file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="runner/main.py",
        description="Runs recipes: prepare the data, fine-tune a LoRA adapter, predict the dev rows.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "arguments", nargs="+", metavar="RECIPE|key.sub=value", help="recipes to run, and changes to their keys"
    )
    parser.add_argument(
        "--workspace",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder with data/, for all that is written (default: the current one)",
    )
    parser.add_argument("--check", action="store_true", help="look for mistakes in the recipes and stop")
    parser.add_argument(
        "--stages",
        type=_stages,
        default=tuple(pipeline.STAGES),
        metavar="LIST",
        help=f"stages to run (default: {','.join(pipeline.STAGES)})",
    )
    parser.add_argument("--fresh", action="store_true", help="run stages whose inputs have not changed, too")
    parser.add_argument("--version", action="version", version=f"labeltune {__version__}")
    return parser


def _stages(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in pipeline.STAGES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected some of {', '.join(pipeline.STAGES)}, with commas between"
        )
    return names
