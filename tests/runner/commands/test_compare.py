"""`labeltune compare`: runs side by side on the rows that they share."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from support.finished_runs import predictions, tiny, train, write_evaluation

from runner.commands.compare import main
from runner.errors import UserError
from runner.evaluation.comparison import compare_runs
from runner.evaluation.significance import exact_mcnemar
from runner.workspace.runs import kept_runs, run_in_place


def right(count: int, rows: int = 100) -> list[bool]:
    return [row < count for row in range(rows)]


def workspace_with(root: Path, *counts: int) -> list[str]:
    """Runs of ranks 2, 4, … with so many of 100 rows right, the last one in place; their ids."""
    for number, count in enumerate(counts, 1):
        train(root, rank=2 * number, day=number)
        write_evaluation(root / "saved_model/tiny", right(count))
    present = run_in_place(tiny(root))
    assert present is not None
    return [*(run.id for run in kept_runs(tiny(root))), present.id]


def test_three_runs_as_text(tmp_path: Path, capsys: Any) -> None:
    ids = workspace_with(tmp_path, 80, 60, 83)
    assert main([*ids, "--workspace", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    text = "\n".join(" ".join(line.split()) for line in lines)
    assert f"A tiny, run {ids[0]}," in text
    assert "lora.r A: 2; B: 4; C: 6" in text
    assert "on 100 rows, 95 % MCC F1 log loss Brier training GPU host" in text
    assert "A = 80.0% (71.1 to 86.7) 0.600 0.800 0.500 0.250 3.0 min 2.0 GB" in text
    assert "B 60.0% (" in text
    assert "C * 83.0% (" in text
    assert "* is the best, = is not distinguishable from the best" in text
    assert "A, B A is 20.0 points better than B on 100 rows (95 % interval 12.0 to 28.0, p < 0.0001)" in text
    assert "A, C not distinguishable on 100 rows; about 350 would be needed" in text
    assert "p: McNemar's exact test, corrected for 3 pairs (Holm)" in text


def test_the_same_as_json(tmp_path: Path, capsys: Any) -> None:
    ids = workspace_with(tmp_path / "a", 80, 60)
    workspace_with(tmp_path / "b", 70)
    folder = next((tmp_path / "a/saved_model/.runs/tiny").iterdir())
    assert main([str(folder), str(tmp_path / "a/saved_model/tiny"), str(tmp_path / "b"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "labeltune.comparison/1"
    assert [run["accuracy"] for run in found["runs"]] == [0.8, 0.6, 0.7]
    assert [run["tied_with_best"] for run in found["runs"]] == [True, False, False]
    assert [run["id"] for run in found["runs"]][:2] == ids
    assert found["differences"] == {"lora.r": [2, 4, 2]}
    first = found["pairs"][0]
    assert (first["first"], first["second"], first["only_first"], first["only_second"]) == ("A", "B", 20, 0)
    assert first["p"] == pytest.approx(3 * exact_mcnemar(20, 0))


def test_a_path_in_the_workspace_is_found_from_elsewhere(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    """The current folder comes first: a run there has the same path."""
    kept, present = workspace_with(tmp_path / "a", 80, 60)
    (elsewhere,) = workspace_with(tmp_path / "b", 70)
    for place, expected in ((tmp_path, present), (tmp_path / "b", elsewhere)):
        monkeypatch.chdir(place)
        assert main(["saved_model/tiny", kept, "--workspace", str(tmp_path / "a"), "--json"]) == 0
        assert [run["id"] for run in json.loads(capsys.readouterr().out)["runs"]] == [expected, kept]


def test_only_common_rows_count(tmp_path: Path, capsys: Any) -> None:
    (one,) = workspace_with(tmp_path / "a", 80)
    train(tmp_path / "b", rank=4)
    write_evaluation(tmp_path / "b/saved_model/tiny", right(40, rows=50))
    assert main([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "on 50 rows" in text
    assert "A * 100.0% (" in text
    assert "the hold-outs differ; left out, because another run may have been trained on them: A 50" in text
    assert "0.500 0.250" in text, "the second one's, whose hold-out is whole"
    assert text.count("0.500 0.250") == 1
    assert one


def test_rows_are_matched_by_input_and_label_in_any_order() -> None:
    rows = predictions([True, False, True, True])
    found = compare_runs([rows, rows[::-1], rows[1:]], ["A", "B", "C"])
    assert found.rows == 3
    assert found.left_out == (1, 1, 0)
    assert all(pair.only_first == pair.only_second == 0 for pair in found.pairs.values())
    with pytest.raises(UserError) as refused:
        compare_runs([rows, predictions([True] * 4, "other ")], ["A", "B"])
    assert str(refused.value) == (
        "these runs have 0 hold-out rows in common (A 4, B 4), and a comparison needs 2 or more\n"
        "  next: train them on the same data with the same samples.seed and samples.holdout"
    )


def test_mistakes(tmp_path: Path, capsys: Any) -> None:
    workspace_with(tmp_path, 80)
    place = str(tmp_path)
    for arguments, message in (
        ([place], "expected 2 to 100 runs, found 1"),
        ([place, "nothing"], "nothing: no such run in"),
        ([place, str(tmp_path / "saved_model")], "no such run in"),
    ):
        assert main([*arguments, "--workspace", place]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "saved_model/other").mkdir()
    (tmp_path / "saved_model/other/adapter_model.safetensors").write_text("x")
    assert main([place, place]) == 2
    assert capsys.readouterr().err.startswith(f"{place}: has the adapters of other, tiny\n  next: name one adapter's")
    assert main([str(tmp_path / "saved_model/other"), str(tmp_path / "saved_model/tiny")]) == 2
    assert "holdout_predictions.jsonl: cannot be read" in capsys.readouterr().err


def test_a_run_is_not_compared_with_itself(tmp_path: Path, capsys: Any) -> None:
    run, *_ = workspace_with(tmp_path, 80, 70)
    assert main([run, str(tmp_path), run, "--workspace", str(tmp_path)]) == 2
    assert "is named twice\n  next: name each run once" in capsys.readouterr().err


def test_a_page_replaces_no_other_file(tmp_path: Path, capsys: Any) -> None:
    runs = workspace_with(tmp_path, 80, 70)
    answers = tmp_path / "result/result_tiny.txt"
    answers.parent.mkdir(exist_ok=True)
    answers.write_text("1\n")
    assert main([*runs, str(tmp_path), "--workspace", str(tmp_path), "--html", str(answers)]) == 2
    assert capsys.readouterr().err.endswith(
        "expected a name that ends with .html or .htm\n  next: --html compared.html\n"
    )
    assert answers.read_text() == "1\n"


def printed_to(output: int, root: Path, *arguments: str) -> tuple[int, str]:
    """The exit code and the errors of `labeltune` when it prints to this file."""
    command = [sys.executable, "-m", "labeltune", *arguments, "--workspace", str(root)]
    done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr


def test_a_reader_that_goes_away_is_no_mistake(tmp_path: Path) -> None:
    """As after `| head -c 100`: nobody reads any more."""
    ids = workspace_with(tmp_path, 80, 70)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        for arguments in (["compare", *ids, "--json"], ["compare", *ids], ["runs", "--json"]):
            assert printed_to(writing, tmp_path, *arguments) == (0, "")
    finally:
        os.close(writing)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_a_full_disk_is_a_mistake(tmp_path: Path) -> None:
    ids = workspace_with(tmp_path, 80, 70)
    with open("/dev/full", "wb") as full:
        assert printed_to(full.fileno(), tmp_path, "compare", *ids, "--json") == (
            2, "standard output: No space left on device; what was printed is not complete\n",
        )  # fmt: skip
        assert printed_to(full.fileno(), tmp_path, "check", str(ROOT / "recipes/demo-paraphrase.yaml"))[0] == 2
