"""A run that was cut goes on to the same bytes, wherever it was cut; what would make it another run is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, recipe_tree, write_recipe, write_tables
from safetensors.torch import save_file

from runner import pipeline
from runner.commands.run import execute, main
from runner.errors import UserError
from runner.model import adapter
from runner.model import base as base_model
from runner.prediction import predict
from runner.recipe.loader import load_recipes
from runner.scoring import prefix_cache
from runner.system import files
from runner.system.signals import SIGNALS, Stopped
from runner.training import checkpoint, finetune
from runner.training import resume as unfinished
from runner.training import trainer as training

ADAPTER = "saved_model/tiny/adapter_model.safetensors"
RESULTS = ("result/result_tiny.txt", "result/predictions_tiny.jsonl")
OFTEN = {"lora": {"lora_dropout": 0.1}, "train": {"epochs": 3, "batch_size": 4, "checkpoint_minutes": 1e-9}}


def run(workspace: Path, base: Path, fresh: bool = False, **changes: Any) -> None:
    how = {name: {**OFTEN.get(name, {}), **changes.get(name, {})} for name in {*OFTEN, *changes}}
    path = write_recipe(workspace, recipe_tree(base, **how))
    execute(load_recipes([path]), workspace, fresh=fresh)


def outputs(workspace: Path) -> list[bytes]:
    return [(workspace / name).read_bytes() for name in (ADAPTER, *RESULTS)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> list[bytes]:
    """What an uninterrupted run leaves."""
    workspace = write_tables(tmp_path_factory.mktemp("whole"))
    run(workspace, tiny_base)
    return outputs(workspace)


def cut_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, error: Any = KeyboardInterrupt) -> None:
    """Makes the given call of `owner.name` end in an error."""
    real, calls = getattr(owner, name), [0]

    def cut(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            raise error
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, cut)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (training.TrainingLoop, "_accumulate", 1),
        (training.TrainingLoop, "_accumulate", 7),
        (training.TrainingLoop, "_judge", 2),
        (checkpoint, "seal", 5),  # while a checkpoint is saved, before it has its name
        (checkpoint.os, "fsync", 8),
        (training.TrainingLoop, "_keep", 15),  # behind the last step
        (predict, "prediction_line", 3),
    ],
)
def test_a_cut_run_goes_on_to_the_same_bytes(
    workspace: Path,
    tiny_base: Path,
    whole: list[bytes],
    owner: Any,
    name: str,
    call: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        cut_at(patch, owner, name, call)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base)
    run(workspace, tiny_base)
    assert outputs(workspace) == whole
    assert not (workspace / "saved_model/.checkpoints/tiny").exists()


def test_a_signal_ends_the_step_and_keeps_a_checkpoint(
    workspace: Path, tiny_base: Path, whole: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    real, steps = training.TrainingLoop._accumulate, []

    def signalled(loop: Any, scorer: Any, rows: Any) -> Any:
        steps.append(loop.step)
        if len(steps) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(loop, scorer, rows)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(training.TrainingLoop, "_accumulate", signalled)
        with pytest.raises(
            Stopped, match=r"stopped by SIGTERM behind step 6 of 12; the same command .without --fresh. goes on"
        ) as caught:
            run(workspace, tiny_base)
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert steps == list(range(6))
    monkeypatch.setattr(training.TrainingLoop, "_accumulate", lambda *rest: steps.append(rest[0].step) or real(*rest))
    run(workspace, tiny_base)
    assert steps == list(range(12))
    assert "going on behind step 6 of 12" in capsys.readouterr().out
    assert outputs(workspace) == whole


@pytest.mark.parametrize(("disk", "place"), [("free", "there"), ("full", "the start: no checkpoint could be kept")])
def test_the_command_says_how_it_was_stopped(
    workspace: Path, tiny_base: Path, disk: str, place: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    real = training.TrainingLoop._accumulate
    monkeypatch.setattr(
        training.TrainingLoop, "_accumulate", lambda *rest: os.kill(os.getpid(), signal.SIGINT) or real(*rest)
    )
    if disk == "full":
        error = OSError(28, "No space left on device")
        monkeypatch.setattr(checkpoint.Checkpoints, "_write", lambda *rest: (_ for _ in ()).throw(error))
    path = write_recipe(workspace, recipe_tree(tiny_base))
    assert main([str(path), "--workspace", str(workspace)]) == 130
    words = f"stopped by SIGINT behind step 1 of 8; the same command (without --fresh) goes on from {place}\n"
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("owner", "name", "call", "number"),
    [
        (pipeline, "prepare", 1, signal.SIGTERM),
        (finetune, "choose_layout", 1, signal.SIGTERM),
        *((training.TrainingLoop, "_judge", 3, number) for number in SIGNALS),
        (training.Checkpoints, "save", 12, signal.SIGTERM),
        (predict, "prediction_line", 3, signal.SIGTERM),
    ],
)
def test_a_signal_anywhere_ends_the_run_in_words_and_it_goes_on(
    workspace: Path,
    tiny_base: Path,
    whole: list[bytes],
    owner: Any,
    name: str,
    call: int,
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    real, calls = getattr(owner, name), [0]

    def signalled(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            os.kill(os.getpid(), number)
        return real(*arguments, **named)

    path = write_recipe(workspace, recipe_tree(tiny_base, **OFTEN))
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, signalled)
        assert main([str(path), "--workspace", str(workspace)]) == 128 + number
    assert f"stopped by {number.name}" in capsys.readouterr().err
    assert main([str(path), "--workspace", str(workspace)]) == 0
    assert outputs(workspace) == whole


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_a_destructor_swallows_ends_the_run_all_the_same(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Swallowing:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    real = pipeline.records_of
    monkeypatch.setattr(pipeline, "records_of", lambda *rest: (Swallowing(), real(*rest))[1])
    path = write_recipe(workspace, recipe_tree(tiny_base))
    assert main([str(path), "--workspace", str(workspace)]) == 143


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (finetune, "prove_head", 1),
        (training.LabelScorer, "forward", 5),  # the proof of the packed layout
        (prefix_cache.PrefixCache, "label_logits", 1),
        (adapter, "safe_open", 1),
        (files, "digest", 1),
    ],
)
def test_a_signal_that_becomes_another_error_is_one_all_the_same(
    workspace: Path,
    tiny_base: Path,
    whole: list[bytes],
    owner: Any,
    name: str,
    call: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    """As where torch asks Python for the length of something, and the signal comes in there."""
    real, calls = getattr(owner, name), [0]

    def converting(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            with suppress(Stopped):
                os.kill(os.getpid(), signal.SIGTERM)
            raise ValueError("could not determine the shape")
        return real(*arguments, **named)

    path = write_recipe(workspace, recipe_tree(tiny_base, **OFTEN))
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, converting)
        assert main([str(path), "--workspace", str(workspace)]) == 143
    assert "stopped by SIGTERM" in capsys.readouterr().err
    assert main([str(path), "--workspace", str(workspace)]) == 0
    assert outputs(workspace) == whole


@pytest.mark.parametrize(
    ("owner", "name", "left"), [(pipeline, "prepare", "saved_model/tiny"), (predict, "prediction_line", RESULTS[0])]
)
def test_a_signal_that_something_swallows_ends_the_run_soon(
    workspace: Path, tiny_base: Path, owner: Any, name: str, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(owner, name)

    def swallowing(*arguments: Any) -> Any:
        with suppress(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    monkeypatch.setattr(owner, name, swallowing)
    path = write_recipe(workspace, recipe_tree(tiny_base))
    assert main([str(path), "--workspace", str(workspace)]) == 143
    assert not (workspace / left).exists()


def test_a_signal_passed_on_is_no_second_one_and_one_that_is_ignored_is_none(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal's Ctrl-C reaches the runner twice: by itself and from its launcher. `nohup` has hang-ups ignored."""
    real, numbers = training.TrainingLoop._accumulate, [signal.SIGHUP]

    def signalled(*arguments: Any) -> Any:
        for number in numbers:
            os.kill(os.getpid(), number)
        return real(*arguments)

    monkeypatch.setattr(training.TrainingLoop, "_accumulate", signalled)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run(workspace, tiny_base)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    numbers[:] = [signal.SIGTERM, signal.SIGTERM]
    with pytest.raises(Stopped, match="behind step 1 of 12"):
        run(workspace, tiny_base, fresh=True)


def test_a_second_signal_stops_at_once(workspace: Path, tiny_base: Path) -> None:
    """In a process of its own: it ends by the signal."""
    code = (
        "import os, signal, sys, time; sys.path[:0] = [sys.argv[1]]\n"
        "from runner.commands import run as command; from runner.training import trainer as training\n"
        "def endless(*rest):\n"
        "    os.kill(os.getpid(), signal.SIGTERM); time.sleep(1.2); os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)\n"
        "training.TrainingLoop._accumulate = endless\n"
        "command.main(sys.argv[2:])"
    )
    path = write_recipe(workspace, recipe_tree(tiny_base))
    command = [sys.executable, "-c", code, str(ROOT), str(path), "--workspace", str(workspace)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == -signal.SIGTERM
    assert "once more to stop at once" in done.stderr
    assert "stopped at once" in done.stderr


def stopped(workspace: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A run that was cut behind its third step; its checkpoints, oldest first."""
    with monkeypatch.context() as patch:
        cut_at(patch, training.TrainingLoop, "_accumulate", 4)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, base)
    return sorted((workspace / "saved_model/.checkpoints/tiny").glob("*/step-*"))


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    workspace: Path, tiny_base: Path, whole: list[bytes], damage: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    kept = stopped(workspace, tiny_base, monkeypatch)
    assert [path.name[:13] for path in kept] == ["step-00000002", "step-00000003"]
    data = bytearray(kept[-1].read_bytes())
    data[len(data) // 2] ^= 1
    kept[-1].write_bytes(data[:-9] if damage == "cut" else data)
    run(workspace, tiny_base)
    out = capsys.readouterr().out
    assert f"WARNING: {kept[-1]} does not hold what was written; it is passed over" in out
    assert "going on behind step 2 of 12" in out
    assert outputs(workspace) == whole


def test_a_checkpoint_is_kept_behind_every_epoch(
    workspace: Path, tiny_base: Path, whole: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with monkeypatch.context() as patch:
        cut_at(patch, training.TrainingLoop, "_accumulate", 11)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base, train={"checkpoint_minutes": 60})
    run(workspace, tiny_base, train={"checkpoint_minutes": 60})
    assert "going on behind step 8 of 12" in capsys.readouterr().out
    assert outputs(workspace) == whole


def test_a_state_comes_back_as_it_was_put_aside() -> None:
    """Tuples, keys that are numbers, every digit of a number, tensors of every type; and nothing is unpickled for it."""
    tensors: dict[str, torch.Tensor] = {}
    state = {
        "optimizer": {
            "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(2, 3).T}},
            "betas": (0.9, 0.1 + 0.2),
        },
        "random": [{"torch": torch.get_rng_state(), "python": (3, (2**32 - 1, 0), None)}],
        "metrics": "é\u2028",
        "best": None,
        "nothing": [(), {}, []],
    }
    plain = json.dumps(checkpoint._taken_apart(state, tensors))
    again = checkpoint._put_together(json.loads(plain), tensors)
    assert repr(again) == repr(state)
    assert torch.equal(again["optimizer"]["state"][0]["exp_avg"], state["optimizer"]["state"][0]["exp_avg"])  # type: ignore[index]


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_checkpoint_takes_the_place_of_no_later_one(
    workspace: Path, tiny_base: Path, whole: list[bytes], damaged: int, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Cut again behind an earlier step than the damaged one's."""
    with monkeypatch.context() as patch:
        cut_at(patch, training.TrainingLoop, "_accumulate", 10)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base)
    folder = workspace / "saved_model/.checkpoints/tiny"
    for path in sorted(folder.glob("*/step-*"))[-damaged:]:
        path.write_bytes(path.read_bytes()[:-1])
    first = 10 - 1 - damaged if damaged == 1 else 0  # one of the two is left, or none
    with monkeypatch.context() as patch:
        cut_at(patch, training.TrainingLoop, "_accumulate", 2)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base)
    assert max(path.name[:13] for path in folder.glob("*/step-*")) == f"step-{first + 1:08d}"
    capsys.readouterr()
    run(workspace, tiny_base)
    assert f"going on behind step {first + 1} of 12" in capsys.readouterr().out
    assert outputs(workspace) == whole


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(5, "Input/output error"), "cannot be read: Input/output error\n  next: run again"),
        (MemoryError(), "out of memory: MemoryError"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory: DefaultCPUAllocator"),
    ],
)
def test_a_checkpoint_that_cannot_be_read_now_is_not_called_damaged(
    workspace: Path,
    tiny_base: Path,
    whole: list[bytes],
    error: Exception,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    kept = stopped(workspace, tiny_base, monkeypatch)
    path = str(write_recipe(workspace, recipe_tree(tiny_base, **OFTEN)))
    with monkeypatch.context() as patch:
        cut_at(patch, checkpoint, "load", 1, error)
        assert main([path, "--workspace", str(workspace)]) == 2
    assert said in capsys.readouterr().err
    assert all(one.exists() for one in kept)
    assert main([path, "--workspace", str(workspace)]) == 0
    assert outputs(workspace) == whole


def test_a_folder_of_checkpoints_that_somebody_has_removed_is_made_again(
    workspace: Path, tiny_base: Path, whole: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    real, calls = training.TrainingLoop._accumulate, [0]

    def removed(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            shutil.rmtree(workspace / "saved_model/.checkpoints")
        if calls[0] == 5:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training.TrainingLoop, "_accumulate", removed)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base)
    run(workspace, tiny_base)
    out = capsys.readouterr().out
    assert "WARNING: no checkpoint" not in out
    assert "going on behind step 4 of 12" in out
    assert outputs(workspace) == whole


def test_a_signal_during_the_hold_out_does_not_wait_for_its_end(
    workspace: Path, tiny_base: Path, whole: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The epoch is judged again by the run that goes on."""
    real, batches = training.Holdout._score, []

    def signalled(*arguments: Any) -> Any:
        batches.append(1)
        if len(batches) == 3:  # the untuned base's, the first epoch's, the second's
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training.Holdout, "_score", signalled)
        with pytest.raises(Stopped, match="behind step 8 of 12"):
            run(workspace, tiny_base)
    assert len(batches) == 3
    run(workspace, tiny_base)
    assert "going on behind step 8 of 12" in capsys.readouterr().out
    assert outputs(workspace) == whole


def test_an_error_behind_a_noted_signal_is_shown(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        raise ValueError("a bug of ours")

    monkeypatch.setattr(training.TrainingLoop, "_accumulate", fails)
    with pytest.raises(ValueError, match="a bug of ours"):
        run(workspace, tiny_base)


def test_with_every_checkpoint_damaged_the_run_starts_over(
    workspace: Path, tiny_base: Path, whole: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in stopped(workspace, tiny_base, monkeypatch):
        path.write_bytes(b"")
    run(workspace, tiny_base)
    assert outputs(workspace) == whole


def test_another_run_does_not_go_on_from_it(
    workspace: Path, tiny_base: Path, whole: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(workspace, tiny_base, monkeypatch)
    with pytest.raises(UserError, match=r"(?s)it was another one\n  train.learning_rate: then 0.01, now 0.02.*--fresh"):
        run(workspace, tiny_base, train={"learning_rate": 0.02})
    with pytest.raises(UserError, match=r"(?s)another one\n  holdout: then '.*', now '.*'\n  train: then"):
        run(workspace, tiny_base, samples={"seed": 3})
    run(workspace, tiny_base)
    assert outputs(workspace) == whole


@pytest.mark.parametrize("what", ["base", "code", "libraries", "processes"])
def test_another_surrounding_is_another_run(
    workspace: Path, tiny_base: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(workspace, tiny_base, monkeypatch)
    before, differs, base = outputs_of(workspace), f"  {what}: then", tiny_base
    if what == "base":
        base = workspace / "other"
        shutil.copytree(tiny_base, base)
        (base / "config.json").write_text((base / "config.json").read_text().replace("1e-06", "1e-05"))
    elif what == "code":
        monkeypatch.setattr(pipeline, "code_digest", lambda: "of another version")
    elif what == "libraries":
        monkeypatch.setattr(pipeline, "library_versions", lambda: {"torch": "1.0"})
        differs = "  torch: then '.*', now '1.0'"
    else:
        monkeypatch.setattr(pipeline, "wait_for_everyone", lambda: None)
        monkeypatch.setattr(pipeline, "as_main_says", lambda decide: decide())
        monkeypatch.setenv("WORLD_SIZE", "2")
        differs = "  processes: then 1, now 2"
    with pytest.raises(UserError, match=f"(?s)it was another one\n.*{differs}"):
        run(workspace, base)
    assert outputs_of(workspace) == before


def outputs_of(workspace: Path) -> dict[str, bytes]:
    """All that lies in saved_model, the lock aside."""
    files = (path for path in (workspace / "saved_model").rglob("*") if path.is_file() and "lock" not in path.name)
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.parametrize("what", ["folder", "zip of nothing", "another schema"])
def test_what_is_no_checkpoint_is_passed_over(
    workspace: Path, tiny_base: Path, whole: list[bytes], what: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Its name is right all the same."""
    folder = stopped(workspace, tiny_base, monkeypatch)[0].parent
    if what == "folder":
        (folder / "step-00000099-aa.checkpoint").mkdir()
    elif what == "another schema":
        save_file({}, folder / "x", metadata={"checkpoint": '{"schema": "mine"}'})
        files.seal(folder / "x", "step-00000099", ".checkpoint")
    else:
        (folder / "x").write_bytes(b"PK\x05\x06" + bytes(18))
        files.seal(folder / "x", "step-00000099", ".checkpoint")
    if what != "folder":  # it holds what was written, by whomever: no damage, and not ours to throw away
        with pytest.raises(UserError, match=r"cannot be read: .*\n  next: .*remove it, and the one before it is used"):
            run(workspace, tiny_base)
        next(folder.glob("step-00000099*")).unlink()
    run(workspace, tiny_base)
    assert "going on behind step 3 of 12" in capsys.readouterr().out
    assert outputs(workspace) == whole


def in_bf16(patch: pytest.MonkeyPatch) -> None:
    """What `precision: auto` means on another machine."""
    real = base_model.load_base
    patch.setattr(base_model, "load_base", lambda folder, precision, *rest: real(folder, "bf16", *rest))


def test_a_run_computed_otherwise_is_refused(workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(workspace, tiny_base, monkeypatch)
    before = outputs_of(workspace)
    in_bf16(monkeypatch)
    with pytest.raises(UserError, match=r"computed with device cpu, precision fp32; now .* device cpu, precision bf16"):
        run(workspace, tiny_base)
    assert outputs_of(workspace) == before


def test_predictions_that_were_computed_otherwise_are_made_again(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run(workspace, tiny_base)
    (workspace / "result/manifest_tiny.json").unlink()
    with monkeypatch.context() as patch:
        cut_at(patch, predict, "prediction_line", 4)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base)
    in_bf16(monkeypatch)
    run(workspace, tiny_base)
    assert "going on behind row" not in capsys.readouterr().out
    mixed = outputs(workspace)
    run(workspace, tiny_base, decoding={"kind": "generate"})
    run(workspace, tiny_base)
    assert outputs(workspace) == mixed


@pytest.mark.parametrize("full", ["first", "then"])
def test_a_run_goes_on_in_the_layout_that_it_had(
    workspace: Path, tiny_base: Path, full: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Whether the proof of a layout fits may have changed: another program's memory is in the way, or no more."""
    real = training.LabelScorer.forward

    def no_room(scorer: Any, batch: Any) -> Any:
        if not scorer.training and "position_ids" in batch.inputs:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(scorer, batch)

    with monkeypatch.context() as patch:
        if full == "first":
            patch.setattr(training.LabelScorer, "forward", no_room)
        stopped(workspace, tiny_base, monkeypatch)
    if full == "first":
        run(workspace, tiny_base)
        out = capsys.readouterr().out
        assert "layout padded: packed is not used: it could not be tried (OutOfMemoryError: CUDA out of memory)" in out
        assert "layout padded: as set" in out
        assert "going on behind step 3 of 12" in out
    else:
        monkeypatch.setattr(training.LabelScorer, "forward", no_room)
        said = (
            r"the layout packed; .*packed: it could not be tried \(OutOfMemoryError: CUDA.*\n  next: see to it and run"
        )
        with pytest.raises(UserError, match=said):
            run(workspace, tiny_base)


def test_an_unfinished_run_is_kept_while_another_is_asked_for(
    workspace: Path, tiny_base: Path, whole: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run(workspace, tiny_base, train={"learning_rate": 0.02})
    stopped(workspace, tiny_base, monkeypatch)
    run(workspace, tiny_base, train={"learning_rate": 0.02})
    assert "another run's; its command goes on with it" in capsys.readouterr().out
    run(workspace, tiny_base)
    assert "going on behind step 3 of 12" in capsys.readouterr().out
    assert outputs(workspace) == whole


def test_a_fresh_run_that_was_stopped_goes_on(
    workspace: Path, tiny_base: Path, whole: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run(workspace, tiny_base)
    with monkeypatch.context() as patch:
        cut_at(patch, training.TrainingLoop, "_accumulate", 4)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base, fresh=True)
    run(workspace, tiny_base)
    assert "going on behind step 3 of 12" in capsys.readouterr().out
    run(workspace, tiny_base)
    assert "finetune: nothing changed" in capsys.readouterr().out
    assert outputs(workspace) == whole


def test_what_no_result_depends_on_may_change(
    workspace: Path, tiny_base: Path, whole: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    stopped(workspace, tiny_base, monkeypatch)
    run(workspace, tiny_base, train={"checkpoint_minutes": 5})
    assert "going on behind step 3 of 12" in capsys.readouterr().out
    assert outputs(workspace) == whole
    (tiny_base / "notes.txt").write_text("a note beside the base")
    run(workspace, tiny_base, train={"checkpoint_minutes": 7})
    (tiny_base / "notes.txt").unlink()
    assert capsys.readouterr().out.count("nothing changed") == 3


def test_outputs_that_somebody_has_changed_are_not_built_upon(workspace: Path, tiny_base: Path) -> None:
    run(workspace, tiny_base)
    recipe = load_recipes([workspace / "tiny.yaml"])
    for name, stages in (("pre_data/tiny/tiny_holdout.json", ("finetune",)), (ADAPTER, ("predict",))):
        data = (workspace / name).read_bytes()
        (workspace / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(UserError, match=f"{name}: is not what the .* stage wrote"):
            execute(recipe, workspace, stages)
        (workspace / name).write_bytes(data)


def test_predictions_that_were_made_are_not_made_again(
    workspace: Path, tiny_base: Path, whole: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    partial = workspace / "result/.predictions_tiny.partial"
    real, seen = predict.prediction_line, []

    def look(*arguments: Any) -> bytes:
        seen.append(partial.read_bytes() if partial.exists() else b"")
        if len(seen) == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(predict, "prediction_line", look)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base)
    data = partial.read_bytes()
    assert data == seen[-1], "a row is in the file as soon as it is there"
    assert len(data.splitlines()) == 1 + 3
    head, *lines = data.splitlines(keepends=True)
    damaged = {
        data[:-5]: 2,
        data + b"3\n": 3,
        head + lines[0] + lines[0] + lines[1]: 1,
        head + lines[1]: 0,
        data.replace(b'"label": "0"', b'"label": "7"', 1): 0,
        data.replace(lines[1], bytes(len(lines[1]))): 1,
        b"": 0,
    }
    for content, rows in damaged.items():
        (workspace / "result/manifest_tiny.json").unlink(missing_ok=True)
        partial.write_bytes(content)
        run(workspace, tiny_base)
        assert (f"going on behind row {rows} of 5" in capsys.readouterr().out) == (rows > 0)
        assert outputs(workspace) == whole
        assert not partial.exists()


def test_predictions_of_another_run_are_made_again(
    workspace: Path, tiny_base: Path, whole: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with monkeypatch.context() as patch:
        cut_at(patch, predict, "prediction_line", 4)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base, train={"seed": 5})
    run(workspace, tiny_base)
    assert "going on behind row" not in capsys.readouterr().out
    assert outputs(workspace) == whole


def test_what_another_recipe_has_predicted_so_far_waits_for_it(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run(workspace, tiny_base)
    before = outputs(workspace)
    with monkeypatch.context() as patch:
        cut_at(patch, predict, "prediction_line", 4)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base, decoding={"kind": "generate"})
    run(workspace, tiny_base)
    assert "predict: nothing changed" in capsys.readouterr().out
    assert outputs(workspace) == before
    run(workspace, tiny_base, decoding={"kind": "generate"})
    assert "going on behind row 3 of 5" in capsys.readouterr().out


def test_a_death_while_checkpoints_are_removed_does_not_train_again(
    workspace: Path, tiny_base: Path, whole: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with monkeypatch.context() as patch:
        cut_at(patch, unfinished.shutil, "rmtree", 2)  # the first is of what an earlier run may have left
        patch.setattr(pipeline, "atomic_folder", plain_folder)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base)
    capsys.readouterr()
    run(workspace, tiny_base)
    assert "finetune: nothing changed" in capsys.readouterr().out
    assert outputs(workspace) == whole


@contextmanager
def plain_folder(path: Path, forget: Any) -> Iterator[Path]:
    """`atomic_folder` without its own removals."""
    path.mkdir(parents=True)
    yield path


def test_a_limit_of_cpu_time_that_is_said_every_second_is_one_wish(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = training.TrainingLoop._accumulate

    def signalled(*arguments: Any) -> Any:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGXCPU)
            time.sleep(1.1)
        return real(*arguments)

    monkeypatch.setattr(training.TrainingLoop, "_accumulate", signalled)
    with pytest.raises(Stopped, match="stopped by SIGXCPU behind step 1 of 12") as caught:
        run(workspace, tiny_base)
    assert caught.value.code == 152


def test_predictions_in_batches_go_on_with_whole_batches(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run(workspace, tiny_base, decoding={"batch": 2})
    expected = outputs(workspace)
    (workspace / "result/manifest_tiny.json").unlink()
    with monkeypatch.context() as patch:
        cut_at(patch, predict, "prediction_line", 4)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base, decoding={"batch": 2})
    run(workspace, tiny_base, decoding={"batch": 2})
    assert "going on behind row 2 of 5" in capsys.readouterr().out
    assert outputs(workspace) == expected


def test_fresh_starts_over(workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    stopped(workspace, tiny_base, monkeypatch)
    run(workspace, tiny_base, fresh=True, train={"learning_rate": 0.02})
    with monkeypatch.context() as patch:
        cut_at(patch, predict, "prediction_line", 4)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base, fresh=True)
    run(workspace, tiny_base, fresh=True)
    assert "going on" not in capsys.readouterr().out


def test_a_full_disk_costs_the_checkpoint_and_not_the_run(
    workspace: Path, tiny_base: Path, whole: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The second time the room of the older checkpoint is enough, the third time it is not."""
    full = OSError(28, "No space left on device")
    with monkeypatch.context() as patch:
        for call in (3, 6, 7):
            cut_at(patch, checkpoint, "seal", call, full)
        run(workspace, tiny_base)
    out = capsys.readouterr().out
    assert out.count("WARNING: no checkpoint at step") == 1
    assert "WARNING: no checkpoint at step 4: [Errno 28] No space left on device; training goes on" in out
    assert outputs(workspace) == whole


def test_room_for_one_checkpoint_is_enough_and_the_adapter_gets_that_of_the_others(
    workspace: Path, tiny_base: Path, whole: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder, real, left = workspace / "saved_model/.checkpoints/tiny", checkpoint.seal, []

    def small_disk(*arguments: Any) -> Path:
        if len(list(folder.glob("*/step-*"))) == 2:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    def save(*arguments: Any) -> None:
        left.extend(folder.glob("*/step-*"))
        adapter.save_adapter(*arguments)

    monkeypatch.setattr(checkpoint, "seal", small_disk)
    monkeypatch.setattr(finetune, "save_adapter", save)
    run(workspace, tiny_base)
    assert "WARNING: no checkpoint" not in capsys.readouterr().out
    assert len(left) == 1
    assert outputs(workspace) == whole


@pytest.mark.parametrize(
    "error",
    [torch.cuda.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: 9 bytes"), MemoryError()],
)
def test_out_of_memory_halves_the_rows_at_once_and_nothing_else(
    workspace: Path, tiny_base: Path, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run(workspace, tiny_base, lora={"lora_dropout": 0})
    expected = outputs(workspace)[0]
    real, calls = training.LabelScorer.forward, [0]

    def full(scorer: Any, batch: Any) -> Any:
        calls[0] += scorer.training
        if calls[0] == 3 and scorer.training:
            raise error
        return real(scorer, batch)

    with monkeypatch.context() as patch:
        patch.setattr(training.LabelScorer, "forward", full)
        run(workspace, tiny_base, fresh=True, lora={"lora_dropout": 0})
    assert "from here 2 rows at once, the same 4 rows a step" in capsys.readouterr().out
    one, other = (load(data) for data in (expected, outputs(workspace)[0]))
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=1e-6, rtol=1e-4)


def test_out_of_memory_in_the_middle_of_a_step_counts_no_row_twice(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The first half of the step's rows have left their gradient when the second half does not fit. Checkpoints remember."""
    how = {"lora": {"lora_dropout": 0}, "train": {"batch_size": 8}}
    run(workspace, tiny_base, **how)
    expected = outputs(workspace)[0]
    real, sizes = training.LabelScorer.forward, []

    def full(scorer: Any, batch: Any) -> Any:
        if scorer.training:
            sizes.append(len(batch.rows))
            if len(sizes) in (1, 3):
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            if len(sizes) == 8:
                raise KeyboardInterrupt
        return real(scorer, batch)

    with monkeypatch.context() as patch:
        patch.setattr(training.LabelScorer, "forward", full)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base, fresh=True, **how)
        assert sizes == [8, 4, 4, 2, 2, 2, 2, 2]
        run(workspace, tiny_base, **how)
    assert "going on behind step 1 of 6" in capsys.readouterr().out
    assert set(sizes[8:]) == {2}
    one, other = (load(data) for data in (expected, outputs(workspace)[0]))
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=1e-6, rtol=1e-4)


def load(data: bytes) -> dict[str, torch.Tensor]:
    from safetensors.torch import load as read

    return dict(read(data))


def test_a_device_with_room_for_one_row_is_enough(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Whatever comes before training asks for more at first: the layout's proof, the hold-out."""
    run(workspace, tiny_base, lora={"lora_dropout": 0})
    expected = outputs(workspace)[0]
    real = training.LabelScorer.forward

    def full(scorer: Any, batch: Any) -> Any:
        if len(batch.rows) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(scorer, batch)

    monkeypatch.setattr(training.LabelScorer, "forward", full)
    run(workspace, tiny_base, fresh=True, lora={"lora_dropout": 0})
    out = capsys.readouterr().out
    assert "layout padded: packed is not used: it could not be tried (OutOfMemoryError: CUDA out of memory)" in out
    for rows in (2, 1):
        assert f"out of memory on the hold-out; from here {rows} of its rows at once" in out
    assert "from here 1 rows at once, the same 4 rows a step" in out
    one, other = (load(data) for data in (expected, outputs(workspace)[0]))
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=1e-6, rtol=1e-4)


def test_out_of_memory_anywhere_else_is_an_error_in_words(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def full(*arguments: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

    monkeypatch.setattr(finetune, "prove_head", full)
    recipe = write_recipe(workspace, recipe_tree(tiny_base))
    assert main([str(recipe), "--workspace", str(workspace)]) == 2
    assert "out of memory: CUDA out of memory. Tried to allocate 9 GiB\n  next: lower" in capsys.readouterr().err


def test_out_of_memory_with_one_row_says_what_to_change(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> Any:
        raise RuntimeError("can't allocate memory")

    monkeypatch.setattr(training.TrainingLoop, "_accumulate", full)
    with pytest.raises(UserError, match=r"out of memory with 1 rows at once(?s:.*)lower train.batch_size"):
        run(workspace, tiny_base)


def spoiled(monkeypatch: pytest.MonkeyPatch, steps: Mapping[int, str]) -> list[torch.Tensor]:
    """Makes the loss or the gradient of these steps infinite. Returns the adapter, flat, before each step."""
    real, before = training.TrainingLoop._accumulate, []

    def sometimes(loop: Any, scorer: Any, rows: Any) -> Any:
        loss = real(loop, scorer, rows)
        parameters = [parameter for parameter in scorer.parameters() if parameter.requires_grad]
        before.append(torch.cat([parameter.detach().flatten() for parameter in parameters]))
        what = steps.get(loop.step + 1)
        if what == "gradient":
            parameters[0].grad[0, 0] = float("inf")
        return loss + float("inf") if what == "loss" else loss

    monkeypatch.setattr(training.TrainingLoop, "_accumulate", sometimes)
    return before


def test_a_step_whose_loss_or_gradient_is_no_number_is_skipped_and_counted(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """However many they are, if no five come in a row."""
    steps = {**dict.fromkeys((2, 3, 4, 5, 9), "gradient"), **dict.fromkeys((7, 10, 11), "loss")}
    before = spoiled(monkeypatch, steps)
    run(workspace, tiny_base)
    out = capsys.readouterr().out
    assert [step for step in range(1, 13) if f"WARNING: step {step} skipped" in out] == sorted(steps)
    moved = [step for step in range(1, 12) if not torch.equal(before[step - 1], before[step])]
    assert moved == [6, 8]  # the first step's learning rate is 0: warmup
    assert '"skipped_steps": 8' in (workspace / "saved_model/tiny/manifest.json").read_text()


def test_steps_that_were_skipped_in_a_row_are_remembered_by_a_checkpoint(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled(monkeypatch, dict.fromkeys(range(2, 13), "loss"))
    with monkeypatch.context() as patch:
        cut_at(patch, training.TrainingLoop, "_accumulate", 5)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base)
    with pytest.raises(UserError, match=r"in 5 steps in a row, up to step 6"):
        run(workspace, tiny_base)
