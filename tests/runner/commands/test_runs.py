"""`labeltune runs`: what it lists, and what it does."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.finished_runs import predict, tiny, train, write_evaluation

from runner.commands.runs import main
from runner.workspace.runs import kept_runs, run_in_place


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace with a run of rank 4 in place and one of rank 2 kept."""
    train(tmp_path, rank=2, day=1)
    predict(tmp_path, "01")
    train(tmp_path, rank=4, day=2)
    write_evaluation(tmp_path / "saved_model/tiny", [True] * 83 + [False] * 17)
    return tmp_path


def ids(root: Path) -> tuple[str, str]:
    present = run_in_place(tiny(root))
    assert present is not None
    return present.id, kept_runs(tiny(root))[0].id


def test_the_list(root: Path, capsys: Any) -> None:
    present, kept = ids(root)
    assert main([str(root)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "tiny"
    first, second, third = (" ".join(line.split()) for line in out.splitlines()[2:5])
    assert first.startswith(f"* {present} 2026-11-02 08:44 83.0% (74.5 to 89.1) 6.0 min 0.0 MB")
    assert second.startswith(f"{kept} 2026-11-01 08:44 75.0% (30.1 to 95.4) 3.0 min 0.0 MB")
    assert third == "lora.r 2 (now 4)"
    assert out.splitlines()[-1] == "* is in place. To put another one there: labeltune runs restore ID"
    assert max(map(len, out.splitlines())) <= 100


def test_the_list_as_json(root: Path, capsys: Any) -> None:
    assert main(["--workspace", str(root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "labeltune.runs/1"
    present, kept = found["datasets"]["tiny"]
    assert (present["in_place"], kept["in_place"]) == (True, False)
    assert (present["accuracy"], present["rows"], present["differences"]) == (0.83, 100, {})
    assert kept["differences"] == {"lora.r": [2, 4]}
    assert kept["train_seconds"] == 180.0


def test_restore_and_remove(root: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    present, kept = ids(root)
    monkeypatch.chdir(root)
    assert main(["restore", kept[-8:]]) == 0
    assert capsys.readouterr().out == (
        f"tiny: run {kept} is in place, in saved_model/tiny\n"
        f"kept instead: run {present}; to get it back: labeltune runs restore {present}\n"
        "next: labeltune run saved_model/tiny/recipe.yaml  (its rows and predictions; nothing is trained again)\n"
    )
    assert ids(root) == (kept, present)
    assert main(["restore", kept]) == 0
    assert capsys.readouterr().out == f"{kept} is in place already\n"
    assert main(["remove", kept]) == 2
    assert "is in place, in saved_model/tiny" in capsys.readouterr().err
    assert main(["remove", present]) == 0
    assert capsys.readouterr().out == f"removed saved_model/.runs/tiny/{present}\n"
    assert kept_runs(tiny(root)) == []


def test_mistakes(root: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["nowhere"]) == 2
    assert capsys.readouterr().err.startswith("nowhere: no such folder\n  next: name the workspace")
    assert main(["restore", "x", "--workspace", str(root)]) == 2
    assert capsys.readouterr().err.startswith(f"x: no such run in {root}\n  next: ")
    with pytest.raises(SystemExit, match="2"):
        main(["restore"])
    with pytest.raises(SystemExit, match="2"):
        main([str(root), "more"])
    (tmp_path / "empty").mkdir()
    capsys.readouterr()
    assert main([str(tmp_path / "empty")]) == 0
    assert capsys.readouterr().out == f"no run in {tmp_path / 'empty'}\n"
