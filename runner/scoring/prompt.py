"""The prompt: how a record becomes token ids. Training, hold-out evaluation and prediction all use this module.

A prompt is `prefix + suffix`. All records of the task share the prefix: BOS, the instruction and the fixed words before
the input. The suffix belongs to one record: its input and the fixed words after it. The three pieces are tokenised
separately, so every example begins with the same ids. The model answers after the last position of the suffix.
"""

from __future__ import annotations

import functools
import hashlib
import json
import string
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.errors import UserError
from runner.language import tr
from runner.model.base import Base
from runner.recipe.schema import GenerateDecoding, PromptShape, Recipe
from runner.scoring.answer_tree import AnswerTree, answer_tree
from runner.scoring.tokenization import encode_text, tokenizer_digest

DESCRIBED = ("template", "instruction", "labels", "prefix", "tail", "label_ids", "max_length", "tokenizer_digest")
"""The names that are always in a prompt's description."""

DESCRIBED_SOMETIMES = ("answers", "label_sequences")
"""The names that are in it where answers are not the labels, and where they have several tokens. No older adapter has them."""

PRIOR_SHIFT = "prior_shift"
"""Key of an adapter's prompt.json: what `LabelScorer.undo_prior` needs, where training had other label shares than the file."""


@dataclass(frozen=True)
class Prompt:
    """The prompt of one task for one tokenizer. Two prompts with the same digest give every record the same ids."""

    template: str
    """The text with `{instruction}` and `{input}`."""
    instruction: str
    """The task's instruction."""
    labels: tuple[str, ...]
    """The labels, in the recipe's order."""
    answers: tuple[str, ...]
    """The text that the model writes for each label."""
    prefix: tuple[int, ...]
    """Ids that every example begins with; the first is the one BOS."""
    tail: tuple[int, ...]
    """Ids that every example ends with."""
    shared: tuple[int, ...]
    """The last ids of the tail: those with which every answer begins."""
    label_ids: tuple[int, ...]
    """For each label the id that the model should predict next. No two are equal. Where answers have several tokens: all
    ids that are predicted somewhere in `tree`."""
    tree: AnswerTree
    """The answers' tokens after the tail."""
    max_length: int
    """Most ids of one example: the recipe's limit, or `positions` where that is smaller."""
    too_long: str
    """What happens to longer records: `error`, `truncate` or `drop-from-train`."""
    tokenizer: Any
    """The base's tokenizer."""
    positions: int
    """The model's number of positions, without those that answers of several tokens take."""

    @functools.cached_property
    def tokenizer_digest(self) -> str:
        """SHA-256 of the tokenizer. Computed when it is needed: it takes half a second for Gemma's 262,144 pieces."""
        return tokenizer_digest(self.tokenizer)

    def digest(self) -> str:
        """SHA-256 of everything that the ids depend on: texts, fixed ids, tokenizer and `max_length`."""
        return hashlib.sha256(json.dumps(self.description(), sort_keys=True).encode()).hexdigest()

    def description(self) -> dict[str, Any]:
        """The prompt as plain values: saved with an adapter, and shown where two prompts differ."""
        values = {name: getattr(self, name) for name in DESCRIBED}
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        if self.answers != self.labels:
            found["answers"] = dict(zip(self.labels, self.answers))
        if self.tree.steps:
            found["label_sequences"] = [[token for _, token in steps] for steps in self.tree.steps]
        return found


@dataclass(frozen=True)
class TokenizerFit:
    """The sizes of a base that its tokenizer and its prompts must fit."""

    folder: Path
    """The base's folder, for messages."""
    vocabulary: int
    """Number of ids that the model knows."""
    positions: int
    """The model's number of positions."""


def prompt_of(recipe: Recipe, base: Base) -> Prompt:
    """The prompt of a recipe for its base. Raises UserError as `prompt_for` does."""
    known = base.model.get_input_embeddings().weight.shape[0]
    return prompt_for(recipe, base.tokenizer, TokenizerFit(base.folder, known, positions_of(base.model)))


def prompt_for(recipe: Recipe, tokenizer: Any, fit: TokenizerFit) -> Prompt:
    """The prompt of a recipe for a tokenizer. Raises UserError as `build_prompt` does, where the tokenizer has ids that the
    model does not know, and where `decoding.max_new_tokens` cuts an answer."""
    prompt = build_prompt(recipe.prompt, recipe.instruction, recipe.task.labels, tokenizer, fit.positions)
    pieces = tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
    added = [number for number, token in tokenizer.added_tokens_decoder.items() if not token.special]
    largest = max(pieces - 1, *added, *prompt.prefix, *prompt.tail, *prompt.label_ids)
    if largest >= fit.vocabulary:
        raise UserError(
            tr(
                "base: {folder}: its tokenizer has ids up to {largest}, the model knows {vocabulary:,}",
                folder=fit.folder,
                largest=largest,
                vocabulary=fit.vocabulary,
            ),
            tr("put the tokenizer of this model into the folder"),
        )
    longest = 1 + prompt.tree.depth
    if isinstance(recipe.decoding, GenerateDecoding) and recipe.decoding.max_new_tokens < longest:
        raise UserError(
            tr(
                "decoding.max_new_tokens = {max_new_tokens} cuts an answer that has {longest} tokens",
                max_new_tokens=recipe.decoding.max_new_tokens,
                longest=longest,
            ),
            tr("set decoding.max_new_tokens: {longest}", longest=longest),
        )
    return prompt


def positions_of(model: Any) -> int:
    """The model's number of positions."""
    return getattr(model.config, "max_position_embeddings", None) or sys.maxsize


def build_prompt(
    shape: PromptShape, instruction: str, labels: Sequence[str], tokenizer: Any, positions: int = sys.maxsize
) -> Prompt:
    """The prompt of a task for this tokenizer, and for a model with that many positions.

    Raises UserError where the fixed words fill the prompt, or where the tokenizer does not tell two answers apart."""
    before, after = _around_input(shape.template, instruction)
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    prefix = bos + encode_text(tokenizer, before)
    answers = tuple((shape.answers or {}).get(label, label) for label in labels)
    tail, shared, sequences = _answer_ids(tokenizer, after, answers)
    tree = answer_tree(sequences)
    positions -= tree.depth
    # encode_text never gives a special token, so this fails only for a broken tokenizer
    if bos and (prefix + tail).count(bos[0]) != 1:
        raise UserError(tr("base: its tokenizer puts more than one BOS into the prompt {prefix}", prefix=prefix + tail))
    fixed, max_length = len(prefix) + len(tail), min(shape.max_length, positions)
    if not tail:
        raise UserError(
            tr("the tokenizer gives no token for {after!r} after the input", after=after),
            tr("end prompt.template with a word"),
        )
    _require_room(max_length, positions, fixed, tree)
    return Prompt(
        shape.template,
        instruction,
        tuple(labels),
        answers,
        tuple(prefix),
        tuple(tail),
        tuple(tail[len(tail) - shared :]),
        tuple(dict.fromkeys(token for ids in sequences for token in ids)),
        tree,
        max_length,
        shape.too_long,
        tokenizer,
        positions,
    )


def _require_room(max_length: int, positions: int, fixed: int, tree: AnswerTree) -> None:
    """Raise UserError where the fixed words, or they and the answers, leave no room for an input."""
    if fixed >= positions:
        raise UserError(
            tr(
                "the model has {positions:,} positions, and none is left for an input: the fixed words take {fixed:,}, an "
                "answer takes {depth:,} more",
                positions=positions + tree.depth,
                fixed=fixed,
                depth=tree.depth,
            ),
            tr("shorten the instruction or the answers"),
        )
    if fixed >= max_length:
        raise UserError(
            tr(
                "prompt.max_length = {max_length} leaves no room for an input: the fixed words take {fixed} tokens",
                max_length=max_length,
                fixed=fixed,
            ),
            tr("raise prompt.max_length or shorten the instruction"),
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


def _answer_ids(tokenizer: Any, after: str, answers: Sequence[str]) -> tuple[list[int], int, list[list[int]]]:
    """The ids after the input; how many of the last ones all answers begin with; and each answer's ids after those.

    An answer is tokenised together with the words before it, because many tokenizers join or split them there. Ids that
    all answers begin with (a bare space, for some tokenizers) become fixed words. An answer that is the beginning of
    another one (`1` and `10`) ends with the end-of-sequence token."""
    fixed = encode_text(tokenizer, after)
    whole = [encode_text(tokenizer, after + answer) for answer in answers]
    same = 0
    while all(len(ids) > same for ids in whole) and len({ids[same] for ids in whole}) == 1:
        same += 1
    pieces = "; ".join(f"{answer}: {tokenizer.convert_ids_to_tokens(ids)}" for answer, ids in zip(answers, whole))
    if same < len(fixed):
        raise UserError(
            tr(
                "the tokenizer joins an answer with the words before it, {after!r}: {pieces}",
                after=after,
                pieces=pieces,
            ),
            tr(
                "end prompt.template without a space and begin the answers in prompt.answers with "
                "one, or choose other answers"
            ),
        )
    if len(set(map(tuple, whole))) < len(whole):
        raise UserError(
            tr("the tokenizer gives two answers the same tokens: {pieces}", pieces=pieces),
            tr("choose others in prompt.answers"),
        )
    rest = [ids[same:] for ids in whole]
    for ids in rest:
        if any(other is not ids and other[: len(ids)] == ids for other in rest):
            if tokenizer.eos_token_id is None:
                raise UserError(
                    tr(
                        "an answer is the beginning of another one, and the tokenizer has no end-of-sequence "
                        "token: {pieces}",
                        pieces=pieces,
                    ),
                    tr("choose others in prompt.answers"),
                )
            ids.append(tokenizer.eos_token_id)
    return whole[0][:same], same - len(fixed), rest
