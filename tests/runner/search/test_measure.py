"""The measurement: what a run costs besides its training."""

from typing import Any

import pytest

from runner.recipe.schema import GenerateDecoding, LabelDecoding
from runner.search.measure import measurement

EVENT = {"train": 0.3, "evaluate": 0.1, "start": 5.0, "rows": 4000, "held_out": 500, "dev": 150}


@pytest.mark.parametrize(
    ("decoding", "start", "predict"),
    [
        (LabelDecoding(), 5.0, 5.0 + 45),
        (LabelDecoding(batch=8), 5.0, 5.0 + 15),
        (LabelDecoding(average="swap"), 5.0 + 50, 5.0 + 90),
        (LabelDecoding(batch=8, average="swap"), 5.0 + 50, 5.0 + 30),
        (GenerateDecoding(kind="generate"), 5.0, 5.0 + 45),
    ],
)
def test_prediction_costs_what_its_decoding_costs(decoding: Any, start: float, predict: float) -> None:
    """A row alone costs three times as much as in a batch, and both orders are two rows, in the hold-out too."""
    found = measurement(EVENT, decoding)
    assert (found.pace.start, found.predict) == pytest.approx((start, predict))
