"""The grader report: which of the grader's checks a run's files will pass, against the answer keys that are here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from grading import contract
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
    lines = [("files", "pre_data (10 points) and saved_model (20 points): as the grader wants them")]
    if costs is not None and costs.adapter > MOST_WEIGHTS:
        findings.warn(
            f"the adapter will have {costs.adapter / 1e9:.1f} GB, and the grader takes at most 1 GiB (4 of 100 points)",
            "lower lora.r, or name fewer lora.target_modules",
        )
        lines = [("files", "pre_data (10 points) as the grader wants them; saved_model too large")]
    if not keys:
        lines.append(("key", f"none in {root / contract.ANSWER_FOLDER}: the name {recipe.task.name} is not compared"))
        return Section("grader", lines)
    key = keys.get(recipe.task.name)
    if key is None:
        _warn_of_name(recipe, keys, findings)
        lines.append(("key", f"none for {recipe.task.name}; there are {', '.join(sorted(keys))}"))
        return Section("grader", lines)
    lines.append(("key", _compared(recipe, data, key, findings)))
    return Section("grader", lines)


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
            f"task.name: no answer key is named {name}; there is {keys[lower[near[0]]].name}, and the grader compares names "
            "exactly",
            f"set task.name: {lower[near[0]]}, or the result counts nothing",
        )


def _compared(recipe: Recipe, data: DataReport, key: Path, findings: Findings) -> str:
    try:
        answers = contract.parse_result(key.read_bytes())
    except (OSError, contract.ContractError) as error:
        findings.warn(f"{key}: the answer key cannot be read: {error}", "the grader will refuse it too")
        return f"{key.name} cannot be read"
    predicted = len(data.survey.dev)
    if data.survey.dev and predicted < len(answers):
        findings.warn(
            f"{key.name} has {len(answers)} answers, and samples.dev predicts {predicted} rows",
            f"set samples.dev: {len(answers)}; rows without a prediction count as wrong",
        )
    # only the set of labels is looked at, never which row has which
    foreign = sorted(set(answers) - set(recipe.task.labels))
    if foreign:
        findings.warn(
            f"{key.name} has labels that task.labels does not have: {', '.join(foreign[:5])}",
            "write task.labels as the key writes them; a label in another spelling counts as wrong",
        )
        return f"{key.name}: other labels"
    return f"{key.name}: {len(answers)} answers, the same labels; {predicted} rows are predicted (70 points x accuracy)"
