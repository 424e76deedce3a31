"""The facts of a run: its data, its recipe and its environment, as rows of tables."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from runner.errors import UserError
from runner.language import mark, tr
from runner.recipe.loader import load_recipes
from runner.recipe.schema import Recipe
from runner.recipe.writer import flat_values, yaml_value
from runner.reporting.run_files import RunFiles
from runner.reporting.visible import shortened
from runner.system.provenance import CHECKOUT

Facts = list[tuple[str, str]]
"""Names and values."""

SAMPLED = 2000
"""Training inputs whose length is counted; with more, they are evenly spaced."""

VALUE_CHARACTERS = 300
"""Most characters of a value of the recipe."""

COUNTS: Mapping[str, str] = {
    "excluded_rows": mark("labelled rows excluded by samples.exclude, from training and hold-out"),
    "bad_dev_rows": mark("bad dev rows, not skipped"),
    "empty_inputs": mark("labelled rows with an empty input column"),
    "repeated_inputs": mark("inputs are in several labelled rows (none of them in the hold-out)"),
    "inputs_with_two_labels": mark("of those have two labels"),
    "dev_inputs_among_labelled": mark("dev inputs are also in labelled rows (none of them in the hold-out)"),
    "dev_inputs_in_training": mark("of those were drawn for training"),
}
"""Counts of the prepare stage that tell of the data, in the words of its log."""


@dataclass(frozen=True)
class RecipeLine:
    """One value of a recipe."""

    key: str
    """Dotted, such as `lora.r`."""
    value: str
    """As it is written in a recipe."""
    other: Optional[str]
    """The value of the recipe that it is compared with; None where that one has no such key."""
    differs: bool
    """Whether the two differ."""


def shares_of(files: RunFiles, labels: Sequence[str]) -> list[tuple[str, list[str]]]:
    """For all labelled rows, the training and the hold-out, how many rows each label has."""
    holdout = {label: sum(each.target == label for each in files.predictions) for label in labels}
    found = [(tr("hold-out"), holdout)]
    if files.prepared:
        found = [(tr("labelled"), files.prepared["labels"]), (tr("training"), files.prepared["train"]), *found]
    return [(name, _shares(counts, labels)) for name, counts in found]


def _shares(counts: Mapping[str, int], labels: Sequence[str]) -> list[str]:
    total = sum(counts.values()) or 1
    each = [f"{counts.get(label, 0):,} ({counts.get(label, 0) / total:.1%})" for label in labels]
    return [f"{sum(counts.values()):,}", *each]


def data_notes(files: RunFiles) -> list[str]:
    """What else is known of the rows: duplicates, rows left out."""
    if not files.prepared:
        return [tr("pre_data has other rows by now, so only the hold-out is known.")]
    found = [f"{files.prepared[name]:,} {tr(words)}" for name, words in COUNTS.items() if files.prepared.get(name)]
    bad = sum(files.prepared.get("bad_rows", {}).values())
    return [*([f"{bad:,} {tr('bad training rows skipped')}"] if bad else []), *found]


def lengths_of(files: RunFiles) -> list[tuple[str, list[str]]]:
    """How long inputs and prompts are: the shortest, the middle one, the 95th of 100, the longest."""
    found = []
    if files.prepared:
        path = files.run.workspace.at(files.run.workspace.train)
        lengths = sampled_lengths(path, sum(files.prepared["train"].values()))
        found.append((tr("training, characters"), lengths))
    found.append((tr("hold-out, characters"), [each.characters for each in files.predictions if each.characters]))
    found.append((tr("hold-out, tokens of the prompt"), [each.tokens for each in files.predictions if each.tokens]))
    return [(name, _spread(lengths)) for name, lengths in found if lengths]


def sampled_lengths(path: Path, rows: int) -> list[int]:
    """The characters of training inputs, evenly spaced; none where the file is missing or damaged."""
    most = min(rows, SAMPLED)
    found = []
    try:
        with path.open("rb") as file:
            # the first line is a bracket
            for number, line in enumerate(file, -1):
                if 0 <= number < rows and (number + 1) * most // rows != number * most // rows:
                    found.append(len(json.loads(line.rstrip().rstrip(b","))["input"]))
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return found


def _spread(values: Sequence[int]) -> list[str]:
    ordered = sorted(values)
    places = (0, (len(ordered) - 1) // 2, int(0.95 * (len(ordered) - 1)), len(ordered) - 1)
    return [f"{ordered[place]:,}" for place in places]


def recipe_lines(files: RunFiles) -> tuple[str, list[RecipeLine]]:
    """The recipe beside the shipped one of this task, or beside the defaults where none is shipped, and what that is called."""
    name, other = _shipped(str(files.recipe.get("task.name", ""))) or (tr("the defaults"), _defaults())
    lines = []
    for key, value in files.recipe.items():
        known = key in other
        differs = known and other[key] != _plain(value)
        lines.append(RecipeLine(key, _value(value), _value(other[key]) if known else None, differs))
    return name, lines


def _shipped(task: str) -> Optional[tuple[str, Mapping[str, Any]]]:
    """The recipe in `recipes/` whose task has this name: its file, and its values by their dotted keys."""
    for path in sorted((CHECKOUT / "recipes").glob("*.yaml")):
        try:
            (loaded,) = load_recipes([path])
        except (UserError, OSError):
            continue
        if loaded.recipe.task.name == task:
            return f"recipes/{path.name}", flat_values(_plain(dataclasses.asdict(loaded.recipe)))
    return None


def _defaults() -> Mapping[str, Any]:
    """The values of the keys that a recipe may leave out, except those of its task."""
    found = {each.name: each.default for each in dataclasses.fields(Recipe) if each.default is not dataclasses.MISSING}
    return flat_values(_plain({name: _tree(each) for name, each in found.items()}))


def _tree(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def _plain(tree: Any) -> Any:
    """The values as a file has them: lists for tuples."""
    return json.loads(json.dumps(tree))


def _value(value: Any) -> str:
    return shortened(yaml_value(value), VALUE_CHARACTERS)


def training_facts(files: RunFiles) -> Facts:
    """What the stages did, and what it took."""
    trained, evaluated, predicted = files.run.statistics, files.evaluation, files.predicted
    return [(name, value) for name, value in _training_facts(trained, evaluated, predicted) if value]


def _training_facts(
    trained: Mapping[str, Any], evaluated: Mapping[str, Any], predicted: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    yield tr("adapter of"), str(trained.get("kept") or "")
    yield tr("trained parameters"), _count(trained.get("trainable_parameters"))
    yield tr("training time"), _time(trained.get("train_seconds"))
    yield tr("training rows per second"), _count(trained.get("rows_per_second"))
    yield tr("GPU memory, at most"), _gigabytes(trained.get("peak_device_bytes"))
    yield tr("host memory, at most"), _gigabytes(trained.get("peak_host_bytes"))
    yield tr("skipped steps"), _count(trained.get("skipped_steps") or None)
    names = {"log_loss": tr("log loss"), "brier": tr("Brier score"), "ece": tr("calibration error")}
    for name in ("mcc", "f1"):
        yield name.upper(), _decimal(evaluated.get(name))
    calibration, plain = evaluated.get("calibration"), evaluated.get("uncalibrated")
    calibrated = isinstance(calibration, dict) and calibration.get("used")
    for name, words in names.items():
        before = _decimal(plain.get(name)) if calibrated and isinstance(plain, dict) else ""
        after = _decimal(evaluated.get(name))
        yield words, tr("{after} ({before} before calibration)", after=after, before=before) if before else after
    if isinstance(calibration, dict):
        used = tr("used") if calibration.get("used") else tr("not used")
        yield tr("calibration"), f"{used}: {calibration.get('reason')}"
    own = evaluated.get("one_order")
    if isinstance(own, dict):
        yield tr("hold-out accuracy with one order of each pair"), f"{own['accuracy']:.1%}"
    score = predicted.get("score")
    if isinstance(score, dict):
        yield (
            tr("score on the labelled dev rows"),
            tr("accuracy {accuracy:.2%} on {rows:,} rows", accuracy=score["accuracy"], rows=score["rows"]),
        )


def environment_facts(files: RunFiles) -> Facts:
    """Where the run was made: versions, machine, device."""
    record, trained = files.record, files.run.statistics
    versions = record.get("versions")
    inputs = files.run.manifest.inputs if files.run.manifest else {}
    found = (
        versions
        if isinstance(versions, dict)
        else {name: inputs.get(name) for name in ("torch", "transformers", "peft")}
    )
    facts = [
        ("labeltune", " ".join(str(record[name]) for name in ("labeltune", "commit") if record.get(name))),
        (tr("machine"), str(record.get("machine") or "")),
        (tr("device"), str(trained.get("device") or "")),
        (tr("number type"), str(trained.get("precision") or "")),
        (tr("processes"), str(trained.get("processes") or "")),
        *((str(name), str(version or "")) for name, version in found.items()),
    ]
    return [(name, value) for name, value in facts if value]


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, (int, float)) else ""


def _decimal(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, (int, float)) else ""


def _time(seconds: object) -> str:
    if not isinstance(seconds, (int, float)):
        return ""
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:,.1f} min"


def _gigabytes(value: object) -> str:
    return f"{value / 1e9:.1f} GB" if isinstance(value, (int, float)) and value else ""
