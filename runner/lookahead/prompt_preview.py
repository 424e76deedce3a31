"""The prompt preview: what the model will read for two rows, the answers that should follow, and how long all prompts are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from runner.language import tr, trn
from runner.lookahead.base_report import BaseReport
from runner.lookahead.data_report import DataReport
from runner.lookahead.findings import Findings, Section
from runner.lookahead.lengths import histogram, spread
from runner.lookahead.light_tokenizer import FILE, LightTokenizer
from runner.recipe.schema import Recipe
from runner.scoring.prompt import Prompt, TokenizerFit, prompt_for
from runner.scoring.tokenization import encode_texts

SHOWN_LINES, SHOWN_COLUMNS = 6, 92
"""Most lines of a prompt that are shown, and most characters of each."""


@dataclass(frozen=True)
class Tokens:
    """The prompts of a recipe as token ids."""

    prompt: Prompt
    lengths: Sequence[int]
    """Ids of the prompts that were counted, each with its prefix."""

    @property
    def prefix(self) -> int:
        """Ids that all prompts share at their beginning."""
        return len(self.prompt.prefix)


class Tokenizers:
    """The tokenizers of one look-ahead: each is read once, which takes a second for Gemma's."""

    def __init__(self) -> None:
        self._read: dict[str, LightTokenizer] = {}

    def of(self, base: BaseReport) -> LightTokenizer:
        """The tokenizer of a base. Raises UserError."""
        name = str(base.folder)
        if name not in self._read:
            self._read[name] = LightTokenizer(base.folder)
        return self._read[name]


def look_at_prompts(
    recipe: Recipe, data: DataReport, base: Optional[BaseReport], tokenizers: Tokenizers, findings: Findings
) -> Optional[Tokens]:
    """Build the prompts as a run would; None where there is no tokenizer to build them with, or where a run could not."""
    if base is None or not (base.folder / FILE).is_file():
        return None
    with findings.collect():
        fit = TokenizerFit(
            base.folder,
            base.vocabulary or sys.maxsize,
            base.size("max_position_embeddings", "n_positions") or sys.maxsize,
        )
        prompt = prompt_for(recipe, tokenizers.of(base), fit)
        fixed = len(prompt.prefix) + len(prompt.tail)
        tokens = Tokens(prompt, [fixed + len(ids) for ids in encode_texts(prompt.tokenizer, data.all_texts)])
        _check_lengths(tokens, findings)
        return tokens
    return None


def prompt_section(recipe: Recipe, data: DataReport, tokens: Optional[Tokens]) -> Section:
    """The preview as text: with tokens, or with words where there is no tokenizer."""
    texts = data.all_texts
    lines = []
    if tokens is None:
        sizes = [len(text.split()) for text in texts]
        if sizes:
            lines += [
                (
                    tr("lengths"),
                    tr("inputs of {spread} (no tokenizer: tokens are not known)", spread=spread(sizes, tr("words"))),
                )
            ]
            lines += [("", line) for line in histogram(sizes)]
        return Section(tr("prompts"), lines)
    if tokens.lengths:
        counted = tr("{lengths_count:,} prompts", lengths_count=len(tokens.lengths)) + (
            tr(" (evenly spaced)") if data.is_sampled else ""
        )
        most = tokens.prompt.max_length
        lines.append(
            (
                tr("lengths"),
                tr(
                    "{spread}, at most {most} allowed; {counted}",
                    spread=spread(tokens.lengths, tr("tokens")),
                    most=most,
                    counted=counted,
                ),
            )
        )
        lines += [("", line) for line in histogram(tokens.lengths)]
    lines.append((tr("answers"), _answers(tokens.prompt)))
    for number, label in enumerate(recipe.task.labels[:2]):
        row = data.example(number)
        if row is not None:
            lines += _shown(tokens.prompt, row, label)
    return Section(tr("prompts"), lines)


def _check_lengths(tokens: Tokens, findings: Findings) -> None:
    prompt = tokens.prompt
    too_long = [length for length in tokens.lengths if length > prompt.max_length]
    if not too_long:
        return
    longest, limit = max(too_long), prompt.max_length
    what = tr(
        "{too_long_count:,} prompts are longer than prompt.max_length = {limit} tokens, the longest has {longest}",
        too_long_count=len(too_long),
        limit=limit,
        longest=longest,
    )
    if prompt.too_long == "error":
        more = (
            tr("raise prompt.max_length to {longest}", longest=longest)
            if longest <= prompt.positions
            else tr("shorten the texts")
        )
        findings.problem(what, tr("{more}, or choose prompt.too_long: truncate or drop-from-train", more=more))
    else:
        findings.warn(
            what,
            tr(
                "prompt.too_long: {too_long} cuts them or leaves them out; raise prompt.max_length to keep all",
                too_long=prompt.too_long,
            ),
        )


def _answers(prompt: Prompt) -> str:
    steps = prompt.tree.steps
    count = [len(each) for each in steps] if steps else [1] * len(prompt.labels)
    parts = (
        trn(
            "{label} -> {answer!r} ({count} token)",
            "{label} -> {answer!r} ({count} tokens)",
            number,
            label=label,
            answer=answer,
        )
        for label, answer, number in zip(prompt.labels, prompt.answers, count)
    )
    return tr("{parts}; the model can tell them apart", parts=", ".join(parts))


def _shown(prompt: Prompt, row: tuple[int, str], label: str) -> list[tuple[str, str]]:
    """One prompt as the model reads it, and what should follow."""
    line, text = row
    ids = encode_texts(prompt.tokenizer, [text])[0]
    ids = ids[: prompt.max_length - len(prompt.prefix) - len(prompt.tail)]
    whole = [*prompt.prefix, *ids, *prompt.tail]
    answer = dict(zip(prompt.labels, prompt.answers))[label]
    # bytes of a character that all answers begin with are no character yet
    lines = prompt.tokenizer.decode(whole).rstrip("\ufffd").split("\n")
    if len(lines) > SHOWN_LINES:
        lines = [*lines[: SHOWN_LINES - 2], "...", lines[-1]]
    lines = [each if len(each) <= SHOWN_COLUMNS else f"{each[: SHOWN_COLUMNS - 3]}..." for each in lines]
    head = (
        tr("line {line}", line=line),
        tr("{whole_count} tokens, then {answer!r}:", whole_count=len(whole), answer=answer),
    )
    return [head, *(("", f"| {each}") for each in lines)]
