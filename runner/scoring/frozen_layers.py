"""The frozen-layer cache: the outputs of the layers below the adapter, computed once and kept on disk.

Where LoRA adapts only the upper layers, the outputs of the lower ones never change. Without the cache every epoch, seed and
sweep run over the same rows computes them again. With it, the hidden states that enter the first adapted layer are stored
once for the prefix and once for each suffix, and training starts from them. The file's key covers everything that the states
depend on. The file is mapped into memory, not read.
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import Any, Optional

import torch
import transformers

from runner.errors import UserError
from runner.language import mark, tr
from runner.model.base import Base
from runner.model.compat import body, layer_output
from runner.scoring.dataset import EncodedDataset
from runner.scoring.layout_choice import Choice
from runner.scoring.layouts import LAYOUTS, Batch, Layout
from runner.scoring.prompt import Prompt
from runner.scoring.proof import LabelLogits, Way
from runner.scoring.scorer import LabelScorer
from runner.scoring.shallow_copy import layers_of_each_kind
from runner.system.content_store import ContentStore
from runner.system.provenance import code_digest
from runner.system.signals import raise_if_asked

log = logging.getLogger("labeltune.scoring")

STORED_AT_ONCE = 8
"""Examples computed at once for the cache. The number is fixed, because the last bits of a state depend on its batch."""

_SWITCH_OFF = mark("set train.cache_frozen_layers: false")


class FrozenLayerCache:
    """The stored hidden states of some examples of one prompt, for one base, below one layer."""

    def __init__(self, first: int, prompt: Prompt, suffixes: Iterable[Sequence[int]], states: torch.Tensor) -> None:
        """`first`: the number of the lowest adapted layer. `states`: (tokens, width), those of the prefix, then those of each
        suffix in order, followed by the nodes of the tree of answers after it."""
        self.first, self.prompt, self.states = first, prompt, states
        self.starts: dict[bytes, int] = {}
        end = len(prompt.prefix)
        for suffix in suffixes:
            self.starts[_name(suffix)] = end
            end += len(suffix) + len(prompt.tree.tokens)
        self._entering: Optional[torch.Tensor] = None

    def layout(self, layout: Layout) -> Layout:
        """The same layout, with the stored states in each batch."""

        def with_states(suffixes: Sequence[Sequence[int]]) -> Batch:
            batch = layout(suffixes)
            head = len(self.prompt.prefix)
            states = torch.zeros(*batch.inputs["input_ids"].shape, self.states.shape[1], dtype=self.states.dtype)
            states[:, :head] = self.states[:head]
            for each in batch.placements:
                suffix = suffixes[each.example]
                start, length = self.starts[_name(suffix)], len(suffix)
                states[each.row, each.columns(length)] = self.states[start:][each.tokens(length)]
            return dataclasses.replace(batch, states=states.to(batch.rows.device))

        return with_states

    @contextmanager
    def installed(self, scorer: LabelScorer) -> Iterator[None]:
        """Inside the block, the scorer skips the frozen layers for batches with stored states, and for no others."""
        layers = body(scorer.model).layers[: self.first]
        before = scorer.register_forward_pre_hook(self._enter)
        for layer in layers:
            layer.forward = functools.partial(self._skip, layer.forward)
        try:
            yield
        finally:
            before.remove()
            # only the instance's forward: the class keeps its own
            for layer in layers:
                del layer.forward

    def _enter(self, scorer: LabelScorer, inputs: Any) -> None:
        self._entering = inputs[0].states

    def _skip(self, forward: Callable[..., Any], hidden: torch.Tensor, *rest: Any, **named: Any) -> Any:
        if self._entering is None:
            return forward(hidden, *rest, **named)
        return layer_output(forward, self._entering)


def cached_frozen_layers(
    base: Base, scorer: LabelScorer, first: int, datasets: Sequence[EncodedDataset], choice: Choice, folder: Path
) -> FrozenLayerCache:
    """The states of all examples of `datasets` that enter layer `first`: from `folder`, or computed and stored there now.

    `choice` is the layout in which they are computed. Raises UserError where the disk has no room for them, or the model's
    layers cannot be found."""
    if not hasattr(body(base.model), "layers"):
        raise UserError(
            tr("train.cache_frozen_layers: cannot find the layers of {name}", name=type(base.model).__name__),
            _SWITCH_OFF,
        )
    tokens = _tokens(scorer.prompt, (length for dataset in datasets for length in dataset.lengths()))
    shape, dtype = (tokens, base.model.config.hidden_size), base.model.dtype
    nbytes = tokens * shape[1] * torch.finfo(dtype).bits // 8
    store, key = ContentStore(folder, ".states"), _key(base, first, scorer.prompt, datasets, choice.name)
    path = store.get(key)
    if path is not None:
        log.info(
            tr(
                "frozen layers 0 to {last}: found in the cache, {megabytes:,.1f} MB",
                last=first - 1,
                megabytes=nbytes / 1e6,
            )
        )
    else:

        def write(path: Path) -> None:
            _require_room(folder, nbytes, tokens)
            log.info(
                tr(
                    "frozen layers 0 to {last}: storing {tokens:,} tokens, {megabytes:,.1f} MB",
                    last=first - 1,
                    tokens=tokens,
                    megabytes=nbytes / 1e6,
                )
            )
            states = _new_file(path, nbytes, shape, dtype)
            _compute(states, scorer, first, _suffixes(datasets), choice.layout)

        path = store.put(key, write)
    states = torch.from_file(str(path), size=shape[0] * shape[1], dtype=dtype).view(shape)
    return FrozenLayerCache(first, scorer.prompt, _suffixes(datasets), states)


def _tokens(prompt: Prompt, lengths: Iterable[int]) -> int:
    """The number of tokens whose states are stored, for suffixes of these lengths."""
    return len(prompt.prefix) + sum(length + len(prompt.tree.tokens) for length in lengths)


def _suffixes(datasets: Sequence[EncodedDataset]) -> Iterator[Sequence[int]]:
    return chain.from_iterable(dataset.suffixes for dataset in datasets)


def _key(base: Base, first: int, prompt: Prompt, datasets: Sequence[EncodedDataset], layout: str) -> str:
    """A digest of everything that the states depend on, to the last bit."""
    hasher = hashlib.sha256()
    computed = (torch.__version__, transformers.__version__, code_digest(), base.model.device.type, layout)
    hasher.update(json.dumps([base.files.digest, base.precision, first, prompt.digest(), computed]).encode())
    for suffix in _suffixes(datasets):
        hasher.update(_name(suffix))
    return hasher.hexdigest()[:32]


def _name(suffix: Sequence[int]) -> bytes:
    """16 bytes that name a suffix, so that the suffixes themselves stay on disk."""
    return hashlib.blake2b(array("q", suffix).tobytes(), digest_size=16).digest()


def _require_room(folder: Path, nbytes: int, tokens: int) -> None:
    free = shutil.disk_usage(folder).free
    if nbytes > 0.9 * free:
        raise UserError(
            tr(
                "train.cache_frozen_layers: the states of {tokens:,} tokens take {gigabytes:.1f} GB, "
                "{folder} has {free_gigabytes:.1f}",
                tokens=tokens,
                gigabytes=nbytes / 1e9,
                folder=folder,
                free_gigabytes=free / 1e9,
            ),
            tr("make room, or {switch_off}", switch_off=_SWITCH_OFF),
        )


def _new_file(path: Path, nbytes: int, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
    """A tensor whose values are those of a new file, mapped into memory."""
    with path.open("xb") as file:
        # a disk that fills up under a mapped file would end the process without a message
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, nbytes)
    return torch.from_file(str(path), shared=True, size=shape[0] * shape[1], dtype=dtype).view(shape)


@torch.no_grad()
def _compute(
    states: torch.Tensor, scorer: LabelScorer, first: int, suffixes: Iterable[Sequence[int]], layout: Layout
) -> None:
    """Fills `states`, (tokens, width), with the states that enter layer `first`. Layers from `first` on are not computed."""
    place = head = len(scorer.prompt.prefix)
    nodes = len(scorer.prompt.tree.tokens)
    training = scorer.training
    scorer.eval()
    left = iter(suffixes)
    while some := list(islice(left, STORED_AT_ONCE)):
        batch = layout(some)
        found = _entering(scorer.model, first, batch).cpu()
        if place == head:
            states[:head] = found[0, :head]
        starts = [*accumulate((len(suffix) + nodes for suffix in some), initial=place)]
        for each in batch.placements:
            length = len(some[each.example])
            states[starts[each.example] :][each.tokens(length)] = found[each.row, each.columns(length)]
        place = starts[-1]
        raise_if_asked()
    scorer.train(training)


def from_frozen_layers(cache: FrozenLayerCache, whole: LabelScorer, choice: Choice) -> Way:
    """A way: examples computed from stored states, in the layout of `choice`.

    The `whole` model uses the states of `cache`. A shallow copy has other layers below, so its states are computed when they
    are needed."""
    below = sum(number < cache.first for number in layers_of_each_kind(whole.model))

    def way(scorer: LabelScorer) -> LabelLogits:
        layout = LAYOUTS[choice.name](scorer.model, scorer.prompt)

        def logits(suffixes: Sequence[Sequence[int]]) -> torch.Tensor:
            used = cache
            if scorer is not whole:
                tokens = _tokens(cache.prompt, map(len, suffixes))
                states = torch.empty(tokens, scorer.model.config.hidden_size, dtype=scorer.model.dtype)
                _compute(states, scorer, below, suffixes, layout)
                used = FrozenLayerCache(below, cache.prompt, suffixes, states)
            with used.installed(scorer):
                return scorer(used.layout(layout)(suffixes)).label_logits

        return logits

    return way


class _Reached(Exception):
    """The first adapted layer was reached. Its input is all that is needed, so the forward pass ends here."""

    def __init__(self, states: torch.Tensor) -> None:
        self.states = states


def _entering(model: Any, first: int, batch: Batch) -> torch.Tensor:
    """(rows, length, width): the input of layer `first`."""

    def reached(layer: Any, inputs: Any) -> None:
        raise _Reached(inputs[0])

    hook = body(model).layers[first].register_forward_pre_hook(reached)
    try:
        body(model)(**batch.inputs, use_cache=False)
    except _Reached as found:
        return found.states
    finally:
        hook.remove()
    raise UserError(tr("train.cache_frozen_layers: layer {first} was never reached", first=first), _SWITCH_OFF)
