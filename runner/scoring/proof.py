"""The proof that a faster way to compute rows gives what the padded rows give, on the user's own model and rows.

It is decided in fp32 on a shallow copy (see `shallow`), where rounding moves nothing by more than 2e-5 and every known
mistake moves something by 0.02 or more. The whole model is then compared in its own precision too, beside the noise
there: padded rows against the same rows with more filling, and one by one, which ought to be equal and are not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import torch

from runner.errors import UserError
from runner.model.compat import full_precision
from runner.scoring.layouts import Batch, padded
from runner.scoring.prompt import Encoded, Prompt
from runner.scoring.scorer import LabelScorer
from runner.scoring.shallow_copy import shallow_copy
from runner.system.memory import OutOfMemory, is_out_of_memory

SHORTEST_ROWS = 4
"""Short rows that are compared, besides the longest one: short rows share a line, and a forgotten window shows only in a row
that is longer than it."""

WHOLE_ROWS = 2
"""Of the short rows, those that are compared on the whole model."""

TOLERANCE = 1e-3
"""Largest relative difference allowed on the shallow copy. Measured on real bases (benchmarks/LOG.md): equal ways differ by
1.4e-5 at most, the least of the known mistakes by 2e-2 in logits and 8e-2 in gradients."""

NOISE_FACTOR = 5
"""On the whole model a way may differ from the padded one by this many times the noise measured there."""

MOST_ALLOWED = 0.5
"""Largest difference allowed on the whole model, whatever the noise: rows that have nothing to do with each other differ by 1."""

LEAST_NOISE = {torch.float32: 2e-5, torch.bfloat16: 5e-2}
"""Noise that is assumed at least, by the weights' type: few rows can show too little of it. Measured on real bases: 1e-6 to 4e-6
in fp32, 0.01 to 0.2 in bf16."""

FILLING = 8
"""Columns of filling that are added to measure the noise."""

MODEL_REFUSALS = (RuntimeError, TypeError, ValueError, AttributeError, LookupError, MemoryError)
"""What models raise when they are handed a mask, positions or a cache that they cannot take."""

Answers = Callable[[Sequence[Sequence[int]]], torch.Tensor]
"""From suffixes to their label logits, (rows, labels)."""

Way = Callable[[LabelScorer], Answers]
"""A way to compute rows, for any scorer."""


@dataclass(frozen=True)
class Proof:
    """How far a way is from the padded one. Differences are relative; NaN: one of the two gave NaN."""

    shallow: float = float("nan")
    """Largest difference of a row's logits or of a gradient tensor, in fp32 on the shallow copy."""
    whole: float = float("nan")
    """Difference of the logits or of all gradients together, on the whole model in its own precision."""
    noise: float = float("nan")
    """The same between padded rows and the same rows with more filling or one by one, whichever is larger."""
    precision: torch.dtype = torch.float32
    """The whole model's."""
    problem: str = ""
    """Why nothing was measured: the error of a model that cannot compute rows in this way, or that cannot be copied."""
    raised: bool = False
    """Whether the model raised when it was to compute rows in this way."""

    @property
    def holds(self) -> bool:
        """Whether the way gives what the padded one gives."""
        return not self.problem and self.shallow <= TOLERANCE and self.whole <= self.allowed

    @property
    def allowed(self) -> float:
        """Largest difference allowed on the whole model."""
        return min(NOISE_FACTOR * max(self.noise, LEAST_NOISE[self.precision]), MOST_ALLOWED)

    def words(self) -> str:
        """The outcome for the user: why the way is not taken, or by how much it differs."""
        if self.problem:
            return f"it could not be tried ({self.problem})"
        apart, allowed = (self.shallow, TOLERANCE) if not self.shallow <= TOLERANCE else (self.whole, self.allowed)
        return f"its results differ from padded by {apart:.1g} (allowed {allowed:.1g})"

    def figures(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes null."""
        measured = {"shallow": self.shallow, "whole": self.whole, "noise": self.noise}
        plain = {name: value if value == value else None for name, value in measured.items()}
        return {**plain, "problem": self.problem or None, "holds": self.holds}


@dataclass
class Subject:
    """What a way is proved on."""

    scorer: LabelScorer
    """The whole model's."""
    shallow: Optional[LabelScorer]
    """The shallow copy's; None where the model cannot be copied."""
    prompt: Prompt
    """The prompt of its rows."""
    no_copy: str = ""
    """Why the model cannot be copied."""
    alone: bool = True
    """Whether this process computes by itself: then it may find by itself that a way takes too much memory."""

    def release(self) -> None:
        """Gives the shallow copy's memory back: nothing is proved after this."""
        self.shallow = None


def subject_of(scorer: LabelScorer, prompt: Prompt, device: Any = None, alone: bool = True) -> Subject:
    """The scorer with its shallow copy. Make it before the base is split or anything is installed in its layers.

    Raises UserError where it is not `alone` and memory runs out."""
    try:
        shallow = shallow_copy(scorer, device)
        with torch.no_grad():  # some models can be copied, and the copy cannot compute
            shallow(padded(shallow.model)(prompt, [prompt.tail]))
        return Subject(scorer, shallow, prompt, alone=alone)
    except MODEL_REFUSALS as error:
        return Subject(scorer, None, prompt, f"no layers can be copied: {_said(error, alone)}", alone)


def prove(subject: Subject, ways: Sequence[Way], rows: Encoded) -> Proof:
    """Compares `ways`, of which the first is used and the others are variants of it, with the padded rows. Rows with targets
    are there to train on, so gradients are compared too; rows without are there to predict. An fp32 model that cannot be
    copied is compared whole.

    Raises UserError where the subject is not alone and memory runs out."""
    lengths = rows.lengths()
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    short = [rows.suffixes[row] for row in (by_length[:SHORTEST_ROWS] * SHORTEST_ROWS)[:SHORTEST_ROWS]]
    chosen, gradients = [*short, rows.suffixes[by_length[-1]]], bool(rows.targets)
    few = short[:WHOLE_ROWS]
    scorer, precision = subject.scorer, subject.scorer.model.dtype
    shallow = subject.shallow or (scorer if precision == torch.float32 else None)
    plain, training = padded_rows(subject.prompt), scorer.training
    scorer.eval()  # without dropout, which would differ by its draw alone
    try:
        if shallow is None:
            with torch.no_grad():
                ways[0](scorer)(few)  # at least whether the model raises
            return Proof(precision=precision, problem=subject.no_copy)
        with full_precision(), torch.set_grad_enabled(gradients):
            expected = _measure(plain(shallow), [short, chosen[-1:]], shallow, gradients)
            found = [_measure(way(shallow), [chosen], shallow, gradients) for way in ways]
        apart = torch.tensor([_worst(one, expected) for one in found]).max().item()
        if not apart <= TOLERANCE and subject.alone:  # else all processes go on: a split base needs all of them
            return Proof(shallow=apart, precision=precision)
        with torch.set_grad_enabled(gradients):
            ours, theirs, filled = (
                _measure(way(scorer), [few], scorer, gradients)
                for way in (ways[0], plain, padded_rows(subject.prompt, FILLING))
            )
            single = _measure(plain(scorer), [[row] for row in few], scorer, gradients)
    except MODEL_REFUSALS as error:
        return Proof(precision=precision, problem=_said(error, subject.alone), raised=True)
    finally:
        scorer.train(training)
    noise = max(_together(filled, theirs), _together(single, theirs))
    return Proof(apart, _together(ours, theirs), noise, precision)


def _said(error: BaseException, alone: bool) -> str:
    """The message of an error of the model's. Raises OutOfMemory where the process is not alone and memory has run out: the
    others would wait for it."""
    if not alone and is_out_of_memory(error):
        raise OutOfMemory(error) from error
    return f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"


@torch.no_grad()
def prove_head(subject: Subject, suffixes: Sequence[Sequence[int]]) -> None:
    """Compares the scorer's logits with those of the model's own forward pass, on the shallow copy, and looks whether the whole
    model gives numbers.

    Raises UserError where they differ: a model whose head does more than we know would be trained on nonsense."""
    lay, scorer = padded(subject.scorer.model), subject.scorer
    training = scorer.training
    scorer.eval()
    logits = scorer(lay(subject.prompt, suffixes)).label_logits
    scorer.train(training)
    if torch.isnan(logits).any():
        raise UserError(
            "the model's logits are not numbers (NaN): its weights or the adapter's are damaged, or too large",
            "train again with a lower train.learning_rate, or check the base's files",
        )
    on = subject.shallow or scorer  # in its own precision where there is no copy: better than not at all
    batch = padded(on.model)(subject.prompt, suffixes)
    with full_precision():
        ours = on(batch).label_logits
        theirs = on.model(**batch.inputs, use_cache=False).logits[batch.lines, batch.positions].float()[:, on.label_ids]
    apart = ((ours - theirs).abs() / theirs.abs().clamp(min=1)).max().item()
    allowed = TOLERANCE if on.model.dtype == torch.float32 else 50 * TOLERANCE
    if not apart <= allowed:
        raise UserError(
            f"base: the output head of {type(on.model).__name__} does more than this scorer knows: its label logits differ by "
            f"{apart:.2g} (allowed {allowed:g})",
            "use a model whose head is one matrix (Gemma, Llama, Mistral, Qwen, Phi, GPT-2, OPT)",
        )


def padded_rows(prompt: Prompt, filling: int = 0) -> Way:
    """The reference, with so many columns of filling more than it needs."""

    def way(scorer: LabelScorer) -> Answers:
        lay = padded(scorer.model)
        return lambda suffixes: scorer(_filled(lay(prompt, suffixes), filling)).label_logits

    return way


def _filled(batch: Batch, columns: int) -> Batch:
    inputs = {name: torch.nn.functional.pad(tensor, (0, columns)) for name, tensor in batch.inputs.items()}
    return dataclasses.replace(batch, inputs=inputs)


def _measure(
    answers: Answers, batches: Sequence[Sequence[Sequence[int]]], scorer: LabelScorer, gradients: bool
) -> list[torch.Tensor]:
    """The rows' logits, (rows, labels), and the gradients of a fixed random mixture of them. Unlike a loss, that has a
    gradient however sure the model is."""
    weights = torch.randn(64, len(scorer.label_ids), generator=torch.Generator().manual_seed(0))
    wanted = [parameter for parameter in scorer.parameters() if parameter.requires_grad] if gradients else []
    logits, sums, done = [], [torch.zeros_like(parameter) for parameter in wanted], 0
    for batch in batches:
        found = answers(batch)
        logits.append(found.detach())
        if wanted:
            mixture = (found * weights[done : done + len(batch)].to(found.device)).sum()
            for total, part in zip(sums, torch.autograd.grad(mixture, wanted, allow_unused=True)):
                total.add_(0 if part is None else part)
        done += len(batch)
    return [torch.cat(logits), *sums]


def _worst(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> float:
    """The largest relative difference of a row's logits or of a gradient tensor. Each is taken against its own size, but not
    below a thousandth of the largest: noise about zero proves nothing."""
    apart = [torch.zeros(1)]
    for one, other in ((ours[0], theirs[0]), (ours[1:], theirs[1:])):
        if len(other):
            sizes = torch.stack([tensor.norm().cpu() for tensor in other])
            errors = torch.stack([(a - b).norm().cpu() for a, b in zip(one, other)])
            apart.append(errors / sizes.clamp(min=1e-3 * sizes.max()))
    return torch.cat(apart).max().item()  # torch's, unlike Python's, is NaN where any of them is


def _together(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> float:
    """The relative difference of the logits or of all gradients together, whichever is larger."""
    apart = [torch.zeros(())]
    for one, other in ((ours[:1], theirs[:1]), (ours[1:], theirs[1:])):
        if other:
            size = torch.stack([tensor.norm().cpu() for tensor in other]).norm()
            apart.append(torch.stack([(a - b).norm().cpu() for a, b in zip(one, other)]).norm() / size)
    return torch.stack(apart).max().item()
