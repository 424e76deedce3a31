"""The prompt example: one prompt token by token, for people who want to see what the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runner.scoring.prompt import Prompt
from runner.scoring.tokenization import encode_texts

SCHEMA = "labeltune.prompt_example/1"

FIRST, LAST = 300, 100
"""Most tokens that are listed: so many from the beginning, and so many from the end."""

UNFINISHED = "\ufffd"
"""What a tokenizer decodes some bytes of a character to."""

CONTEXT = 4
"""Tokens before a token that are decoded with it: tokenizers write a space by the piece before it."""


def prompt_example(prompt: Prompt, text: str, label: str) -> dict[str, Any]:
    """The tokens of one row's prompt, with the part of the prompt that each belongs to, and those of every label.

    Args:
        prompt: The task's prompt.
        text: The row's input.
        label: The row's label.
    """
    room = prompt.max_length - len(prompt.prefix) - len(prompt.tail)
    parts = {"prefix": prompt.prefix, "input": encode_texts(prompt.tokenizer, [text])[0][:room], "tail": prompt.tail}
    ids = [token for part in parts.values() for token in part]
    names = [name for name, part in parts.items() for _ in part]
    listed = [*range(min(FIRST, len(ids))), *range(max(FIRST, len(ids) - LAST), len(ids))]
    steps = prompt.tree.steps
    answers = [[token for _, token in each] for each in steps] if steps else [[token] for token in prompt.label_ids]
    return {
        "schema": SCHEMA,
        "tokens": [{"part": names[place], "id": ids[place], "text": _piece(prompt, ids, place)} for place in listed],
        "left_out": len(ids) - len(listed),
        "label": label,
        "answers": [
            {
                "label": each,
                "tokens": [
                    {"id": token, "text": _piece(prompt, [*prompt.tail, *found], len(prompt.tail) + n)}
                    for n, token in enumerate(found)
                ],
            }
            for each, found in zip(prompt.labels, answers)
        ],
    }


def _piece(prompt: Prompt, ids: Sequence[int], place: int) -> str:
    """The text that a token adds; the replacement character for a part of a character that a later token completes."""
    before = list(ids[max(0, place - CONTEXT) : place])
    shorter, longer = (str(prompt.tokenizer.decode(each)) for each in (before, [*before, ids[place]]))
    whole = shorter.rstrip(UNFINISHED)
    if longer.startswith(whole) and longer != whole:
        added = longer[len(whole) :]
        return added.rstrip(UNFINISHED) or UNFINISHED
    return str(prompt.tokenizer.convert_ids_to_tokens([ids[place]])[0])
