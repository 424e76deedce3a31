"""The budget: how many rows fit into a time."""

import pytest
from conftest import ROOT

from runner.errors import UserError
from runner.recipe.loader import load_recipes
from runner.search.budget import fitting_rows
from runner.search.inputs import require_one_process
from runner.search.plan import EXTRA_EVALUATIONS, Measurement, Pace

PACE = Pace(train=1 / 10, evaluate=1 / 30, start=4)
MEASURED = Measurement(PACE, 300_000, 500, 19)


def recipe(time, *more):
    (loaded,) = load_recipes([ROOT / "recipes/qqp.yaml"], [f"samples.train={time}", *more])
    return loaded.recipe


@pytest.mark.parametrize(("time", "epochs"), [("40m", 1), ("40m", 3), ("2h", 2)])
def test_the_whole_run_fits_into_the_time_and_fills_most_of_it(time, epochs):
    rows = fitting_rows(MEASURED, recipe(time, f"train.epochs={epochs}"), 30)
    run = PACE.seconds(rows * epochs, 500 * (epochs + EXTRA_EVALUATIONS))
    budget = recipe(time).samples.train.seconds
    assert 0.8 * budget < 30 + run + MEASURED.predict <= budget


def test_more_epochs_leave_time_for_fewer_rows():
    once, twice = (fitting_rows(MEASURED, recipe("1h", f"train.epochs={epochs}"), 0) for epochs in (1, 2))
    assert twice < 0.55 * once


def test_no_more_rows_than_there_are_and_no_more_epochs():
    assert fitting_rows(Measurement(PACE, 900, 500, 19), recipe("40m"), 0) == 900


def test_too_little_time_for_one_batch_is_refused():
    with pytest.raises(UserError) as error:
        fitting_rows(MEASURED, recipe("90s", "train.epochs=2"), 30)
    assert str(error.value) == (
        "samples.train: 90s is too short for one batch of 16 rows: with the measurement, the hold-out and the dev rows it "
        "takes about 131 s\n  next: give it more time, or lower train.epochs, samples.holdout or samples.dev"
    )


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"^samples.train: several processes train one adapter together"):
        require_one_process("samples.train")
