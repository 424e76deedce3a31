"""The grader report: which of the grader's checks a run's files will pass, against the answer keys that are here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from grading import contract
from runner.language import tr
from runner.lookahead.costs import Costs
from runner.lookahead.data_report import DataReport
from runner.lookahead.findings import Findings, Section
from runner.recipe.schema import Recipe

MOST_WEIGHTS = 1 << 30
"""Most bytes of an adapter that the grader takes."""


def look_at_grading(
    recipe: Recipe, data: DataReport, costs: Optional[Costs], root: Path, findings: Findings
) -> Section:
    """What the grader will say. Without keys only the format can be looked at."""
    keys = answer_keys(root)
    lines = [(tr("files"), tr("pre_data (10 points) and saved_model (20 points): as the grader wants them"))]
    if costs is not None and costs.adapter > MOST_WEIGHTS:
        findings.warn(
            tr(
                "the adapter will have {adapter:.1f} GB, and the grader takes at most 1 GiB (4 of 100 points)",
                adapter=costs.adapter / 1e9,
            ),
            tr("lower lora.r, or name fewer lora.target_modules"),
        )
        lines = [(tr("files"), tr("pre_data (10 points) as the grader wants them; saved_model too large"))]
    if not keys:
        lines.append(
            (
                tr("key"),
                tr(
                    "none in {root}: the name {name} is not compared",
                    root=root / contract.ANSWER_FOLDER,
                    name=recipe.task.name,
                ),
            )
        )
        return Section(tr("grader"), lines)
    key = keys.get(recipe.task.name)
    if key is None:
        _warn_of_name(recipe, keys, findings)
        lines.append(
            (tr("key"), tr("none for {name}; there are {keys}", name=recipe.task.name, keys=", ".join(sorted(keys))))
        )
        return Section(tr("grader"), lines)
    lines.append((tr("key"), _compared(recipe, data, key, findings)))
    return Section(tr("grader"), lines)


def answer_keys(root: Path) -> dict[str, Path]:
    """The answer keys in a workspace by their dataset."""
    found: dict[str, Path] = {}
    for path in sorted((root / contract.ANSWER_FOLDER).glob("result_*.txt")):
        name = contract.dataset_of_answer(path.name)
        if name is not None:
            found[name] = path
    return found


def _warn_of_name(recipe: Recipe, keys: Mapping[str, Path], findings: Findings) -> None:
    name = recipe.task.name
    lower = {key.lower(): key for key in keys}
    near = difflib.get_close_matches(name.lower(), lower, 1, 0.6)
    if near:
        findings.warn(
            tr(
                "task.name: no answer key is named {name}; there is {file}, and the grader compares names exactly",
                name=name,
                file=keys[lower[near[0]]].name,
            ),
            tr("set task.name: {name}, or the result counts nothing", name=lower[near[0]]),
        )


def _compared(recipe: Recipe, data: DataReport, key: Path, findings: Findings) -> str:
    try:
        answers = contract.parse_result(key.read_bytes())
    except (OSError, contract.ContractError) as error:
        findings.warn(
            tr("{key}: the answer key cannot be read: {error}", key=key, error=error),
            tr("the grader will refuse it too"),
        )
        return tr("{name} cannot be read", name=key.name)
    predicted = len(data.survey.dev)
    if data.survey.dev and predicted < len(answers):
        findings.warn(
            tr(
                "{name} has {answers_count} answers, and samples.dev predicts {predicted} rows",
                name=key.name,
                answers_count=len(answers),
                predicted=predicted,
            ),
            tr(
                "set samples.dev: {answers_count}; rows without a prediction count as wrong", answers_count=len(answers)
            ),
        )
    # only the set of labels is looked at, never which row has which
    foreign = sorted(set(answers) - set(recipe.task.labels))
    if foreign:
        findings.warn(
            tr(
                "{name} has labels that task.labels does not have: {foreign}",
                name=key.name,
                foreign=", ".join(foreign[:5]),
            ),
            tr("write task.labels as the key writes them; a label in another spelling counts as wrong"),
        )
        return tr("{name}: other labels", name=key.name)
    return tr(
        "{name}: {answers_count} answers, the same labels; {predicted} rows are predicted (70 points x accuracy)",
        name=key.name,
        answers_count=len(answers),
        predicted=predicted,
    )
