"""The model card: README.md with the metadata that the Hugging Face hub reads, what the model is worth, and how to load it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from runner import __version__
from runner.export.facts import Facts
from runner.export.snippet import snippet
from runner.recipe.writer import yaml_value

METRICS = (
    ("accuracy", "accuracy", "Accuracy"),
    ("matthews_correlation", "mcc", "Matthews correlation (MCC)"),
    ("f1", "f1", "F1 {of}"),
    ("log_loss", "log_loss", "Log loss (nats)"),
    ("brier_score", "brier", "Brier score"),
    ("expected_calibration_error", "ece", "Expected calibration error"),
)
"""Metrics of the hold-out: their names in the metadata, in evaluation.json, and in the table. `{of}`: what F1 is of."""


def model_card(facts: Facts, merged: bool, proof: Optional[Mapping[str, Any]] = None) -> str:
    """The text of the card, in English. `proof`: how the merged model compares with base and adapter."""
    parts = [
        f"---\n{_metadata(facts, merged)}---",
        f"# {facts.name}",
        _introduction(facts, merged),
        "## Labels",
        _labels(facts),
        "## Hold-out metrics",
        _metrics(facts),
        "## Data",
        _data(facts),
        "## Load it",
        _loading(facts, merged),
    ]
    if proof:
        parts += ["## Proof", _proof(proof)]
    return "\n\n".join(parts) + "\n"


def _metadata(facts: Facts, merged: bool) -> str:
    values: dict[str, Any] = {"library_name": "transformers" if merged else "peft", "pipeline_tag": "text-generation"}
    if facts.is_on_hub:
        values["base_model"] = facts.base
        values["base_model_relation"] = "finetune" if merged else "adapter"
    values["tags"] = ["lora", "text-classification", "labeltune"]
    results = [
        {"type": name, "value": facts.evaluation[key]} for name, key, _ in METRICS if _is_number(facts.evaluation, key)
    ]
    if results:
        values["metrics"] = [result["type"] for result in results]
        dataset = {"name": f"{facts.name}, hold-out", "type": facts.name}
        one = {"task": {"type": "text-classification"}, "dataset": dataset, "metrics": results}
        values["model-index"] = [{"name": facts.name, "results": [one]}]
    return "".join(f"{name}: {yaml_value(value)}\n" for name, value in values.items())


def _introduction(facts: Facts, merged: bool) -> str:
    base = f"[{facts.base}](https://huggingface.co/{facts.base})" if facts.is_on_hub else "a base model"
    kind = f"A LoRA adapter, merged into {base}" if merged else f"A LoRA adapter for {base}"
    lines = [
        f"{kind}. It answers an instruction with one label. Made with labeltune {__version__}.",
        f"Instruction: {_code(facts.prompt['instruction'])}",
        f"Prompt: {_code(facts.prompt['template'])}, where the input is "
        + (_code(facts.recipe.task.input) if facts.recipe else "one text")
        + ".",
    ]
    if facts.is_of_an_ensemble:
        lines.append("This is the first member of an ensemble. The run's own answers are the mean of all members.")
    return "\n\n".join(lines)


def _labels(facts: Facts) -> str:
    return _table(("label", "the model writes"), [(_code(a), _code(b)) for a, b in zip(facts.labels, facts.answers)])


def _metrics(facts: Facts) -> str:
    found = facts.evaluation
    of = f"of the label {_code(max(facts.labels))}" if len(facts.labels) == 2 else "(mean over the labels)"
    rows = [(words.format(of=of), f"{found[key]:.4f}") for _, key, words in METRICS if _is_number(found, key)]
    if not rows:
        return "The run was not evaluated."
    interval = found.get("interval") or ["?", "?"]
    baselines = [
        (f"Accuracy of the baseline {name}", f"{each['accuracy']:.4f}")
        for name, each in (found.get("baselines") or {}).items()
        if _is_number(each, "accuracy")
    ]
    text = _table(("metric", "value"), [*rows, *baselines])
    low, high = (f"{each:.4f}" if isinstance(each, float) else each for each in interval)
    return text + (
        f"\n\nOn {found.get('rows')} labelled rows that were not trained on; they chose the best epoch. "
        f"95 % interval of the accuracy (Wilson): {low} to {high}."
    )


def _data(facts: Facts) -> str:
    digests = facts.data_digests()
    if not digests:
        return "The digests of the data files are not known."
    return _table(("used as", "file", "SHA-256"), [(key, _code(name), _code(d)) for key, (name, d) in digests.items()])


def _loading(facts: Facts, merged: bool) -> str:
    packages = "transformers and torch" if merged else "transformers, PEFT and torch"
    text = (
        f"With {packages} alone, in this folder; it prints the probability of each label:"
        f"\n\n```python\n{snippet(facts, merged)}\n```"
    )
    if not facts.is_on_hub and not merged:
        text += "\n\n`base` is the folder of the base model; write there where you have it."
    return text


def _proof(proof: Mapping[str, Any]) -> str:
    return (
        f"The merged model and the base with its adapter gave the same labels on {proof['rows']} rows. The largest "
        f"difference of a probability was {proof['largest_difference']:.2g} (weights in {proof['precision']})."
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _code(text: str) -> str:
    """A text as code on one line, whatever is in it."""
    shown = text.replace("\r", "\\r").replace("\n", "\\n")
    ticks = "`" * (1 + max((len(run) for run in _ticks(shown)), default=0))
    space = " " if shown[:1] in ("`", " ") or shown[-1:] in ("`", " ") else ""
    return f"{ticks}{space}{shown}{space}{ticks}"


def _ticks(text: str) -> list[str]:
    return re.findall("`+", text)


def _is_number(tree: Mapping[str, Any], key: str) -> bool:
    return isinstance(tree.get(key), (int, float)) and not isinstance(tree.get(key), bool)
