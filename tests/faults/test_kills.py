"""Signals at random moments of a small real run, or of a search: each resumed run ends with the bytes of one that was never cut.

    tox -e faults                          100 of SIGKILL, 100 of those that ask
    LABELTUNE_KILLS=500 tox -e faults

A run is a fork of this process, which has loaded the libraries, so that kills fall into its work and not into imports.
"""

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import pytest
import torch
from conftest import recipe_tree, write_recipe, write_tables

from runner.system.signals import SIGNALS

SEARCH_KILLS = 20
"""Kills of one search."""

pytestmark = [pytest.mark.faults, pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")]

KILLS = int(os.environ.get("LABELTUNE_KILLS", "100"))
MOST_IN_A_RUN = 6
OUTPUTS = (
    "pre_data/tiny/tiny_train.json",
    "pre_data/tiny/tiny_holdout.json",
    "pre_data/tiny/tiny_dev.json",
    "saved_model/tiny/adapter_model.safetensors",
    "saved_model/tiny/adapter_config.json",
    "saved_model/tiny/prompt.json",
    "result/result_tiny.txt",
    "result/predictions_tiny.jsonl",
)
OFTEN: dict[str, Any] = {"epochs": 3, "checkpoint_minutes": 1e-9}
WAYS: list[dict[str, Any]] = [
    {
        "lora": {"lora_dropout": 0.1, "target_modules": "all-linear"},
        "train": {**OFTEN, "batch_size": 4, "accumulation": 2},
    },
    {
        "lora": {"lora_dropout": 0.1, "layers_to_transform": [1], "use_dora": True},
        "train": {**OFTEN, "batch_size": 3, "cache_frozen_layers": True, "schedule": "constant"},
        "decoding": {"kind": "generate", "max_new_tokens": 2},
    },
    {
        "train": {**OFTEN, "batch_size": 4, "gradient_checkpointing": True, "layout": "padded", "schedule": "linear"},
        "decoding": {"kind": "label", "batch": 2},
    },
]
"""What is run, in turns."""


def forked(workspace: Path, recipe: Path) -> int:
    """Starts the command in a process of its own; returns its process id."""
    child = os.fork()
    if child == 0:
        code = 99
        with contextlib.suppress(BaseException), (workspace / "log").open("ab", buffering=0) as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            from tqdm import tqdm

            from runner.commands.run import main

            # tqdm's own lock is shared by all forks, and stays locked when one is killed in it
            tqdm.set_lock(threading.RLock())

            code = main([str(recipe), "--workspace", str(workspace)])
        os._exit(code)
    return child


def ended(child: int, seconds: float) -> Optional[int]:
    """The process's exit code; None where it has not ended within that time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def outputs(workspace: Path) -> dict[str, bytes]:
    return {name: (workspace / name).read_bytes() for name in OUTPUTS}


def wait_for_output(workspace: Path, child: int) -> None:
    """Waits until the process has written something: only then does it handle signals."""
    said = (workspace / "log").stat().st_size if (workspace / "log").exists() else 0
    while not (workspace / "log").exists() or (workspace / "log").stat().st_size == said:
        assert Path(f"/proc/{child}").exists()
        time.sleep(0.001)


@pytest.mark.parametrize("signals", [[signal.SIGKILL], SIGNALS], ids=["killed", "asked"])
def test_runs_that_are_cut_end_as_whole_ones(
    tiny_base: Path, tmp_path: Path, signals: Sequence[signal.Signals]
) -> None:
    import runner.prediction.predict
    import runner.training.finetune  # noqa: F401

    torch.set_num_threads(1)
    recipes = [write_recipe(tmp_path, recipe_tree(tiny_base, **way), f"{n}.yaml") for n, way in enumerate(WAYS)]
    wholes, started = [], time.monotonic()
    for recipe in recipes:
        workspace = write_tables(tmp_path / f"whole-{recipe.stem}")
        assert ended(forked(workspace, recipe), 300) == 0
        wholes.append(outputs(workspace))
    seconds = (time.monotonic() - started) / len(recipes)
    draw, kills, runs, resumed = random.Random(0), 0, 0, 0
    while kills < KILLS:
        recipe, whole = recipes[runs % len(recipes)], wholes[runs % len(recipes)]
        runs += 1
        workspace = write_tables(tmp_path / f"run-{runs}")
        for _ in range(MOST_IN_A_RUN):
            child, number = forked(workspace, recipe), draw.choice(signals)
            if number != signal.SIGKILL:
                wait_for_output(workspace, child)
            code = ended(child, draw.uniform(0, seconds))
            if code is None:
                os.kill(child, number)
                code = ended(child, 60)
                kills += code != 0
            log = (workspace / "log").read_text(errors="replace") if (workspace / "log").exists() else ""
            assert code in (0, -number, 128 + number), log
            assert "Traceback" not in log, log
            if code == 0:
                break
        else:
            assert ended(forked(workspace, recipe), 300) == 0, (workspace / "log").read_text()
        assert outputs(workspace) == whole, workspace
        resumed += (workspace / "log").read_text().count("resuming after")
    print(f"{kills} cut in {runs} runs of {seconds:.1f} s, {resumed} resumed from a checkpoint or a partial prediction")
    assert resumed > 0


def search_table(workspace: Path) -> list[dict[str, Any]]:
    """The table of a search, without the times."""
    rows = json.loads((workspace / "result/search_tiny.json").read_text(encoding="utf-8"))["trials"]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def planned(workspace: Path, journal: Path) -> Path:
    """Gives a new workspace the journal of another search up to its plan: what was measured there, and what follows from it."""
    lines = journal.read_bytes().splitlines(keepends=True)
    end = next(number for number, line in enumerate(lines, 1) if b'"plan"' in line)
    copy = workspace / "saved_model/.search/tiny" / journal.parent.name / journal.name
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"".join(lines[:end]))
    return workspace


@pytest.mark.parametrize("sampler", ["random", "optuna"])
def test_a_search_that_is_killed_ends_with_the_table_of_a_whole_one(
    tiny_base: Path, tmp_path: Path, sampler: str
) -> None:
    """In both, the pace and the plan are those of one measurement; there is time enough for all rows in any case."""
    import runner.prediction.predict
    import runner.training.finetune  # noqa: F401

    if sampler == "optuna":
        pytest.importorskip("optuna")
    torch.set_num_threads(1)
    space = {"train.learning_rate": [0.02, 1e-6], "instruction": ["Which one?"], "lora.r": [4]}
    # a small share of the time is used: whether all rows fit never depends on a kill
    tree = recipe_tree(
        tiny_base, search={"minutes": 600, "space": space, "sampler": sampler}, train={"checkpoint_minutes": 1e-9}
    )
    recipe, whole = write_recipe(tmp_path, tree), write_tables(tmp_path / "whole")
    started = time.monotonic()
    assert ended(forked(whole, recipe), 300) == 0
    seconds = time.monotonic() - started
    (journal,) = (whole / "saved_model/.search/tiny").glob("*/journal.jsonl")
    draw, kills, tables = random.Random(0), 0, 0
    while kills < SEARCH_KILLS:
        tables += 1
        workspace = planned(write_tables(tmp_path / f"run-{tables}"), journal)
        code = None
        while code is None and kills < SEARCH_KILLS:
            child = forked(workspace, recipe)
            code = ended(child, draw.uniform(0, seconds / 4))
            if code is None:
                os.kill(child, signal.SIGKILL)
                assert ended(child, 60) == -signal.SIGKILL
                kills += 1
        code = ended(forked(workspace, recipe), 300) if code is None else code
        log = (workspace / "log").read_text(errors="replace")
        assert code == 0, log
        assert "Traceback" not in log, log
        assert search_table(workspace) == search_table(whole)
        assert outputs(workspace) == outputs(whole)
    print(f"{kills} killed in {tables} searches of {seconds:.1f} s")
