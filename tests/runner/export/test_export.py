"""The command `export`: folders that load without labeltune and answer alike."""

import dataclasses
import json
import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors import safe_open
from support.answered import answered_run
from support.snippets import probabilities, snippet_of

import labeltune
from runner.commands.export import main
from runner.export.card import model_card
from runner.export.facts import facts_of

ROW = ("ab new 3", "ba other")


def export(*arguments: Any) -> int:
    return main([str(each) for each in arguments])


def texts(folder: Path) -> list[str]:
    both = facts_of(folder).averages_both_orders
    return ["\n".join(ROW), *(["\n".join(reversed(ROW))] if both else [])]


@pytest.mark.parametrize(("way", "more"), [("plain", []), ("all", []), ("all", ["--adapter-only"])])
def test_the_snippet_of_the_card_answers_as_ask_does(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], way: str, more: list[str]
) -> None:
    folder = answered_run(tiny_base, way) / "saved_model/tiny"
    assert export(folder, "--out", tmp_path / "out", *more) == 0
    out = capsys.readouterr().out
    assert ("6 rows compared, 0 with another label" in out) == (not more)
    with labeltune.Asker.load(folder) as asker:
        expected = asker.answer([ROW])[0].prediction
    assert expected is not None
    assert probabilities(tmp_path / "out", texts(folder)) == pytest.approx(expected.probabilities, abs=1e-5)
    lines = snippet_of(tmp_path / "out").rstrip().splitlines()
    assert len(lines) - lines.index("", lines.index('folder = "."')) - 1 == 5


def test_the_merged_folder_has_the_files_of_the_base(tiny_base: Path, tmp_path: Path) -> None:
    folder = answered_run(tiny_base, "plain") / "saved_model/tiny"
    # an empty folder is as good as a new one
    (tmp_path / "out").mkdir()
    assert export(folder, "--out", tmp_path / "out", "--precision", "fp32") == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {path.name for path in tiny_base.iterdir()} | {"README.md", "prompt.json"}
    tensors = [set(safe_open(str(each / "model.safetensors"), "pt").keys()) for each in (tiny_base, tmp_path / "out")]
    assert tensors[0] == tensors[1]
    ours, theirs = (json.loads((each / "config.json").read_text()) for each in (tmp_path / "out", tiny_base))
    assert set(ours) - set(theirs) <= {"hidden_activation"}


def test_the_card_of_three_labels_names_the_mean_f1(tiny_base: Path) -> None:
    facts = facts_of(answered_run(tiny_base, "plain") / "saved_model/tiny")
    three = dataclasses.replace(facts, prompt={**facts.prompt, "labels": ["0", "1", "2"]})
    assert f"| F1 (mean over the labels) | {facts.evaluation['f1']:.4f} |" in model_card(three, merged=False)


def test_the_card_has_the_metadata_of_the_hub(tiny_base: Path, tmp_path: Path) -> None:
    folder = answered_run(tiny_base, "all") / "saved_model/tiny"
    arguments = ["--out", tmp_path / "out", "--adapter-only", "--base-name", "google/gemma-2b"]
    assert export(folder, *arguments) == 0
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    _, head, text = card.split("---\n", 2)
    data = yaml.safe_load(head)
    assert data["library_name"] == "peft"
    assert data["base_model"] == "google/gemma-2b"
    evaluation = json.loads((folder / "evaluation.json").read_text())
    (result,) = data["model-index"][0]["results"]
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert values["accuracy"] == evaluation["accuracy"]
    assert values["log_loss"] == evaluation["log_loss"]
    digests = re.findall(r"\| (train|dev) \| `tiny_\1.tsv` \| `([0-9a-f]{64})` \|", text)
    assert [name for name, _ in digests] == ["train", "dev"]
    assert "| `1` | `yes` |" in text
    assert f"| F1 of the label `1` | {evaluation['f1']:.4f} |" in text
    assert str(tiny_base) not in card
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "google/gemma-2b"


def test_a_folder_that_is_not_empty_or_is_graded_is_refused(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = answered_run(tiny_base, "plain")
    (tmp_path / "mine").write_text("mine")
    for out, message in (
        (tmp_path, "is not empty"),
        (tmp_path / "mine", "expected a folder, found a file"),
        (workspace / "saved_model/other", "lies in a folder that is handed in or graded"),
    ):
        for more in ([], ["--adapter-only"]):
            assert export(workspace / "saved_model/tiny", "--out", out, *more) == 2
            assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_disk_without_room_is_named_before_anything_is_written(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    for more in ([], ["--adapter-only"]):
        assert export(answered_run(tiny_base, "plain") / "saved_model/tiny", "--out", tmp_path / "a", *more) == 2
        assert re.search(r"a: 67\.\d MB are needed, 1\.0 MB are free", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_rows_are_needed_to_prove_a_merge_and_any_file_does(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(answered_run(tiny_base, "plain") / "saved_model/tiny", moved)
    assert export(moved, "--out", tmp_path / "out") == 2
    assert "dev rows are not here, to compare the merged model on\n  next: name some rows" in capsys.readouterr().err
    (tmp_path / "rows.csv").write_text("first,second\nab,ba\nba,ab\n")
    assert export(moved, "--out", tmp_path / "out", "--rows", tmp_path / "rows.csv") == 0
    assert "2 rows compared, 0 with another label" in capsys.readouterr().out


def at_the_border(folder: Path, rows: Sequence[Sequence[str]], copy: Path) -> Path:
    """A copy of a run whose calibration puts many of these rows at the border between two labels."""
    shutil.copytree(folder, copy)
    tree = json.loads((copy / "calibration.json").read_text())
    (copy / "calibration.json").write_text(json.dumps({**tree, "temperature": 1.0, "bias": [0.0, 0.0]}))
    with labeltune.Asker.load(copy) as asker:
        found = [answer.prediction for answer in asker.answer(rows, 16)]
    shares = sorted(math.log(each.probabilities["1"] / each.probabilities["0"]) for each in found if each)
    # the middle of the eight that are closest together
    _, first = min((shares[n + 7] - shares[n], n) for n in range(len(shares) - 7))
    border = (shares[first + 3] + shares[first + 4]) / 2
    (copy / "calibration.json").write_text(json.dumps({**tree, "temperature": 1.0, "bias": [border / 2, -border / 2]}))
    return copy


def test_a_merge_that_changes_a_label_is_refused_and_leaves_nothing(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In bf16 the sum is rounded, and some rows are at the border."""
    rows = [(f"{'ab' if n % 3 else 'ba'} word {n}", f"{'xy' if n % 2 else 'ba'} {n * n}") for n in range(300)]
    copy = at_the_border(answered_run(tiny_base, "all") / "saved_model/tiny", rows, tmp_path / "copy")
    (tmp_path / "rows.tsv").write_text("first\tsecond\n" + "".join("\t".join(row) + "\n" for row in rows))
    assert export(copy, "--out", tmp_path / "out", "--rows", tmp_path / "rows.tsv", "--precision", "bf16") == 2
    error = capsys.readouterr().err
    assert re.search(r"\d of 300 rows gets? another label from the merged model in bf16", error)
    assert "--precision fp32" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "rows.tsv"]


def test_an_ensemble_says_what_is_exported(tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = answered_run(tiny_base, "ensemble") / "saved_model/tiny"
    assert export(folder, "--out", tmp_path / "out", "--adapter-only") == 0
    assert "the first member of the ensemble" in capsys.readouterr().out
    assert "first member of an ensemble" in (tmp_path / "out/README.md").read_text(encoding="utf-8")
