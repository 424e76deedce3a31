"""The savings: what separate launches would have taken more."""

from runner.search.savings import BASE, savings, sentence
from runner.system.shared_work import ROWS


def trial(number, saved=(), loads=0):
    return {"event": "trial", "number": number, "saved": dict(saved), "loads": loads}


LOAD = {"event": "load", "seconds": 4.0}


def test_every_trial_but_the_first_of_a_process_saves_the_base():
    events = [LOAD, trial(1), trial(2, {ROWS: 0.5}), trial(3, {ROWS: 0.5}), LOAD, trial(4, {ROWS: 0.25}), trial(5)]
    assert savings(events) == {BASE: 12.0, ROWS: 1.25}
    assert sentence(events) == (
        "separate launches of these 5 trials would have taken 13.2 s more: torch and the base loaded once (12.0 s), the rows "
        "read and checked once (1.2 s)"
    )


def test_nothing_is_said_where_nothing_was_shared():
    assert sentence([LOAD, trial(1)]) == ""
    assert sentence([LOAD, trial(1, {ROWS: 0.1})]) == (
        "separate launches of this trial would have taken 0.1 s more: the rows read and checked once (0.1 s)"
    )


def test_a_trial_that_loads_a_base_of_another_precision_saves_nothing():
    assert savings([LOAD, trial(1), trial(2, loads=1)]) == {BASE: 0.0}


def test_what_the_measurement_has_computed_is_no_saving():
    pace = {"event": "pace", "seconds": 3.0, "shared": {ROWS: 0.5}}
    assert savings([LOAD, pace, trial(1, {ROWS: 0.5}), trial(2, {ROWS: 0.5})]) == {BASE: 4.0, ROWS: 0.5}
    assert savings([LOAD, pace, trial(1)]) == {BASE: 0.0, ROWS: 0.0}


def test_a_trial_without_a_result_is_the_one_that_needed_the_base():
    assert savings([LOAD, {"event": "no result", "number": 1}, trial(2)]) == {BASE: 4.0}
