"""The frozen trunk: the layers below the adapter, whose outputs never change, computed once and kept on disk.

Where LoRA touches only the upper layers, every epoch, seed and sweep run over the same rows would compute the lower ones
again. Here the hidden states that enter the first adapted layer are stored, the prefix's once and each suffix's once,
and training starts from them. The file is named by all that it depends on, and mapped into memory, not read.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import os
import shutil
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, Optional

import torch
import transformers

from runner.errors import UserError
from runner.model.base import Base
from runner.model.compat import body, layer_output
from runner.scoring.layout_choice import Choice
from runner.scoring.layouts import LAYOUTS, Batch, Layout
from runner.scoring.prompt import Prompt
from runner.scoring.proof import Answers, Way
from runner.scoring.scorer import LabelScorer
from runner.scoring.shallow_copy import layers_of_each_kind
from runner.system.files import aside_in, intact, seal, sealed
from runner.system.provenance import code_digest
from runner.system.signals import raise_if_asked

log = logging.getLogger("labeltune.scoring")

STORED_AT_ONCE = 8
"""Rows computed at once for the store: a fixed number, for the last bits of a state depend on who is computed beside it."""


class Trunk:
    """The stored hidden states of one task's rows, for one base, below one layer."""

    def __init__(self, first: int, prompt: Prompt, suffixes: Sequence[Sequence[int]], stored: torch.Tensor) -> None:
        """`first`: the number of the lowest adapted layer. `stored`: (tokens, width), the prefix's states, then those of
        each suffix in order."""
        self.first, self.prompt, self.stored = first, prompt, stored
        ends = accumulate(map(len, suffixes), initial=len(prompt.prefix))
        self.starts = {_name(suffix): start for suffix, start in zip(suffixes, ends)}
        self._entering: Optional[torch.Tensor] = None

    def layout(self, layout: Layout) -> Layout:
        """The same layout with each batch's stored states laid beside its ids."""

        def lay(prompt: Prompt, suffixes: Sequence[Sequence[int]]) -> Batch:
            batch = layout(prompt, suffixes)
            lines, length = batch.inputs["input_ids"].shape
            head = len(prompt.prefix)
            states = torch.zeros(lines, length, self.stored.shape[1], dtype=self.stored.dtype)
            states[:, :head] = self.stored[:head]
            for suffix, line, last in zip(suffixes, batch.lines.tolist(), batch.positions.tolist()):
                start = self.starts[_name(suffix)]
                states[line, last + 1 - len(suffix) : last + 1] = self.stored[start : start + len(suffix)]
            return dataclasses.replace(batch, states=states.to(batch.lines.device))

        return lay

    @contextmanager
    def installed(self, scorer: LabelScorer) -> Iterator[None]:
        """For the length of the block, batches with stored states pass the trunk's layers by; others run them."""
        layers = body(scorer.model).layers[: self.first]
        before = scorer.register_forward_pre_hook(self._enter)
        for layer in layers:
            layer.forward = functools.partial(self._pass, layer.forward)
        try:
            yield
        finally:
            before.remove()
            for layer in layers:
                del layer.forward  # the instance's own; the class's stays

    def _enter(self, scorer: LabelScorer, inputs: Any) -> None:
        self._entering = inputs[0].states

    def _pass(self, forward: Callable[..., Any], hidden: torch.Tensor, *rest: Any, **named: Any) -> Any:
        if self._entering is None:
            return forward(hidden, *rest, **named)
        return layer_output(forward, self._entering)


def open_trunk(
    base: Base,
    scorer: LabelScorer,
    first: int,
    prompt: Prompt,
    suffixes: Sequence[Sequence[int]],
    choice: Choice,
    folder: Path,
) -> Trunk:
    """The trunk of these rows below layer `first`, from `folder` if it has been stored there, else computed and stored.

    Rows are laid by the layout of `choice`. Raises UserError where the disk has no room for it, or
    the model's layers cannot be found."""
    if not hasattr(body(base.model), "layers"):
        raise UserError(
            f"train.keep_trunk: cannot find the layers of {type(base.model).__name__}", "set train.keep_trunk: false"
        )
    tokens = len(prompt.prefix) + sum(map(len, suffixes))
    width, dtype = base.model.config.hidden_size, base.model.dtype
    key = _key(base, first, prompt, suffixes, choice.name)
    nbytes = tokens * width * torch.finfo(dtype).bits // 8
    path = sealed(folder, key, ".states")
    if path is not None and not intact(path):
        log.warning(f"{path} is damaged, storing it again")
        path.unlink()
        path = None
    if path is not None:
        log.info(f"trunk: layers 0 to {first - 1} are stored, {nbytes / 1e6:,.1f} MB")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        aside = aside_in(folder, key)
        free = shutil.disk_usage(folder).free
        if nbytes > 0.9 * free:
            raise UserError(
                f"train.keep_trunk: the states of {tokens:,} tokens take {nbytes / 1e9:.1f} GB, {folder} has {free / 1e9:.1f}",
                "make room, or set train.keep_trunk: false",
            )
        log.info(f"trunk: storing layers 0 to {first - 1} for {tokens:,} tokens, {nbytes / 1e6:,.1f} MB")
        path = _store(scorer, first, prompt, suffixes, choice.layout, aside)
    stored = torch.from_file(str(path), size=tokens * width, dtype=dtype).view(tokens, width)
    return Trunk(first, prompt, suffixes, stored)


def _key(base: Base, first: int, prompt: Prompt, suffixes: Sequence[Sequence[int]], layout: str) -> str:
    """Of all that the states depend on, to the last bit."""
    hasher = hashlib.sha256()
    computed = (torch.__version__, transformers.__version__, code_digest(), base.model.device.type, layout)
    hasher.update(json.dumps([base.digest, base.precision, first, prompt.digest(), computed]).encode())
    for suffix in suffixes:
        hasher.update(_name(suffix))
    return hasher.hexdigest()[:32]


def _name(suffix: Sequence[int]) -> bytes:
    """16 bytes that name a suffix: the rows themselves stay on disk."""
    return hashlib.blake2b(array("q", suffix).tobytes(), digest_size=16).digest()


def _store(
    scorer: LabelScorer,
    first: int,
    prompt: Prompt,
    suffixes: Sequence[Sequence[int]],
    layout: Layout,
    aside: Path,
) -> Path:
    """Writes the states aside and seals the file; returns where it is."""
    model = scorer.model
    tokens, width = len(prompt.prefix) + sum(map(len, suffixes)), model.config.hidden_size
    with aside.open("wb") as file:
        if hasattr(os, "posix_fallocate"):  # a disk that fills up under a mapped file ends the process without a word
            os.posix_fallocate(file.fileno(), 0, tokens * width * torch.finfo(model.dtype).bits // 8)
    stored = torch.from_file(str(aside), shared=True, size=tokens * width, dtype=model.dtype).view(tokens, -1)
    _compute(stored, scorer, first, prompt, suffixes, layout)
    del stored  # unmapped, hence the system's to write
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    return seal(aside, aside.stem.lstrip("."), ".states")


@torch.no_grad()
def _compute(
    stored: torch.Tensor,
    scorer: LabelScorer,
    first: int,
    prompt: Prompt,
    suffixes: Sequence[Sequence[int]],
    layout: Layout,
) -> None:
    """Fills `stored`, (tokens, width), with the states that enter layer `first`. The layers from there on are not run."""
    place = head = len(prompt.prefix)
    training = scorer.training
    scorer.eval()
    for begin in range(0, len(suffixes), STORED_AT_ONCE):
        rows = suffixes[begin : begin + STORED_AT_ONCE]
        batch = layout(prompt, rows)
        states = _states(scorer.model, first, batch).cpu()
        if begin == 0:
            stored[:head] = states[0, :head]
        for suffix, line, last in zip(rows, batch.lines.tolist(), batch.positions.tolist()):
            stored[place : place + len(suffix)] = states[line, last + 1 - len(suffix) : last + 1]
            place += len(suffix)
        raise_if_asked()
    scorer.train(training)


def from_the_trunk(trunk: Trunk, whole: LabelScorer, choice: Choice) -> Way:
    """Rows computed from stored states, laid by the layout of `choice`. For the `whole` model they are those of `trunk`; for a
    shallow copy, which has other layers below, they are computed when they are asked for."""
    below = sum(number < trunk.first for number in layers_of_each_kind(whole.model))

    def way(scorer: LabelScorer) -> Answers:
        layout = LAYOUTS[choice.name](scorer.model)

        def answers(suffixes: Sequence[Sequence[int]]) -> torch.Tensor:
            used = trunk
            if scorer is not whole:
                tokens = len(trunk.prompt.prefix) + sum(map(len, suffixes))
                stored = torch.empty(tokens, scorer.model.config.hidden_size, dtype=scorer.model.dtype)
                _compute(stored, scorer, below, trunk.prompt, suffixes, layout)
                used = Trunk(below, trunk.prompt, suffixes, stored)
            with used.installed(scorer):
                return scorer(used.layout(layout)(trunk.prompt, suffixes)).label_logits

        return answers

    return way


class _Reached(Exception):
    """The layer above the trunk was reached: its input is the answer, and the rest of the pass is not needed."""

    def __init__(self, states: torch.Tensor) -> None:
        self.states = states


def _states(model: Any, first: int, batch: Batch) -> torch.Tensor:
    """(lines, length, width): what enters layer `first`."""

    def reached(layer: Any, inputs: Any) -> None:
        raise _Reached(inputs[0])

    hook = body(model).layers[first].register_forward_pre_hook(reached)
    try:
        body(model)(**batch.inputs, use_cache=False)
    except _Reached as answer:
        return answer.states
    finally:
        hook.remove()
    raise UserError(f"train.keep_trunk: layer {first} was never reached", "set train.keep_trunk: false")
