"""A chat model as the base: one that was tuned for conversations, under a prompt that is plain text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Optional

from runner.language import tr

_NAME = re.compile(r"(?P<plain>.+?)[-_.](it|instruct|chat)(?=$|[-_.])", re.IGNORECASE)
"""Endings of the names of chat models: `gemma-2b-it`, `Qwen2.5-0.5B-Instruct`, `gemma-1.1-2b-it-hf`."""

_MARKERS = re.compile(r"<\|.+?\|>|<start_of_turn>|\[INST\]|<\uff5c.+?\uff5c>")
"""Marks of a turn in the chat formats of Gemma, Qwen, Llama, Mistral and DeepSeek."""


def chat_base_warning(name: str, folder: Path, template: str) -> Optional[str]:
    """A sentence where the base `name` in `folder` is tuned for chats and `prompt.template` is plain text; else None."""
    if _MARKERS.search(template):
        return None
    found = _NAME.match(name.rstrip("/").rpartition("/")[2])
    if found:
        plain = name.rstrip("/").rpartition("/")
        reason, other = tr("by its name"), f" ({plain[0]}{plain[1]}{found['plain']})"
    elif _has_chat_template(folder):
        reason, other = tr("its tokenizer has a chat template"), ""
    else:
        return None
    return tr(
        "base: {name} is tuned for chats ({reason}), and prompt.template is plain text, "
        "which it was not tuned on; name the plain base{other}, or write the marks of its "
        "chat format into prompt.template",
        name=name,
        reason=reason,
        other=other,
    )


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").exists():
        return True
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and bool(config.get("chat_template"))
