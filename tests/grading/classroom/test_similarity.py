"""The similarity of a class: identical files, and shared errors beyond what the class explains."""

import hashlib
import itertools
import math
import random

import pytest

from grading.classroom import similarity
from grading.classroom.card import Card
from grading.classroom.similarity import (
    KINDS,
    LEAST_RESULTS,
    LEVEL,
    SAME_ADAPTER,
    SAME_RESULTS,
    SHARED_ERRORS,
    TOO_FEW,
    chances_of_errors,
    find,
    shared_errors,
    shared_given,
)

ROWS = 150


def card(name, wrong=None, adapters=None, dataset="QQP"):
    """A card whose results have the digest of what is wrong in them."""
    wrong = {} if wrong is None else {dataset: wrong}
    results = {each: hashlib.sha256(repr(sorted(rows.items())).encode()).hexdigest() for each, rows in wrong.items()}
    report = {"points": 0.0, "parts": [], "datasets": [], "problem": None}
    return Card(name, report, "", wrong, adapters or {}, results, 0.1)


def honest_class(draw, hand_ins, difficulty=1.0, ability=0.5, lean=0.3, right=1.7):
    """Wrong rows by label for each submission, and the answers: row, submission and label add up to the log odds of an error."""
    answers = [draw.choice("01") for _ in range(ROWS)]
    rows = [draw.gauss(-right, difficulty) for _ in answers]
    found = []
    for _ in range(hand_ins):
        level, lean_to_1 = draw.gauss(0, ability), draw.gauss(0, lean)
        wrong = {"0": 0, "1": 0}
        for row, (answer, hard) in enumerate(zip(answers, rows)):
            odds = hard + level + (lean_to_1 if answer == "0" else -lean_to_1)
            if draw.random() < 1 / (1 + math.exp(-odds)):
                wrong["1" if answer == "0" else "0"] |= 1 << row
        found.append(wrong)
    return found, answers


def copied(draw, wrong, answers, changed):
    wrong = dict(wrong)
    for row in draw.sample(range(ROWS), changed):
        wrong["1" if answers[row] == "0" else "0"] ^= 1 << row
    return wrong


def cards_of(results):
    return [card(f"hand-in-{place:03}", wrong) for place, wrong in enumerate(results)]


def kinds(findings):
    return [(finding.kind, finding.names) for finding in findings]


def test_honest_classes_name_nobody():
    draw = random.Random(1)
    for hand_ins, difficulty in itertools.product((5, 8, 20), (0.0, 1.5, 3.0)):
        for _ in range(4):
            results, _ = honest_class(draw, hand_ins, difficulty)
            assert find(cards_of(results)) == ()


def test_a_copier_who_changed_a_twentieth_is_found():
    draw = random.Random(2)
    found = 0
    for _ in range(10):
        results, answers = honest_class(draw, 24)
        results.append(copied(draw, results[3], answers, round(ROWS / 20)))
        findings = find(cards_of(results))
        found += kinds(findings) == [(SHARED_ERRORS, ("hand-in-003", "hand-in-024"))]
        for finding in findings:
            assert finding.p * 25 * 24 / 2 <= LEVEL
            assert finding.expected < finding.shared
            assert "1 in 10^" in finding.words
            assert "300 pairs were compared" in finding.words
    assert found >= 9


def test_preferring_the_same_label_explains_shared_errors():
    draw = random.Random(3)
    results, answers = honest_class(draw, 20)
    ones = [row for row, answer in enumerate(answers) if answer == "1"]
    for _ in range(3):  # nearly everything is answered with 0
        right = set(draw.sample(ones, 3))
        results.append({"0": sum(1 << row for row in ones if row not in right), "1": 0})
    shared = bin(results[-1]["0"] & results[-2]["0"]).count("1")
    assert shared > 60
    assert find(cards_of(results)) == ()


def test_different_wrong_labels_on_a_row_are_not_shared():
    rows = (1 << 30) - 1
    results = [{"a": rows, "b": 0}, {"a": 0, "b": rows}] + [{"a": 1 << 40 + k, "b": 1 << 50 + k} for k in range(6)]
    assert find(cards_of(results)) == ()


def test_identical_results_are_one_group():
    draw = random.Random(4)
    results, _ = honest_class(draw, 10)
    findings = find(cards_of([*results, *[results[0]] * 99]))
    names = ("hand-in-000", *(f"hand-in-{place:03}" for place in range(10, 109)))
    assert kinds(findings) == [(SAME_RESULTS, names)]
    errors = sum(bin(bits).count("1") for bits in results[0].values())
    assert (findings[0].shared, findings[0].expected, findings[0].p) == (errors, None, None)
    assert findings[0].words == f"100 submissions give the same predictions for QQP, {errors} of them wrong"


def test_a_hundred_copies_do_not_hide_a_changed_one():
    draw = random.Random(5)
    results, answers = honest_class(draw, 20)
    changed = copied(draw, results[0], answers, 5)
    found = find(cards_of([*results, changed, *[results[0]] * 99]))
    assert [finding.kind for finding in found] == [SAME_RESULTS, SHARED_ERRORS]
    assert found[1].names == ("hand-in-000", "hand-in-020")
    assert found[1].words.endswith("99 more submissions have the file of one of them")


def test_all_right_is_no_finding_and_one_shared_error_is():
    assert find([card("a", {"0": 0, "1": 0}), card("b", {"0": 0, "1": 0})]) == ()
    assert kinds(find([card("a", {"0": 4}), card("b", {"0": 4})])) == [(SAME_RESULTS, ("a", "b"))]


def test_identical_adapters():
    adapters = [{"QQP": "aa", "CoLA": "bb"}, {"QQP": "aa", "CoLA": "cc"}, {"CoLA": "bb"}, {"QQP": "aa"}, {}]
    found = find([card(f"h{place}", None, each) for place, each in enumerate(adapters)])
    assert [(finding.dataset, finding.kind, finding.names) for finding in found] == [
        ("QQP", SAME_ADAPTER, ("h0", "h1", "h3")),
        ("CoLA", SAME_ADAPTER, ("h0", "h2")),
    ]


def test_a_small_class_says_what_was_not_done():
    draw = random.Random(6)
    results, answers = honest_class(draw, LEAST_RESULTS - 2)
    results.append(copied(draw, results[0], answers, 1))
    (finding,) = find(cards_of(results))
    assert (finding.names, finding.kind, finding.p) == ((), TOO_FEW, None)
    assert finding.words == (
        "4 different results of QQP, expected at least 5 to estimate how hard its rows are: "
        "only identical files were looked for"
    )
    assert find([]) == find([card("alone", {"0": 7})]) == ()


def test_the_order_of_the_cards_does_not_matter():
    draw = random.Random(7)
    results, answers = honest_class(draw, 15)
    cards = cards_of([*results, copied(draw, results[0], answers, 3), results[1]])
    found = find(cards)
    assert [finding.kind for finding in found] == [SAME_RESULTS, SHARED_ERRORS]
    for _ in range(3):
        draw.shuffle(cards)
        assert find(cards) == found


def test_chances_of_errors_add_up_and_keep_their_odds():
    odds = [0.1, 0.5, 2.0, 9.0]
    chances = chances_of_errors(odds, 2)
    assert math.fsum(chances) == pytest.approx(2, abs=1e-12)
    ratios = [chance / (1 - chance) / each for chance, each in zip(chances, odds)]
    assert ratios == pytest.approx([ratios[0]] * 4)
    assert chances_of_errors(odds, 0) == [0] * 4
    assert chances_of_errors(odds, 4) == [1] * 4
    assert chances_of_errors([], 0) == []


def test_the_number_of_shared_errors_against_every_way_to_err():
    odds = [0.1, 0.3, 0.5, 1.0, 2.0, 9.0]
    errors, known = 3, {1, 4, 5}
    ways = [0.0] * (errors + 1)
    for rows in itertools.combinations(range(6), errors):
        ways[len(known & set(rows))] += math.prod(odds[row] for row in rows)
    chances = chances_of_errors(odds, errors)
    inside = [chance for row, chance in enumerate(chances) if row in known]
    outside = [chance for row, chance in enumerate(chances) if row not in known]
    assert shared_given(inside, outside, errors) == pytest.approx([way / sum(ways) for way in ways], abs=1e-12)


def test_equally_hard_rows_give_the_hypergeometric_distribution():
    chances = chances_of_errors([0.2] * 40, 12)
    expected = [math.comb(9, k) * math.comb(31, 12 - k) / math.comb(40, 12) for k in range(10)]
    found = shared_given(chances[:9], chances[9:], 12)
    assert found[:10] == pytest.approx(expected, rel=1e-9)
    assert max(found[10:]) == 0
    mean, variance = shared_errors(chances_of_errors([0.2] * 40, 9), chances)
    assert mean == pytest.approx(9 * 12 / 40)
    assert variance == pytest.approx(9 * 12 * 31 * 28 / (40 * 40 * 39), rel=0.06)  # to first order in 1/40


def test_every_kind_says_what_it_means():
    assert [kind.name for kind in KINDS] == [SAME_ADAPTER, SAME_RESULTS, SHARED_ERRORS, TOO_FEW]
    assert "not a proof" in similarity.CAVEAT
    assert "reason to look and not a proof" in " ".join(similarity.__doc__.split())
