"""The page of a comparison: ties, pairs, and rows that only some get right; and a search as the runs to compare."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.evaluated_runs import HOSTILE, evaluated, rows_of
from support.finished_runs import tiny

from runner.commands.compare import main
from runner.workspace.runs import kept_runs

pytest.importorskip("matplotlib")


def test_a_comparison_as_a_page(tmp_path: Path, capsys: Any) -> None:
    for number, skill in enumerate((2.0, 0.6, 1.9)):
        evaluated(tmp_path, rows_of(400, skill, number, HOSTILE), 2 + 2 * number, 1 + number)
    runs = [str(run.folder) for run in kept_runs(tiny(tmp_path))]
    assert main([*runs, str(tmp_path), "--html", str(tmp_path / "compared.html")]) == 0
    assert capsys.readouterr().out.endswith(f"\nwritten: {tmp_path}/compared.html\n")
    page = (tmp_path / "compared.html").read_text(encoding="utf-8")
    words = " ".join(page.split())
    assert "Not distinguishable from it on these rows: C." in words
    assert "<td>2</td>" in words.replace("<code>", "").replace("</code>", ""), "lora.r of A"
    assert page.count('class="apart"') == 4
    assert "&lt;script&gt;document.title = " in page
    assert page.count("<script") == 1
    assert "<img" not in page


def trials(root: Path, *skills: float) -> Path:
    """The folder of a search with these trials; their weights are removed, as a search does."""
    folder = root / "saved_model/.search/tiny/0123456789abcdef"
    for number, skill in enumerate(skills, 1):
        own = folder / f"trial-{number:03}"
        workspace = evaluated(own, rows_of(200, skill, number), 2 * number, 1)
        (workspace.at(workspace.adapter) / "adapter_model.safetensors").unlink()
    return folder


def test_a_search_means_its_trials_the_best_first(tmp_path: Path, capsys: Any) -> None:
    folder = trials(tmp_path, *([0.2] * 9), 4.0, 2.4)
    for named in (folder, folder.parent):
        assert main([str(named), "--json"]) == 0
        runs = json.loads(capsys.readouterr().out)["runs"]
        assert [Path(run["folder"]).parents[1].name for run in runs[:2]] == ["trial-010", "trial-011"]
    assert main([str(folder)]) == 0
    starts = [line.partition("  ")[0] for line in capsys.readouterr().out.splitlines()]
    # of many runs only the pairs with the best one are printed
    assert [start for start in starts if start[1:3] == ", "] == [f"A, {name}" for name in "BCDEFGHIJK"]
    shutil.copytree(folder, folder.with_name("fedcba9876543210"))
    assert main([str(folder.parent)]) == 2
    assert "has 2 searches\n  next: name one: " in capsys.readouterr().err


def test_names_go_on_after_z(tmp_path: Path, capsys: Any) -> None:
    folder = trials(tmp_path, *([1.0] * 28))
    assert main([str(folder), "--json"]) == 0
    assert [run["name"] for run in json.loads(capsys.readouterr().out)["runs"]][25:] == ["Z", "AA", "AB"]
