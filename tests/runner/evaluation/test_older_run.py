"""An older, better adapter stays in place; a new one that is not clearly worse replaces it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.finished_runs import predict, predictions, tiny, train, write_dev, write_evaluation

from runner.evaluation.older_run import Evaluated, older_stays, reason_to_keep
from runner.workspace.run_moves import compare_with, restore
from runner.workspace.runs import kept_runs, run_in_place

LABELS = ("0", "1")


def right(count: int, rows: int = 100) -> list[bool]:
    return [row < count for row in range(rows)]


def run(count: int, rows: int = 100, seed: str = "", **baselines: float) -> Evaluated:
    return Evaluated(predictions(right(count, rows), seed), baselines)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (run(80), run(80), ""),
        (run(80), run(90), ""),
        (run(80), run(75), ""),
        (
            run(80),
            run(70),
            "it gets 70.0% of the 100 rows that both have held out right, the one before it 80.0% (exact McNemar test, "
            "p = 0.002)",
        ),
        (
            run(80),
            run(70, rows=120),
            "it gets 70.0% of the 100 rows that both have held out right, the one before it 80.0% (exact McNemar test, "
            "p = 0.002)",
        ),
        (run(80), run(70, seed="other "), ""),
        (run(80, majority=0.5), run(50, seed="other ", majority=0.5), ""),
        (
            run(80, majority=0.5),
            Evaluated([*predictions(right(1, 1)), *predictions(right(49), "other ")], {"majority": 0.5}),
            "it gets 49.5% of its 101 hold-out rows right, the one before it 80.0% of its 100, and unlike that one it is not "
            "better than the majority (50.0%)",
        ),
        (run(3, rows=4, majority=0.5), run(50, majority=0.5), ""),
        (
            run(80, majority=0.7, untuned=0.5),
            run(76, majority=0.76, untuned=0.5),
            "it gets 76.0% of its 100 hold-out rows right, the one before it 80.0% of its 100, and unlike that one it is not "
            "better than the majority (76.0%)",
        ),
        (
            run(80, majority=0.5, untuned=0.6),
            run(77, majority=0.5, untuned=0.78),
            "it gets 77.0% of its 100 hold-out rows right, the one before it 80.0% of its 100, and unlike that one it is not "
            "better than the untuned base (78.0%)",
        ),
        (run(76, majority=0.76), run(75, majority=0.76), ""),
        (run(80, untuned=0.5), run(85, untuned=0.9), ""),
    ],
)
def test_reasons(old: Evaluated, new: Evaluated, reason: str) -> None:
    assert reason_to_keep(old, new) == reason


def two_runs(root: Path, old: Sequence[bool], new: Sequence[bool], dev: Sequence[str] = ("a", "b")) -> None:
    """One run with predictions for the rows a and b, and a new one that has replaced it."""
    write_dev(root)
    train(root, rank=2, day=1)
    write_evaluation(root / "saved_model/tiny", old, majority=0.5)
    predict(root, "01")
    write_dev(root, dev)
    train(root, rank=4, day=2)
    write_evaluation(root / "saved_model/tiny", new, majority=0.5)


@pytest.mark.parametrize("predicts", [True, False])
def test_the_better_one_is_put_back_with_its_results(tmp_path: Path, caplog: Any, predicts: bool) -> None:
    two_runs(tmp_path, right(80), right(70))
    workspace, new = tiny(tmp_path), run_in_place(tiny(tmp_path))
    assert new is not None
    predict(tmp_path, "11")
    assert older_stays(workspace, LABELS, predicts)
    present, (kept,) = run_in_place(workspace), kept_runs(workspace)
    assert present is not None
    assert present.id.startswith("20261101")
    assert kept.id == new.id
    assert (tmp_path / "result/result_tiny.txt").read_text() == "0\n1\n"
    assert caplog.messages == [
        "the new adapter is worse and does not replace the one before it: it gets 70.0% of the 100 rows that both have held "
        "out right, the one before it 80.0% (exact McNemar test, p = 0.002). saved_model/tiny and result/result_tiny.txt are "
        f"those of run {present.id} again; nothing new is predicted. To take the new adapter anyway: labeltune runs "
        f"restore {new.id} --workspace {tmp_path}"
    ]
    assert not older_stays(workspace, LABELS, predicts), "it is decided"


def test_a_run_that_the_user_puts_in_place_stays(tmp_path: Path) -> None:
    two_runs(tmp_path, right(80), right(70))
    workspace = tiny(tmp_path)
    assert older_stays(workspace, LABELS, predicts=False)
    restore(kept_runs(workspace)[0])
    assert not older_stays(workspace, LABELS, predicts=False)
    present = run_in_place(workspace)
    assert present is not None
    assert present.id.startswith("20261102")


def test_the_new_one_stays_where_the_old_one_has_not_answered_these_rows(tmp_path: Path, caplog: Any) -> None:
    two_runs(tmp_path, right(80), right(70), dev=("a", "c"))
    workspace = tiny(tmp_path)
    assert not older_stays(workspace, LABELS, predicts=True)
    present, (kept,) = run_in_place(workspace), kept_runs(workspace)
    assert present is not None
    assert present.id.startswith("20261102")
    assert "has no predictions for these dev rows; to get that adapter back: labeltune runs restore " in caplog.text
    assert compare_with(workspace) == ""
    assert kept.id in caplog.text


def test_nothing_is_decided_before_the_evaluation(tmp_path: Path) -> None:
    two_runs(tmp_path, right(80), right(70))
    workspace = tiny(tmp_path)
    (tmp_path / "saved_model/tiny/holdout_predictions.jsonl").rename(tmp_path / "later")
    assert not older_stays(workspace, LABELS, predicts=False)
    (tmp_path / "later").rename(tmp_path / "saved_model/tiny/holdout_predictions.jsonl")
    assert older_stays(workspace, LABELS, predicts=False)


@pytest.mark.parametrize("damage", ["holdout_predictions.jsonl", "adapter_model.safetensors"])
def test_a_damaged_older_run_is_no_reason(tmp_path: Path, damage: str) -> None:
    two_runs(tmp_path, right(80), right(70))
    workspace = tiny(tmp_path)
    (kept_runs(workspace)[0].folder / damage).write_text("{")
    assert not older_stays(workspace, LABELS, predicts=False)
    assert compare_with(workspace) == ""


def test_a_better_one_replaces_without_a_word(tmp_path: Path, caplog: Any) -> None:
    two_runs(tmp_path, right(70), right(80))
    assert not older_stays(tiny(tmp_path), LABELS, predicts=True)
    assert caplog.messages == []
