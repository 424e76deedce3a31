"""Trials: which of them are better, by paired tests, and which settings of a round can be told apart."""

import json

from runner.search.journal import Journal
from runner.search.rounds import Round
from runner.search.table import as_json, lines, sentence
from runner.search.trials import Trial, TrialResult, as_event, best_first, from_event, indistinguishable, winner


def result(number, right, log_loss=0.5, rows=100, epochs=1):
    return TrialResult(Trial(number, number - 1, {"lora.r": number}, rows, epochs), right, log_loss, 1.0)


GOOD, SAME, BAD = "1" * 90 + "0" * 10, "1" * 88 + "0" * 10 + "11", "0" * 60 + "1" * 40
CLOSE = "1" * 87 + "0" * 13


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
        "trials the one with the most rows wins, and of those the one with the lower log loss"
    )


def test_a_round_says_which_settings_can_be_told_apart():
    """On equal rows; of GOOD and CLOSE three rows are right in the first alone."""
    one = Round([result(1, CLOSE), result(2, GOOD), result(3, BAD), result(4, SAME, 0.6)])
    head = "of 4 candidates on 100 rows × 1, lora.r = 2 is the most accurate, 90.0% (82.6 to 94.5)"
    assert one.sentence() == (
        f"{head}; not distinguishable from it on 100 held-out rows: lora.r = 4 (both get equally many right); lora.r = 1 "
        "(about 350 would be needed)"
    )
    # of three tests (Holm): 3 × 2 / 2³
    assert [(each.trial.number, pair.p) for each, pair in one.others][:2] == [(4, 1.0), (1, 0.5)]
    assert Round([result(1, GOOD), result(2, BAD)]).sentence() == (
        "of 2 candidates on 100 rows × 1, lora.r = 1 is the most accurate, 90.0% (82.6 to 94.5); every other one is worse, by "
        "more than the luck of 100 held-out rows"
    )
    many = [result(number, GOOD, number / 10) for number in range(1, 9)]
    assert Round(many).sentence().endswith("; lora.r = 6 (both get equally many right); 2 more")
    assert "on up to 100 row passes," in Round([result(1, GOOD, rows=50, epochs=2), result(2, BAD, rows=90)]).sentence()


def test_a_trial_is_not_tested_against_a_longer_run():
    """The winner had three times the rows, and is better than the trial with its own settings."""
    first, second, last = result(1, CLOSE), result(2, BAD), result(3, "1" * 100, rows=300)
    one = Round([first, second])
    table = list(lines([first, second, last], last, [one]))
    verdicts = {row.split()[0]: row[-40:] for row in table[1:4]}
    assert "the winner" in verdicts["3"]
    assert "the most accurate" in verdicts["1"]
    assert "differs, p = " in verdicts["2"]
    assert table[4:] == [one.sentence(), "winner: trial 3, lora.r = 3, 300 rows × 1"]
    found = json.loads(as_json([first, second, last], last, [one]))
    assert not any("p_value" in row for row in found["trials"])
    (of_round,) = found["rounds"]
    assert of_round["best"]["trial"] == 1
    assert [(row["trial"], row["distinguishable"]) for row in of_round["others"]] == [(2, True)]
    assert of_round["sentence"] == one.sentence()


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
