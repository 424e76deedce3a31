"""The report that a run writes at its end: the same as the command's, written once, and never at the cost of the run."""

import json
import sys
from pathlib import Path

import pytest
from conftest import recipe_tree, write_recipe

from runner.commands.report import main as report
from runner.commands.run import main as run
from runner.commands.runs import main as runs
from runner.reporting.report import PAGE, SWITCH
from runner.workspace.paths import Workspace
from runner.workspace.runs import kept_runs

pytest.importorskip("matplotlib")


def test_a_run_writes_its_report(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(SWITCH)
    recipe = str(write_recipe(workspace, recipe_tree(tiny_base)))
    folder, command = workspace / "result/tiny", [recipe, "--workspace", str(workspace)]
    assert run(command) == 0
    assert "tiny report: written: result/tiny/report.html\n" in capsys.readouterr().out
    files = {path: path.read_bytes() for path in folder.iterdir()}
    text = (folder / PAGE).read_text(encoding="utf-8")
    # the texts and the tokens are those of the run
    held_out = json.loads((workspace / "pre_data/tiny/tiny_holdout.json").read_text())
    assert len(held_out) == 4
    assert all(f"<bdi>{record['input']}</bdi>" in text for record in held_out)
    assert '<span class="token prefix" title="2">&lt;bos&gt;</span>' in text
    times = [path.stat().st_mtime_ns for path in files]
    assert run(command) == 0
    assert "report.html" not in capsys.readouterr().out
    assert [path.stat().st_mtime_ns for path in files] == times
    for path in files:
        path.unlink()
    assert report([str(workspace / "saved_model/tiny")]) == 0
    assert {path: path.read_bytes() for path in folder.iterdir()} == files
    # another run, whose report cannot be written
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib", None)
        assert run([*command, "lora.r=4"]) == 0
        output = capsys.readouterr().out
    assert "WARNING: result/tiny/report.html: the report could not be written: " in output
    assert (folder / PAGE).read_bytes() == files[folder / PAGE]
    assert (workspace / "saved_model/tiny/run.json").exists()
    (kept,) = kept_runs(Workspace(workspace, "tiny"))
    assert runs(["restore", kept.id, "--workspace", str(workspace)]) == 0
    assert f"run {kept.id}, finished" in (folder / PAGE).read_text(encoding="utf-8")
