"""The prompt gives the same ids to every reader of a record, one BOS, and never cuts a row silently."""

import dataclasses

import pytest
from conftest import tiny_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import DataError, UserError
from runner.recipe.schema import PromptShape
from runner.scoring.dataset import encode_records
from runner.scoring.prompt import Prompt, build_prompt
from runner.scoring.tokenization import encode_text

TOKENIZER = tiny_tokenizer()


DEFAULT = PromptShape()


def prompt(shape: PromptShape = DEFAULT, labels: tuple[str, ...] = ("0", "1")) -> Prompt:
    return build_prompt(shape, "Which?", labels, TOKENIZER)


def record(text: str, **answer: str) -> dict[str, str]:
    return {"instruction": "Which?", "input": text, **answer}


def test_prefix_and_suffix_are_the_template_in_two(tmp_path: object) -> None:
    one = prompt()
    encoded = encode_records(one, [record("ab", output="1"), record("ba", output="0")], "training")
    ids = [*one.prefix, *encoded.suffixes[0]]
    assert ids[0] == TOKENIZER.bos_token_id
    assert TOKENIZER.decode(ids[1:]) == "Which?\nab\nAnswer:"
    assert [TOKENIZER.decode([token]) for token in one.label_ids] == ["0", "1"]
    assert encoded.targets == [1, 0]


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(["<bos>", "a<eos>b<bos>", "<pad>"])
)
def test_one_bos_whatever_the_input_says(text: str) -> None:
    one = prompt()
    ids = [*one.prefix, *encode_records(one, [record(text)], "dev").suffixes[0]]
    assert ids.count(TOKENIZER.bos_token_id) == 1
    assert TOKENIZER.eos_token_id not in ids
    assert TOKENIZER.decode(ids[1:]) == f"Which?\n{text}\nAnswer:"


def test_doubled_braces_are_braces() -> None:
    one = prompt(PromptShape(template="{{x}} {instruction} {input} {{y}}"))
    ids = [*one.prefix, *encode_records(one, [record("{z}")], "dev").suffixes[0]]
    assert TOKENIZER.decode(ids[1:]) == "{x} Which? {z} {y}"


def test_labels_that_begin_alike_differ_at_a_later_token() -> None:
    one = prompt(labels=("good", "grand"))
    assert TOKENIZER.decode(list(one.tail)) == "\nAnswer:g"
    assert [TOKENIZER.decode([token]) for token in one.label_ids] == ["o", "r"]


def test_labels_with_the_same_first_token_are_refused() -> None:
    with pytest.raises(UserError, match="does not tell the labels apart"):
        prompt(labels=("1", "10"))
    with pytest.raises(UserError, match="does not tell the labels apart"):
        prompt(labels=("ab", "ac", "b"))


LONG, SHORT = record("x" * 50, output="1"), record("y", output="0")


@pytest.mark.parametrize(
    ("too_long", "may_drop", "kept", "truncated", "dropped"),
    [("truncate", True, 2, 1, 0), ("drop-from-train", True, 1, 0, 1), ("drop-from-train", False, 2, 1, 0)],
)
def test_long_inputs_are_cut_or_left_out_and_counted(
    too_long: str, may_drop: bool, kept: int, truncated: int, dropped: int
) -> None:
    one = prompt(PromptShape(max_length=32, too_long=too_long))  # type: ignore[arg-type]
    encoded = encode_records(one, [LONG, SHORT], "training", may_drop)
    assert (len(encoded.suffixes), encoded.truncated, encoded.dropped) == (kept, truncated, dropped)
    assert len(encoded.targets) == kept
    assert all(len(one.prefix) + len(suffix) <= 32 for suffix in encoded.suffixes)
    assert all(suffix[-len(one.tail) :] == list(one.tail) for suffix in encoded.suffixes)


def test_long_inputs_are_an_error_by_default() -> None:
    with pytest.raises(
        DataError,
        match=r"dev: 1 record is longer than prompt\.max_length = 32 tokens, the longest is record 2 with 66",
    ):
        encode_records(prompt(PromptShape(max_length=32)), [SHORT, LONG], "dev")


def test_a_row_of_exactly_the_limit_is_not_cut() -> None:
    one = prompt(PromptShape(max_length=32, too_long="truncate"))
    room = 32 - len(one.prefix) - len(one.tail)
    assert encode_records(one, [record("x" * room)], "dev").truncated == 0
    assert encode_records(one, [record("x" * (room + 1))], "dev").truncated == 1


def test_a_model_with_few_positions_sets_the_limit() -> None:
    assert build_prompt(PromptShape(max_length=512), "Which?", ("0", "1"), TOKENIZER, positions=40).max_length == 40


def test_a_cut_or_a_filling_in_the_tokenizers_file_is_not_obeyed() -> None:
    tokenizer = tiny_tokenizer()
    plain = encode_text(tokenizer, "a long text")
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=64)
    assert encode_text(tokenizer, "a long text") == plain


def test_a_prompt_without_room_for_an_input_is_refused() -> None:
    with pytest.raises(UserError, match=r"max_length = 16 leaves no room for an input: the fixed words take 16 tokens"):
        prompt(PromptShape(max_length=16))


def test_a_record_with_another_instruction_is_refused() -> None:
    with pytest.raises(DataError, match=r"dev: record 1: expected the instruction 'Which\?', found 'What\?'"):
        encode_records(prompt(), [{"instruction": "What?", "input": "a"}], "dev")


@pytest.mark.parametrize("change", [{"template": "{instruction} {input}\nAnswer:"}, {"max_length": 99}])
def test_another_prompt_has_another_digest(change: dict[str, object]) -> None:
    assert prompt().digest() == prompt().digest()
    assert prompt(dataclasses.replace(DEFAULT, **change)).digest() != prompt().digest()  # type: ignore[arg-type]


def test_special_tokens_in_a_text_are_spelled_out() -> None:
    assert encode_text(TOKENIZER, "<bos>") == [TOKENIZER.convert_tokens_to_ids(letter) for letter in "<bos>"]
