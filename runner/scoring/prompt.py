"""The prompt: the one place where a record becomes token ids. Training, hold-out evaluation and prediction all use it.

A prompt is `prefix + suffix`. The prefix is what every record of the task shares: BOS, the instruction and the fixed
words before the input. The suffix is the record's own: its input and the fixed words behind it. The three pieces
are tokenised apart, so the prefix is the same ids in every row. The model answers at the suffix's last position.
"""

from __future__ import annotations

import hashlib
import json
import string
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from runner.data.records import Record
from runner.errors import DataError, UserError
from runner.model.base import Base
from runner.recipe.schema import PromptShape, Recipe
from runner.scoring.token_store import Rows, TokenRows, kept_texts
from runner.scoring.tokenization import encode_text, encode_texts, tokenizer_digest


class Suffixes(Rows):
    """The suffixes of some records: the ids of each input, cut to the room there is, and the fixed words behind it."""

    def __init__(self, inputs: Sequence[list[int]], chosen: Sequence[int], room: int, tail: Sequence[int]) -> None:
        """`chosen`: numbers of the inputs that are kept."""
        self.inputs, self.chosen, self.room, self.tail = inputs, chosen, room, list(tail)

    def __len__(self) -> int:
        return len(self.chosen)

    def row(self, number: int) -> list[int]:
        """The suffix of one record."""
        return self.inputs[self.chosen[number]][: self.room] + self.tail


@dataclass(frozen=True)
class Encoded:
    """Records as token ids."""

    suffixes: Sequence[list[int]]
    """One list of ids per record kept; `Suffixes` read it when it is asked for."""
    targets: list[int]
    """Number of the right label per record kept; empty for records without answers."""
    truncated: int
    """Records whose input lost its end."""
    dropped: int
    """Training records left out because they were too long."""

    def lengths(self) -> list[int]:
        """The number of ids of each suffix; kept tokens are not read for it."""
        kept = self.suffixes
        if not isinstance(kept, Suffixes):
            return [len(suffix) for suffix in kept]
        sizes = _lengths(kept.inputs)
        return [min(sizes[number], kept.room) + len(kept.tail) for number in kept.chosen]


def _lengths(rows: Sequence[list[int]]) -> list[int]:
    return rows.lengths() if isinstance(rows, TokenRows) else [len(row) for row in rows]


@dataclass(frozen=True)
class Prompt:
    """The prompt of one task for one tokenizer. Equal digests mean equal ids for every record."""

    template: str
    """The text with `{instruction}` and `{input}`."""
    instruction: str
    """The task's instruction."""
    labels: tuple[str, ...]
    """The labels, in the recipe's order."""
    prefix: tuple[int, ...]
    """Ids that every row begins with, the one BOS first."""
    tail: tuple[int, ...]
    """Ids that every row ends with."""
    label_ids: tuple[int, ...]
    """For each label the id that the model should give next; they differ from each other."""
    max_length: int
    """Most ids of one row: the recipe's, or the model's positions where those are fewer."""
    too_long: str
    """What happens above it: `error`, `truncate` or `drop-from-train`."""
    tokenizer: Any
    """The base's tokenizer."""
    tokenizer_digest: str
    """SHA-256 of that tokenizer."""

    def digest(self) -> str:
        """SHA-256 of all that shapes the ids: texts, fixed ids, tokenizer, and the length rule's limit."""
        return hashlib.sha256(json.dumps(self.description(), sort_keys=True).encode()).hexdigest()

    def description(self) -> dict[str, Any]:
        """The prompt as plain values, to be saved with an adapter and shown where two differ."""
        names = ("template", "instruction", "labels", "prefix", "tail", "label_ids", "max_length", "tokenizer_digest")
        values = {name: getattr(self, name) for name in names}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def encode(
        self, records: Iterable[Record], what: str, may_drop: bool = False, keep: Optional[Path] = None
    ) -> Encoded:
        """The records' suffixes and targets. `what` names the records in messages; only with `may_drop` is one left out.
        `keep` is a folder for the tokenised inputs, from which they are taken the next time; then the records are gone
        through more than once, and none is held.

        Raises DataError where a record is too long and the recipe says `error`, or brings another instruction."""
        room = self.max_length - len(self.prefix) - len(self.tail)
        number_of = {label: number for number, label in enumerate(self.labels)}
        targets: list[int] = []

        def texts() -> Iterator[str]:
            targets.clear()
            for number, record in enumerate(records, 1):
                if record["instruction"] != self.instruction:
                    raise DataError(
                        f"{what}: record {number}: expected the instruction {self.instruction!r}, "
                        f"found {record['instruction']!r}",
                        "run the prepare stage again: --stages prepare --fresh",
                    )
                if "output" in record:
                    targets.append(number_of[record["output"]])
                yield record["input"]

        inputs: Sequence[list[int]] = (
            kept_texts(self.tokenizer, self.tokenizer_digest, texts, keep)
            if keep
            else encode_texts(self.tokenizer, list(texts()))
        )
        chosen: list[int] = []
        too_long: list[tuple[int, int]] = []
        for number, length in enumerate(_lengths(inputs)):
            if length > room:
                too_long.append((number + 1, length + self.max_length - room))
                if may_drop and self.too_long == "drop-from-train":
                    continue
            chosen.append(number)
        if too_long and self.too_long == "error":
            number, length = max(too_long, key=lambda pair: pair[1])
            raise DataError(
                f"{what}: {len(too_long)} records are longer than prompt.max_length = {self.max_length} tokens, the longest "
                f"is record {number} with {length}",
                f"raise prompt.max_length to {length}, or choose prompt.too_long: truncate or drop-from-train",
            )
        dropped = len(inputs) - len(chosen)
        wanted = [targets[number] for number in chosen] if targets else []
        return Encoded(Suffixes(inputs, chosen, room, self.tail), wanted, len(too_long) - dropped, dropped)


def prompt_of(recipe: Recipe, base: Base) -> Prompt:
    """The prompt of a recipe for its base. Raises UserError as `build_prompt` does, and where the base cannot take the
    tokenizer's ids."""
    positions = getattr(base.model.config, "max_position_embeddings", None) or sys.maxsize
    prompt = build_prompt(recipe.prompt, recipe.instruction, recipe.task.labels, base.tokenizer, positions)
    known = base.model.get_input_embeddings().weight.shape[0]
    pieces = base.tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
    added = [number for number, token in base.tokenizer.added_tokens_decoder.items() if not token.special]
    largest = max(pieces - 1, *added, *prompt.prefix, *prompt.tail, *prompt.label_ids)
    if largest >= known:
        raise UserError(
            f"base: {base.folder}: its tokenizer has ids up to {largest}, the model knows {known:,}",
            "put the tokenizer there that belongs to the model",
        )
    return prompt


def build_prompt(
    shape: PromptShape, instruction: str, labels: Sequence[str], tokenizer: Any, positions: int = sys.maxsize
) -> Prompt:
    """The prompt of a task for this tokenizer, and for a model of that many positions, which no row may exceed.

    Raises UserError where the fixed words fill the prompt or the tokenizer cannot tell the labels apart."""
    before, after = _around_input(shape.template, instruction)
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    prefix = bos + encode_text(tokenizer, before)
    tail, label_ids = _answer(tokenizer, after, labels)
    # encode_text never yields a special token, so this fails only if a tokenizer does what no tokenizer should
    if bos and (prefix + tail).count(bos[0]) != 1:
        raise UserError(f"base: its tokenizer puts more than one BOS into the prompt {prefix + tail}")
    fixed, max_length = len(prefix) + len(tail), min(shape.max_length, positions)
    if not tail:
        raise UserError(f"the tokenizer makes nothing of {after!r} behind the input", "end prompt.template with a word")
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
    """The ids behind the input, and the id of each label behind those.

    A label is tokenised together with the words before it, since many tokenizers join or split at that seam. Ids that
    all labels begin with (a bare space, for some) belong to the fixed words, so that the answer is where they differ."""
    fixed = encode_text(tokenizer, after)
    whole = [encode_text(tokenizer, after + label) for label in labels]
    shared = 0
    while all(len(ids) > shared for ids in whole) and len({ids[shared] for ids in whole}) == 1:
        shared += 1
    nexts: list[Optional[int]] = [ids[shared] if len(ids) > shared else None for ids in whole]
    if shared < len(fixed) or None in nexts or len(set(nexts)) < len(labels):
        pieces = "; ".join(f"{label}: {tokenizer.convert_ids_to_tokens(ids)}" for label, ids in zip(labels, whole))
        raise UserError(
            f"the tokenizer does not tell the labels apart by their first token behind {after!r}: {pieces}",
            "choose other labels, or end prompt.template otherwise (with or without a space, say)",
        )
    return whole[0][:shared], tuple(token for token in nexts if token is not None)
