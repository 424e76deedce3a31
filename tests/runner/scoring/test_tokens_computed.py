"""What a layout computes, in tokens: the deterministic half of benchmarks/train.py, on the same rows as there."""

import functools
import sys

import pytest
from conftest import ROOT
from support.shapes import model

from runner.scoring import layouts
from runner.scoring.layouts import LAYOUTS

sys.path.append(str(ROOT / "benchmarks"))

import rows as benchmark

LEAST = {"CoLA": 2.2, "QQP": 1.8}
"""Tokens that padding computes for each useful one at batch 8, at least."""

TASKS = [("CoLA", True), ("QQP", True), ("CoLA", False), ("QQP", False)]


load_rows = functools.cache(benchmark.load_rows)
own = functools.cache(model)


@pytest.fixture(scope="module", params=TASKS, ids=lambda task: f"{task[0]}-{'generated' if task[1] else 'real'}")
def rows(request: pytest.FixtureRequest) -> benchmark.TaskRows:
    """A task's rows; the real ones where they are."""
    task, demo = request.param
    found = load_rows(task, None, None, 128, demo)
    if found.source.endswith("generated") != demo:
        pytest.skip("the exam's rows are not here")
    return found


@pytest.fixture
def one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch in one row, as on a model that is wide enough."""
    monkeypatch.setattr(layouts, "row_tokens", lambda weights, width, prefix: 1 << 20)


def computed(rows: benchmark.TaskRows, layout: str, batch: int) -> int:
    """Tokens of all batches."""
    place = LAYOUTS[layout](own("Gemma"), rows.prompt)
    return sum(place(rows.suffixes[first : first + batch]).tokens for first in range(0, 128, batch))


def useful(rows: benchmark.TaskRows, batch: int) -> int:
    """Tokens that no layout can do without."""
    return sum(rows.useful_tokens(first, batch) for first in range(0, 128, batch))


@pytest.mark.parametrize("batch", [1, 8, 32])
def test_packed_computes_the_useful_tokens_and_no_others(rows: benchmark.TaskRows, batch: int, one_row: None) -> None:
    assert computed(rows, "packed", batch) == useful(rows, batch)


def test_padded_computes_several_times_as_many_tokens(rows: benchmark.TaskRows) -> None:
    waste = [computed(rows, "padded", batch) / useful(rows, batch) for batch in (1, 8, 32)]
    assert waste[0] == 1
    assert LEAST[rows.task] < waste[1] < waste[2]


def test_a_longer_instruction_costs_packed_once_a_batch(rows: benchmark.TaskRows, one_row: None) -> None:
    task, demo = rows.task, rows.source.endswith("generated")
    short, long = (load_rows(task, None, tokens, 128, demo) for tokens in (15, 150))
    assert len(long.prompt.prefix) - len(short.prompt.prefix) == 135
    assert computed(long, "packed", 32) - computed(short, "packed", 32) == 4 * 135
    assert computed(long, "padded", 32) - computed(short, "padded", 32) == 128 * 135


def test_more_rows_add_only_prefixes_and_a_little_padding(
    rows: benchmark.TaskRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "row_tokens", lambda weights, width, prefix: 512)
    batch = LAYOUTS["packed"](own("Gemma"), rows.prompt)(rows.suffixes)
    count = batch.inputs["input_ids"].shape[0]
    assert count > 2
    padding = batch.tokens - rows.useful_tokens(0, 128) - (count - 1) * len(rows.prompt.prefix)
    assert 0 <= padding < count * max(map(len, rows.suffixes))
    assert batch.tokens < 1.25 * rows.useful_tokens(0, 128)
