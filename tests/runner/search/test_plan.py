"""The plan of a search: it fits into the time."""

import pytest

from runner.recipe.schema import Train
from runner.search.plan import IN_A_SEARCH, MOST_EPOCHS, Measurement, Pace, last_run, plan, probe_cost, trial_length

PACE = Pace(train=1 / 10, evaluate=1 / 30, start=4)
QQP = Measurement(PACE, rows=300_000, held_out=500, predict=19)
COLA = Measurement(PACE, rows=8_051, held_out=500, predict=19)


@pytest.mark.parametrize("minutes", [5, 20, 60, 240, 3000])
def test_all_runs_together_fit_into_the_time(minutes):
    total = minutes * 60
    rungs = plan(total, QQP, 27)
    spent = sum(rung.candidates * PACE.seconds(rung.passes, 500 * (1 + IN_A_SEARCH)) for rung in rungs)
    rows, epochs = last_run(total - spent, QQP, Train(epochs=2), extra=IN_A_SEARCH)
    assert spent + PACE.seconds(rows * epochs, 500 * (epochs + IN_A_SEARCH)) <= total
    assert rows * epochs > max((rung.passes for rung in rungs), default=0)


def test_more_time_compares_more_candidates():
    starts = [(plan(60 * minutes, QQP, 27) or [None])[0] for minutes in (20, 60, 300, 3000)]
    assert starts[0] is None
    assert [rung.candidates for rung in starts[1:]] == [4, 9, 27]


def test_a_time_for_less_than_one_row_has_no_last_run():
    assert last_run(40, QQP, Train(epochs=1)) == (0, 1)


def test_a_third_of_the_candidates_is_trained_further_on_about_three_times_the_rows():
    first, second, third = plan(60_000, QQP, 27)
    assert [first.candidates, second.candidates, third.candidates] == [27, 9, 3]
    assert 2.9 < second.passes / first.passes < 4.5


def test_there_are_no_more_runs_than_candidates():
    assert [rung.candidates for rung in plan(60_000, QQP, 4)] == [4]


@pytest.mark.parametrize(
    ("minutes", "rungs"),
    [
        # (180 × 5) passes take 100 s with the evaluations
        (2, []),
        (10, [(5, 900)]),
        (60, [(27, 900)]),
        (6000, [(27, 900)]),
    ],
)
def test_where_there_are_few_rows_no_trial_is_longer_than_all_of_them(minutes, rungs):
    few = Measurement(PACE, rows=180, held_out=60, predict=1)
    planned = plan(60 * minutes, few, 27)
    assert [(rung.candidates, rung.passes) for rung in planned] == rungs
    assert (
        sum(rung.candidates * PACE.seconds(900, 60 * (MOST_EPOCHS + IN_A_SEARCH)) for rung in planned) <= 60 * minutes
    )


def test_a_rung_is_no_longer_than_all_rows():
    rungs = plan(110_000, COLA, 27)
    assert [rung.candidates for rung in rungs] == [27, 9, 3]
    assert rungs[1].passes < rungs[2].passes == 8_051 * MOST_EPOCHS


def test_epochs_grow_only_when_most_rows_are_used():
    assert last_run(1000, QQP, Train(epochs=1))[1] == 1
    assert last_run(10_000, COLA, Train(epochs=1)) == (8_051, MOST_EPOCHS)
    assert last_run(10_000, COLA, Train(epochs=2), most=2) == (8_051, 2)
    # there is time for 1.2 epochs, and for 1.6
    assert last_run(1200, COLA, Train(epochs=1)) == (8_051, 1)
    assert last_run(1500, COLA, Train(epochs=1)) == (6_350, 2)
    assert last_run(10_000, COLA, Train(epochs=6)) == (8_051, 6)


@pytest.mark.parametrize(("minutes", "steps"), [(2, 0), (20, 15), (60, 32)])
def test_a_run_that_tries_learning_rates_has_fewer_rows(minutes, steps):
    """`steps`: at each of four rates, on 16 rows each; then 256 held-out rows are scored."""
    settings = Train(epochs=2, learning_rate="auto")
    rows, epochs = last_run(minutes * 60, QQP, settings)
    without, _ = last_run(minutes * 60, QQP, Train(epochs=2))
    probe = probe_cost(settings, without)
    assert probe == pytest.approx(4 * (16 * steps + 256 / 3) if steps else 0)
    assert epochs * (without - rows) == pytest.approx(probe, abs=200)
    assert probe_cost(Train(epochs=2), rows) == 0


def test_trials_of_a_given_length_are_as_many_as_fit():
    own = plan(60_000, QQP, 27)
    assert plan(60_000, QQP, 27, own[0].passes) == own
    longer = plan(60_000, QQP, 27, own[0].passes + 100)
    assert longer[0].passes == own[0].passes + 100
    assert 20 < longer[0].candidates < 27
    assert longer[1].passes > longer[0].passes
    assert plan(60_000, QQP, 27, 100 * own[0].passes) == []


@pytest.mark.parametrize(
    ("passes", "rows", "epochs", "expected"),
    [
        (3000, 8000, None, (3000, 1)),
        (12000, 8000, None, (8000, 1)),
        (24000, 8000, None, (8000, 3)),
        (90000, 8000, None, (8000, MOST_EPOCHS)),
        (3000, 8000, 2, (1500, 2)),
        (90000, 8000, 2, (8000, 2)),
    ],
)
def test_a_trial_repeats_rows_only_where_there_are_no_more(passes, rows, epochs, expected):
    assert trial_length(passes, rows, epochs) == expected
