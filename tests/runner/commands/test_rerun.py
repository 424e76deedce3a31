"""The rerun: rows predicted again with the submitted adapter, and set beside the result file. The grader starts it as a process;
what it says is mostly looked at without one here, because a process takes seconds to start."""

import hashlib
import http.server
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import recipe_tree, write_recipe

from grading import contract
from grading.score import main as grade
from runner.commands import rerun
from runner.commands.run import main


def rerun_of(workspace: Path, recipe: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    """What a rerun of all of the rows prints for the recipe."""
    capsys.readouterr()
    assert rerun.main([str(recipe), *more, "--workspace", str(workspace)]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def advice(workspace: Path, recipe: Path, report: Path, *more: str) -> tuple[str, str]:
    arguments = ["--submission", str(workspace), "--answers", str(workspace / contract.ANSWER_FOLDER)]
    assert grade([*arguments, "--json", str(report), "--rerun", "4", "--recipes", str(recipe), *more]) == 0
    found = [each for each in json.loads(report.read_text())["advice"] if each["check"] == "predictions and a rerun"]
    assert len(found) == 1
    return found[0]["state"], found[0]["reason"]


@pytest.fixture
def handed_in(workspace: Path, tiny_base: Path) -> Path:
    """The recipe of a finished run in `workspace`, which has answers too."""
    path = write_recipe(workspace, recipe_tree(tiny_base))
    assert main([str(path), "--workspace", str(workspace)]) == 0
    folder = workspace / contract.ANSWER_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result_tiny_5.txt").write_text("1\n0\n1\n0\n1\n")
    return path


def test_a_rerun_agrees_with_an_honest_result_and_not_with_a_made_up_one(
    workspace: Path, handed_in: Path, tmp_path: Path
) -> None:
    report = tmp_path.with_suffix(".json")  # beside the submission
    assert advice(workspace, handed_in, report) == ("agrees", "4 of 4 drawn rows come out as submitted")
    result = workspace / "result/result_tiny.txt"
    result.write_text("".join("01"[line == "0"] + "\n" for line in result.read_text().split()))
    assert advice(workspace, handed_in, report) == ("look here", "0 of 4 drawn rows come out as submitted")
    assert json.loads(report.read_text())["points"] <= 100


def test_a_rerun_calibrates_as_the_run_did(
    workspace: Path, handed_in: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bias that gives every row the same label: the rerun finds that label only with the submitted calibration."""
    folder = workspace / "saved_model/tiny"
    adapter = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    labels = (workspace / "result/result_tiny.txt").read_text().split()
    wanted = "1" if labels[0] == "0" else "0"
    tree = {"schema": "labeltune.calibration/1", "labels": ["0", "1"], "temperature": 1.0, "adapter": adapter}
    tree["bias"] = [-100.0, 100.0] if wanted == "1" else [100.0, -100.0]
    (folder / "calibration.json").write_text(json.dumps(tree))
    calibrated = rerun_of(workspace, handed_in, capsys, "decoding.calibration=auto")
    assert calibrated == {"dataset": "tiny", "labels": [wanted] * 5}
    assert rerun_of(workspace, handed_in, capsys) == {"dataset": "tiny", "labels": labels}


def test_what_cannot_be_rerun_says_why(
    workspace: Path, handed_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = rerun_of(workspace, handed_in, capsys, "instruction=Other?")
    assert "trained with another prompt" in found["problem"]
    report = tmp_path.with_suffix(".json")  # beside the submission
    state, reason = advice(workspace, tmp_path / "nothing.yaml", report)
    assert (state, "nothing.yaml" in reason) == ("not known", True)
    (workspace / "saved_model/tiny/adapter_config.json").write_text("{}")
    assert advice(workspace, handed_in, report) == (
        "not known", "the adapter has not passed every check, so it is not loaded",
    )  # fmt: skip


def test_a_rerun_sees_the_prompt_that_the_run_saw(
    workspace: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model has fewer positions than the recipe would let a prompt have."""
    path = write_recipe(workspace, recipe_tree(tiny_base, prompt={"max_length": 300}))
    assert main([str(path), "--workspace", str(workspace)]) == 0
    labels = (workspace / "result/result_tiny.txt").read_text().split()
    assert rerun_of(workspace, path, capsys) == {"dataset": "tiny", "labels": labels}


@pytest.mark.parametrize("offline", ["true", "false"])
def test_a_rerun_that_is_offline_asks_nobody(
    workspace: Path, handed_in: Path, tmp_path: Path, offline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    asked: list[bytes] = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path.encode())
            self.send_error(404)

        do_GET = do_HEAD

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        report = tmp_path.with_suffix(".json")  # beside the submission
        state, reason = advice(workspace, handed_in, report, "base=nobody/no-such-model", f"offline={offline}")
        server.shutdown()
    assert (state, "cannot be downloaded from the hub" in reason) == ("not known", True)
    assert bool(asked) == (offline == "false")
