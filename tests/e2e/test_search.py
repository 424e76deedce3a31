"""A search with a real tiny model: its table, its winner, and what is left of it after a kill."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import recipe_tree, write_recipe, write_tables
from support.runs import cut_at

from runner.commands.run import main
from runner.search.journal import Journal
from runner.search.plan import Rung
from runner.search.runs import Runs
from runner.system.shared_work import ROWS, UNTUNED
from runner.training.train_state import TrainState
from runner.training.trainer import Trainer
from runner.workspace.manifest import read_manifest

SPACE = {"train.learning_rate": [0.02, 1e-6], "instruction": ["Which one?"]}
OUTPUTS = ("saved_model/tiny/adapter_model.safetensors", "result/result_tiny.txt", "result/predictions_tiny.jsonl")


def workspace(root: Path, base: Path, minutes: float = 30) -> Path:
    tree = recipe_tree(base, search={"minutes": minutes, "space": SPACE})
    write_recipe(write_tables(root), tree)
    return root


def start(root: Path, *more: str) -> int:
    return main([str(root / "tiny.yaml"), "--workspace", str(root), *more])


def table(root: Path) -> list[dict[str, Any]]:
    rows = json.loads((root / "result/search_tiny.json").read_text(encoding="utf-8"))["trials"]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def row_of(rows: list[dict[str, Any]], number: int) -> dict[str, Any]:
    return next(row for row in rows if row["trial"] == number)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A workspace after a search, on a machine without Optuna."""
    root = workspace(tmp_path_factory.mktemp("found"), tiny_base)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "optuna", None)
        assert start(root) == 0
    return root


def test_the_table_has_every_trial_and_one_winner(found: Path) -> None:
    rows = table(found)
    assert sorted(row["trial"] for row in rows) == list(range(1, len(rows) + 1))
    # three candidates and the last run, more on a faster machine
    assert len(rows) >= 4
    assert sum(row["winner"] for row in rows) == 1
    assert {} in [row["changes"] for row in rows]
    # with so few rows the trials of every round are equally long
    lengths = [(json.dumps(row["changes"]), row["rows"], row["epochs"]) for row in rows]
    assert len(set(lengths)) == len(lengths)
    rounds = json.loads((found / "result/search_tiny.json").read_text(encoding="utf-8"))["rounds"]
    # a round is trials of one length, and each differs in its settings
    for one in rounds:
        of_round = [row_of(rows, each["trial"]) for each in (one["best"], *one["others"])]
        assert len({(row["rows"], row["epochs"]) for row in of_round}) == 1
        assert len({json.dumps(row["changes"]) for row in of_round}) == len(of_round)
    assert len(rounds[0]["others"]) >= 2


def test_the_winners_recipe_gives_the_same_adapter_alone(found: Path, tmp_path: Path) -> None:
    write_tables(tmp_path)
    assert main([str(found / "result/search_tiny.yaml"), "--workspace", str(tmp_path)]) == 0
    assert [(tmp_path / name).read_bytes() for name in OUTPUTS] == [(found / name).read_bytes() for name in OUTPUTS]
    alone, shared = (read_manifest(root / "saved_model/tiny/manifest.json") for root in (tmp_path, found))
    assert alone is not None
    assert shared is not None
    assert alone.figures["untuned"] == shared.figures["untuned"]


def test_trials_share_the_rows_and_the_untuned_base(found: Path) -> None:
    (path,) = (found / "saved_model/.search/tiny").glob("*/journal.jsonl")
    trials = [event for event in Journal(path).events if event["event"] == "trial"]
    assert all(ROWS in event["saved"] for event in trials)
    # the measurement has evaluated it with the recipe's own instruction
    alone = [event["number"] for event in trials if not event["saved"].get(UNTUNED)]
    assert alone == [next(event["number"] for event in trials if "instruction" in event["changes"])]
    assert not any(event["loads"] for event in trials)
    assert not (path.parent / "store").exists()


def test_a_finished_search_is_not_run_again(found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(found, tmp_path / "again", symlinks=True)
    capsys.readouterr()
    assert start(tmp_path / "again") == 0
    out = capsys.readouterr().out
    assert "tiny finetune: nothing changed" in out
    assert "tiny predict: nothing changed" in out
    # each round, and again below the table
    rounds = json.loads((found / "result/search_tiny.json").read_text(encoding="utf-8"))["rounds"]
    assert [out.count(f"tiny search: {one['sentence']}\n") for one in rounds] == [2] * len(rounds)
    assert table(tmp_path / "again") == table(found)


def test_the_same_winner_is_not_kept_twice(found: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(found, tmp_path / "again", symlinks=True))
    table_of_all = root / "result/search_tiny.json"
    before, adapter = table_of_all.read_bytes(), (root / OUTPUTS[0]).read_bytes()
    assert start(root, "--fresh") == 0
    # the seconds are others
    assert table_of_all.read_bytes() != before
    kept = list((root / "saved_model/.runs/tiny").glob("*/adapter_model.safetensors"))
    assert adapter not in [path.read_bytes() for path in kept]
    assert len({path.read_bytes() for path in kept}) == len(kept)


@pytest.mark.parametrize("killed", [1, 2, 4])
def test_a_killed_search_ends_with_the_same_table(
    found: Path, tmp_path: Path, tiny_base: Path, killed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measured pace is that of the whole search, so that the plans are the same."""
    root = workspace(tmp_path, tiny_base)
    (journal,) = (found / "saved_model/.search/tiny").glob("*/journal.jsonl")
    events = journal.read_bytes().splitlines(keepends=True)
    target = root / journal.relative_to(found)
    target.parent.mkdir(parents=True)
    planned = next(number for number, event in enumerate(events, 1) if b'"plan"' in event)
    target.write_bytes(b"".join(events[:planned]))
    with monkeypatch.context() as patch:
        cut_at(patch, Runs, "run", killed)
        assert start(root) == 130
    assert set(Journal(target).events[-1]) == {"event", "seconds"}
    assert start(root) == 0
    assert table(root) == table(found)
    assert (root / OUTPUTS[0]).read_bytes() == (found / OUTPUTS[0]).read_bytes()


def test_a_trial_that_is_impossible_is_left_out_and_a_bad_winner_is_said_once(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {"lora.target_modules": [["q_proj"], ["nothing"]], "train.epochs": [1]}
    tree = recipe_tree(tiny_base, search={"minutes": 5, "space": space}, train={"learning_rate": "auto"})
    write_recipe(write_tables(tmp_path), tree)
    assert start(tmp_path) == 0
    out = capsys.readouterr().out
    assert out.count("is not better than") == 1
    assert "trained already" not in out
    usual = "0.001: the usual rate for 0.03 million parameters; "
    assert f"tiny search: trial 1: learning rate {usual}" in out
    rows = table(tmp_path)
    first = next(row for row in rows if row["trial"] == 1)
    assert (
        f"tiny search: trial 1: the recipe as it is: {first['rows']} rows × 2, accuracy {first['accuracy']:.1%} ("
        in out
    )
    assert {row["learning_rate"] for row in rows} == {0.001}
    assert all(row["learning_rate_reason"].startswith("the usual rate") for row in rows)
    assert [row["changes"] for row in rows if "nothing" in str(row["changes"])] == []
    # the recipe has two epochs
    assert {row["epochs"] for row in rows} == {1, 2}
    assert [row["epochs"] for row in rows] == [row["changes"].get("train.epochs", 2) for row in rows]


def test_another_candidate_takes_the_place_of_an_impossible_one(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {"lora.target_modules": [["nothing"], ["q_proj"], ["k_proj"]]}
    tree = recipe_tree(tiny_base, search={"minutes": 5, "space": space})
    write_recipe(write_tables(tmp_path), tree)
    # as where the time is for two of the four
    monkeypatch.setattr("runner.search.search.plan", lambda *arguments: [Rung(2, 100)])
    assert start(tmp_path) == 0
    assert "1 of 3 trials gave no result" in capsys.readouterr().out
    assert [row["changes"] for row in sorted(table(tmp_path), key=lambda row: row["trial"])] == [
        {}, {"lora.target_modules": ["q_proj"]},
    ]  # fmt: skip


def test_too_little_time_is_said(tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(workspace(tmp_path, tiny_base, minutes=1e-5)) == 2
    message = "search.minutes: 1e-05 are over before the first 10 steps are\n  next: give it more time\n"
    assert capsys.readouterr().err.endswith(message)


def test_a_search_runs_every_stage(tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(workspace(tmp_path, tiny_base), "--stages", "prepare,finetune") == 2
    assert (
        "search.minutes: a search runs every stage, and --stages leaves out evaluate, predict"
        in capsys.readouterr().err
    )


def test_a_run_that_becomes_slower_starts_again_on_fewer_rows(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_: TrainState) -> None:
        # the measurement is fast
        time.sleep(0.1 if list(tmp_path.glob("saved_model/.search/tiny/*/trial-001")) else 0.0)

    monkeypatch.setattr(Trainer, "on_step_end", (slow,))
    rows = [f"{n}\t{n % 2}\tA sentence of row {n} ." for n in range(1004)]
    tree = recipe_tree(tiny_base, search={"minutes": 0.3, "space": {"lora.r": [2]}})
    write_recipe(write_tables(tmp_path, train=rows), tree)
    started = time.monotonic()
    assert start(tmp_path) == 0
    assert time.monotonic() - started < 50
    out = capsys.readouterr().out
    assert "the time is too short to compare settings. One run: the recipe as it is, on as many rows as fit" in out
    assert "the last run starts again on fewer rows" in out
    (row,) = table(tmp_path)
    assert row["changes"] == {}
    # the recipe's own, where nothing was compared
    assert row["epochs"] == 2
    assert 0 < row["rows"] < 400
    # nothing was shared
    assert "separate launches" not in out
    assert (tmp_path / "result/result_tiny.txt").exists()
