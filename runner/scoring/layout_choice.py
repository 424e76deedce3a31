"""The choice of a layout. `auto` takes `packed` where it gives the results of `padded` on the user's own model and rows; a
layout that the recipe names is used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import torch

from runner.errors import UserError
from runner.language import tr
from runner.scoring.dataset import EncodedDataset
from runner.scoring.layouts import LAYOUTS, Layout, packed, row_room, token_ratio
from runner.scoring.proof import LabelLogits, Proof, Subject, Way, prove
from runner.scoring.scorer import LabelScorer

log = logging.getLogger("labeltune.scoring")

COUNTED_EXAMPLES = 2000
"""Examples whose tokens are counted to report what a layout saves."""


@dataclass(frozen=True)
class Choice:
    """A layout and the reason for it."""

    name: str
    """Its name in `LAYOUTS`."""
    layout: Layout
    """The layout, for the model and the prompt at hand."""
    reason: str
    """The reason in words, for the user."""
    proof: Optional[Proof] = None
    """The measurements; None where nothing had to be proved."""

    def figures(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"layout": self.name, "layout_proof": self.proof.figures() if self.proof else None}


def choose_layout(wanted: str, subject: Subject, dataset: EncodedDataset, batch_size: int) -> Choice:
    """The layout `wanted`; for `auto`, `packed` where the proof holds, else `padded`.

    A dataset with targets is for training, `batch_size` examples at once. Warns where the recipe names `packed` and the
    proof does not hold.

    Raises UserError where the recipe names `packed` and the model cannot compute it, and where several processes compute
    together and memory runs out."""
    model, prompt = subject.scorer.model, subject.scorer.prompt
    plain = LAYOUTS["padded"](model, prompt)
    if wanted == "padded":
        return Choice("padded", plain, tr("as set"))
    proof = prove(subject, packed_ways(subject, batch_size), dataset)
    if wanted == "auto" and not proof.holds:
        return Choice("padded", plain, tr("packed is not used: {reason}", reason=proof.words()), proof)
    fast = LAYOUTS["packed"](model, prompt)
    if proof.holds:
        saved = token_ratio(model, prompt, dataset.lengths()[:COUNTED_EXAMPLES], batch_size)
        return Choice(
            "packed", fast, tr("same results as padded on your rows, {saved:.1f} × fewer tokens", saved=saved), proof
        )
    if proof.raised:
        raise UserError(
            tr("train.layout: packed: {reason}", reason=proof.words()),
            tr("set train.layout: auto, which takes padded here"),
        )
    log.warning(tr("train.layout: packed: {reason}; train.layout: auto would take padded", reason=proof.words()))
    return Choice("packed", fast, tr("as set"), proof)


def packed_ways(subject: Subject, batch_size: int) -> tuple[Way, Way, Way]:
    """The ways in which a packed batch is computed, for the proof.

    The first is the layout as it is used. The second spreads the examples over two rows, of which the shorter is padded. The
    third puts them at the end of a row as long as that of a full batch: an error that depends on the place in the row shows
    only there."""
    room = row_room(subject.scorer.model, subject.scorer.prompt)
    nodes = len(subject.scorer.prompt.tree.tokens)

    def way_of(
        make: Callable[..., Layout], before: Callable[[Sequence[Any]], list[Any]] = lambda suffixes: [], **rows: int
    ) -> Way:
        def way(scorer: LabelScorer) -> LabelLogits:
            layout = make(scorer.model, scorer.prompt, **rows)

            def logits(suffixes: Sequence[Sequence[int]]) -> torch.Tensor:
                others = before(suffixes)
                return scorer(layout([*others, *suffixes])).label_logits[len(others) :]

            return logits

        return way

    def others(suffixes: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        longest = max(suffixes, key=len)
        free = (room - sum(len(suffix) + nodes for suffix in suffixes)) // (len(longest) + nodes) + 1
        return [longest] * max(0, min(free, batch_size - len(suffixes)))

    return way_of(LAYOUTS["packed"]), way_of(packed, rows=2), way_of(packed, others, rows=1)
