"""Predictions that were made are not made again, and those of another run are not used."""

from pathlib import Path
from typing import Any

import pytest
from support.runs import cut_at, outputs, run

from runner.model import base as base_model
from runner.prediction import predict


def cut_in_row(row: int, workspace: Path, base: Path, **changes: Any) -> None:
    """A run that is cut before this row's prediction is written."""
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, predict, "prediction_line", row)
        with pytest.raises(KeyboardInterrupt):
            run(workspace, base, **changes)


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
    assert data == seen[-1], "a row is in the file as soon as it is predicted"
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
        assert (f"resuming after row {rows} of 5" in capsys.readouterr().out) == (rows > 0)
        assert outputs(workspace) == whole
        assert not partial.exists()


def test_predictions_of_another_run_are_made_again(
    workspace: Path, tiny_base: Path, whole: list[bytes], capsys: Any
) -> None:
    cut_in_row(4, workspace, tiny_base, train={"seed": 5})
    run(workspace, tiny_base)
    assert "resuming after row" not in capsys.readouterr().out
    assert outputs(workspace) == whole


def test_predictions_computed_differently_are_made_again(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """As `precision: auto` would on another machine."""
    run(workspace, tiny_base)
    (workspace / "result/manifest_tiny.json").unlink()
    cut_in_row(4, workspace, tiny_base)
    real = base_model.load_base
    monkeypatch.setattr(base_model, "load_base", lambda folder, precision, *rest: real(folder, "bf16", *rest))
    run(workspace, tiny_base)
    assert "resuming after row" not in capsys.readouterr().out
    mixed = outputs(workspace)
    run(workspace, tiny_base, decoding={"kind": "generate"})
    run(workspace, tiny_base)
    assert outputs(workspace) == mixed


def test_predictions_of_another_recipe_wait_for_it(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    run(workspace, tiny_base)
    before = outputs(workspace)
    cut_in_row(4, workspace, tiny_base, decoding={"kind": "generate"})
    run(workspace, tiny_base)
    assert "predict: nothing changed" in capsys.readouterr().out
    assert outputs(workspace) == before
    run(workspace, tiny_base, decoding={"kind": "generate"})
    assert "resuming after row 3 of 5" in capsys.readouterr().out


def test_predictions_in_batches_resume_with_whole_batches(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    run(workspace, tiny_base, decoding={"batch": 2})
    expected = outputs(workspace)
    (workspace / "result/manifest_tiny.json").unlink()
    cut_in_row(4, workspace, tiny_base, decoding={"batch": 2})
    run(workspace, tiny_base, decoding={"batch": 2})
    assert "resuming after row 2 of 5" in capsys.readouterr().out
    assert outputs(workspace) == expected
