"""A run that was interrupted resumes to the same bytes, wherever it was; a run with other inputs is refused."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import recipe_tree, write_recipe
from safetensors.torch import save
from support.runs import (
    ADAPTER,
    OFTEN,
    after_step,
    checkpoints,
    cut,
    cut_after_step,
    cut_at,
    in_saved_model,
    outputs,
    run,
)

from runner import pipeline, stages
from runner.commands.run import execute, main
from runner.errors import UserError
from runner.model import adapter
from runner.model import base as base_model
from runner.prediction import predict
from runner.recipe.loader import load_recipes
from runner.scoring.scorer import LabelScorer
from runner.system.content_store import ContentStore
from runner.system.memory import MicroBatchSize
from runner.training import checkpoint, finetune
from runner.training.evaluation import Evaluation, Evaluator
from runner.training.train_state import TrainState, load_optimizer_tensors, optimizer_tensors


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (torch.nn.utils, "clip_grad_norm_", 1),
        (torch.nn.utils, "clip_grad_norm_", 7),
        (Evaluator, "evaluate", 3),  # the second epoch's: the first call is of the untuned base
        # while a checkpoint is saved, before it has its name; the first two calls are of the tokens
        (ContentStore, "commit", 7),
        (os, "fsync", 8),
        (checkpoint.Checkpoints, "save", 18),  # after the last epoch
        (predict, "prediction_line", 3),
    ],
)
def test_a_cut_run_resumes_to_the_same_bytes(
    workspace: Path, tiny_base: Path, whole: list[bytes], owner: Any, name: str, call: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, owner, name, call)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base)
    run(workspace, tiny_base)
    assert outputs(workspace) == whole
    assert not (workspace / "saved_model/.checkpoints/tiny").exists()


def test_a_resumed_run_repeats_only_unsaved_steps(
    workspace: Path, tiny_base: Path, whole: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    cut_after_step(7, workspace, tiny_base)
    steps = after_step(monkeypatch, {})
    run(workspace, tiny_base)
    assert steps == list(range(7, 13))
    assert "tiny finetune: resuming after step 6 of 12, from a checkpoint\n" in capsys.readouterr().out
    assert outputs(workspace) == whole


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_checkpoint_is_named_and_not_used(
    workspace: Path, tiny_base: Path, whole: list[bytes], damage: str, capsys: Any
) -> None:
    saved = cut_after_step(4, workspace, tiny_base)
    assert [path.name[:13] for path in saved] == ["step-00000002", "step-00000003"]
    data = bytearray(saved[-1].read_bytes())
    data[len(data) // 2] ^= 1
    saved[-1].write_bytes(data[:-9] if damage == "cut" else data)
    run(workspace, tiny_base)
    out = capsys.readouterr().out
    assert f"WARNING: {saved[-1]} is damaged: it is not used, and renamed to damaged-{saved[-1].name}" in out
    assert "resuming after step 2 of 12" in out
    assert outputs(workspace) == whole


def test_a_checkpoint_is_saved_after_every_epoch(
    workspace: Path, tiny_base: Path, whole: list[bytes], capsys: Any
) -> None:
    cut_after_step(11, workspace, tiny_base, train={"checkpoint_minutes": 60})
    run(workspace, tiny_base, train={"checkpoint_minutes": 60})
    assert "resuming after step 8 of 12" in capsys.readouterr().out
    assert outputs(workspace) == whole


def test_a_train_state_comes_back_as_it_was() -> None:
    """Every digit of a number."""
    first, second = Evaluation(1 / 3, 0.1 + 0.2, 0.0, 1e-300, {"é": 3}), Evaluation(1.0, 1.0, 1.0, 0.5, {"é": 3})
    state = TrainState(MicroBatchSize(3, "training"), 3, 2, 10, 4, 1, 0.1 + 0.2, [first, second], 2)
    again = TrainState(MicroBatchSize(8, "training"))
    again.load_state_dict(state.state_dict())
    assert again == state
    assert again.best == second


def test_an_optimizer_comes_back_as_it_was() -> None:
    """By names; a parameter that has never had a gradient has no state."""

    def made() -> tuple[dict[str, Any], torch.optim.Optimizer]:
        parameters = {name: torch.nn.Parameter(torch.ones(2, 3)) for name in ("a.b", "c", "d/e")}
        return parameters, torch.optim.AdamW(list(parameters.values()), lr=0.1)

    parameters, optimizer = made()
    for name in ("a.b", "d/e", "a.b"):
        parameters[name].grad = torch.rand(2, 3)
        optimizer.step()
        optimizer.zero_grad()
    tensors = optimizer_tensors(optimizer, parameters)
    assert set(tensors) == {f"{key}/{name}" for key in ("step", "exp_avg", "exp_avg_sq") for name in ("a.b", "d/e")}
    others, other = made()
    load_optimizer_tensors(other, others, tensors)
    again = optimizer_tensors(other, others)
    assert all(torch.equal(tensors[name], again[name]) for name in tensors)
    assert (again["step/a.b"], again["step/d/e"]) == (2, 1)


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_checkpoint_displaces_no_later_one(
    workspace: Path, tiny_base: Path, whole: list[bytes], damaged: int, capsys: Any
) -> None:
    """The run is cut again after an earlier step than the damaged one's."""
    for path in cut_after_step(10, workspace, tiny_base)[-damaged:]:
        path.write_bytes(path.read_bytes()[:-1])
    first = 10 - 1 - damaged if damaged == 1 else 0  # one of the two is left, or none
    cut_after_step(first + 2, workspace, tiny_base)
    assert max(path.name[:13] for path in checkpoints(workspace)) == f"step-{first + 1:08d}"
    capsys.readouterr()
    run(workspace, tiny_base)
    assert f"resuming after step {first + 1} of 12" in capsys.readouterr().out
    assert outputs(workspace) == whole


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(5, "Input/output error"), "cannot be read: Input/output error\n  next: run again when"),
        (MemoryError(), "out of memory: MemoryError"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory: DefaultCPUAllocator"),
    ],
)
def test_a_checkpoint_that_cannot_be_read_now_is_kept(
    workspace: Path, tiny_base: Path, whole: list[bytes], error: Exception, message: str, capsys: Any
) -> None:
    saved = cut_after_step(4, workspace, tiny_base)
    path = str(write_recipe(workspace, recipe_tree(tiny_base, **OFTEN)))
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, checkpoint, "load", 1, error)
        assert main([path, "--workspace", str(workspace)]) == 2
    assert message in capsys.readouterr().err
    assert all(one.exists() for one in saved)
    assert main([path, "--workspace", str(workspace)]) == 0
    assert outputs(workspace) == whole


def test_a_removed_folder_of_checkpoints_is_made_again(
    workspace: Path, tiny_base: Path, whole: list[bytes], capsys: Any
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        after_step(patch, {2: lambda: shutil.rmtree(workspace / "saved_model/.checkpoints"), 5: cut})
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base)
    run(workspace, tiny_base)
    out = capsys.readouterr().out
    assert "WARNING: no checkpoint" not in out
    assert "resuming after step 4 of 12" in out
    assert outputs(workspace) == whole


def test_with_every_checkpoint_damaged_the_run_starts_over(
    workspace: Path, tiny_base: Path, whole: list[bytes]
) -> None:
    for path in cut_after_step(4, workspace, tiny_base):
        path.write_bytes(b"")
    run(workspace, tiny_base)
    assert outputs(workspace) == whole


def test_another_run_does_not_resume_from_it(workspace: Path, tiny_base: Path, whole: list[bytes]) -> None:
    cut_after_step(4, workspace, tiny_base)
    words = r"(?s)an unfinished run with other inputs was stopped here\n  train.learning_rate: before 0.01, now 0.02.*--fresh"
    with pytest.raises(UserError, match=words):
        run(workspace, tiny_base, train={"learning_rate": 0.02})
    with pytest.raises(UserError, match=r"(?s)was stopped here\n  holdout: before '.*', now '.*'\n  train: before"):
        run(workspace, tiny_base, samples={"seed": 3})
    run(workspace, tiny_base)
    assert outputs(workspace) == whole


@pytest.mark.parametrize("what", ["base", "code", "libraries", "processes"])
def test_another_environment_is_another_run(
    workspace: Path, tiny_base: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_after_step(4, workspace, tiny_base)
    before, differs, base = in_saved_model(workspace), f"  {what}: before", tiny_base
    if what == "base":
        base = workspace / "other"
        shutil.copytree(tiny_base, base)
        (base / "config.json").write_text((base / "config.json").read_text().replace("1e-06", "1e-05"))
    elif what == "code":
        monkeypatch.setattr(stages, "code_digest", lambda: "of another version")
    elif what == "libraries":
        monkeypatch.setattr(stages, "library_versions", lambda: {"torch": "1.0"})
        differs = "  torch: before '.*', now '1.0'"
    else:
        monkeypatch.setattr(stages, "wait_for_everyone", lambda: None)
        monkeypatch.setattr(pipeline, "wait_for_everyone", lambda: None)
        monkeypatch.setattr(stages, "main_process_decides", lambda decide: decide())
        monkeypatch.setenv("WORLD_SIZE", "2")
        differs = "  processes: before 1, now 2"
    with pytest.raises(UserError, match=f"(?s)was stopped here\n.*{differs}"):
        run(workspace, base)
    assert in_saved_model(workspace) == before


@pytest.mark.parametrize("what", ["folder", "zip of nothing", "another schema"])
def test_a_foreign_file_with_a_checkpoints_name_is_not_used(
    workspace: Path, tiny_base: Path, whole: list[bytes], what: str, capsys: Any
) -> None:
    """Its digest is right all the same."""
    folder = cut_after_step(4, workspace, tiny_base)[0].parent
    if what == "folder":
        (folder / "step-00000099-aa.checkpoint").mkdir()
    elif what == "another schema":
        foreign = save({}, metadata={"checkpoint": '{"schema": "mine"}'})
        ContentStore(folder, ".checkpoint").put("step-00000099", lambda path: path.write_bytes(foreign))
    else:
        foreign = b"PK\x05\x06" + bytes(18)
        ContentStore(folder, ".checkpoint").put("step-00000099", lambda path: path.write_bytes(foreign))
    if what != "folder":  # it is not damaged, so it is not ours to throw away
        words = r"cannot be read: .*\n  next: .*remove it, and the checkpoint before it is used"
        with pytest.raises(UserError, match=words):
            run(workspace, tiny_base)
        next(folder.glob("step-00000099*")).unlink()
    run(workspace, tiny_base)
    assert "resuming after step 3 of 12" in capsys.readouterr().out
    assert outputs(workspace) == whole


def test_a_run_computed_differently_is_refused(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `precision: auto` would on another machine."""
    cut_after_step(4, workspace, tiny_base)
    before, real = in_saved_model(workspace), base_model.load_base
    monkeypatch.setattr(base_model, "load_base", lambda folder, precision, *rest: real(folder, "bf16", *rest))
    words = r"computed differently\n  precision: before \'fp32\', now \'bf16\'\n  next: resume it on the machine"
    with pytest.raises(UserError, match=words):
        run(workspace, tiny_base)
    assert in_saved_model(workspace) == before


@pytest.mark.parametrize("full", ["first", "then"])
def test_a_run_resumes_in_the_layout_that_it_had(
    workspace: Path, tiny_base: Path, full: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Whether the proof of a layout fits may have changed, because another program uses the memory or no longer does."""
    real = LabelScorer.forward

    def no_room(scorer: Any, batch: Any) -> Any:
        if not scorer.training and "position_ids" in batch.inputs:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(scorer, batch)

    with monkeypatch.context() as patch:
        if full == "first":
            patch.setattr(LabelScorer, "forward", no_room)
        cut_after_step(4, workspace, tiny_base)
    if full == "first":
        run(workspace, tiny_base)
        out = capsys.readouterr().out
        assert "layout padded: packed is not used: it could not be tried (OutOfMemoryError: CUDA out of memory)" in out
        assert "layout padded: as set" in out
        assert "resuming after step 3 of 12" in out
    else:
        monkeypatch.setattr(LabelScorer, "forward", no_room)
        words = (
            r"the layout packed; .*packed: it could not be tried \(OutOfMemoryError: CUDA.*\n  next: fix that and run"
        )
        with pytest.raises(UserError, match=words):
            run(workspace, tiny_base)


def test_an_unfinished_run_is_kept_while_another_is_asked_for(
    workspace: Path, tiny_base: Path, whole: list[bytes], capsys: Any
) -> None:
    run(workspace, tiny_base, train={"learning_rate": 0.02})
    cut_after_step(4, workspace, tiny_base)
    run(workspace, tiny_base, train={"learning_rate": 0.02})
    assert "of another run; its command resumes it" in capsys.readouterr().out
    run(workspace, tiny_base)
    assert "resuming after step 3 of 12" in capsys.readouterr().out
    assert outputs(workspace) == whole


def test_a_fresh_run_that_was_cut_resumes(workspace: Path, tiny_base: Path, whole: list[bytes], capsys: Any) -> None:
    run(workspace, tiny_base)
    cut_after_step(4, workspace, tiny_base, fresh=True)
    run(workspace, tiny_base)
    assert "resuming after step 3 of 12" in capsys.readouterr().out
    run(workspace, tiny_base)
    assert "finetune: nothing changed" in capsys.readouterr().out
    assert outputs(workspace) == whole


def test_settings_without_effect_on_results_may_change(
    workspace: Path, tiny_base: Path, whole: list[bytes], capsys: Any
) -> None:
    cut_after_step(4, workspace, tiny_base)
    run(workspace, tiny_base, train={"checkpoint_minutes": 5})
    assert "resuming after step 3 of 12" in capsys.readouterr().out
    assert outputs(workspace) == whole
    (tiny_base / "notes.txt").write_text("a note beside the base")
    run(workspace, tiny_base, train={"checkpoint_minutes": 7})
    (tiny_base / "notes.txt").unlink()
    assert capsys.readouterr().out.count("nothing changed") == 4


def test_outputs_that_somebody_has_changed_are_not_used(workspace: Path, tiny_base: Path) -> None:
    run(workspace, tiny_base)
    recipe = load_recipes([workspace / "tiny.yaml"])
    for name, wanted in (("pre_data/tiny/tiny_holdout.json", ("finetune",)), (ADAPTER, ("predict",))):
        data = (workspace / name).read_bytes()
        (workspace / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(UserError, match=f"{name}: is not what the .* stage wrote"):
            execute(recipe, workspace, wanted)
        (workspace / name).write_bytes(data)
    (workspace / "saved_model/tiny/metrics.jsonl").write_text("not JSON")
    (result,) = execute(recipe, workspace, ["prepare"])
    assert result.history == []


def test_a_kill_while_checkpoints_are_removed_costs_nothing(
    workspace: Path, tiny_base: Path, whole: list[bytes], capsys: Any
) -> None:
    real = shutil.rmtree

    def killed(path: Any, *rest: Any, **named: Any) -> None:
        if Path(path).parent.name == ".checkpoints" and Path(path).exists():
            raise KeyboardInterrupt
        real(path, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base)
    capsys.readouterr()
    run(workspace, tiny_base)
    assert "finetune: nothing changed" in capsys.readouterr().out
    assert outputs(workspace) == whole


def test_fresh_starts_over(workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    cut_after_step(4, workspace, tiny_base)
    run(workspace, tiny_base, fresh=True, train={"learning_rate": 0.02})
    with monkeypatch.context() as patch:
        cut_at(patch, predict, "prediction_line", 4)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, tiny_base, fresh=True)
    run(workspace, tiny_base, fresh=True)
    assert "resuming" not in capsys.readouterr().out


def test_a_full_disk_costs_the_checkpoint_and_not_the_run(
    workspace: Path, tiny_base: Path, whole: list[bytes], capsys: Any
) -> None:
    """The second time the room of the older checkpoint is enough, the third time it is not."""
    full = OSError(28, "No space left on device")
    with pytest.MonkeyPatch.context() as patch:
        # the first two are the tokens
        for call in (5, 8, 9):
            cut_at(patch, ContentStore, "commit", call, full)
        run(workspace, tiny_base)
    out = capsys.readouterr().out
    assert out.count("WARNING: no checkpoint at step") == 1
    assert "WARNING: no checkpoint at step 4: [Errno 28] No space left on device; training continues" in out
    assert outputs(workspace) == whole


def test_room_for_one_checkpoint_is_enough(
    workspace: Path, tiny_base: Path, whole: list[bytes], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """And when the adapter is saved, only one checkpoint is left."""
    real, left = ContentStore.commit, []

    def small_disk(*arguments: Any) -> Path:
        if len(checkpoints(workspace)) == 2:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    def save_adapter(*arguments: Any) -> None:
        left.extend(checkpoints(workspace))
        adapter.save_adapter(*arguments)

    monkeypatch.setattr(ContentStore, "commit", small_disk)
    monkeypatch.setattr(finetune, "save_adapter", save_adapter)
    run(workspace, tiny_base)
    assert "WARNING: no checkpoint" not in capsys.readouterr().out
    assert len(left) == 1
    assert outputs(workspace) == whole
