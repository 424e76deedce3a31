"""The draft of a recipe for a file that was looked at: YAML that runs, with the reason of each guess beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from grading import contract
from grading.contract.language import padded
from runner.data.guess import Guess
from runner.data.input_template import InputTemplate
from runner.data.table import NAMED_FORMATS
from runner.language import tr
from runner.recipe.schema import PromptShape
from runner.recipe.writer import yaml_value

ALL_ROWS = 5000
"""A file with at most so many rows is used whole; of a larger one 4,000 rows are drawn to train on."""

COLUMN_OF_REASONS = 56


def task_name(path: Path) -> str:
    """A name for the task, from the file's name: that of its folder where the file is only called train."""
    stem = re.sub(r"[._-]?(train|training|labelled|labeled|data)$", "", path.stem, flags=re.IGNORECASE)
    for text in (stem, path.resolve().parent.name, "my-task"):
        name = re.sub(r"[^\w.-]+|_(?=\d+(_|$))", "-", text).strip("-_.")
        if contract.is_dataset_name(name):
            return name
    return "my-task"


def recipe_draft(found: Guess, train: str, name: str, base: str, others: Sequence[str]) -> str:
    """The recipe's text. `train`: the file as the recipe names it. `others`: files beside it that may be the rows to predict."""
    table = found.table
    labelled = sum(found.counts.values())
    shares = ", ".join(f"{label}: {count / labelled:.0%}" for label, count in found.counts.items())
    lines: list[tuple[str, str]] = [
        ("task:", ""),
        (f"  name: {yaml_value(name)}", tr("names the folders and result_{name}.txt", name=name)),
        (f"  train: {yaml_value(train)}", tr("{form}; {rows:,} rows", form=table.form(), rows=found.rows)),
    ]
    lines += [(f"  # dev: {yaml_value(other)}", tr("beside it; without # its rows are predicted")) for other in others]
    if not others:
        lines.append(("  # dev: FILE", tr("rows to predict; without it a tenth of the rows is set aside and scored")))
    if found.encoding != "auto":
        lines.append((f"  encoding: {found.encoding}", tr("found in the file's bytes")))
    if table.format not in NAMED_FORMATS:
        reason = (
            tr("the first line looks like names") if table.has_header else tr("the first line looks like the others")
        )
        lines.append((f"  header: {str(table.has_header).lower()}", reason))
    if not table.has_header and table.format not in NAMED_FORMATS:
        lines.append(
            (f"  columns: {yaml_value(list(table.columns))}", tr("names made up by their content; in the file's order"))
        )
    template = "\n".join(f"{{{column}}}" for column in found.inputs)
    lines += [
        (f"  input: {yaml_value(template)}", found.input_reason),
        (f"  label: {yaml_value(found.label)}", found.label_reason),
        (
            f"  labels: {yaml_value(list(found.labels))}",
            shares if len(found.labels) <= 6 else tr("the values of that column"),
        ),
    ]
    if found.label_names:
        lines.append((f"  label_names: {yaml_value(found.label_names)}", tr("what the file writes for them")))
    if found.unlabelled:
        lines.append(("  bad_rows: skip", tr("{count:,} rows have no label", count=found.unlabelled)))
    if found.bad:
        words = tr("{count:,} rows cannot be read, and stop the run; bad_rows: skip leaves them out", count=found.bad)
        lines.append((f"  # {words}", ""))
        lines.append((f"  # {found.first_bad}", ""))
    lines += [
        ("", ""),
        (f"instruction: {yaml_value(_instruction(found))}", tr("say here what each label means")),
        ("", ""),
    ]
    lines += [
        ("prompt:", ""),
        ("  too_long: truncate", tr("an input of more than max_length (512) tokens is cut and counted")),
        ("", ""),
        (f"samples: {_samples(found)}", tr("of {rows:,} rows; the hold-out chooses the best epoch", rows=found.rows)),
        ("", ""),
        (f"base: {yaml_value(base)}", tr("a folder or a hub id")),
    ]
    made = tr(
        "{name}: made by labeltune new from {train}. Every guess has its reason; correct what is wrong.",
        name=name,
        train=train,
    )
    head = f"# {made}\n# {tr('All keys: docs/reference/recipe.md')}\n\n"
    return head + "".join(_line(*line) for line in lines)


def _line(text: str, reason: str) -> str:
    return f"{padded(text, COLUMN_OF_REASONS)}  # {reason}\n" if reason else f"{text}\n"


def _instruction(found: Guess) -> str:
    texts = "text" if len(found.inputs) == 1 else "texts"
    return f"Which label fits the {texts}? Answer with one of: {', '.join(found.labels)}."


def _samples(found: Guess) -> str:
    holdout = min(500, max(len(found.labels), found.rows // 10, 2))
    train = "all" if found.rows <= ALL_ROWS else "4000"
    return f"{{train: {train}, holdout: {holdout}, dev: all}}"


def first_prompts(found: Guess, instruction: str, count: int = 2) -> list[tuple[int, str]]:
    """The line and the whole prompt, with the label that should follow, of the first rows."""
    table = found.table
    template = "\n".join(f"{{{column}}}" for column in found.inputs)
    fill, label_at = InputTemplate(template, table.columns).fill, table.columns.index(found.label)
    prompts: list[tuple[int, str]] = []
    for row in table.rows():
        if len(prompts) == count:
            break
        value = row.fields[label_at]
        label = found.label_names.get(value, value)
        if not row.problem and label in found.labels:
            text = PromptShape().template.format(instruction=instruction, input=fill(row.fields))
            prompts.append((row.line, f"{text} {label}"))
    return prompts
