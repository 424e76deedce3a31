"""Decoders: how rows become label logits or generated text. One function for each kind of decoding, one row each of
`DECODERS`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import torch
from transformers import GenerationConfig

from grading.contract.results import UNPARSABLE
from runner.errors import UserError
from runner.language import tr
from runner.recipe.schema import GenerateDecoding, LabelDecoding
from runner.scoring.dataset import EncodedDataset
from runner.scoring.label_logits import label_logits_and_own
from runner.scoring.layouts import padded
from runner.scoring.proof import Subject


class Scored(NamedTuple):
    """A row as the model scored it, before calibration."""

    logits: torch.Tensor
    """(labels,) in fp32, finite."""
    label: Optional[str] = None
    """The answer, where the generated text decides it; None: the label with the largest logit."""
    text: Optional[str] = None
    """The generated text."""
    own_order: Optional[torch.Tensor] = None
    """(labels,) as `logits`, from the row's own order alone, where `logits` are the mean of both orders."""


def by_label(
    decoding: LabelDecoding,
    subject: Subject,
    dataset: EncodedDataset,
    start: int,
) -> Iterator[Scored]:
    """Score the labels of each row, over both orders where the dataset has them; the most likely one is the answer."""
    computed = label_logits_and_own(subject, dataset, decoding.batch, start)
    for row, (logits, own) in enumerate(computed, start + 1):
        yield Scored(finite(logits, tr("{name} row {row}", name=dataset.name, row=row)), own_order=own)


def by_generation(
    decoding: GenerateDecoding,
    subject: Subject,
    dataset: EncodedDataset,
    start: int,
) -> Iterator[Scored]:
    """Generate greedily, and predict the label whose answer the generated text is or begins with, if there is one."""
    scorer, prompt = subject.scorer, dataset.prompt
    label_of = {answer.strip(): label for answer, label in zip(prompt.answers, prompt.labels)}
    # the prompt's last tokens, which begin every answer
    begun = prompt.tokenizer.decode(list(prompt.shared))
    layout = padded(scorer.model, prompt)
    # the model's own generation needs no proof
    subject.release()
    greedy = GenerationConfig(
        max_new_tokens=decoding.max_new_tokens,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=prompt.tokenizer.eos_token_id,
        output_scores=True,
        return_dict_in_generate=True,
    )
    for row in range(start + 1, len(dataset) + 1):
        ids = torch.tensor([[*prompt.prefix, *dataset.suffixes[row - 1]]], device=scorer.label_ids.device)
        written = scorer.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=greedy)
        text = prompt.tokenizer.decode(written.sequences[0, ids.shape[1] :], skip_special_tokens=True)
        if prompt.tree.steps:
            logits = scorer(layout([dataset.suffixes[row - 1]])).label_logits[0]
        else:
            logits = written.scores[0][0, scorer.label_ids].float()
        answer = parse_answer(begun + text, list(label_of))
        label = UNPARSABLE if answer is None else label_of[answer]
        yield Scored(finite(logits, tr("{name} row {row}", name=dataset.name, row=row)), label, text)


def parse_answer(text: str, answers: Sequence[str]) -> Optional[str]:
    """Find the answer that `text` begins with, after spaces, if no letter or digit follows it: in `1.` but not in `10`."""
    for answer in sorted(answers, key=len, reverse=True):
        if re.match(rf"\s*{re.escape(answer)}(?!\w)", text):
            return answer
    return None


def finite(logits: torch.Tensor, where: str) -> torch.Tensor:
    """The label logits of one row. Raises UserError where one is not finite: the label would be made up."""
    if not torch.isfinite(logits).all():
        raise UserError(
            tr("{where}: the model's logits are not finite (NaN or infinite)", where=where),
            tr("check the base's files; with train.precision: bf16, try fp32"),
        )
    return logits


def batch_size(decoding: Any) -> int:
    """Rows that a decoding computes at once."""
    return decoding.batch if isinstance(decoding, LabelDecoding) else 1


Decoder = Callable[[Any, Subject, EncodedDataset, int], Iterator[Scored]]
"""From the recipe's decoding, the scorer, all rows, and the number of rows that are answered already."""

DECODERS: Mapping[type, Decoder] = {
    LabelDecoding: by_label,
    GenerateDecoding: by_generation,
}
