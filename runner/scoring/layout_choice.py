"""The choice of a layout: `auto` takes the faster one where it gives the padded one's results on the user's own model and
rows; a recipe that names one is obeyed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import torch

from runner.errors import UserError
from runner.scoring.layouts import LAYOUTS, Layout, line_room, packed, token_ratio
from runner.scoring.prompt import Encoded
from runner.scoring.proof import Answers, Proof, Subject, Way, prove
from runner.scoring.scorer import LabelScorer

COUNTED_ROWS = 2000
"""Rows whose tokens are counted to say what a layout saves."""


@dataclass(frozen=True)
class Choice:
    """A layout and why it was taken."""

    name: str
    """Its name in `LAYOUTS`."""
    layout: Layout
    """The layout, for the model at hand."""
    reason: str
    """Why, in words; the user reads it."""
    proof: Optional[Proof] = None
    """What was measured; None where nothing was to be proved."""

    def figures(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"layout": self.name, "layout_proof": self.proof.figures() if self.proof else None}


def choose_layout(wanted: str, subject: Subject, rows: Encoded, batch_size: int) -> Choice:
    """The layout that is wanted; for `auto`, `packed` where the proof holds, else `padded`. Rows with targets are there to train
    on, `batch_size` of them at once.

    Raises UserError where the recipe names one that the model cannot compute, and where the subject is not alone and memory
    runs out."""
    model = subject.scorer.model
    plain = Choice("padded", LAYOUTS["padded"](model), "as set")
    if wanted == "padded":
        return plain
    proof = prove(subject, packed_ways(subject, batch_size), rows)
    if proof.holds:
        saved = token_ratio(model, subject.prompt, rows.lengths()[:COUNTED_ROWS], batch_size)
        reason = f"same results as padded on your rows, {saved:.1f} × fewer tokens"
        return Choice("packed", LAYOUTS["packed"](model), reason, proof)
    if wanted == "auto":
        return Choice(plain.name, plain.layout, f"packed is not used: {proof.words()}", proof)
    if proof.raised:
        raise UserError(f"train.layout: packed: {proof.words()}", "set train.layout: auto, which takes padded here")
    reason = f"the recipe names it. WARNING: {proof.words()}; train.layout: auto would take padded"
    return Choice("packed", LAYOUTS["packed"](model), reason, proof)


def packed_ways(subject: Subject, batch_size: int) -> tuple[Way, Way, Way]:
    """The packed layout as it is used; over two lines, of which the shorter one is filled; and in a line as long as that of a
    batch, after other rows, for what counts along the line shows only there."""
    prompt, room = subject.prompt, line_room(subject.scorer.model, subject.prompt)

    def way_of(make: Callable[[Any], Layout], before: Callable[[Sequence[Any]], list[Any]] = lambda rows: []) -> Way:
        def way(scorer: LabelScorer) -> Answers:
            lay = make(scorer.model)

            def answers(suffixes: Sequence[Sequence[int]]) -> torch.Tensor:
                others = before(suffixes)
                return scorer(lay(prompt, [*others, *suffixes])).label_logits[len(others) :]

            return answers

        return way

    def others(suffixes: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        longest = max(suffixes, key=len)
        free = (room - sum(map(len, suffixes))) // len(longest) + 1
        return [longest] * max(0, min(free, batch_size - len(suffixes)))

    return (
        way_of(LAYOUTS["packed"]),
        way_of(lambda model: packed(model, lines=2)),
        way_of(lambda model: packed(model, lines=1), others),
    )
