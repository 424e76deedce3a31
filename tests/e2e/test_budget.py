"""`samples.train: 5m` with a real tiny model: the number of rows is found once and recorded."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import recipe_tree, write_recipe, write_tables
from support.runs import cut_at

from runner.commands.run import main
from runner.search.runs import Runs

OUTPUTS = ("saved_model/tiny/adapter_model.safetensors", "result/result_tiny.txt", "result/predictions_tiny.jsonl")


def start(root: Path, *more: str) -> int:
    return main([str(root / "tiny.yaml"), "--workspace", str(root), *more])


def workspace(root: Path, base: Path, rows: Any, **changes: Any) -> Path:
    write_recipe(write_tables(root), recipe_tree(base, samples={"train": rows}, **changes))
    return root


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A workspace after a run whose measurement was cut at first."""
    root = workspace(tmp_path_factory.mktemp("fitted"), tiny_base, "5m")
    with pytest.MonkeyPatch.context() as patch:
        cut_at(patch, Runs, "measure", 1)
        assert start(root) == 130
    assert start(root) == 0
    return root


def test_it_is_the_run_of_the_number_that_is_saved_with_the_adapter(
    fitted: Path, tmp_path: Path, tiny_base: Path
) -> None:
    lines = (fitted / "saved_model/tiny/recipe.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[1].startswith("# samples.train: 5m: all 20 rows fit; ")
    assert lines[1].endswith(" training rows a second, train.epochs: 2")
    assert "  train: 20" in lines
    assert start(workspace(tmp_path, tiny_base, 20)) == 0
    assert [(tmp_path / name).read_bytes() for name in OUTPUTS] == [(fitted / name).read_bytes() for name in OUTPUTS]


def test_the_same_command_changes_nothing(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(fitted) == 0
    out = capsys.readouterr().out
    assert out.count("nothing changed") == 4
    assert "tiny budget: samples.train: 5m: all 20 rows fit" in out
    assert "loading" not in out


def test_the_recorded_number_is_used(fitted: Path) -> None:
    """Though the device has become slower or faster since."""
    (journal,) = (fitted / "saved_model/.search/tiny").glob("rows-*/journal.jsonl")
    before = journal.read_text(encoding="utf-8")
    journal.write_text(before.replace('"rows": 20', '"rows": 12'), encoding="utf-8")
    assert start(fitted, "--stages", "prepare") == 0
    assert len(json.loads((fitted / "pre_data/tiny/tiny_train.json").read_text(encoding="utf-8"))) == 12
    assert start(fitted, "--stages", "prepare", "--fresh") == 0
    assert len(json.loads((fitted / "pre_data/tiny/tiny_train.json").read_text(encoding="utf-8"))) == 20


def test_the_later_stages_never_measure_again(fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their records and their adapter have the number that was found."""
    root = Path(shutil.copytree(fitted, tmp_path / "copy"))
    (journal,) = (root / "saved_model/.search/tiny").glob("rows-*/journal.jsonl")
    journal.write_text(journal.read_text(encoding="utf-8").replace('"rows": 20', '"rows": 12'), encoding="utf-8")
    assert start(root) == 0
    result = (root / OUTPUTS[1]).read_bytes()
    (root / OUTPUTS[1]).unlink()
    capsys.readouterr()
    assert start(root, "--stages", "predict", "--fresh") == 0
    assert "measur" not in capsys.readouterr().out
    assert (root / OUTPUTS[1]).read_bytes() == result


def test_equal_shares_count_the_rows_that_can_be_drawn(tmp_path: Path, tiny_base: Path) -> None:
    rows = [f"{number}\t{int(number < 6)}\ttext {number}" for number in range(24)]
    write_tables(tmp_path, rows)
    write_recipe(tmp_path, recipe_tree(tiny_base, samples={"train": "5m", "balance": "equal"}))
    assert start(tmp_path, "--stages", "prepare") == 0
    # one of the six rows of label 1 is held out
    assert len(json.loads((tmp_path / "pre_data/tiny/tiny_train.json").read_text(encoding="utf-8"))) == 10


def test_too_little_time_is_said(tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(workspace(tmp_path, tiny_base, "0.001s")) == 2
    message = "samples.train: 0.001s are over before the first 10 steps are\n  next: give it more time\n"
    assert capsys.readouterr().err.endswith(message)
