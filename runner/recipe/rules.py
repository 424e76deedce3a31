"""The recipe's rules: conditions between keys, or within a text, beyond type and range.

Each rule is a row of `RULES`: the keys that it reads, and a function of their values. It is checked only where all of its
keys could be read, and yields `(key, problem)`.
"""

from __future__ import annotations

import functools
import os
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, NamedTuple, Optional, Union

from grading import contract
from grading.contract.results import UNPARSABLE
from runner.language import mark, tr
from runner.recipe.duration import Duration
from runner.recipe.parser import suggestion
from runner.recipe.typing_slips import wide_character

Findings = Iterator[tuple[str, str]]
Columns = tuple[str, ...]


class Rule(NamedTuple):
    """A row of `RULES`."""

    keys: tuple[str, ...]
    """The keys that it reads."""
    check: Callable[..., Findings]
    """A function of their values."""


def contradictions(values: Mapping[str, Any]) -> Findings:
    """All findings for the values of a recipe's keys, `{"task.name": "QQP", …}`."""
    for keys, check in RULES:
        if all(key in values for key in keys):
            yield from check(*(values[key] for key in keys))


def placeholders(template: str) -> Optional[list[str]]:
    """The names in a template's braces, in order; None where it cannot be read or asks for formatting."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        return None
    if any(name is not None and (form or conversion) for _, name, form, conversion in parts):
        return None
    return [name for _, name, _, _ in parts if name is not None]


def _dataset_name(name: str) -> Findings:
    if not contract.is_dataset_name(name):
        text = tr(
            "{name!r} cannot name a dataset: letters, digits, `.`, `-` and `_`, a letter or "
            "digit first, and no `_` followed by digits alone",
            name=name,
        )
        yield "task.name", text


def _not_empty(key: str, text: Optional[str]) -> Findings:
    if text is not None and not text.strip():
        yield key, tr("is empty")


def _no_parent_folder(key: str, path: Optional[str]) -> Findings:
    if path is not None and not os.path.isabs(path) and ".." in path.replace("\\", "/").split("/"):
        text = tr(
            "{path!r} has `..` in it; write an absolute path, or begin with ./ or ../ (from the recipe's folder)",
            path=path,
        )
        yield key, text
    if path is not None and "://" in path:
        yield key, tr("{path!r} is an address; download the file, and name it here", path=path)
    if path is not None and not path.isprintable():
        yield (
            key,
            tr(
                "{path!r} has a control character in it: between double quotes `\\t` is a tab; write / between folders",
                path=path,
            ),
        )


def _repeated_columns(columns: Columns, dev_columns: Sequence[Columns]) -> Findings:
    for key, names in [("task.columns", columns), *(("task.dev_columns", form) for form in dev_columns)]:
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield key, tr("the column {name!r} is there twice", name=name)


def _labels(labels: tuple[str, ...]) -> Findings:
    if len(labels) < 2:
        yield "task.labels", tr("expected two labels or more, found {labels_count}", labels_count=len(labels))
    if UNPARSABLE in labels:
        yield (
            "task.labels",
            tr("{unparsable!r} marks an answer that is not a label; choose another", unparsable=UNPARSABLE),
        )
    if len(set(labels)) < len(labels):
        yield "task.labels", tr("a label is there twice")
    for label in labels:
        if not contract.is_label(label):
            yield (
                "task.labels",
                tr(
                    "{label!r} cannot be a label: 1 to 32 visible ASCII characters or letters, without a space{wide}",
                    label=label,
                    wide=_wide(label),
                ),
            )


def _wide(text: str) -> str:
    wide = wide_character(text)
    return f"; {wide}" if wide else ""


def _label_names(names: Optional[Mapping[str, str]], labels: tuple[str, ...]) -> Findings:
    for name, label in (names or {}).items():
        if label not in labels:
            known = tr(
                "labels are {labels}{suggestion}", labels=", ".join(labels), suggestion=suggestion(label, labels)
            )
            yield (
                "task.label_names",
                tr("{name!r} stands for {label!r}, which is not a label; {known}", name=name, label=label, known=known),
            )


def _unnamed_columns(columns: Columns, header: Union[bool, str]) -> Findings:
    if not columns and header is False:
        yield "task.columns", tr("list the columns in order: with header: false nothing names them")


def _set_aside(test: Optional[int], dev: Optional[str]) -> Findings:
    if test is not None and dev is not None:
        yield "samples.test", tr("sets rows aside where there is no task.dev; leave one of the two out")


def _other_file(dev: Optional[str], train: str) -> Findings:
    if dev is not None and os.path.normpath(dev) == os.path.normpath(train):
        yield (
            "task.dev",
            tr("is the training file; leave task.dev out: a part of the rows is then set aside, predicted and scored"),
        )


def _label_column(label: str, columns: Columns) -> Findings:
    if columns and label not in columns:
        yield "task.label", _not_a_column(repr(label), label, columns)


def _dev_columns(dev_columns: Sequence[Columns]) -> Findings:
    sizes = [len(form) for form in dev_columns]
    if len(set(sizes)) < len(sizes):
        yield "task.dev_columns", tr("two forms have the same number of columns, so they cannot be told apart")


def _input(template: str, columns: Columns, label: str, dev_columns: Sequence[Columns]) -> Findings:
    names = placeholders(template)
    if names is None:
        text = tr(
            "expected columns in braces and no other braces (a brace itself is written twice), found {template!r}",
            template=template,
        )
        yield "task.input", text
    elif not names:
        yield (
            "task.input",
            tr("names no column: every record would be the same; write {{column}}{wide}", wide=_wide(template)),
        )
    for name in sorted(set(names or ())):
        if name == label:
            yield "task.input", tr("has the label column {{{name}}} in it: the model would read the answer", name=name)
        elif columns and name not in columns:
            yield "task.input", _not_a_column(f"{{{name}}}", name, columns)
        elif any(name not in form for form in dev_columns):
            yield "task.input", tr("{{{name}}} is missing in a form of task.dev_columns", name=name)


def _not_a_column(shown: str, name: str, columns: Columns) -> str:
    separated = (
        tr("; write commas between them") if len(columns) == 1 and ";" in columns[0] else suggestion(name, columns)
    )
    return tr(
        "{shown} is not a column; columns are {columns}{separated}",
        shown=shown,
        columns=", ".join(columns),
        separated=separated,
    )


def _template(template: str) -> Findings:
    if sorted(placeholders(template) or ()) != ["input", "instruction"]:
        text = tr(
            "expected {{instruction}} and {{input}} once each and no other braces (a brace "
            "itself is written twice), found {template!r}",
            template=template,
        )
        yield "prompt.template", text
    elif template.endswith("{input}"):
        yield (
            "prompt.template",
            tr("ends with {input}: put a word or a newline after it, so that the model answers there"),
        )


def _answers(answers: Optional[Mapping[str, str]], labels: tuple[str, ...]) -> Findings:
    if answers is None:
        return
    for name in answers:
        if name not in labels:
            known = tr("labels are {labels}{suggestion}", labels=", ".join(labels), suggestion=suggestion(name, labels))
            yield "prompt.answers", tr("{name!r} is not a label; {known}", name=name, known=known)
    for label in dict.fromkeys(labels):
        if label not in answers:
            yield (
                "prompt.answers",
                tr("the label {label!r} has no answer; write one for each label, or leave the key out", label=label),
            )
    owners: dict[str, str] = {}
    for label, answer in answers.items():
        if not answer.strip():
            yield "prompt.answers", tr("the answer for {label!r} is empty", label=label)
        elif owners.setdefault(answer.strip(), label) != label:
            yield (
                "prompt.answers",
                tr(
                    "{first!r} and {label!r} have the same answer {answer!r}",
                    first=owners[answer.strip()],
                    label=label,
                    answer=answer.strip(),
                ),
            )


def _frozen_layers(cache: bool, layers: Optional[tuple[int, ...]]) -> Findings:
    if cache and not (layers and min(layers) > 0):
        text = tr("needs lora.layers_to_transform without layer 0: there is no frozen layer to cache")
        yield "train.cache_frozen_layers", text


def _generation(loss: str, kind: str) -> Findings:
    if kind == "generate" and loss != "vocabulary":
        text = tr(
            "generate needs train.loss: vocabulary, found {loss}: it compares the labels only "
            "with each other, so the model may write any other word; set train.loss: vocabulary, "
            "or decoding.kind: label",
            loss=loss,
        )
        yield "decoding.kind", text


def _swap(swap: Columns, columns: Columns, template: str) -> Findings:
    if swap and (len(swap) != 2 or swap[0] == swap[1]):
        yield "task.swap", tr("expected two different columns, found {swap}", swap=", ".join(swap))
    for name in dict.fromkeys(swap):
        if columns and name not in columns:
            yield "task.swap", _not_a_column(repr(name), name, columns)
        elif name not in (placeholders(template) or [name]):
            yield "task.swap", tr("{name!r} is not in task.input: exchanging it would change nothing", name=name)


def _needs_swap(key: str, value: str, swap: Columns) -> Findings:
    if value == "swap" and not swap:
        yield key, tr("swap needs task.swap: the two columns to exchange, for instance [question1, question2]")


def _class_weights(weights: Union[str, Mapping[str, float]], labels: tuple[str, ...]) -> Findings:
    if isinstance(weights, Mapping) and set(weights) != set(labels):
        text = tr(
            "expected a weight for each label ({labels}), found {weights}",
            labels=", ".join(labels),
            weights=", ".join(weights) or tr("none"),
        )
        yield "train.class_weights", text


def _generation_with_other_shares(kind: str, balance: str, weights: Union[str, Mapping[str, float]]) -> Findings:
    if kind == "generate":
        for key, value in (("samples.balance", balance), ("train.class_weights", weights)):
            if value != "none":
                text = tr(
                    "generate needs {key}: none: training with other label shares than the file's is "
                    "undone in the label logits, and generated text has none; set decoding.kind: label",
                    key=key,
                )
                yield "decoding.kind", text


def _initial_weights(init: Union[bool, str]) -> Findings:
    if init is False:
        text = tr("false starts B at random: the untuned model would not be the base; use true, gaussian or pissa")
        yield "lora.init_lora_weights", text


def _pissa(init: Union[bool, str], dora: bool) -> Findings:
    if dora and str(init).startswith("pissa"):
        yield (
            "lora.use_dora",
            tr("not together with lora.init_lora_weights: {init}: its file could not be a plain LoRA", init=init),
        )


def _average(average: int, epochs: int) -> Findings:
    if average > epochs:
        yield (
            "train.average_epochs",
            tr("{average} epochs are more than train.epochs, {epochs}", average=average, epochs=epochs),
        )


def _layers(targets: Union[str, tuple[str, ...]], layers: Optional[tuple[int, ...]]) -> Findings:
    for name in targets if isinstance(targets, tuple) else ():
        if name.rpartition(".")[2] in ("lm_head", "embed_tokens"):
            text = tr(
                "{name} is tied to the vocabulary: the adapter would hold the whole table; leave it out", name=name
            )
            yield "lora.target_modules", text
    for key, value in (("lora.target_modules", targets), ("lora.layers_to_transform", layers)):
        if value == ():
            yield key, tr("an empty list adapts no layer")


SEARCHED = ("instruction", "prompt.", "lora.", "train.")
"""Beginnings of the keys that a search may change: rows, base and decoding are the same for all its runs."""

NOT_SEARCHED: Mapping[str, str] = {
    "train.seed": mark(
        "train.seed cannot be searched: the most accurate of several seeds is luck; for the mean of several seeds use "
        "ensemble.seeds"
    ),
    "train.trackers": mark(
        "train.trackers cannot be searched: they do not change the model; name them in train.trackers of the recipe"
    ),
}
"""Other keys of these blocks that a search may not change, and why."""


def _space(space: Optional[Mapping[str, Sequence[Any]]]) -> Findings:
    if space == {}:
        yield "search.space", tr("names no key; leave it out for the default space")
    for key, values in (space or {}).items():
        if key in NOT_SEARCHED:
            yield "search.space", tr(NOT_SEARCHED[key])
        elif not key.startswith(SEARCHED):
            yield (
                "search.space",
                tr("{key!r} cannot be searched: expected instruction, or a key of prompt, lora or train", key=key),
            )
        elif not values:
            yield "search.space", tr("{key}: an empty list has no value to try", key=key)


def _storage(storage: Optional[str], sampler: str) -> Findings:
    if storage == "":
        yield "search.storage", tr("names no file; leave it out for a file of this search alone")
    elif storage is not None and sampler != "optuna":
        yield (
            "search.storage",
            tr("only sampler: optuna keeps its results in a file; add it, or remove search.storage"),
        )


def _ensemble(seeds: Sequence[int], instructions: Sequence[str], answer: str, seed: int, instruction: str) -> Findings:
    for name, values in (("seeds", seeds), ("instructions", instructions)):
        for value in dict.fromkeys(value for value in values if values.count(value) > 1):
            yield f"ensemble.{name}", tr("{value!r} is there twice: the same member would count twice", value=value)
    if any(not text.strip() for text in instructions):
        yield "ensemble.instructions", tr("an instruction is empty")
    if not (seeds or instructions):
        if answer != "mean":
            yield (
                "ensemble.answer",
                tr("{answer} needs ensemble.seeds or ensemble.instructions: there is only one member", answer=answer),
            )
    elif {*seeds, seed} == {seed} and {*instructions, instruction} == {instruction}:
        yield "ensemble", tr("names only the recipe's own train.seed and instruction; an ensemble needs another one")


def _ensemble_without(
    unwanted: Any, reason: str, seeds: Sequence[int], instructions: Sequence[str], value: Any
) -> Findings:
    """No ensemble where a key has another value than `None` or, if `unwanted` is named, that one."""
    if (seeds or instructions) and (value == unwanted if unwanted else value is not None):
        yield "ensemble", tr(reason)


WITHOUT_ENSEMBLE = (
    (
        "search.minutes",
        None,
        mark(
            "cannot be combined with search.minutes; search first, then run the ensemble with the recipe that was found, in "
            "result/"
        ),
    ),
    (
        "decoding.kind",
        "generate",
        mark(
            "cannot be combined with decoding.kind: generate: generated texts have no log-probabilities to average; use kind: "
            "label"
        ),
    ),
    (
        "decoding.calibration",
        "auto",
        mark(
            "cannot be combined with decoding.calibration: auto, which is fitted to a single adapter; set calibration: none, "
            "or leave the ensemble out"
        ),
    ),
)
"""Keys and the values (None: any) that do not go with an ensemble, and why."""


def _two_times(train: Union[int, str], minutes: Optional[float]) -> Findings:
    if isinstance(train, Duration) and minutes is not None:
        text = tr(
            "{train} and search.minutes are two times for one run: a search takes as many rows as fit into its own",
            train=train,
        )
        yield "samples.train", tr("{text}; set search.minutes: null, or samples.train: all", text=text)


TRACKERS = ("tensorboard", "wandb", "mlflow", "swanlab")
"""Names of experiment trackers."""


def _trackers(names: Sequence[str]) -> Findings:
    for name in dict.fromkeys(names):
        if name not in TRACKERS:
            text = tr(
                "{name!r} is not a known tracker; known are {trackers}{suggestion}",
                name=name,
                trackers=", ".join(TRACKERS),
                suggestion=suggestion(name, TRACKERS),
            )
            yield "train.trackers", text
        elif names.count(name) > 1:
            yield "train.trackers", tr("{name} is there twice", name=name)


REQUIRED_TEXTS = ("instruction", "base", "task.train", "task.dev")
"""Keys whose text may not be empty."""

PATHS = ("base", "task.train", "task.dev", "samples.exclude", "search.storage")
"""Keys that name a file or a folder."""

RULES = (
    Rule(("task.name",), _dataset_name),
    *(Rule((key,), functools.partial(_not_empty, key)) for key in REQUIRED_TEXTS),
    *(Rule((key,), functools.partial(_no_parent_folder, key)) for key in PATHS),
    Rule(("task.columns", "task.dev_columns"), _repeated_columns),
    Rule(("task.labels",), _labels),
    Rule(("task.label_names", "task.labels"), _label_names),
    Rule(("task.columns", "task.header"), _unnamed_columns),
    Rule(("samples.test", "task.dev"), _set_aside),
    Rule(("task.dev", "task.train"), _other_file),
    Rule(("task.label", "task.columns"), _label_column),
    Rule(("task.dev_columns",), _dev_columns),
    Rule(("task.input", "task.columns", "task.label", "task.dev_columns"), _input),
    Rule(("prompt.template",), _template),
    Rule(("prompt.answers", "task.labels"), _answers),
    Rule(("train.cache_frozen_layers", "lora.layers_to_transform"), _frozen_layers),
    Rule(("train.loss", "decoding.kind"), _generation),
    Rule(("task.swap", "task.columns", "task.input"), _swap),
    *(Rule((key, "task.swap"), functools.partial(_needs_swap, key)) for key in ("samples.augment", "decoding.average")),
    Rule(("train.class_weights", "task.labels"), _class_weights),
    Rule(("decoding.kind", "samples.balance", "train.class_weights"), _generation_with_other_shares),
    Rule(("lora.init_lora_weights",), _initial_weights),
    Rule(("lora.init_lora_weights", "lora.use_dora"), _pissa),
    Rule(("train.average_epochs", "train.epochs"), _average),
    Rule(("train.trackers",), _trackers),
    Rule(("lora.target_modules", "lora.layers_to_transform"), _layers),
    Rule(("search.space",), _space),
    Rule(("search.storage", "search.sampler"), _storage),
    Rule(("ensemble.seeds", "ensemble.instructions", "ensemble.answer", "train.seed", "instruction"), _ensemble),
    *(
        Rule(("ensemble.seeds", "ensemble.instructions", key), functools.partial(_ensemble_without, unwanted, reason))
        for key, unwanted, reason in WITHOUT_ENSEMBLE
    ),
    Rule(("samples.train", "search.minutes"), _two_times),
)
"""Every rule."""
