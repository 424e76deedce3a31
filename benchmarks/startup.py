"""Start-up: what the commands and the run's imports cost before any work begins, each in a process of its own.

    python benchmarks/startup.py [--base FOLDER] [--quick] [--json FILE]

Files and bytecode are warm. `--quick` measures once instead of five times. `--base`: a base for `--check` on the exam's 12,000
QQP rows, where they are.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rows import EXAM, ROOT, Spread, pair_ratios, print_table, write_json

HEAVY = (
    "torch", "transformers", "peft", "accelerate", "datasets", "evaluate", "sklearn", "scipy", "pandas", "pyarrow", "numpy",
)  # fmt: skip
"""Libraries that a command should load only where it computes with them."""

MODELS = "from transformers import AutoModelForCausalLM, AutoTokenizer, GemmaForCausalLM"
"""What loading a base brings in: the package itself loads nothing until a name is asked for."""

WAYS: Mapping[str, Sequence[str]] = {
    "interpreter": ["-c", "pass"],
    "--help": ["runner/main.py", "--help"],
    "--check": ["runner/main.py", "--check", "recipes/demo-paraphrase.yaml"],
    "doctor": ["-m", "labeltune", "doctor"],
    "score --help": ["-m", "grading.score", "--help"],
    "torch": ["-c", "import torch"],
    "torch, transformers, peft": ["-c", f"import torch, peft; {MODELS}"],
    "predict's imports": ["-c", f"import runner.distributed.accelerator, runner.prediction.predict; {MODELS}"],
    "the run's imports": [
        "-c",
        f"import runner.distributed.accelerator, runner.training.finetune, runner.prediction.predict; {MODELS}",
    ],
    "stock set": ["-c", f"import torch, peft, accelerate, datasets, evaluate, sklearn.metrics; {MODELS}"],
}
"""What is started, by name; the arguments of a Python started in the repository's root. The stock set is what the usual
fine-tuning script imports at its top."""

RATIOS = (
    ("--help", "interpreter"),
    ("--check", "interpreter"),
    ("doctor", "interpreter"),
    ("score --help", "interpreter"),
    ("predict's imports", "torch, transformers, peft"),
    ("the run's imports", "torch, transformers, peft"),
    ("stock set", "the run's imports"),
)
"""Pairs whose CPU seconds are compared."""

WATCH = """
import os, sys, time
started = time.perf_counter()
child = os.posix_spawn(sys.executable, [sys.executable, *sys.argv[1:]], os.environ)
_, status, used = os.wait4(child, 0)
print("\\n", [time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss, status])
"""
"""Starts a Python and says what it took. Between us and what is measured because Linux never reports a child's peak
memory below what its parent held when it started it; this one holds less than any child of interest."""


@dataclass(frozen=True)
class Cost:
    """What one child process took."""

    wall: float
    """Seconds from start to end."""
    cpu: float
    """Seconds of CPU, user and system, of it and of the children that it waited for."""
    peak: float
    """Largest resident memory of any of them, in MB (10⁶ bytes)."""


def cost(arguments: Sequence[str], folder: Path = ROOT) -> Cost:
    """Runs a Python with these arguments in `folder`, on one thread and off the network, and waits for it.

    Raises SystemExit with what it wrote to its error stream where it fails."""
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", WATCH, *arguments],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        check=True,
    )
    wall, cpu, peak, status = json.loads(done.stdout.splitlines()[-1])
    if status:
        raise SystemExit(f"{' '.join(arguments)}: failed\n{done.stderr.decode(errors='replace')[-2000:]}")
    return Cost(wall, cpu, peak * (1 if sys.platform == "darwin" else 1024) / 1e6)  # macOS counts bytes


def take_turns(ways: Mapping[str, Callable[[], Cost]], repeats: int) -> dict[str, list[Cost]]:
    """What each way costs: `repeats` rounds in which every way runs once."""
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            costs[name].append(way())
    return costs


def cpu_ratio(slower: Sequence[Cost], faster: Sequence[Cost]) -> Spread:
    """How many times the CPU seconds one way takes, pair by pair."""
    return pair_ratios([one.cpu for one in slower], [one.cpu for one in faster])


def figures(costs: Mapping[str, Sequence[Cost]]) -> dict[str, dict[str, dict[str, float]]]:
    """Every way's spreads as plain values for JSON."""
    return {
        name: {key: Spread.of([getattr(one, key) for one in found]).figures() for key in ("wall", "cpu", "peak")}
        for name, found in costs.items()
    }


def cells(costs: Sequence[Cost]) -> list[str]:
    """Wall seconds, CPU seconds and peak memory for a table."""
    wall, cpu, peak = (Spread.of([getattr(one, key) for one in costs]) for key in ("wall", "cpu", "peak"))
    return [wall.show(), cpu.show(), f"{peak.median:.0f}"]


def loaded(arguments: Sequence[str]) -> dict[str, str]:
    """The heavy libraries that a Python with these arguments loads, each with the project's module that asked first.

    Read from `-X importtime`, which names a module after those that it imported, indented by depth."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], cwd=ROOT, env=_environment(), capture_output=True, check=True
    )
    lines = re.findall(r"^import time: +\d+ \| +\d+ \|( +)(\S+)$", done.stderr.decode(), re.MULTILINE)
    found: dict[str, str] = {}
    importers: list[tuple[int, str]] = []  # the modules around the current line: read from the end, they come first
    for indent, name in reversed(lines):
        while importers and importers[-1][0] >= len(indent):
            importers.pop()
        if name in HEAVY:
            ours = [outer for _, outer in importers if outer.startswith(("runner.", "grading."))]
            found[name] = ours[-1] if ours else "the command"
        importers.append((len(indent), name))
    return {name: found[name] for name in HEAVY if name in found}


def exam_check(base: Path) -> dict[str, Sequence[str]]:
    """`--check` on the exam's QQP files with a real base, by its name in the table. Raises SystemExit without the files."""
    if not (EXAM / "data/questionBData/QQP").is_dir():
        raise SystemExit(f"{EXAM}: the exam's files are not there")
    arguments = ["--check", "recipes/qqp.yaml", "--workspace", str(EXAM), f"base={base.resolve()}"]
    return {f"--check, QQP, {base.name}": ["runner/main.py", *arguments]}


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def main() -> None:
    """Measures, prints the tables, and writes the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="measure once instead of five times")
    parser.add_argument("--base", type=Path, metavar="FOLDER", help="a base for --check on the exam's QQP rows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON, too")
    options = parser.parse_args()
    started = {**WAYS, **exam_check(options.base)} if options.base else WAYS
    libraries = {name: loaded(arguments) for name, arguments in started.items()}  # this also warms the caches
    ways = {name: (lambda arguments=arguments: cost(arguments)) for name, arguments in started.items()}
    costs = take_turns(ways, 1 if options.quick else 5)
    print_table(
        "Start-up, one thread",
        ["what", "wall s", "CPU s", "peak MB", "heavy libraries loaded"],
        [[name, *cells(found), ", ".join(libraries[name]) or "none"] for name, found in costs.items()],
    )
    print_table(
        "Who asks first for each, in the run's imports",
        ["library", "module"],
        list(libraries["the run's imports"].items()),
    )
    ratios = {f"{slow} / {fast}": cpu_ratio(costs[slow], costs[fast]) for slow, fast in RATIOS}
    print_table("CPU seconds, pair by pair", ["ratio", ""], [[name, ratio.show()] for name, ratio in ratios.items()])
    details = {
        "costs": figures(costs),
        "loaded": libraries,
        "ratios": {name: one.figures() for name, one in ratios.items()},
    }
    write_json(options.json, "startup", {name: round(ratio.median, 3) for name, ratio in ratios.items()}, details)


if __name__ == "__main__":
    main()
