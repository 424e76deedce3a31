"""A chat model under a plain prompt is reported, by its name or by its tokenizer."""

import json
from pathlib import Path

import pytest

from runner.model.chat_base import chat_base_warning

PLAIN = "{instruction}\n{input}\nAnswer:"
CHAT = "<start_of_turn>user\n{instruction} {input}<end_of_turn>\n<start_of_turn>model\n"


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("google/gemma-2b-it", "google/gemma-2b"),
        ("/models/Qwen2.5-0.5B-Instruct/", "/models/Qwen2.5-0.5B"),
        ("gemma-1.1-2b-it-hf", "gemma-1.1-2b"),
        ("meta-llama/Llama-2-7b-chat", "meta-llama/Llama-2-7b"),
    ],
)
def test_a_name_says_it(name: str, plain: str, tmp_path: Path) -> None:
    assert chat_base_warning(name, tmp_path, PLAIN) == (
        f"base: {name} is tuned for chats (by its name), and prompt.template is plain text, which it was not tuned on; "
        f"name the plain base ({plain}), or write the marks of its chat format into prompt.template"
    )
    assert chat_base_warning(name, tmp_path, CHAT) is None


@pytest.mark.parametrize("name", ["google/gemma-2b", "org/title-item-2b", "chat-gpt2"])
def test_other_names_do_not(name: str, tmp_path: Path) -> None:
    assert chat_base_warning(name, tmp_path, PLAIN) is None


def test_a_chat_template_says_it(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    said = chat_base_warning("base", tmp_path, PLAIN)
    assert said is not None
    assert "(its tokenizer has a chat template)" in said
    (tmp_path / "tokenizer_config.json").write_text("[]")
    assert chat_base_warning("base", tmp_path, PLAIN) is None
    (tmp_path / "chat_template.jinja").write_text("")
    assert chat_base_warning("base", tmp_path, PLAIN) is not None
