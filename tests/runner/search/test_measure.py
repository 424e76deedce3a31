"""The measurement: what a run costs, and what it costs besides its training."""

from pathlib import Path
from typing import Any

import pytest
from support.searches import runs_of

from runner.recipe.schema import GenerateDecoding, LabelDecoding
from runner.search.measure import LONGER, measure, measurement
from runner.search.runs import Runs
from runner.system.signals import OUT_OF_TIME, Stopped

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


def test_the_first_pace_is_used_where_the_longer_run_has_not_the_time(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten steps are ten of the twenty rows, and take less than `ENOUGH` seconds."""
    given, real = [], Runs.measure

    def out_of_time_at_the_second(self: Runs, trial: Any, held_out: int, seconds: float) -> Any:
        given.append((trial.rows, seconds))
        if len(given) == 2:
            raise Stopped(OUT_OF_TIME)
        return real(self, trial, held_out, seconds)

    monkeypatch.setattr(Runs, "measure", out_of_time_at_the_second)
    event = measure(runs_of(tmp_path, tiny_base, train={"batch_size": 1}), 600, "search.minutes: 10")
    assert [rows for rows, _ in given] == [10, 20]
    assert given[1][1] < LONGER * 600
    assert event["train"] > 0
