"""The predict stage, `ask`, the Python API and the loading snippets of both exports give the same probabilities, in fp32."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from support.snippets import probabilities

import labeltune
from runner.commands import ask, export
from runner.commands.run import execute
from runner.recipe.loader import load_recipes

PLACE = Path(os.environ.get("LABELTUNE_REAL", Path.home() / ".cache/labeltune"))
"""Where the real pre-trained bases are."""

FEW = (
    "samples.train=16",
    "samples.holdout=8",
    "samples.dev=4",
    "train.epochs=1",
    "train.batch_size=4",
    "train.precision=fp32",
)
SMALL = ("samples.train=4", "samples.holdout=4", "samples.dev=2", "train.layout=padded")
"""For bases that need seconds for a row on a processor: one update of the weights, and two rows to compare."""

WORDS = ("instruction=Do the two questions ask the same thing? Answer 1 for yes, 0 for no.", "prompt.max_length=128")


def same_answers(workspace: Path, *changes: str) -> None:
    """Trains on a few rows of the demo's pairs, and compares every way to ask for the same rows."""
    (loaded,) = load_recipes([ROOT / "recipes/demo-paraphrase.yaml"], [*FEW, *changes])
    execute([loaded], workspace)
    folder = workspace / "saved_model/paraphrase"
    lines = (workspace / "result/predictions_paraphrase.jsonl").read_text(encoding="utf-8").splitlines()
    expected = [json.loads(line)["probabilities"] for line in lines]
    records = json.loads((workspace / "pre_data/paraphrase/paraphrase_dev.json").read_text(encoding="utf-8"))
    texts = [record["input"] for record in records]

    def check(name: str, found: list[Any], most: int = 1000) -> None:
        assert len(found) == min(most, len(expected)) > 0
        pairs = list(zip(found, expected))
        difference = max(abs(one[label] - row[label]) for one, row in pairs for label in row)
        # pytest -rP shows it
        print(f"largest difference, {name}: {difference:.2g}")
        assert difference <= 1e-5
        for one, row in pairs:
            assert one.keys() == row.keys()
            assert max(one, key=one.__getitem__) == max(row, key=row.__getitem__)

    with labeltune.Classifier.load(folder) as classifier:
        check("API", [each.probabilities for each in classifier.predict(texts, batch_size=4)])
    with labeltune.Asker.load(folder) as asker:
        answers = asker.answer([text.split("\n") for text in texts])
        check("Asker", [each.prediction and each.prediction.probabilities for each in answers])
    (workspace / "rows.tsv").write_text("".join(text.replace("\n", "\t") + "\n" for text in texts), encoding="utf-8")
    out = workspace / "out.jsonl"
    assert ask.main([str(folder), str(workspace / "rows.tsv"), "--out", str(out)]) == 0
    written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    check("ask", [{label: row[f"probability_{label}"] for label in ("0", "1")} for row in written])
    for name, more in (("merged", []), ("adapter", ["--adapter-only"])):
        assert export.main([str(folder), "--out", str(workspace / name), *more]) == 0
        # one process for each: the first row is enough
        check(f"snippet of the {name} model", [probabilities(workspace / name, texts[:1])], most=1)


def test_on_the_demo(tmp_path: Path) -> None:
    same_answers(tmp_path)


@pytest.mark.real
@pytest.mark.parametrize("name", ["smollm2-135m", "gemma-3-270m"])
def test_on_real_bases(tmp_path: Path, name: str) -> None:
    if not (PLACE / name / "config.json").exists():
        pytest.skip(f"{PLACE / name} is not there")
    same_answers(tmp_path, f"base={PLACE / name}", *SMALL, *WORDS)
