"""The prompt: how a record becomes token ids. Training, hold-out evaluation and prediction all use this module.

A prompt is `prefix + suffix`. All records of the task share the prefix: BOS, the instruction and the fixed words before
the input. The suffix belongs to one record: its input and the fixed words after it. The three pieces are tokenised
separately, so every example begins with the same ids. The model answers at the last position of the suffix.
"""

from __future__ import annotations

import hashlib
import json
import string
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from runner.errors import UserError
from runner.model.base import Base
from runner.recipe.schema import PromptShape, Recipe
from runner.scoring.tokenization import encode_text, tokenizer_digest


@dataclass(frozen=True)
class Prompt:
    """The prompt of one task for one tokenizer. Two prompts with the same digest give every record the same ids."""

    template: str
    """The text with `{instruction}` and `{input}`."""
    instruction: str
    """The task's instruction."""
    labels: tuple[str, ...]
    """The labels, in the recipe's order."""
    prefix: tuple[int, ...]
    """Ids that every example begins with; the first is the one BOS."""
    tail: tuple[int, ...]
    """Ids that every example ends with."""
    label_ids: tuple[int, ...]
    """For each label the id that the model should predict next. No two are equal."""
    max_length: int
    """Most ids of one example: the recipe's limit, or the model's number of positions where that is smaller."""
    too_long: str
    """What happens to longer records: `error`, `truncate` or `drop-from-train`."""
    tokenizer: Any
    """The base's tokenizer."""
    tokenizer_digest: str
    """SHA-256 of that tokenizer."""
    positions: int
    """The model's number of positions."""

    def digest(self) -> str:
        """SHA-256 of everything that the ids depend on: texts, fixed ids, tokenizer and `max_length`."""
        return hashlib.sha256(json.dumps(self.description(), sort_keys=True).encode()).hexdigest()

    def description(self) -> dict[str, Any]:
        """The prompt as plain values: saved with an adapter, and shown where two prompts differ."""
        names = ("template", "instruction", "labels", "prefix", "tail", "label_ids", "max_length", "tokenizer_digest")
        values = {name: getattr(self, name) for name in names}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def prompt_of(recipe: Recipe, base: Base) -> Prompt:
    """The prompt of a recipe for its base. Raises UserError as `build_prompt` does, and where the tokenizer has ids that the
    model does not know."""
    prompt = build_prompt(
        recipe.prompt, recipe.instruction, recipe.task.labels, base.tokenizer, positions_of(base.model)
    )
    known = base.model.get_input_embeddings().weight.shape[0]
    pieces = base.tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
    added = [number for number, token in base.tokenizer.added_tokens_decoder.items() if not token.special]
    largest = max(pieces - 1, *added, *prompt.prefix, *prompt.tail, *prompt.label_ids)
    if largest >= known:
        raise UserError(
            f"base: {base.folder}: its tokenizer has ids up to {largest}, the model knows {known:,}",
            "put the tokenizer of this model into the folder",
        )
    return prompt


def positions_of(model: Any) -> int:
    """The model's number of positions."""
    return getattr(model.config, "max_position_embeddings", None) or sys.maxsize


def build_prompt(
    shape: PromptShape, instruction: str, labels: Sequence[str], tokenizer: Any, positions: int = sys.maxsize
) -> Prompt:
    """The prompt of a task for this tokenizer, and for a model with that many positions.

    Raises UserError where the fixed words fill the prompt, or where two labels begin with the same token."""
    before, after = _around_input(shape.template, instruction)
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    prefix = bos + encode_text(tokenizer, before)
    tail, label_ids = _answer(tokenizer, after, labels)
    # encode_text never gives a special token, so this fails only for a broken tokenizer
    if bos and (prefix + tail).count(bos[0]) != 1:
        raise UserError(f"base: its tokenizer puts more than one BOS into the prompt {prefix + tail}")
    fixed, max_length = len(prefix) + len(tail), min(shape.max_length, positions)
    if not tail:
        raise UserError(
            f"the tokenizer gives no token for {after!r} after the input", "end prompt.template with a word"
        )
    if fixed >= max_length:
        raise UserError(
            f"prompt.max_length = {max_length} leaves no room for an input: the fixed words take {fixed} tokens",
            "raise prompt.max_length or shorten the instruction",
        )
    return Prompt(
        shape.template,
        instruction,
        tuple(labels),
        tuple(prefix),
        tuple(tail),
        label_ids,
        max_length,
        shape.too_long,
        tokenizer,
        tokenizer_digest(tokenizer),
        positions,
    )


def _around_input(template: str, instruction: str) -> tuple[str, str]:
    """The template's text before and after the input, with the instruction in its place."""
    sides = ["", ""]
    side = 0
    for text, name, _, _ in string.Formatter().parse(template):
        sides[side] += text
        if name == "instruction":
            sides[side] += instruction
        elif name == "input":
            side = 1
    return sides[0], sides[1]


def _answer(tokenizer: Any, after: str, labels: Sequence[str]) -> tuple[list[int], tuple[int, ...]]:
    """The ids after the input, and the id of each label after those.

    A label is tokenised together with the words before it, because many tokenizers join or split them there. Ids that
    all labels begin with (a bare space, for some tokenizers) become fixed words: the answer is the first id that differs."""
    fixed = encode_text(tokenizer, after)
    whole = [encode_text(tokenizer, after + label) for label in labels]
    shared = 0
    while all(len(ids) > shared for ids in whole) and len({ids[shared] for ids in whole}) == 1:
        shared += 1
    nexts: list[Optional[int]] = [ids[shared] if len(ids) > shared else None for ids in whole]
    if shared < len(fixed) or None in nexts or len(set(nexts)) < len(labels):
        pieces = "; ".join(f"{label}: {tokenizer.convert_ids_to_tokens(ids)}" for label, ids in zip(labels, whole))
        raise UserError(
            f"the tokenizer does not tell the labels apart by their first token after {after!r}: {pieces}",
            "choose other labels, or another end of prompt.template (for instance with or without a space)",
        )
    return whole[0][:shared], tuple(token for token in nexts if token is not None)
