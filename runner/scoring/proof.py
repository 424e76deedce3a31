"""The proof that a faster way to compute examples gives the results of padded batches, on the user's own model and rows.

It is decided in fp32 on a shallow copy (see `shallow_copy`). There rounding changes no result by more than 2e-5, and every
known mistake changes some result by 0.02 or more. Then the whole model is compared in its own precision, relative to the
noise there: a padded batch against the same batch with more padding, and against its examples one by one. Those results
would be equal without rounding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import torch

from runner.errors import UserError
from runner.language import tr
from runner.model.compat import full_precision
from runner.scoring.dataset import EncodedDataset
from runner.scoring.layouts import Batch, padded
from runner.scoring.scorer import LabelScorer
from runner.scoring.shallow_copy import shallow_copy
from runner.system.memory import OutOfMemory, is_out_of_memory

SHORT_EXAMPLES = 4
"""Short examples that are compared, besides the longest one. Short examples share a packed row; an ignored window shows only
in an example that is longer than it."""

WHOLE_EXAMPLES = 2
"""How many of the short examples are compared on the whole model."""

TOLERANCE = 1e-3
"""Largest relative difference allowed on the shallow copy. Measured on real bases (benchmarks/LOG.md): equal ways differ by
1.4e-5 at most, the smallest known mistake by 2e-2 in logits and 8e-2 in gradients."""

NOISE_FACTOR = 5
"""On the whole model a way may differ from padded batches by this many times the noise measured there."""

MOST_ALLOWED = 0.5
"""Largest difference allowed on the whole model, whatever the noise is. Unrelated results differ by about 1."""

LEAST_NOISE = {torch.float32: 2e-5, torch.bfloat16: 5e-2}
"""The noise assumed at least, by the weights' type: a few examples may show too little. Measured on real bases: 1e-6 to 4e-6 in
fp32, 0.01 to 0.2 in bf16."""

MORE_PADDING = 8
"""Columns of padding that are added to measure the noise."""

MODEL_REFUSALS = (RuntimeError, TypeError, ValueError, AttributeError, LookupError, MemoryError)
"""The errors that models raise for a mask, positions or a cache that they do not support."""

LabelLogits = Callable[[Sequence[Sequence[int]]], torch.Tensor]
"""From suffixes to their label logits, (examples, labels)."""

Way = Callable[[LabelScorer], LabelLogits]
"""A way to compute label logits, for any scorer."""


@dataclass(frozen=True)
class Proof:
    """How much a way differs from padded batches. Differences are relative; NaN: one of the two gave NaN."""

    shallow: float = float("nan")
    """Largest difference of an example's logits or of a gradient tensor, in fp32 on the shallow copy."""
    whole: float = float("nan")
    """Difference of the logits or of all gradients together, on the whole model in its own precision."""
    noise: float = float("nan")
    """The same between a padded batch and that batch with more padding or one by one, whichever is larger."""
    precision: torch.dtype = torch.float32
    """The whole model's precision."""
    problem: str = ""
    """Why nothing was measured: the error of a model that cannot compute in this way, or that cannot be copied."""
    raised: bool = False
    """Whether the model raised an error when it computed in this way."""

    @property
    def holds(self) -> bool:
        """Whether the way gives the results of padded batches."""
        return not self.problem and self.shallow <= TOLERANCE and self.whole <= self.allowed

    @property
    def allowed(self) -> float:
        """Largest difference allowed on the whole model."""
        return min(NOISE_FACTOR * max(self.noise, LEAST_NOISE[self.precision]), MOST_ALLOWED)

    def words(self) -> str:
        """The outcome for the user: why the way is not used, or by how much it differs."""
        if self.problem:
            return tr("it could not be tried ({problem})", problem=self.problem)
        wrong, allowed = (self.shallow, TOLERANCE) if not self.shallow <= TOLERANCE else (self.whole, self.allowed)
        return tr("its results differ from padded by {wrong:.1g} (allowed {allowed:.1g})", wrong=wrong, allowed=allowed)

    def figures(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes null."""
        measured = {"shallow": self.shallow, "whole": self.whole, "noise": self.noise}
        plain = {name: value if value == value else None for name, value in measured.items()}
        return {**plain, "problem": self.problem or None, "holds": self.holds}


@dataclass
class Subject:
    """The scorer on which a way is proved."""

    scorer: LabelScorer
    """The scorer of the whole model."""
    shallow: Optional[LabelScorer]
    """The scorer of the shallow copy; None where the model cannot be copied."""
    no_copy: str = ""
    """Why the model cannot be copied."""
    alone: bool = True
    """Whether this process computes alone. Then it may find alone that a way needs too much memory."""
    released: bool = False
    """Whether the shallow copy's memory was freed."""
    proved: dict[int, tuple[int, LabelLogits]] = dataclasses.field(default_factory=dict)
    """For each batch size that was predicted with: the longest suffix of the proof, and the function that is used."""

    def release(self) -> None:
        """Frees the shallow copy's memory: nothing is proved after this, unless `renew` copies again."""
        self.shallow, self.released = None, True

    def renew(self) -> None:
        """Copies the layers again, if they were released. The base must be as it was."""
        if self.released:
            fresh = subject_of(self.scorer, alone=self.alone)
            self.shallow, self.no_copy, self.released = fresh.shallow, fresh.no_copy, False


def subject_of(scorer: LabelScorer, device: Any = None, alone: bool = True) -> Subject:
    """The scorer with its shallow copy. Make it before the base is sharded or its layers are changed.

    Raises OutOfMemory where it is not `alone` and memory runs out."""
    try:
        shallow = shallow_copy(scorer, device)
        # some models can be copied, and the copy cannot compute
        with torch.no_grad():
            shallow(padded(shallow.model, shallow.prompt)([scorer.prompt.tail]))
        return Subject(scorer, shallow, alone=alone)
    except MODEL_REFUSALS as error:
        return Subject(scorer, None, tr("no layers can be copied: {reason}", reason=_reason(error, alone)), alone)


def prove(subject: Subject, ways: Sequence[Way], dataset: EncodedDataset) -> Proof:
    """Compares `ways` with padded batches. The first way is the one that is used, the others are variants of it.

    A dataset with targets is for training, so gradients are compared too. A model that cannot be copied is compared whole if
    it is fp32, and not proved otherwise.

    Raises OutOfMemory where the subject is not alone and memory runs out."""
    short, longest = _chosen(dataset)
    few, gradients = short[:WHOLE_EXAMPLES], bool(dataset.targets)
    scorer, precision = subject.scorer, subject.scorer.model.dtype
    shallow = subject.shallow or (scorer if precision == torch.float32 else None)
    plain, training = padded_way(), scorer.training
    # without dropout: two random draws alone would differ
    scorer.eval()
    try:
        if shallow is None:
            with torch.no_grad():
                # to see at least whether the model raises
                ways[0](scorer)(few)
            return Proof(precision=precision, problem=subject.no_copy)
        with full_precision(), torch.set_grad_enabled(gradients):
            expected = _measure(plain(shallow), [short, [longest]], shallow, gradients)
            found = [_measure(way(shallow), [[*short, longest]], shallow, gradients) for way in ways]
        difference = torch.tensor([_worst(one, expected) for one in found]).max().item()
        # several processes continue in any case: a sharded base needs all of them
        if not difference <= TOLERANCE and subject.alone:
            return Proof(shallow=difference, precision=precision)
        with torch.set_grad_enabled(gradients):
            ours, theirs, more = (
                _measure(way(scorer), [few], scorer, gradients) for way in (ways[0], plain, padded_way(MORE_PADDING))
            )
            single = _measure(plain(scorer), [[suffix] for suffix in few], scorer, gradients)
    except MODEL_REFUSALS as error:
        return Proof(precision=precision, problem=_reason(error, subject.alone), raised=True)
    finally:
        scorer.train(training)
    noise = max(_together(more, theirs), _together(single, theirs))
    return Proof(difference, _together(ours, theirs), noise, precision)


def _chosen(dataset: EncodedDataset) -> tuple[list[list[int]], list[int]]:
    """The suffixes that are compared: SHORT_EXAMPLES of the shortest (some twice where there are fewer), and the longest."""
    lengths = dataset.lengths()
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    shortest = (by_length[:SHORT_EXAMPLES] * SHORT_EXAMPLES)[:SHORT_EXAMPLES]
    return [dataset.suffixes[number] for number in shortest], dataset.suffixes[by_length[-1]]


def _reason(error: BaseException, alone: bool) -> str:
    """The text of a model's error. Raises OutOfMemory where memory ran out and the process is not alone: the others would wait
    for it."""
    if not alone and is_out_of_memory(error):
        raise OutOfMemory(error) from error
    return f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"


@torch.no_grad()
def prove_head(subject: Subject, suffixes: Sequence[Sequence[int]]) -> None:
    """Compares the scorer's logits with those of the model's own forward pass, on the shallow copy. Also checks that the whole
    model gives finite logits.

    Raises UserError where they differ: a model with an unknown kind of head would be trained on wrong logits."""
    scorer = subject.scorer
    training = scorer.training
    scorer.eval()
    logits = padded_way()(scorer)(suffixes)
    scorer.train(training)
    if torch.isnan(logits).any():
        raise UserError(
            tr("the model's logits are NaN: its weights or the adapter's are damaged, or too large"),
            tr("train again with a lower train.learning_rate, or check the base's files"),
        )
    # without a copy in its own precision: better than no check
    on = subject.shallow or scorer
    batch = padded(on.model, on.prompt)(suffixes)
    with full_precision():
        ours = on(batch).label_logits
        whole = on.model(**batch.inputs, use_cache=False).logits
        theirs = on.from_all_logits(whole[batch.rows, batch.positions].float())
    difference = ((ours - theirs).abs() / theirs.abs().clamp(min=1)).max().item()
    allowed = TOLERANCE if on.model.dtype == torch.float32 else 50 * TOLERANCE
    if not difference <= allowed:
        raise UserError(
            tr(
                "base: the output head of {name} computes more than this scorer does: its label "
                "logits differ by {difference:.2g} (allowed {allowed:g})",
                name=type(on.model).__name__,
                difference=difference,
                allowed=allowed,
            ),
            tr("use a model whose head is one matrix (Gemma, Llama, Mistral, Qwen, Phi, GPT-2, OPT)"),
        )


def padded_way(padding: int = 0) -> Way:
    """The reference: padded batches, with this many columns of padding more than they need."""

    def way(scorer: LabelScorer) -> LabelLogits:
        layout = padded(scorer.model, scorer.prompt)
        return lambda suffixes: scorer(_widened(layout(suffixes), padding)).label_logits

    return way


def _widened(batch: Batch, columns: int) -> Batch:
    inputs = {name: torch.nn.functional.pad(tensor, (0, columns)) for name, tensor in batch.inputs.items()}
    return dataclasses.replace(batch, inputs=inputs)


def _measure(
    logits_of: LabelLogits, batches: Sequence[Sequence[Sequence[int]]], scorer: LabelScorer, gradients: bool
) -> list[torch.Tensor]:
    """The logits, (examples, labels), and the gradients of a fixed random mixture of them. A loss would not do: it has almost
    no gradient where the model is sure."""
    wanted = [parameter for parameter in scorer.parameters() if parameter.requires_grad] if gradients else []
    logits, sums, done = [], [torch.zeros_like(parameter) for parameter in wanted], 0
    for batch in batches:
        found = logits_of(batch)
        logits.append(found.detach())
        if wanted:
            weights = torch.randn(64, found.shape[1], generator=torch.Generator().manual_seed(0))
            mixture = (found * weights[done : done + len(batch)].to(found.device)).sum()
            for total, part in zip(sums, torch.autograd.grad(mixture, wanted, allow_unused=True)):
                total.add_(0 if part is None else part)
        done += len(batch)
    return [torch.cat(logits), *sums]


def _worst(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> float:
    """The largest relative difference of an example's logits or of a gradient tensor. Each is divided by its own size, but not
    by less than a thousandth of the largest: noise around zero proves nothing."""
    differences = [torch.zeros(1)]
    for one, other in ((ours[0], theirs[0]), (ours[1:], theirs[1:])):
        if len(other):
            sizes = torch.stack([tensor.norm().cpu() for tensor in other])
            errors = torch.stack([(a - b).norm().cpu() for a, b in zip(one, other)])
            differences.append(errors / sizes.clamp(min=1e-3 * sizes.max()))
    # torch's max, unlike Python's, is NaN where any value is
    return torch.cat(differences).max().item()


def _together(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> float:
    """The relative difference of the logits or of all gradients together, whichever is larger."""
    differences = [torch.zeros(())]
    for one, other in ((ours[:1], theirs[:1]), (ours[1:], theirs[1:])):
        if other:
            size = torch.stack([tensor.norm().cpu() for tensor in other]).norm()
            differences.append(torch.stack([(a - b).norm().cpu() for a, b in zip(one, other)]).norm() / size)
    return torch.stack(differences).max().item()
