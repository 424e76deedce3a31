"""`learning_rate: auto`: a guess by size that a probe corrects where the hold-out says so clearly; then a run as always."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import cut_at, outputs, run

from runner.training import learning_rate, steps
from runner.training.evaluation import Evaluator
from runner.training.learning_rate import LearningRate, decide, guessed_rate

AUTO = {"learning_rate": "auto"}


@pytest.fixture
def short_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four steps at each rate in a run of twelve."""
    monkeypatch.setattr(steps, "MOST_SHARE", 1.4)
    monkeypatch.setattr(steps, "FEWEST_STEPS", 2)


def figures(workspace: Path) -> dict[str, Any]:
    return dict(json.loads((workspace / "saved_model/tiny/manifest.json").read_text())["figures"])


def test_small_bases_get_higher_rates_and_long_runs_lower_ones() -> None:
    sizes = (10**6, 134_515_008, 268_098_176, 2_506_172_416)
    assert [guessed_rate(size, 500) for size in sizes] == [1e-3, 1e-3, 2e-4, 2e-4]
    assert [guessed_rate(size, 501) for size in sizes] == [5e-4, 5e-4, 2e-4, 2e-4]


def noisy(mean: float) -> list[float]:
    """A hundred losses that vary by 0.3, and differ from those of another mean by noise of 0.03."""
    generator = torch.Generator().manual_seed(round(1000 * mean))
    rows = torch.randn(100, generator=torch.Generator().manual_seed(0)) * 0.3
    noise = torch.randn(100, generator=generator) * 0.03
    return list((mean + rows - rows.mean() + noise - noise.mean()).tolist())


def test_another_rate_is_used_where_it_is_clearly_better() -> None:
    found = decide(1e-3, {2e-4: noisy(0.66), 5e-4: noisy(0.61), 1e-3: noisy(0.65), 2e-3: noisy(0.58)}, 32)
    words = "hold-out loss 0.580 after 32 steps, against 0.660 at 0.0002, 0.610 at 0.0005, 0.650 at 0.001"
    losses = {"0.0002": 0.66, "0.0005": 0.61, "0.001": 0.65, "0.002": 0.58}
    assert (found.value, found.reason, found.losses) == (2e-3, words, pytest.approx(losses))


def test_the_guess_is_kept_where_the_difference_is_noise() -> None:
    found = decide(1e-3, {2e-4: noisy(0.649), 5e-4: noisy(0.647), 1e-3: noisy(0.65), 2e-3: noisy(0.7)}, 32)
    assert found.value == 1e-3
    assert found.reason.endswith(", and none is clearly lower than that of the usual rate for this base and length")


def test_a_rate_that_diverges_is_never_used() -> None:
    nan = [math.nan, *noisy(0.1)]
    found = decide(1e-3, {5e-4: noisy(0.7), 1e-3: noisy(0.6), 2e-3: nan}, 32)
    assert (found.value, found.losses["0.002"]) == (1e-3, None)
    assert "against 0.700 at 0.0005, not finite at 0.002" in found.reason
    assert decide(1e-3, {2e-4: noisy(0.7), 5e-4: noisy(0.6), 1e-3: nan}, 32).value == 5e-4
    assert decide(1e-3, {5e-4: nan, 1e-3: nan}, 32).value == 5e-4


def test_a_short_run_takes_the_guess_and_says_so(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    run(workspace, tiny_base, train=AUTO)
    words = "learning rate 0.001: the usual rate for 0.03 million parameters; 12 steps are too few for a probe\n"
    assert words in capsys.readouterr().out
    found = figures(workspace)
    assert (found["learning_rate"], found["learning_rate_losses"]) == (1e-3, {})
    auto = outputs(workspace)
    run(workspace, tiny_base, train={"learning_rate": 0.001})
    assert outputs(workspace) == auto


@pytest.mark.usefixtures("short_probes")
def test_the_run_is_that_of_the_rate_that_was_found(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    """To the last bit: the probe leaves the adapter and the random numbers as they were."""
    run(workspace, tiny_base, train=AUTO)
    out = capsys.readouterr().out
    assert "learning rate: trying 0.0002, 0.0005, 0.001, 0.002, 4 steps each\n" in out
    found, auto = figures(workspace), outputs(workspace)
    assert f"learning rate {found['learning_rate']:g}: hold-out loss " in out
    assert list(found["learning_rate_losses"]) == ["0.0002", "0.0005", "0.001", "0.002"]
    run(workspace, tiny_base, train={"learning_rate": found["learning_rate"]})
    assert outputs(workspace) == auto
    assert figures(workspace)["learning_rate_reason"] == "as set"


@pytest.mark.usefixtures("short_probes")
@pytest.mark.parametrize(
    ("name", "call", "again"),
    [("losses", 2, True), ("evaluate", 3, False)],
    ids=["at the second rate", "in the second epoch"],
)
def test_a_run_that_was_cut_does_not_choose_another_rate(
    workspace: Path, tiny_base: Path, name: str, call: int, again: bool, capsys: Any
) -> None:
    """Where the probe was finished, it is not repeated."""
    run(workspace, tiny_base, train=AUTO)
    whole, before = outputs(workspace), figures(workspace)
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        # `losses` is called once a rate, `evaluate` for the untuned base and then once an epoch
        cut_at(patch, Evaluator, name, call)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base, fresh=True, train=AUTO)
    assert "learning rate: trying" in capsys.readouterr().out
    run(workspace, tiny_base, train=AUTO)
    assert ("learning rate: trying" in capsys.readouterr().out) == again
    assert outputs(workspace) == whole
    keys = ("learning_rate", "learning_rate_reason", "learning_rate_losses")
    assert [figures(workspace)[key] for key in keys] == [before[key] for key in keys]


@pytest.mark.usefixtures("short_probes")
def test_the_choice_is_in_a_checkpoint_before_the_first_step(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    """Else a run that is killed in its first minutes would probe again."""
    how = {"train": {**AUTO, "checkpoint_minutes": 60}}
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, learning_rate.AdapterOptimizer, "step", 4 * 4 + 3)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base, **how)
    capsys.readouterr()
    run(workspace, tiny_base, **how)
    out = capsys.readouterr().out
    assert "resuming after step 0 of 12, from a checkpoint" in out
    assert "trying" not in out


def test_rates_and_reasons_come_back_from_a_checkpoint_as_they_were() -> None:
    found = LearningRate(1e-3, "because", {"0.001": 0.1 + 0.2, "0.002": None})
    assert LearningRate(**json.loads(json.dumps(dataclasses.asdict(found)))) == found


def test_an_adapter_at_the_majority_is_advised_to_try_auto(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    words = (
        "WARNING: the adapter gives every hold-out row the same label, after training with a learning rate of {}; {}\n"
    )
    run(workspace, tiny_base, lora={"lora_dropout": 0}, train={"epochs": 8, "learning_rate": 0.01})
    assert words.format("0.01", "try train.learning_rate: auto, or more epochs") in capsys.readouterr().out
