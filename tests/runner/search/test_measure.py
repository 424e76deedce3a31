"""The measurement: what a run costs besides its training."""

from typing import Any

import pytest

from runner.recipe.schema import GenerateDecoding, LabelDecoding
from runner.search.measure import measurement

EVENT = {"train": 0.3, "evaluate": 0.1, "start": 5.0, "rows": 4000, "held_out": 500, "dev": 150}


@pytest.mark.parametrize(
    ("decoding", "end", "predict"),
    [
        (LabelDecoding(), 0, 45),
        (LabelDecoding(batch=8), 0, 15),
        (LabelDecoding(average="swap"), 50, 90),
        (LabelDecoding(batch=8, average="swap"), 50, 30),
        (GenerateDecoding(kind="generate"), 100, 45),
    ],
)
def test_prediction_costs_what_its_decoding_costs(decoding: Any, end: float, predict: float) -> None:
    """A row alone costs three times as much as in a batch, and both orders are two rows, in the hold-out too.

    Its first scoring, in batches, is not in `end`."""
    found = measurement(EVENT, decoding)
    assert (found.pace.start, found.pace.end, found.predict) == pytest.approx((5.0, end, 5.0 + predict))
    assert found.pace.seconds(100, 500) == pytest.approx(5.0 + 30 + 50 + end)
