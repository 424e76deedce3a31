"""The rerun: rows predicted again with somebody's adapter, for the grader's `--rerun`.

    python -m runner.commands.rerun RECIPE... --workspace DIR

DIR holds `saved_model/{dataset}` and `pre_data/{dataset}/{dataset}_dev.json` for each recipe's dataset. Every recipe gives
one JSON line: `{"dataset": …, "labels": […]}`, or `{"dataset": …, "problem": …}` where its rows cannot be predicted. `members`
is there too where the submission says that its labels are the answers of so many adapters together.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from grading import contract
from grading.contract.language import speak_to_argparse
from runner.data.decoding_needs import needs_swapped
from runner.data.input_template import InputTemplate
from runner.data.records import Record
from runner.errors import UserError, redact_secrets
from runner.language import tr
from runner.recipe.loader import is_override, load_recipes
from runner.recipe.schema import Recipe
from runner.system import offline
from runner.workspace.paths import ENSEMBLE, Workspace
from runner.workspace.runs import read_object


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command; the exit code, 2 where a recipe is wrong."""
    speak_to_argparse()
    parser = argparse.ArgumentParser(
        prog="python -m runner.commands.rerun", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("arguments", nargs="+", metavar="RECIPE|key.sub=value")
    parser.add_argument("--workspace", type=Path, required=True, metavar="DIR")
    options = parser.parse_intermixed_args(arguments)
    recipes = [Path(argument) for argument in options.arguments if not is_override(argument)]
    try:
        loaded = load_recipes(recipes, [argument for argument in options.arguments if is_override(argument)])
    except UserError as error:
        print(redact_secrets(str(error)), file=sys.stderr)
        return 2
    if any(one.recipe.offline for one in loaded):
        offline.block_network()
    for one in loaded:
        found: dict[str, Any] = {"dataset": one.recipe.task.name}
        workspace = Workspace(options.workspace, one.recipe.task.name)
        try:
            found["labels"] = _labels(one.recipe, workspace)
            if members := _members(workspace):
                found["members"] = members
        except (UserError, OSError, contract.ContractError) as error:
            found["problem"] = " ".join(redact_secrets(str(error)).split())
        print(json.dumps(found), flush=True)
    return 0


def _labels(recipe: Recipe, workspace: Workspace) -> list[str]:
    from runner.distributed.accelerator import connect
    from runner.model.base import Bases
    from runner.prediction.calibration_file import calibration_for
    from runner.prediction.classifier import Classifier
    from runner.scoring.dataset import encode_orders
    from runner.scoring.prompt import prompt_of

    base = Bases(Path()).load(recipe, connect().device)
    prompt = prompt_of(recipe, base)
    records = contract.parse_json(workspace.at(workspace.dev).read_bytes())
    swapped = _swapped(recipe, records) if needs_swapped(recipe.decoding) else None
    folder = workspace.at(workspace.adapter)
    with Classifier(base, prompt, folder, calibration_for(recipe, folder)) as classifier:
        rows = encode_orders(prompt, records, swapped, "dev")
        return [answer.label for answer in classifier.answers(recipe.decoding, rows)]


def _members(workspace: Workspace) -> int:
    """How many adapters have answered together, as the submission says; 0: this one alone."""
    tree = read_object(workspace.at(workspace.adapter) / ENSEMBLE)
    members = tree.get("members")
    return len(members) if tree.get("answer") == "mean" and isinstance(members, list) else 0


def _swapped(recipe: Recipe, records: Sequence[Record]) -> list[Record]:
    """The records with the columns of `task.swap` exchanged, from their inputs alone: the swapped file of a submission could hold
    anything. Raises UserError where an input can be split into columns in several ways."""
    inputs = InputTemplate(recipe.task.input, recipe.task.columns, recipe.task.swap)
    texts = [inputs.swapped_text(record["input"]) for record in records]
    if None in texts:
        raise UserError(
            tr(
                "decoding.average: record {index} does not show where its columns begin and end",
                index=texts.index(None) + 1,
            )
        )
    return [{**record, "input": text} for record, text in zip(records, texts) if text is not None]


if __name__ == "__main__":
    sys.exit(main())
