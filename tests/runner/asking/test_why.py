"""Why: the words of a row and what leaving each of them out does to the answer."""

from pathlib import Path

import pytest
from support.answered import answered_run

import labeltune
from runner.asking.asker import Effect, Reasons
from runner.asking.coloured import harmless, shown_reasons
from runner.asking.words import MOST_WORDS, Word, without, words_of
from runner.prediction.prediction_file import Prediction


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("can  cats\trun ?", ["can", "cats", "run", "?"]),
        ("我想退货，ok吗", ["我", "想", "退", "货", "，ok", "吗"]),
        (" ", []),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert [text[word.start : word.end] for word in words_of(text)] == words


def test_a_word_leaves_no_double_space() -> None:
    text = "a bad  film"
    assert [without(text, word) for word in words_of(text)] == ["bad  film", "a  film", "a bad "]
    assert without("退货", Word(0, 1)) == "货"
    assert without("one", Word(0, 3)) == ""


def test_a_long_text_is_split_into_equal_runs() -> None:
    text = " ".join("word" for _ in range(3 * MOST_WORDS))
    runs = words_of(text)
    assert len(runs) == MOST_WORDS
    assert {text[run.start : run.end] for run in runs} == {"word word word"}


@pytest.mark.parametrize("way", ["plain", "all", "ensemble"])
def test_an_effect_is_the_answer_to_the_row_without_the_word(tiny_base: Path, way: str) -> None:
    row = ("ab new 3", "ba other")
    with labeltune.Asker.load(answered_run(tiny_base, way) / "saved_model/tiny") as asker:
        reasons = asker.why(row)
        shorter = [("new 3", row[1]), ("ab 3", row[1]), ("ab new", row[1]), (row[0], "other"), (row[0], "ba")]
        alone = [answer.prediction for answer in asker.answer([row, *shorter])]
    assert [(effect.column, row[effect.column][slice(*effect.word)]) for effect in reasons.effects] == [
        (0, "ab"), (0, "new"), (0, "3"), (1, "ba"), (1, "other"),
    ]  # fmt: skip
    found = [reasons.prediction, *(effect.without for effect in reasons.effects)]
    for one, other in zip(found, alone):
        assert other is not None
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def reasons() -> Reasons:
    def answer(share: float) -> Prediction:
        return Prediction("1" if share > 0.5 else "0", {"0": 1 - share, "1": share})

    effects = (
        Effect(0, Word(0, 3), answer(0.2)),
        Effect(0, Word(4, 8), answer(0.95)),
        Effect(1, Word(0, 4), answer(0.9)),
    )
    return Reasons(("not good", "fine\x1b[2J"), answer(0.9), effects)


def test_the_list_names_the_words_and_the_change() -> None:
    lines = shown_reasons(reasons(), ("first", "second"), colour=False)
    assert "\x1b" not in "".join(lines)
    assert lines[0] == "each word was left out once; what is shown is how the probability of 1 changes without it"
    assert lines[1:4] == [
        "  first: not    0.2000 (-0.7000); the answer is then 0",
        "  first: good   0.9500 (+0.0500)",
        "  second: fine  0.9000 (+0.0000)",
    ]
    assert lines[-1].startswith("this is the effect of leaving a word out, not a cause")


def test_colours_are_by_the_change_and_a_text_cannot_use_the_terminal() -> None:
    lines = shown_reasons(reasons(), ("first", "second"), colour=True)
    assert lines[1] == "  first: \x1b[30;42mnot\x1b[0m \x1b[31mgood\x1b[0m"
    assert lines[2] == "  second: fine\\x1b[2J"
    assert harmless("a\tb\n中\u202e") == "a\\tb\\n中\\u202e"
