"""Signals: where they stop a run, with which words and exit code, and that the run resumes to the same bytes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, recipe_tree, write_recipe
from support.runs import OFTEN, RESULTS, after_step, before_call, outputs, run

from runner import stages
from runner.commands.run import main
from runner.prediction import predict
from runner.scoring import frozen_layers, prefix_cache
from runner.scoring.scorer import LabelScorer
from runner.system import files
from runner.system.content_store import ContentStore
from runner.system.signals import SIGNALS, Stopped, deferred_signals, handle_signals, raise_if_asked
from runner.training import checkpoint, finetune
from runner.training.evaluation import Evaluator


def kill(number: int = signal.SIGTERM) -> Callable[[], None]:
    """Sends this process a signal."""
    return lambda: os.kill(os.getpid(), number)


def start(workspace: Path, base: Path, **changes: Any) -> int:
    """The exit code of the command, with the settings of `OFTEN`."""
    path = write_recipe(workspace, recipe_tree(base, **{**OFTEN, **changes}))
    return main([str(path), "--workspace", str(workspace)])


def test_a_signal_ends_the_step_and_saves_a_checkpoint(
    workspace: Path, tiny_base: Path, whole: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        steps = after_step(patch, {6: kill()})
        with pytest.raises(Stopped) as caught:
            run(workspace, tiny_base)
    assert str(caught.value) == (
        "stopped by SIGTERM after step 6 of 12; run the same command again (without --fresh) to resume from the checkpoint"
    )
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert steps == list(range(1, 7))
    steps = after_step(monkeypatch, {})
    run(workspace, tiny_base)
    assert steps == list(range(7, 13))
    assert "resuming after step 6 of 12" in capsys.readouterr().out
    assert outputs(workspace) == whole


@pytest.mark.parametrize(
    ("disk", "source"), [("free", "the checkpoint"), ("full", "the beginning: no checkpoint could be saved")]
)
def test_the_command_says_how_it_was_stopped(
    workspace: Path, tiny_base: Path, disk: str, source: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    after_step(monkeypatch, {1: kill(signal.SIGINT)})
    if disk == "full":
        real = ContentStore.commit

        def full(store: ContentStore, key: str) -> Path:
            if store.suffix == ".checkpoint":
                raise OSError(28, "No space left on device")
            return real(store, key)

        monkeypatch.setattr(ContentStore, "commit", full)
    path = write_recipe(workspace, recipe_tree(tiny_base))
    assert main([str(path), "--workspace", str(workspace)]) == 130
    again = "run the same command again (without --fresh) to resume from"
    assert f"stopped by SIGINT after step 1 of 8; {again} {source}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("owner", "name", "call", "number"),
    [
        (stages, "prepare", 1, signal.SIGTERM),
        (finetune, "prove_head", 1, signal.SIGTERM),
        (finetune, "choose_layout", 1, signal.SIGTERM),
        (LabelScorer, "forward", 5, signal.SIGTERM),  # the proof of the packed layout
        (Evaluator, "evaluate", 1, signal.SIGTERM),
        *((Evaluator, "evaluate", 4, number) for number in SIGNALS),
        (checkpoint.Checkpoints, "save", 12, signal.SIGTERM),
        (finetune, "save_adapter", 1, signal.SIGTERM),
        (prefix_cache.PrefixCache, "label_logits", 1, signal.SIGTERM),  # the proof before predicting
        (predict, "prediction_line", 3, signal.SIGTERM),
    ],
)
def test_a_signal_anywhere_stops_the_run_and_it_resumes(
    workspace: Path,
    tiny_base: Path,
    whole: list[bytes],
    owner: Any,
    name: str,
    call: int,
    number: signal.Signals,
    capsys: Any,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        before_call(patch, owner, name, call, kill(number))
        assert start(workspace, tiny_base) == 128 + number
    assert f"stopped by {number.name}" in capsys.readouterr().err
    assert start(workspace, tiny_base) == 0
    assert outputs(workspace) == whole


def test_a_signal_stops_the_storing_of_frozen_layers(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the batch at hand: storing the states of a large data set takes hours."""
    monkeypatch.setattr(frozen_layers, "STORED_AT_ONCE", 2)
    stored = []
    real = frozen_layers.torch.Tensor.cpu

    def counted(tensor: Any) -> Any:
        if tensor.dim() == 3:  # the states of a batch
            stored.append(tensor)
            kill()()
        return real(tensor)

    monkeypatch.setattr(frozen_layers.torch.Tensor, "cpu", counted)
    how = {"lora": {"layers_to_transform": [1]}, "train": {"cache_frozen_layers": True, "layout": "padded"}}
    assert start(workspace, tiny_base, **how) == 143
    assert len(stored) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_in_a_destructor_stops_the_run(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python does not pass on an exception from there."""

    class Swallowing:
        def __del__(self) -> None:
            kill()()

    real = stages.records_of
    monkeypatch.setattr(stages, "records_of", lambda *rest: (Swallowing(), real(*rest))[1])
    assert start(workspace, tiny_base) == 143


def test_a_signal_that_becomes_another_error_is_still_one(
    workspace: Path, tiny_base: Path, whole: list[bytes], capsys: Any
) -> None:
    """As where C code of a library calls Python, and the signal arrives there."""

    def converting() -> None:
        with suppress(Stopped):
            kill()()
        raise ValueError("could not determine the shape")

    with pytest.MonkeyPatch.context() as patch:
        before_call(patch, files, "digest", 1, converting)
        assert start(workspace, tiny_base) == 143
    assert "stopped by SIGTERM" in capsys.readouterr().err
    assert start(workspace, tiny_base) == 0
    assert outputs(workspace) == whole


@pytest.mark.parametrize(
    ("owner", "name", "left"), [(stages, "prepare", "saved_model/tiny"), (predict, "prediction_line", RESULTS[0])]
)
def test_a_signal_that_something_swallows_stops_the_run_soon(
    workspace: Path, tiny_base: Path, owner: Any, name: str, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swallowing() -> None:
        with suppress(Stopped):
            kill()()

    before_call(monkeypatch, owner, name, 1, swallowing)
    assert start(workspace, tiny_base) == 143
    assert not (workspace / left).exists()


def test_an_ignored_signal_stays_ignored(workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `nohup` ignores SIGHUP."""
    after_step(monkeypatch, {2: kill(signal.SIGHUP)})
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run(workspace, tiny_base)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_that_is_passed_on_is_one_request(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal's Ctrl-C reaches the runner twice: directly and from its launcher."""
    after_step(monkeypatch, {1: lambda: (kill()(), kill()())})
    with pytest.raises(Stopped, match="after step 1 of 12"):
        run(workspace, tiny_base)


def test_a_limit_of_cpu_time_is_one_request(workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system sends its signal every second."""

    def limit() -> None:
        for _ in range(2):
            kill(signal.SIGXCPU)()
            time.sleep(1.1)

    after_step(monkeypatch, {1: limit})
    with pytest.raises(Stopped, match="stopped by SIGXCPU after step 1 of 12") as caught:
        run(workspace, tiny_base)
    assert caught.value.code == 152


def test_a_second_signal_stops_at_once(workspace: Path, tiny_base: Path) -> None:
    """In a process of its own, because the signal ends it."""
    code = (
        "import os, signal, sys, time; sys.path[:0] = [sys.argv[1]]\n"
        "from runner.commands.run import main; from runner.training.trainer import Trainer\n"
        "def endless(state):\n"
        "    os.kill(os.getpid(), signal.SIGTERM); time.sleep(1.2); os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)\n"
        "Trainer.on_step_end = (endless,)\n"
        "main(sys.argv[2:])"
    )
    path = write_recipe(workspace, recipe_tree(tiny_base))
    command = [sys.executable, "-c", code, str(ROOT), str(path), "--workspace", str(workspace)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == -signal.SIGTERM
    assert "stopping after the current step or batch; send the signal again to stop at once\n" in done.stderr
    assert "stopped at once; the last checkpoint is kept\n" in done.stderr


def test_a_signal_in_the_hold_out_does_not_wait_for_its_end(
    workspace: Path, tiny_base: Path, whole: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The resumed run evaluates the epoch again."""
    real, batches = LabelScorer.forward, []

    def signalled(scorer: Any, batch: Any) -> Any:
        if batch.targets is not None and not scorer.training:
            batches.append(1)
            if len(batches) == 5:  # two of the untuned base, two of the first epoch, the first of the second
                kill()()
        return real(scorer, batch)

    how = {"samples": {"holdout": 5}}
    run(workspace, tiny_base, **how)
    expected = outputs(workspace)
    with monkeypatch.context() as patch:
        patch.setattr(LabelScorer, "forward", signalled)
        with pytest.raises(Stopped, match="after step 8 of 12"):
            run(workspace, tiny_base, fresh=True, **how)
    assert len(batches) == 5
    run(workspace, tiny_base, **how)
    assert "resuming after step 8 of 12" in capsys.readouterr().out
    assert outputs(workspace) == expected


def test_an_error_after_a_noted_signal_is_shown(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        kill()()
        raise ValueError("a bug of ours")

    after_step(monkeypatch, {1: fails})
    with pytest.raises(ValueError, match="a bug of ours"):
        run(workspace, tiny_base)


def test_signals_are_deferred_in_nested_blocks() -> None:
    with handle_signals():
        with deferred_signals(), deferred_signals() as request:
            kill()()
            assert request.number == signal.SIGTERM
        with deferred_signals(), pytest.raises(Stopped) as caught:
            raise_if_asked()
        assert str(caught.value) == ("stopped by SIGTERM; run the same command again (without --fresh) to resume")
        with pytest.raises(Stopped):
            kill()()
