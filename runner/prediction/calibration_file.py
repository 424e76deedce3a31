"""The calibration of an adapter, and its file, `calibration.json`. Free of torch at the top, for the stages ask for it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from grading import contract
from runner.errors import UserError
from runner.language import tr
from runner.recipe.schema import LabelDecoding, Recipe
from runner.system.files import digest, write_atomic
from runner.workspace.paths import CALIBRATION

if TYPE_CHECKING:
    import torch

SCHEMA = "labeltune.calibration/1"


@dataclass(frozen=True)
class Calibration:
    """A change to the label logits."""

    temperature: float
    """Above 1: the model is too sure of its answers. More than 0."""
    bias: tuple[float, ...]
    """Added to each label's logit, in the order of the labels; the sum is 0."""

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """The calibrated logits, of the same shape (…, labels)."""
        return logits / self.temperature + logits.new_tensor(self.bias)


def asks_for_calibration(recipe: Recipe) -> bool:
    """Whether predictions use the calibration of the evaluate stage."""
    decoding = recipe.decoding
    return isinstance(decoding, LabelDecoding) and decoding.calibration == "auto"


def calibration_for(recipe: Recipe, folder: Path) -> Optional[Calibration]:
    """The calibration that a recipe's predictions use, from the adapter's folder. Raises UserError as `read_calibration`."""
    return read_calibration(folder, recipe.task.labels) if asks_for_calibration(recipe) else None


def write_calibration(calibration: Optional[Calibration], labels: Sequence[str], folder: Path) -> None:
    """Write calibration.json beside the adapter, or remove an older one where there is no calibration."""
    path = folder / CALIBRATION
    if calibration is None:
        path.unlink(missing_ok=True)
        return
    tree = {
        "schema": SCHEMA,
        "labels": list(labels),
        "temperature": calibration.temperature,
        "bias": list(calibration.bias),
        "adapter": digest(folder / contract.ADAPTER_WEIGHTS),
    }
    write_atomic(path, (json.dumps(tree, indent=1, ensure_ascii=False) + "\n").encode())


def read_calibration(folder: Path, labels: Sequence[str]) -> Optional[Calibration]:
    """The calibration of an adapter's folder; None where it has none.

    Raises UserError where the file is damaged, or was fitted to another adapter."""
    path = folder / CALIBRATION
    try:
        tree = contract.parse_json(path.read_bytes())
        found = Calibration(float(tree["temperature"]), tuple(float(value) for value in tree["bias"]))
        problem = "" if _is_sound(found, tree, labels) else tr("is not a calibration for these labels")
    except FileNotFoundError:
        return None
    except (OSError, contract.ContractError, TypeError, KeyError, ValueError, OverflowError) as error:
        problem = tr("cannot be read ({error})", error=error)
    if not problem and tree.get("adapter") != digest(folder / contract.ADAPTER_WEIGHTS):
        problem = tr("was fitted to another adapter")
    if problem:
        raise UserError(f"{path}: {problem}", tr("run the evaluate stage again, or load with calibrate=False"))
    return found


def _is_sound(found: Calibration, tree: Mapping[str, Any], labels: Sequence[str]) -> bool:
    finite = all(map(math.isfinite, (found.temperature, *found.bias)))
    known = tree.get("schema") == SCHEMA and tree.get("labels") == list(labels)
    return finite and known and found.temperature > 0 and len(found.bias) == len(labels)
