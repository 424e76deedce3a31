"""Evaluated runs as files, without a model, of any number of rows: what the report and the comparison of runs are made of."""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from support.finished_runs import train

from grading.contract.metrics import measure
from runner.evaluation.expected_points import expected_points
from runner.evaluation.holdout import HoldoutPrediction, kept_characters, row_key, write_holdout_predictions
from runner.evaluation.intervals import accuracy_interval
from runner.workspace.manifest import Manifest, finish, read_manifest
from runner.workspace.paths import EVALUATION, HOLDOUT_PREDICTIONS, PROMPT_EXAMPLE, Workspace

WORDS = (
    "why",
    "does",
    "the",
    "cat",
    "sleep",
    "under",
    "a",
    "table",
    "while",
    "two",
    "dogs",
    "bark",
    "in",
    "our",
    "street",
)

HOSTILE = (
    "<script>document.title = 'taken'</script>",
    "</script><img src=x onerror=\"document.title='taken'\">",
    "<a href=javascript:alert(1)>a</a> & &lt;b&gt; \" '",
    "{{ 7 * 7 }} {% raw %} ${7 * 7} #{7}",
    "\u202eright to left \u2066 isolate \u2028 line \u0007 bell \x1b[31m red",
    "$\\frac{1}{0$ _{a}^{b}",
    "]]> --> <!-- <svg onload=alert(1)>",
    "long " + "x" * 100_000,
    "שלום עולם",
    "你好，世界 👩\u200d👩\u200d👧",
    "",
)
"""Texts that must stay text."""


def rows_of(
    count: int, skill: float = 2.0, seed: int = 0, texts: Sequence[str] = (), labels: Sequence[str] = ("0", "1")
) -> list[HoldoutPrediction]:
    """Hold-out predictions: labels by turns, and logits that favour the right one by `skill` on average."""
    draw, found = random.Random(seed), []
    of_rows = random.Random(count)
    for number in range(1, count + 1):
        text = (
            texts[number - 1]
            if number <= len(texts)
            else f"{number} " + " ".join(of_rows.choices(WORDS, k=3 + number % 20))
        )
        right = number % len(labels)
        logits = tuple(round(draw.gauss(skill if each == right else 0.0, 1.5), 6) for each in range(len(labels)))
        label = labels[logits.index(max(logits))]
        kept = text[: kept_characters(count)]
        found.append(
            HoldoutPrediction(number, row_key(text), labels[right], label, logits, kept, len(text), len(kept) // 4 + 9)
        )
    return found


def evaluated(
    root: Path, predictions: Sequence[HoldoutPrediction], rank: int = 2, day: int = 1, **more: Any
) -> Workspace:
    """A run in place with these predictions. `more`: names of evaluation.json, laid over its own."""
    workspace = train(root, rank, day)
    folder = workspace.at(workspace.adapter)
    _describe_training(workspace, predictions)
    _prepare(workspace, predictions)
    write_holdout_predictions(folder / HOLDOUT_PREDICTIONS, predictions)
    labels = sorted({each.target for each in predictions})
    found = measure([each.target for each in predictions], [each.label for each in predictions], labels)
    rows = len(predictions)
    tree = {
        "rows": rows,
        "accuracy": found.accuracy,
        "interval": list(accuracy_interval(found.accuracy, rows)),
        "mcc": found.mcc,
        "f1": found.f1,
        "log_loss": 0.5,
        "brier": 0.25,
        "ece": 0.04,
        "uncalibrated": {"log_loss": 0.625, "brier": 0.281, "ece": 0.093},
        "calibration": {"used": True, "reason": "temperature", "temperature": 1.5, "bias": dict.fromkeys(labels, 0.0)},
        "baselines": {"majority": {"accuracy": 0.5}, "untuned": {"accuracy": 0.48}, "bag_of_words": {"accuracy": 0.6}},
        "excluded_rows": 0,
        "expected_points": asdict(expected_points(found.accuracy, rows, 150)),
        **more,
    }
    (folder / EVALUATION).write_text(json.dumps(tree))
    (folder / PROMPT_EXAMPLE).write_text(json.dumps(_example(predictions[0].text, labels)))
    trained, prepared = read_manifest(workspace.manifest("finetune")), read_manifest(workspace.manifest("prepare"))
    assert trained is not None
    assert prepared is not None
    inputs = {"adapter": f"adapter of {rank}", "train": prepared.outputs[workspace.train]}
    inputs["holdout"] = prepared.outputs[workspace.holdout]
    names = [f"{workspace.adapter}/{name}" for name in (EVALUATION, HOLDOUT_PREDICTIONS)]
    finish(Manifest("evaluate", inputs, {}, tree), workspace.manifest("evaluate"), root, names)
    return workspace


def _describe_training(workspace: Workspace, predictions: Sequence[HoldoutPrediction]) -> None:
    """metrics.jsonl, and what the finetune stage says of three epochs."""
    lines: list[dict[str, Any]] = []
    for epoch in (1, 2, 3):
        lines += [
            {
                "step": 10 * (3 * epoch + part - 2),
                "epoch": epoch,
                "loss": 1 / (epoch + part / 3),
                "learning_rate": 1e-3 / epoch,
            }
            for part in range(3)
        ]
        accuracy = 0.55 + 0.1 * epoch
        metrics = {"accuracy": accuracy, "mcc": 0.2 * epoch, "f1": 0.2 * epoch, "loss": 0.7 - 0.1 * epoch}
        metrics = {**metrics, "interval": list(accuracy_interval(accuracy, len(predictions)))}
        lines.append({"epoch": epoch, **{f"holdout_{name}": value for name, value in metrics.items()}})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (workspace.at(workspace.adapter) / "metrics.jsonl").write_text(text)
    manifest = read_manifest(workspace.manifest("finetune"))
    assert manifest is not None
    own = {"rows": 16, "epochs": [{}, {}, {}], "learning_rate": 1e-3, "skipped_steps": 0, "kept": "epoch 3"}
    manifest.figures.update({**own, "tuned": {**manifest.figures["tuned"], "loss": 0.4}})
    finish(manifest, workspace.manifest("finetune"), workspace.root, list(manifest.outputs))


def _prepare(workspace: Workspace, predictions: Sequence[HoldoutPrediction]) -> None:
    """What the prepare stage leaves, with 16 training rows."""
    counts: dict[str, int] = {}
    for each in predictions:
        counts[each.target] = counts.get(each.target, 0) + 1
    labels = sorted(counts)
    train_counts = dict.fromkeys(labels, 16 // len(labels))
    records = [{"instruction": "Which?", "input": "a" * (5 + n), "output": labels[0]} for n in range(16)]
    (workspace.root / f"pre_data/{workspace.dataset}").mkdir(parents=True, exist_ok=True)
    for name in (workspace.train, workspace.holdout):
        lines = ",\n".join(json.dumps(record) for record in records)
        workspace.at(name).write_text(f"[\n{lines}\n]\n")
    figures = {
        "labels": counts,
        "train": train_counts,
        "holdout": counts,
        "repeated_inputs": 7,
        "bad_rows": {"no label": 2},
    }
    manifest = Manifest("prepare", {}, {}, figures)
    finish(manifest, workspace.manifest("prepare"), workspace.root, [workspace.train, workspace.holdout])


def _example(text: str, labels: Sequence[str]) -> dict[str, Any]:
    tokens = [
        ("prefix", "<bos>"),
        ("prefix", "Which?\n"),
        *(("input", each) for each in text[:20]),
        ("tail", "\nAnswer:"),
    ]
    return {
        "tokens": [{"part": part, "id": number, "text": words} for number, (part, words) in enumerate(tokens)],
        "left_out": 0,
        "label": labels[0],
        "answers": [{"label": label, "tokens": [{"id": 1, "text": f" {label}"}]} for label in labels],
    }
