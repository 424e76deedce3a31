"""Searches whose candidates Optuna proposes, with a real tiny model: one alone, one after a kill, and two that share a file."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import recipe_tree, write_recipe, write_tables
from support.runs import cut_at

from runner.commands.run import main
from runner.search.journal import Journal
from runner.search.runs import Runs

SPACE = {"train.learning_rate": [0.02, 0.05, 1e-6], "lora.r": [4, 8]}
"""Twelve candidates with the recipe's own values: ten drawn ones, and two of Optuna."""


def workspace(root: Path, base: Path, **search: Any) -> Path:
    tree = recipe_tree(base, search={"minutes": 600, "space": SPACE, "sampler": "optuna", **search})
    write_recipe(write_tables(root), tree)
    return root


def start(root: Path) -> int:
    return main([str(root / "tiny.yaml"), "--workspace", str(root)])


def table(root: Path) -> list[dict[str, Any]]:
    rows = json.loads((root / "result/search_tiny.json").read_text(encoding="utf-8"))["trials"]
    return sorted(
        ({name: value for name, value in row.items() if name != "seconds"} for row in rows),
        key=lambda row: row["trial"],
    )


def folder(root: Path) -> Path:
    (found,) = (root / "saved_model/.search/tiny").iterdir()
    return found


def trials_in(file: Path) -> list[Any]:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    storage = optuna.storages.JournalStorage(JournalFileBackend(str(file)))
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).trials


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A workspace after a search that is alone in its file."""
    pytest.importorskip("optuna")
    root = workspace(tmp_path_factory.mktemp("found"), tiny_base)
    assert start(root) == 0
    return root


def test_every_result_of_the_first_rung_is_in_the_file(found: Path) -> None:
    rows, trials = table(found), trials_in(folder(found) / "optuna.log")
    assert rows[0]["changes"] == {}
    assert len(trials) == 12
    # each was trained on all rows five times: the second rung and the last run have nothing to add
    assert len(rows) == 12
    for row, trial in zip(rows, trials):
        shown = {name: trial.user_attrs[name] for name in ("changes", "rows", "epochs")}
        assert {"log_loss": trial.value, **shown} == {name: row[name] for name in ("log_loss", *shown)}
        assert trial.user_attrs["right"].count("1") / len(trial.user_attrs["right"]) == row["accuracy"]


@pytest.mark.parametrize("killed", [2, 12])
def test_a_killed_search_ends_with_the_same_table(
    found: Path, tmp_path: Path, tiny_base: Path, killed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measured pace and the plan are those of the whole search; there is time enough for all rows in any case."""
    root = workspace(tmp_path, tiny_base)
    events = (folder(found) / "journal.jsonl").read_bytes().splitlines(keepends=True)
    planned = next(number for number, event in enumerate(events, 1) if b'"plan"' in event)
    target = root / folder(found).relative_to(found)
    target.mkdir(parents=True)
    (target / "journal.jsonl").write_bytes(b"".join(events[:planned]))
    with monkeypatch.context() as patch:
        cut_at(patch, Runs, "run", killed)
        assert start(root) == 130
    assert start(root) == 0
    assert table(root) == table(found)
    states = [trial.state.name for trial in trials_in(target / "optuna.log")]
    assert states == ["COMPLETE"] * 12


def test_a_second_search_uses_the_results_of_the_first(
    found: Path, tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "shared.log"
    file.write_bytes((folder(found) / "optuna.log").read_bytes())
    # a hundred times as long: all twelve fit, however much slower the machine has become
    root = workspace(tmp_path / "second", tiny_base, storage=str(file), minutes=60_000)
    capsys.readouterr()
    assert start(root) == 0
    out = capsys.readouterr().out
    passes = Journal(folder(found) / "journal.jsonl").find("plan")["rungs"][0]["passes"]
    assert f"{file} has the results of 12 trials on {passes:,} rows already" in out
    assert "no other candidate is left" in out
    assert "11 candidates of other searches are compared with these" in out
    assert len(trials_in(file)) == 13
    first, second = table(found), table(root)
    # its own trial of the recipe as it is, and then the best of all twelve: on four held-out rows the log loss decides
    best = min(first, key=lambda row: row["log_loss"])
    assert [row["changes"] for row in second] == [{}, *filter(None, [best["changes"]])]
    assert [row["trial"] for row in second] == list(range(1, len(second) + 1))


def test_optuna_is_quiet(found: Path, tmp_path: Path, tiny_base: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert start(workspace(tmp_path, tiny_base, space={"lora.r": [4]})) == 0
    captured = capfd.readouterr()
    assert "study" not in captured.out + captured.err
    assert "Warning" not in captured.err


def test_a_missing_optuna_is_named_before_any_work(
    tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # as Python itself marks a module that cannot be imported
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert start(workspace(tmp_path, tiny_base)) == 2
    message = capsys.readouterr().err
    assert "the package optuna is not installed (Python " in message
    assert message.endswith(f'next: {sys.executable} -m pip install "optuna>=4"\n')
    assert not (tmp_path / "pre_data").exists()
