"""The choice of a layout: a faster one is taken only after it has given the padded one's losses and gradients, on the
user's own model and rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

import torch

from runner.errors import UserError
from runner.layouts import LAYOUTS, Layout
from runner.memory import out_of_memory, too_little
from runner.prompt import Encoded, Prompt
from runner.scorer import LabelScorer
from runner.stopping import raise_if_asked

LONGEST_ROWS, SHORTEST_ROWS = 2, 6
"""Rows compared: a forgotten window shows only in rows that are longer than it, and short rows are those that share a line."""

MODEL_REFUSALS = (RuntimeError, TypeError, ValueError, KeyError, AttributeError, IndexError)
"""What models raise when they are handed a mask, positions or a cache that they cannot take."""

TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 3e-2}
"""Largest relative difference by the weights' type. Measured: equal layouts differ by 4e-7 in fp32 and 3e-3 in bf16 (as
much as another padding does there); a prefix without gradient by 0.75, a plain causal mask by 0.27, positions that do not
restart by 0.095."""


@dataclass(frozen=True)
class Choice:
    """A layout and why it was taken."""

    name: str
    """Its name in `LAYOUTS`."""
    layout: Layout
    """The layout, for the model at hand."""
    reason: str
    """Why, in words; the user reads it."""


def choose_layout(wanted: str, scorer: LabelScorer, prompt: Prompt, rows: Encoded, alone: bool = True) -> Choice:
    """The layout that is wanted; for `auto` the first that is exact. Rows with targets are there to train on, so gradients
    are compared too; rows without are there to predict, and only their label logits are. `alone`: this process computes by
    itself, so it may find by itself that a layout takes too much memory.

    Raises UserError where the recipe insists on one that is not, and where not `alone` and out of memory."""
    reasons: list[str] = []
    for name, make in LAYOUTS.items():
        if wanted not in (name, "auto"):
            continue
        layout = make(scorer.model)
        if name == "padded":
            return Choice(name, layout, "; ".join(reasons) or "as was wanted")
        apart = difference(scorer, layout, LAYOUTS["padded"](scorer.model), prompt, rows, alone)
        tolerance = TOLERANCES[scorer.model.dtype]
        if isinstance(apart, float) and apart <= tolerance:
            what = "losses and gradients" if rows.targets else "label logits"
            words = f"{what} equal the padded layout's within {apart:.1g} on the longest and shortest rows"
            return Choice(name, layout, words)
        found = (
            f"could not be tried ({apart})"
            if isinstance(apart, str)
            else f"is not exact for this model ({apart:.1g}, allowed {tolerance:g})"
        )
        reasons.append(f"{name} {found}")
    raise UserError(f"train.layout: {reasons[0]}", "set train.layout: auto, which takes the padded one here")


def difference(
    scorer: LabelScorer, one: Layout, other: Layout, prompt: Prompt, rows: Encoded, alone: bool = True
) -> Union[float, str]:
    """The largest relative difference of two layouts in what they are used for (NaN where one says what is no number), or
    the error of a model that refuses one."""
    measure = _losses_and_gradients if rows.targets else _label_logits
    lengths = rows.lengths()
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    chosen = sorted({*by_length[:SHORTEST_ROWS], *by_length[-LONGEST_ROWS:]})
    try:
        ours = measure(scorer, one, prompt, rows, [chosen])
    except MODEL_REFUSALS as error:
        raise_if_asked()  # a signal can look like that
        if not alone and out_of_memory(error):
            raise too_little(out_of_memory(error)) from error
        return f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
    theirs = measure(scorer, other, prompt, rows, [[row] for row in chosen])  # where one row fits, so does this
    # each tensor against its own size, but not below a thousandth of the largest: noise about zero proves nothing
    floor = 1e-3 * max(tensor.norm().item() for tensor in theirs)
    apart = torch.tensor([(a - b).norm().item() / max(b.norm().item(), floor) for a, b in zip(ours, theirs)])
    return apart.max().item()  # torch's, unlike Python's, is NaN where any of them is


def _losses_and_gradients(
    scorer: LabelScorer, layout: Layout, prompt: Prompt, rows: Encoded, batches: Sequence[Sequence[int]]
) -> list[torch.Tensor]:
    training = scorer.training
    scorer.eval()  # without dropout, which would differ by its draw alone
    parameters = [parameter for parameter in scorer.parameters() if parameter.requires_grad]
    losses, gradients = [], [torch.zeros_like(parameter) for parameter in parameters]
    for batch in batches:
        targets = torch.tensor([rows.targets[row] for row in batch], device=scorer.label_ids.device)
        found = scorer(layout(prompt, [rows.suffixes[row] for row in batch]), targets).losses
        losses.append(found.detach())
        for gradient, part in zip(gradients, torch.autograd.grad(found.sum(), parameters)):
            gradient.add_(part)
    scorer.train(training)
    return [torch.cat(losses), *gradients]


def _label_logits(
    scorer: LabelScorer, layout: Layout, prompt: Prompt, rows: Encoded, batches: Sequence[Sequence[int]]
) -> list[torch.Tensor]:
    return [
        torch.cat([scorer(layout(prompt, [rows.suffixes[row] for row in batch])).label_logits for batch in batches])
    ]
