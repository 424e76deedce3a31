"""The hold-out's predictions: one row each, in `holdout_predictions.jsonl`.

`evaluation.json` measures these labels and probabilities, so all that is said of a run's hold-out agrees. With calibration they
are out of fold: each row's are calibrated by fits without it. The logits are those before calibration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from runner.errors import DataError
from runner.language import tr
from runner.system.files import write_atomic

MOST_CHARACTERS = 1000
"""Most characters of an input that are kept."""

ALL_CHARACTERS = 4_000_000
"""Most characters of all inputs together that are kept, except that `LEAST_CHARACTERS` of each are."""

LEAST_CHARACTERS = 80


@dataclass(frozen=True)
class HoldoutPrediction:
    """The prediction for one held-out row."""

    row: int
    """Its number in the hold-out's records, from 1."""
    key: str
    """`row_key` of its input: equal for equal inputs, so that runs with other hold-outs can be compared."""
    target: str
    """The right label."""
    label: str
    """The answer, with calibration an out-of-fold one; `?` for a text without a label."""
    logits: tuple[float, ...]
    """A logit for each of `task.labels`, in their order, before calibration."""
    text: str = ""
    """Its input, cut to `kept_characters`. Empty in files of earlier versions, as the numbers below are 0."""
    characters: int = 0
    """Characters of the whole input."""
    tokens: int = 0
    """Tokens of its prompt."""
    probabilities: tuple[float, ...] = ()
    """Each label's out-of-fold probability after calibration. Empty where nothing is calibrated, and in files of earlier
    versions, whose labels are by a calibration that was fitted on the same rows."""


def row_key(text: str) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of an input text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def kept_characters(rows: int) -> int:
    """How many characters of each input are kept, for so many rows: the file of a large hold-out stays small."""
    return max(LEAST_CHARACTERS, min(MOST_CHARACTERS, ALL_CHARACTERS // max(1, rows)))


def write_holdout_predictions(path: Path, predictions: Iterable[HoldoutPrediction]) -> None:
    """Write the file, completely or not at all."""
    lines = (json.dumps(asdict(each), ensure_ascii=False, allow_nan=False) + "\n" for each in predictions)
    write_atomic(path, "".join(lines).encode())


def read_holdout_predictions(path: Path) -> list[HoldoutPrediction]:
    """Read the file. Raises DataError where it is missing or damaged."""
    try:
        # a text may have line separators that `splitlines` splits at
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
        trees = [json.loads(line) for line in lines if line]
        return [
            HoldoutPrediction(
                **{**tree, "logits": tuple(tree["logits"]), "probabilities": tuple(tree.get("probabilities", ()))}
            )
            for tree in trees
        ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            tr("{path}: cannot be read ({error})", path=path, error=error),
            tr("run the evaluate stage again: --stages evaluate --fresh"),
        ) from None
