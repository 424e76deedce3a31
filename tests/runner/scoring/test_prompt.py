"""The prompt gives the same ids to every reader of a record, one BOS, and never cuts a row silently."""

import dataclasses

import pytest
from conftest import tiny_tokenizer
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.normalizers import Lowercase, Replace

from runner.errors import DataError, UserError
from runner.recipe.schema import PromptShape
from runner.scoring.answer_tree import AnswerTree, answer_tree
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


def sequences(one: Prompt) -> list[str]:
    """The tokens of each answer after the tail, as text."""
    return [TOKENIZER.decode([token for _, token in steps]) for steps in one.tree.steps]


def test_what_all_answers_begin_with_is_a_fixed_word() -> None:
    one = prompt(labels=("good", "grand"))
    assert TOKENIZER.decode(list(one.tail)) == "\nAnswer:g"
    assert TOKENIZER.decode(list(one.shared)) == "g"
    assert sequences(one) == ["ood", "rand"]
    assert sorted(TOKENIZER.decode([token]) for token in one.label_ids) == sorted("odran")
    short = prompt(labels=("ba", "bc"))
    assert (short.tree, [TOKENIZER.decode([token]) for token in short.label_ids]) == (AnswerTree(), ["a", "c"])


def test_an_answer_that_another_one_begins_with_is_ended() -> None:
    assert sequences(prompt(labels=("1", "10", "2"))) == ["1<eos>", "10", "2"]
    one = prompt(labels=("1", "10"))
    assert one.tree == AnswerTree()
    assert [TOKENIZER.decode([token]) for token in one.label_ids] == ["<eos>", "0"]
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(
        UserError, match=r"^an answer is the beginning of another one, and the tokenizer has no end-of-sequence token: "
    ):
        build_prompt(DEFAULT, "Which?", ("1", "10"), tokenizer)


def test_answers_take_the_place_of_labels() -> None:
    plain, same = prompt(), prompt(PromptShape(answers={"0": "0", "1": "1"}))
    one = prompt(PromptShape(answers={"1": " yes", "0": " no"}))
    assert (one.labels, one.answers) == (("0", "1"), (" no", " yes"))
    assert TOKENIZER.decode(list(one.tail)) == "\nAnswer: "
    assert sequences(one) == ["no", "yes"]
    assert same.digest() == plain.digest()
    assert not {"answers", "label_sequences"} & plain.description().keys()
    ids = [TOKENIZER.convert_tokens_to_ids(list(word)) for word in ("no", "yes")]
    added = {"answers": {"0": " no", "1": " yes"}, "label_sequences": ids}
    assert {name: one.description()[name] for name in added} == added


def test_answers_that_become_the_same_tokens_are_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = Lowercase()
    with pytest.raises(UserError, match=r"^the tokenizer gives two answers the same tokens: Yes: \[.*\]; yes: \["):
        build_prompt(DEFAULT, "Which?", ("Yes", "yes"), tokenizer)


def test_answers_that_are_joined_with_the_template_are_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = Replace(":0", "~")
    with pytest.raises(
        UserError, match=r"^the tokenizer joins an answer with the words before it, '\\nAnswer:': 0: \["
    ):
        build_prompt(DEFAULT, "Which?", ("0", "1"), tokenizer)


def test_a_prompt_leaves_positions_for_its_answers() -> None:
    one = build_prompt(PromptShape(max_length=512), "Which?", ("no", "maybe"), TOKENIZER, positions=40)
    assert (one.max_length, one.tree.depth) == (36, 4)


words = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4).map(tuple), min_size=2, max_size=6, unique=True)


@given(words)
def test_the_tree_holds_every_answer_and_each_beginning_once(answers: list[tuple[int, ...]]) -> None:
    ended = [(*answer, 9) for answer in answers]
    tree = answer_tree(ended)
    assert [tuple(token for _, token in steps) for steps in tree.steps] == ended
    texts = [tuple(tree.tokens_of(lineage)) for lineage in tree.lineages]
    assert sorted(texts) == sorted({answer[:end] for answer in ended for end in range(len(answer))})
    for answer, steps in zip(ended, tree.steps):
        assert [texts[node] for node, _ in steps] == [answer[:end] for end in range(len(answer))]
    assert {node for path in tree.paths for node in path} == set(range(1, tree.size))
    assert tree.depth == max(map(len, answers))


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


def test_answers_that_fill_the_model_are_refused() -> None:
    with pytest.raises(UserError) as error:
        build_prompt(DEFAULT, "Which?", ("no" * 30, "yes"), TOKENIZER, positions=70)
    assert str(error.value) == (
        "the model has 70 positions, and none is left for an input: the fixed words take 16, an answer takes 59 more\n"
        "  next: shorten the instruction or the answers"
    )


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
