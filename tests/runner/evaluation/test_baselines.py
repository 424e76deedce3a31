"""The bag of words: it learns words and not their order, it is bounded, and odd texts give a message."""

import random

import pytest

from runner.evaluation.baselines import MOST_ROWS, bag_of_words

GOOD, BAD = ["fine", "great", "lovely"], ["dull", "awful", "boring"]


def reviews(count: int, seed: int) -> list[tuple[str, str]]:
    draw = random.Random(seed)
    labels = [draw.choice("01") for _ in range(count)]
    return [(f"a {draw.choice(GOOD if label == '1' else BAD)} film {draw.randrange(99)}", label) for label in labels]


def test_it_learns_words() -> None:
    found = bag_of_words(iter(reviews(200, 0)), 200, reviews(50, 1))
    assert found is not None
    assert (found.accuracy, found.rows) == (1.0, 200)
    assert found == bag_of_words(iter(reviews(200, 0)), 200, reviews(50, 1)).__class__(1.0, 200, found.seconds)


def test_it_does_not_learn_the_order_of_far_words() -> None:
    draw, rows = random.Random(0), []
    for _ in range(600):
        words = draw.sample(["cat", "dog", "cow", "hen", "pig", "fox"], 2)
        rows.append((f"the {words[0]} sees the old {words[1]}", "1" if words[0] < words[1] else "0"))
    swapped = bag_of_words(rows, 600, [("the same one sees the old other", "1")] * 4)
    assert swapped is not None
    found = bag_of_words([(text, draw.choice("01")) for text, _ in rows], 600, rows)
    assert found is not None
    assert found.accuracy < 0.62


def test_three_labels_and_every_script_work() -> None:
    rows = [("我喜欢这部电影", "1"), ("很无聊", "0"), ("não sei", "2")] * 10
    found = bag_of_words(rows, 30, rows)
    assert found is not None
    assert found.accuracy == 1.0


def test_it_uses_a_part_of_many_rows() -> None:
    def rows() -> list[tuple[str, str]]:
        return [("x y"[:: 1 + number % 2], str(number % 2)) for number in range(total)]

    total = MOST_ROWS + MOST_ROWS // 2
    found = bag_of_words(rows(), total, [("x y", "0")])
    assert found is not None
    assert found.rows == MOST_ROWS


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "1"), ("b", "1")], "no bag of words: all 2 training rows have the same label"),
        ([("", "1"), (" ", "0")], "no bag of words: empty vocabulary"),
    ],
    ids=["one label", "blank"],
)
def test_what_cannot_be_learned_is_logged(
    rows: list[tuple[str, str]], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "labeltune")
    assert bag_of_words(rows, len(rows), rows) is None
    assert caplog.messages[0].startswith(message)
