"""The facts about a run that a model card has: read from the files of its adapter's folder, without a model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Optional

from grading import contract
from runner.errors import UserError
from runner.language import tr
from runner.prediction.calibration_file import Calibration, read_calibration
from runner.recipe.schema import Recipe
from runner.workspace.paths import CLASSIFIER, EVALUATION, PROMPT
from runner.workspace.run_files import RUN_RECORD, recipe_of
from runner.workspace.runs import read_object

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

FILES = (contract.ADAPTER_WEIGHTS, contract.ADAPTER_CONFIG, PROMPT, CLASSIFIER)
"""What an adapter's folder needs."""


@dataclass(frozen=True)
class Facts:
    """What is known about a run."""

    folder: Path
    """Its adapter's folder."""
    name: str
    """The dataset."""
    base: str
    """The base as users name it: a hub id, or a folder."""
    precision: str
    """In which the run computed: `bf16` or `fp32`."""
    prompt: Mapping[str, Any]
    """The content of prompt.json."""
    evaluation: Mapping[str, Any]
    """The content of evaluation.json; empty where there is none."""
    record: Mapping[str, Any]
    """The content of run.json; empty where there is none."""
    recipe: Optional[Recipe]
    calibration: Optional[Calibration]

    @property
    def is_on_hub(self) -> bool:
        """Whether the base has a hub id."""
        return bool(_HUB_ID.fullmatch(self.base)) and not Path(self.base).exists()

    @property
    def labels(self) -> list[str]:
        """The labels, in the order of the prompt."""
        return list(self.prompt["labels"])

    @property
    def answers(self) -> list[str]:
        """What the model writes for each label."""
        return [(self.prompt.get("answers") or {}).get(label, label) for label in self.labels]

    @property
    def averages_both_orders(self) -> bool:
        """Whether the run answers by the mean of both orders of a pair."""
        return self.recipe is not None and getattr(self.recipe.decoding, "average", "none") == "swap"

    @property
    def is_of_an_ensemble(self) -> bool:
        """Whether the run's own answers are the mean of several adapters."""
        return self.recipe is not None and self.recipe.ensemble.answers_by_mean

    def data_digests(self) -> dict[str, tuple[str, str]]:
        """The data files: for each its name without the folder, and its SHA-256."""
        if self.recipe is None:
            return {}
        prepared = self.record.get("stages", {}).get("prepare", {}).get("inputs", {})
        names = {"train": self.recipe.task.train, "dev": self.recipe.task.dev}
        return {
            key: (PurePath(name).name, str(prepared[key])) for key, name in names.items() if name and key in prepared
        }


def facts_of(folder: Path, base_name: Optional[str] = None) -> Facts:
    """Read the facts. `base_name`: how the card names the base; default: as the recipe does, or its folder.

    Raises UserError where the folder is not one of ours."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise UserError(
            tr("{folder}: has no {missing}", folder=folder, missing=", ".join(missing)),
            tr("name the folder of a finished adapter, such as saved_model/QQP"),
        )
    prompt, classifier = read_object(folder / PROMPT), read_object(folder / CLASSIFIER)
    recipe = recipe_of(folder)
    known = str(classifier.get("base", ""))
    is_id = bool(_HUB_ID.fullmatch(known)) and not Path(known).exists()
    return Facts(
        folder=folder,
        name=recipe.task.name if recipe else folder.resolve().name,
        base=base_name or (known if is_id else str(classifier.get("folder", known))),
        precision=str(classifier.get("precision")),
        prompt=prompt,
        evaluation=read_object(folder / EVALUATION),
        record=read_object(folder / RUN_RECORD),
        recipe=recipe,
        calibration=read_calibration(folder, prompt.get("labels", [])),
    )
