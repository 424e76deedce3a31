"""Memory of the host while a fine-tune goes over few rows and over all of QQP: what grows with the rows?

    python benchmarks/memory.py [--quick] [--json FILE]

The real command over the demo's base, which needs next to nothing itself, with every labelled row for training. It is
stopped after `STEPS` steps as a user would stop it: by then all rows have been prepared, tokenised and drawn, and a step
takes what it will always take. Linux: read from /proc. `--quick` goes up to a tenth of the rows.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional

from prepare import RECIPE, make_tables
from rows import ROOT, print_table, write_json

COUNTS = (4_000, 36_384, 363_846)
"""Labelled rows: what the exam asks for, a tenth of QQP and the whole."""

STEPS = 300
"""Optimizer steps of 16 rows before the run is stopped."""

OVERRIDES = (
    f"base={ROOT / 'recipes/demo/base'}", "samples.train=all", "samples.holdout=200", "train.epochs=50",
    "train.layout=packed", "prompt.max_length=128",
)  # fmt: skip


@dataclass(frozen=True)
class Memory:
    """Resident memory of one run, in MB (10⁶ bytes)."""

    prepared: float
    """Largest until the records were on disk."""
    peak: float
    """Largest of the whole run, files that are mapped included."""
    first: float
    """Its own at the first line of metrics.jsonl, ten steps into the training."""
    last: float
    """Its own after the last step."""
    mapped: float
    """Of files that are mapped, libraries and rows, after the last step: the system drops it where others need it."""


def measure(folder: Path, count: int) -> Memory:
    """Runs the command over `count` rows until it has done its steps, and stops it."""
    make_tables(folder, count)
    recipe = [str(ROOT / "runner/main.py"), str(RECIPE), "--workspace", str(folder), *OVERRIDES]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with (folder / "log").open("wb") as log:
        run = subprocess.Popen([sys.executable, *recipe], cwd=ROOT, env=environment, stdout=log, stderr=log)
        manifest, metrics = folder / "pre_data/QQP/manifest.json", folder / "saved_model/.QQP.partial/metrics.jsonl"
        _wait(run, manifest.exists, folder)
        prepared = _resident(run, "VmHWM")
        _wait(run, lambda: _steps(metrics) > 0, folder)
        first = _resident(run, "RssAnon")
        _wait(run, lambda: _steps(metrics) >= STEPS, folder)
        found = Memory(prepared, _resident(run, "VmHWM"), first, _resident(run, "RssAnon"), _resident(run, "RssFile"))
        run.send_signal(signal.SIGTERM)
        if run.wait() != 128 + signal.SIGTERM:
            raise SystemExit((folder / "log").read_text(errors="replace"))
    return found


def _steps(metrics: Path) -> int:
    """The last step that was logged; 0 before the first."""
    found = re.findall(r'"step": (\d+)', metrics.read_text()) if metrics.exists() else ()
    return int(found[-1]) if found else 0


def _resident(run: subprocess.Popen[bytes], name: str) -> float:
    """A line of the process's status, in MB."""
    kilobytes = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{run.pid}/status").read_text())
    assert kilobytes is not None
    return int(kilobytes[1]) * 1024 / 1e6


def _wait(run: subprocess.Popen[bytes], what: Callable[[], bool], folder: Path) -> None:
    while not what():
        if run.poll() is not None:
            raise SystemExit((folder / "log").read_text(errors="replace"))
        time.sleep(0.05)


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Measures, prints the table, and writes the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="up to a tenth of the rows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON, too")
    options = parser.parse_args(arguments)
    found = {}
    for count in COUNTS[:2] if options.quick else COUNTS:
        with tempfile.TemporaryDirectory() as name:
            found[count] = measure(Path(name), count)
    print_table(
        "Resident memory by labelled rows, MB",
        ["rows", "preparing", "at most", "training, own at first", "own at last", "mapped"],
        [[f"{count:,}", *(f"{value:.0f}" for value in asdict(one).values())] for count, one in found.items()],
    )
    few, all_rows = found[COUNTS[0]], found[max(found)]
    ratios = {
        f"{name}: all rows / few": round(getattr(all_rows, name) / getattr(few, name), 3) for name in ("peak", "last")
    }
    print_table("All rows against few", ["ratio", ""], [[name, f"{ratio:.2f}"] for name, ratio in ratios.items()])
    write_json(options.json, "memory", ratios, {str(count): asdict(one) for count, one in found.items()})


if __name__ == "__main__":
    main()
