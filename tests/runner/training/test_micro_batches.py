"""Out of memory and values that are not finite: fewer rows at once, skipped steps, the same gradient."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import recipe_tree, write_recipe
from safetensors.torch import load
from support.runs import cut_after_step, outputs, run

from runner.commands.run import main
from runner.errors import UserError
from runner.scoring.scorer import LabelScorer
from runner.system.memory import OutOfMemory
from runner.training import finetune

NO_DROPOUT = {"lora": {"lora_dropout": 0}}


def assert_close(one: bytes, other: bytes) -> None:
    tensors = load(other)
    for name, tensor in load(one).items():
        torch.testing.assert_close(tensor, tensors[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    "error",
    [torch.cuda.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: 9 bytes"), MemoryError()],
)
def test_out_of_memory_halves_the_rows_and_nothing_else(
    workspace: Path, tiny_base: Path, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run(workspace, tiny_base, **NO_DROPOUT)
    expected = outputs(workspace)[0]
    real, calls = LabelScorer.forward, [0]

    def full(scorer: Any, batch: Any) -> Any:
        calls[0] += scorer.training
        if calls[0] == 3 and scorer.training:
            raise error
        return real(scorer, batch)

    monkeypatch.setattr(LabelScorer, "forward", full)
    run(workspace, tiny_base, fresh=True, **NO_DROPOUT)
    words = "WARNING: out of memory in training: computing 2 rows at once from now on; a step still has 4 rows\n"
    assert words in capsys.readouterr().out
    assert_close(expected, outputs(workspace)[0])


def test_out_of_memory_within_a_step_counts_no_row_twice(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The first half of the step's rows have left their gradient when the second half does not fit. Checkpoints remember."""
    how = {**NO_DROPOUT, "train": {"batch_size": 8}}
    run(workspace, tiny_base, **how)
    expected = outputs(workspace)[0]
    real, sizes = LabelScorer.forward, []

    def full(scorer: Any, batch: Any) -> Any:
        if scorer.training:
            sizes.append(len(batch.rows))
            if len(sizes) in (1, 3):
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            if len(sizes) == 8:
                raise KeyboardInterrupt
        return real(scorer, batch)

    monkeypatch.setattr(LabelScorer, "forward", full)
    with pytest.raises(KeyboardInterrupt):
        run(workspace, tiny_base, fresh=True, **how)
    assert sizes == [8, 4, 4, 2, 2, 2, 2, 2]
    run(workspace, tiny_base, **how)
    assert "resuming after step 1 of 6" in capsys.readouterr().out
    assert set(sizes[8:]) == {2}
    assert_close(expected, outputs(workspace)[0])


def test_a_device_with_room_for_one_row_is_enough(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The proof of the layout and the hold-out ask for more rows at first, before training does."""
    run(workspace, tiny_base, **NO_DROPOUT)
    expected = outputs(workspace)[0]
    real = LabelScorer.forward

    def full(scorer: Any, batch: Any) -> Any:
        if len(batch.rows) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(scorer, batch)

    monkeypatch.setattr(LabelScorer, "forward", full)
    run(workspace, tiny_base, fresh=True, **NO_DROPOUT)
    out = capsys.readouterr().out
    assert "layout padded: packed is not used: it could not be tried (OutOfMemoryError: CUDA out of memory)" in out
    for rows in (2, 1):
        assert f"WARNING: out of memory in the hold-out: computing {rows} rows at once from now on\n" in out
    assert "out of memory in training: computing 1 rows at once from now on; a step still has 4 rows\n" in out
    assert_close(expected, outputs(workspace)[0])


def test_out_of_memory_elsewhere_is_a_message(
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
    real = LabelScorer.forward

    def full(scorer: Any, batch: Any) -> Any:
        if scorer.training:
            raise RuntimeError("can't allocate memory")
        return real(scorer, batch)

    monkeypatch.setattr(LabelScorer, "forward", full)
    with pytest.raises(OutOfMemory, match=r"out of memory with 1 rows at once(?s:.*)lower train.batch_size"):
        run(workspace, tiny_base)


def spoil(monkeypatch: pytest.MonkeyPatch, steps: Mapping[int, str]) -> list[torch.Tensor]:
    """Makes the loss or the gradient of these steps infinite. Returns the adapter, flat, before each step."""
    forward, clip, before = LabelScorer.forward, torch.nn.utils.clip_grad_norm_, []

    def spoiled_loss(scorer: Any, batch: Any) -> Any:
        scores = forward(scorer, batch)
        if scorer.training and steps.get(len(before) + 1) == "loss":
            return scores._replace(losses=scores.losses + float("inf"))
        return scores

    def spoiled_gradient(parameters: Any, most: float) -> Any:
        before.append(torch.cat([parameter.detach().flatten() for parameter in parameters]))
        if steps.get(len(before)) == "gradient":
            parameters[0].grad[0, 0] = float("inf")
        return clip(parameters, most)

    monkeypatch.setattr(LabelScorer, "forward", spoiled_loss)
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spoiled_gradient)
    return before


def test_steps_that_are_not_finite_are_skipped_and_counted(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """However many there are, if there are not five in a row."""
    steps = {**dict.fromkeys((2, 3, 4, 5, 9), "gradient"), **dict.fromkeys((7, 10, 11), "loss")}
    before = spoil(monkeypatch, steps)
    run(workspace, tiny_base)
    out = capsys.readouterr().out
    words = "WARNING: step {} skipped: its loss or gradient is not finite\n"
    assert [step for step in range(1, 13) if words.format(step) in out] == sorted(steps)
    moved = [step for step in range(1, 12) if not torch.equal(before[step - 1], before[step])]
    assert moved == [6, 8]  # the first step's learning rate is 0: warmup
    assert '"skipped_steps": 8' in (workspace / "saved_model/tiny/manifest.json").read_text()


def test_checkpoints_remember_steps_skipped_in_a_row(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, dict.fromkeys(range(2, 13), "loss"))
    cut_after_step(5, workspace, tiny_base)
    with pytest.raises(UserError, match=r"the loss or its gradient was not finite in 5 steps in a row, up to step 6"):
        run(workspace, tiny_base)
