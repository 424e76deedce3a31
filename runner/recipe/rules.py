"""The recipe's rules: what must hold between keys, or within a text, beyond type and range.

Each rule is a row: it names the keys that it reads, is asked only when all of them could be read, and yields
`(key, what is wrong)`.
"""

from __future__ import annotations

import os
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, Optional, Union

from grading import contract
from grading.contract.results import UNPARSABLE
from runner.recipe.parser import suggestion

Findings = Iterator[tuple[str, str]]
Columns = tuple[str, ...]

_RULES: list[tuple[tuple[str, ...], Callable[..., Findings]]] = []


def contradictions(values: Mapping[str, Any]) -> Findings:
    """All findings for the values that a recipe's keys have, `{"task.name": "QQP", …}`."""
    for keys, rule in _RULES:
        if all(key in values for key in keys):
            yield from rule(*(values[key] for key in keys))


def placeholders(template: str) -> Optional[list[str]]:
    """The names in a template's braces, in order; None where it cannot be read or asks for formatting."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        return None
    if any(name is not None and (form or conversion) for _, name, form, conversion in parts):
        return None
    return [name for _, name, _, _ in parts if name is not None]


def _rule(*keys: str) -> Callable[[Callable[..., Findings]], Callable[..., Findings]]:
    def add(rule: Callable[..., Findings]) -> Callable[..., Findings]:
        _RULES.append((keys, rule))
        return rule

    return add


@_rule("task.name")
def _name(name: str) -> Findings:
    if not contract.is_dataset_name(name):
        yield (
            "task.name",
            (
                f"{name!r} cannot name a dataset: letters, digits, `.`, `-` and `_`, a letter or digit first, and no `_` "
                "followed by digits alone"
            ),
        )


for _key in ("instruction", "base", "task.train", "task.dev"):

    @_rule(_key)
    def _filled(text: str, key: str = _key) -> Findings:
        if not text.strip():
            yield key, "is empty"


for _key in ("base", "task.train", "task.dev"):

    @_rule(_key)
    def _inside(path: str, key: str = _key) -> Findings:
        if not os.path.isabs(path) and ".." in path.replace("\\", "/").split("/"):
            yield (
                key,
                f"{path!r} climbs out of a folder; write an absolute path, or ./ and ../ first: from the recipe's folder",
            )


@_rule("task.columns", "task.dev_columns")
def _repeated_column(columns: Columns, dev_columns: Sequence[Columns]) -> Findings:
    for key, names in [("task.columns", columns), *(("task.dev_columns", form) for form in dev_columns)]:
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield key, f"column {name!r} stands there twice"


@_rule("task.labels")
def _labels(labels: tuple[str, ...]) -> Findings:
    if len(labels) < 2:
        yield "task.labels", f"expected two labels or more, found {len(labels)}"
    if UNPARSABLE in labels:
        yield "task.labels", f"{UNPARSABLE!r} stands for an answer that is no label; choose another"
    if len(set(labels)) < len(labels):
        yield "task.labels", "a label stands there twice"
    for label in labels:
        if not contract.is_label(label):
            yield "task.labels", f"{label!r} cannot be a label: 1 to 32 visible ASCII characters without a space"


@_rule("task.label", "task.columns")
def _label_column(label: str, columns: Columns) -> Findings:
    if label not in columns:
        yield "task.label", f"{label!r} is no column; columns are {', '.join(columns)}{suggestion(label, columns)}"


@_rule("task.columns", "task.label", "task.dev_columns")
def _dev_columns(columns: Columns, label: str, dev_columns: Sequence[Columns]) -> Findings:
    sizes = [len(form) for form in dev_columns]
    if len(set(sizes)) < len(sizes):
        yield "task.dev_columns", "two forms have the same number of columns, which is what tells them apart"
    if any(label in form for form in dev_columns):
        yield "task.dev_columns", f"the label column {label!r} stands in a form; dev rows have no label"


@_rule("task.input", "task.columns", "task.label", "task.dev_columns")
def _input(template: str, columns: Columns, label: str, dev_columns: Sequence[Columns]) -> Findings:
    names = placeholders(template)
    if names is None:
        yield (
            "task.input",
            f"expected columns in braces and no other braces (a brace itself is written twice), found {template!r}",
        )
    elif not names:
        yield "task.input", "names no column: every record would be the same; write {column}"
    for name in sorted(set(names or ())):
        if name == label:
            yield "task.input", f"holds the label column {{{name}}}: the answer would stand in the question"
        elif name not in columns:
            yield "task.input", f"{{{name}}} is no column; columns are {', '.join(columns)}{suggestion(name, columns)}"
        elif any(name not in form for form in dev_columns):
            yield "task.input", f"{{{name}}} is missing in a form of task.dev_columns"


@_rule("prompt.template")
def _template(template: str) -> Findings:
    if sorted(placeholders(template) or ()) != ["input", "instruction"]:
        yield (
            "prompt.template",
            (
                "expected {instruction} and {input} once each and no other braces (a brace itself is written twice), "
                f"found {template!r}"
            ),
        )
    elif template.endswith("{input}"):
        yield "prompt.template", "ends with {input}: put a word or a newline behind it, where the model is to answer"


@_rule("train.cache_frozen_layers", "lora.layers_to_transform")
def _trunk(keep: bool, layers: Optional[tuple[int, ...]]) -> Findings:
    if keep and not (layers and min(layers) > 0):
        yield (
            "train.cache_frozen_layers",
            "needs lora.layers_to_transform without layer 0: there is no frozen layer to keep",
        )


@_rule("train.loss", "decoding.kind")
def _generation(loss: str, kind: str) -> Findings:
    if kind == "generate" and loss != "vocabulary":
        yield (
            "decoding.kind",
            (
                f"generate needs train.loss: vocabulary, found {loss}: it compares the labels with each other only, so the "
                "model may write any other word; set train.loss: vocabulary, or decoding.kind: label"
            ),
        )


@_rule("lora.init_lora_weights")
def _start(init: Union[bool, str]) -> Findings:
    if init is False:
        yield (
            "lora.init_lora_weights",
            "false starts B at random: the untuned model would not be the base; true or gaussian",
        )


@_rule("lora.target_modules", "lora.layers_to_transform")
def _layers(targets: Union[str, tuple[str, ...]], layers: Optional[tuple[int, ...]]) -> Findings:
    if layers and isinstance(targets, str):
        yield (
            "lora.layers_to_transform",
            "needs a list in lora.target_modules (PEFT's rule), for instance [q_proj, v_proj]",
        )
    for name in targets if isinstance(targets, tuple) else ():
        if name.rpartition(".")[2] in ("lm_head", "embed_tokens"):
            yield (
                "lora.target_modules",
                f"{name} is tied to the vocabulary: the adapter would hold the whole table; leave it out",
            )
    empty: dict[str, Any] = {"lora.target_modules": targets, "lora.layers_to_transform": layers}
    for key, value in empty.items():
        if value == ():
            yield key, "an empty list adapts no layer"
