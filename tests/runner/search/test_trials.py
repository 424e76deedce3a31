"""Trials: which of them are better, by paired tests."""

from runner.search.journal import Journal
from runner.search.table import sentence
from runner.search.trials import Trial, TrialResult, as_event, best_first, from_event, indistinguishable, winner


def result(number, right, log_loss=0.5, rows=100):
    return TrialResult(Trial(number, number - 1, {"lora.r": number}, rows, 1), right, log_loss, 1.0)


GOOD, SAME, BAD = "1" * 90 + "0" * 10, "1" * 88 + "0" * 10 + "11", "0" * 60 + "1" * 40


def test_equal_trials_are_ordered_by_log_loss_and_worse_ones_come_last():
    results = [result(1, GOOD, 0.6), result(2, BAD, 0.1), result(3, SAME, 0.4)]
    assert [one.trial.number for one in best_first(results)] == [3, 1, 2]


def test_of_equal_trials_the_one_with_the_most_rows_wins():
    results = [result(1, GOOD), result(2, SAME, rows=300), result(3, BAD, rows=900)]
    assert winner(results).trial.number == 2
    assert [one.trial.number for one in indistinguishable(results[0], results)] == [1, 2]


def test_the_sentence_names_the_trials_that_may_be_equal():
    results = [result(1, GOOD), result(2, SAME, rows=300), result(3, BAD, rows=900)]
    assert sentence(results, results[1]) == (
        "winner: trial 2, lora.r = 2, 300 rows × 1. Not distinguishable from it on 100 held-out rows: trial 1; of equal "
        "trials the one with the most rows wins"
    )


def test_settings_are_one_line_of_the_table():
    trial = Trial(1, 0, {"instruction": "Is it\nthe same?\n"}, 8, 1)
    assert trial.describe() == "instruction = Is it the same?"


def test_the_journal_gives_back_what_was_written_and_drops_a_torn_line(tmp_path):
    path = tmp_path / "search" / "journal.jsonl"
    Journal(path).add(as_event(result(1, GOOD)))
    with path.open("ab") as file:
        file.write(b'{"event": "tri')
    journal = Journal(path)
    assert [from_event(event) for event in journal.events] == [result(1, GOOD)]
    journal.add({"event": "end"})
    assert len(Journal(path).events) == 2
