"""What a decoding needs from the stages before prediction."""

from __future__ import annotations

from typing import Any

from runner.recipe.schema import LabelDecoding


def needs_swapped(decoding: Any) -> bool:
    """Whether a prediction needs the swapped records too: it averages over both orders of `task.swap`."""
    return isinstance(decoding, LabelDecoding) and decoding.average == "swap"


def needs_calibration(decoding: Any) -> bool:
    """Whether predictions use the calibration of the evaluate stage."""
    return isinstance(decoding, LabelDecoding) and decoding.calibration == "auto"
