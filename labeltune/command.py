"""The `labeltune` command: `run` and `doubtful` start a recipe with Accelerate's launcher; the other commands need no model.

Those two end with the runner's own exit code and messages; `accelerate launch` turns every code but 0 into 1.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Optional

from grading.contract.language import reason_of, speak_to_argparse
from labeltune import launcher
from runner import __version__
from runner.language import mark, tr
from runner.system.console import patient_streams
from runner.system.packages import RECIPES, RUN, exit_without

USAGE = mark(
    """\
labeltune run RECIPE... [--processes N] [key.sub=value ...] [--workspace DIR] [--stages LIST] [--fresh]
labeltune check RECIPE... [key.sub=value ...] [--workspace DIR] [--timed]
labeltune doctor [--workspace DIR]
labeltune new FILE [--out RECIPE] [--base BASE]
labeltune doubtful RECIPE [--processes N] [key.sub=value ...] [--folds N] [--top N] [--workspace DIR]
labeltune runs [WORKSPACE] | restore ID | remove ID
labeltune report [FOLDER...]
labeltune compare RUN RUN... [--html FILE]
labeltune ask RUN [FILE] [--out FILE] [--why] [--prompt]
labeltune export RUN --out FOLDER [--adapter-only]
labeltune grade [--submission PATH] [--answers DIR] ...

`labeltune run --help`, and so on, lists all options.
"""
)


LAUNCHED = {"run": [], "doubtful": ["doubtful"]}
"""Commands that train, with the first arguments of `runner/main.py` for each."""

COMMANDS = {
    "new": "runner.commands.new",
    "doctor": "runner.commands.doctor",
    "runs": "runner.commands.runs",
    "report": "runner.commands.report",
    "compare": "runner.commands.compare",
    "ask": "runner.commands.ask",
    "export": "runner.commands.export",
    "grade": "grading.score",
}
"""Commands with a module of their own, whose `main` takes the other arguments."""


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit code. A reader of its output that goes away (`| head`) does not change it."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["grade"]:
        # the grader takes care of its streams by itself
        return _run(given)
    with patient_streams() as output:
        code = _run(given)
    # but for a training, what a command prints is its result
    if output.lost is None or LAUNCHED.keys() & given[:1]:
        return code
    with suppress(OSError):
        text = tr("standard output: {reason}; what was printed is not complete", reason=reason_of(output.lost))
        print(text, file=sys.stderr, flush=True)
    return 2


def _run(given: Sequence[str]) -> int:
    speak_to_argparse()
    parser = argparse.ArgumentParser(prog="labeltune", usage=tr(USAGE), add_help=False)
    parser.add_argument("command", choices=[*LAUNCHED, "check", *COMMANDS], nargs="?")
    if not given or given[0] in ("-h", "--help"):
        print(tr(USAGE), end="")
        return 0
    if given[0] == "--version":
        print(f"labeltune {__version__}")
        return 0
    command, rest = parser.parse_args(given[:1]).command, given[1:]
    trains = command in LAUNCHED and not {"-h", "--help", "--check", "--check=timed", "--timed"} & set(rest)
    if command != "grade":
        # starting a run imports accelerate, and its processes the rest
        exit_without(RUN if trains else RECIPES)
    if command in COMMANDS:
        return import_module(COMMANDS[command]).main(rest)
    if trains:
        return _launch(command, rest)
    if command == "doubtful":
        return import_module("runner.commands.doubtful").main(rest)
    from runner.commands.run import main as run

    return run([*rest, "--check"] if command == "check" else rest, f"labeltune {command}")


def _launch(command: str, arguments: Sequence[str]) -> int:
    """Run a command of `LAUNCHED` under Accelerate's launcher; return the main process's exit code, which the launcher loses."""
    from runner import main as script
    from runner.commands.run import EXIT_CODE_FILE

    # the launcher needs seconds to load torch
    print(tr("labeltune {version}: starting Accelerate", version=__version__), flush=True)
    speak_to_argparse()
    parser = argparse.ArgumentParser(prog=f"labeltune {command}", add_help=False, allow_abbrev=False)
    parser.add_argument("--processes", type=_count, default=1)
    options, rest = parser.parse_known_args(arguments)
    rest = [*LAUNCHED[command], *rest]
    launch = [sys.executable, str(launcher.__file__), "-q", "--num_processes", str(options.processes)]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    environment = dict(os.environ)
    if options.processes > 1:
        import torch

        launch.append("--multi_gpu")
        # without this, Accelerate starts one process on a CPU and does not say so
        environment.update({} if torch.cuda.is_available() else {"ACCELERATE_USE_CPU": "true"})
    with tempfile.TemporaryDirectory(prefix="labeltune-") as folder:
        file = Path(folder, "exit-code")
        environment[EXIT_CODE_FILE] = str(file)
        process = subprocess.Popen([*launch, str(script.__file__), *rest], env=environment, start_new_session=True)
        code = _wait(process)
        return int(file.read_text(encoding="ascii")) if file.exists() else code


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the launcher's group of processes, and pass signals on to it."""

    def pass_on(number: int, _: object) -> None:
        os.killpg(process.pid, number)

    before = {number: signal.signal(number, pass_on) for number in launcher.STOP_SIGNALS}
    try:
        code = process.wait()
        return code if code >= 0 else 128 - code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(tr("{text!r}: expected a whole number above 0", text=text))
    return int(text)
