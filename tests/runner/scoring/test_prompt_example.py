"""The prompt example: the tokens of a prompt as text, each in its part, and the labels'."""

from conftest import tiny_tokenizer

from runner.recipe.schema import PromptShape
from runner.scoring.prompt import build_prompt
from runner.scoring.prompt_example import FIRST, LAST, prompt_example


def test_its_tokens_are_the_prompt() -> None:
    prompt = build_prompt(PromptShape(), "Which?", ["0", "10"], tiny_tokenizer())
    found = prompt_example(prompt, "a cat é", "10")
    text = {
        part: "".join(each["text"] for each in found["tokens"] if each["part"] == part) for part in ("prefix", "tail")
    }
    assert text == {"prefix": "<bos>Which?\n", "tail": "\nAnswer:"}
    # a character of two bytes, and so of two tokens
    assert [each["text"] for each in found["tokens"] if each["part"] == "input"] == [*"a cat ", "\ufffd", "é"]
    assert [each["id"] for each in found["tokens"]][:1] == [prompt.prefix[0]]
    answers = {each["label"]: "".join(token["text"] for token in each["tokens"]) for each in found["answers"]}
    assert answers == {"0": "0", "10": "10"}
    assert (found["label"], found["left_out"]) == ("10", 0)


def test_a_long_prompt_is_cut_in_its_middle() -> None:
    prompt = build_prompt(PromptShape(max_length=2000), "Which?", ["0", "1"], tiny_tokenizer())
    found = prompt_example(prompt, "a" * 1000, "0")
    assert len(found["tokens"]) == FIRST + LAST
    assert found["left_out"] == 1000 + len(prompt.prefix) + len(prompt.tail) - FIRST - LAST
    assert found["tokens"][-1]["text"] == ":"
