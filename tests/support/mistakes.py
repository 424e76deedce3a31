"""Mistakes that a fast way of computing can make, each as a context manager. The proof must refuse every one."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from runner.model.compat import body
from runner.scoring import layouts, prefix_cache
from runner.scoring.attention_masks import block_mask
from runner.scoring.prompt import Prompt

Made = Iterator[None]


def _is_packed(mask: Any) -> bool:
    return isinstance(mask, dict) or (torch.is_tensor(mask) and mask.dim() == 4)


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Made:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def _changed_inputs(model: Any, change: Callable[[dict[str, Any]], None]) -> Made:
    """Changes the inputs of packed rows."""
    kind = type(body(model))
    forward = kind.forward

    def changed(self: Any, *args: Any, **named: Any) -> Any:
        if _is_packed(named.get("attention_mask")):
            change(named)
        return forward(self, *args, **named)

    with replaced(kind, "forward", changed):
        yield


def mask_ignored(model: Any, prompt: Prompt) -> Any:
    return _changed_inputs(model, lambda named: named.update(attention_mask=None))


def positions_that_do_not_restart(model: Any, prompt: Prompt) -> Any:
    def change(named: dict[str, Any]) -> None:
        ids = named["input_ids"]
        named["position_ids"] = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)

    return _changed_inputs(model, change)


@contextmanager
def prefix_without_gradient(model: Any, prompt: Prompt) -> Made:
    """Its keys and values, as a cache would hold them; where packed rows are computed and nowhere else."""
    head, kind = len(prompt.prefix), type(body(model))
    forward = kind.forward

    def detach(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return torch.cat([output[:, :head].detach(), output[:, head:]], 1)

    def detached(self: Any, *args: Any, **named: Any) -> Any:
        with ExitStack() as hooks:
            if _is_packed(named.get("attention_mask")):
                for name, module in self.named_modules():
                    if name.endswith(("k_proj", "v_proj")):
                        hooks.callback(module.register_forward_hook(detach).remove)
            return forward(self, *args, **named)

    with replaced(kind, "forward", detached):
        yield


def _changed_mask(change: Callable[[torch.Tensor, torch.Tensor], None]) -> Any:
    """`change` gets each mask of packed rows, (rows, 1, length, length), and the owners of its tokens."""
    real = layouts.mask_argument

    def changed(config: Any, owners: torch.Tensor, *rest: Any) -> Any:
        made = real(config, owners, *rest)
        for mask in made.values() if isinstance(made, dict) else [made]:
            change(mask, owners)
        return made

    return replaced(layouts, "mask_argument", changed)


def one_padding_token_seen(model: Any, prompt: Prompt) -> Any:
    def change(mask: torch.Tensor, owners: torch.Tensor) -> None:
        for row, padding in enumerate((owners == -1).tolist()):
            if True in padding:
                mask[row, 0, :, padding.index(True)] = 0

    return _changed_mask(change)


def two_suffixes_see_each_other(model: Any, prompt: Prompt) -> Any:
    def change(mask: torch.Tensor, owners: torch.Tensor) -> None:
        mask[:, 0][(owners[:, :, None] == 2) & (owners[:, None, :] == 1)] = 0

    return _changed_mask(change)


def prefix_sees_suffixes(model: Any, prompt: Prompt) -> Any:
    """Where layers are of several kinds, in full attention alone."""
    real = layouts.mask_argument

    def changed(config: Any, owners: torch.Tensor, *rest: Any) -> Any:
        made = real(config, owners, *rest)
        mask = made["full_attention"] if isinstance(made, dict) else made
        mask[:, 0][(owners[:, :, None] == 0) & (owners[:, None, :] > 0)] = 0
        return made

    return replaced(layouts, "mask_argument", changed)


def window_left_out(model: Any, prompt: Prompt) -> Any:
    real = layouts.mask_argument

    def without(
        config: Any, owners: torch.Tensor, positions: torch.Tensor, dtype: torch.dtype, lineage: Any = None
    ) -> Any:
        made = real(config, owners, positions, dtype, lineage)
        full = block_mask(owners, positions, dtype, 0, lineage)
        return dict.fromkeys(made, full) if isinstance(made, dict) else full

    return replaced(layouts, "mask_argument", without)


def answers_see_each_other(model: Any, prompt: Prompt) -> Any:
    """The nodes of the tree of answers are read as one text."""
    real = layouts.mask_argument
    return replaced(layouts, "mask_argument", lambda *arguments: real(*arguments[:4]))


@contextmanager
def answers_without_a_parent(model: Any, prompt: Prompt) -> Made:
    """Every node of the tree is taken for a child of the prompt's end."""
    real = layouts.mask_argument

    def orphaned(config: Any, owners: torch.Tensor, positions: torch.Tensor, dtype: torch.dtype, lineage: Any) -> Any:
        alone = torch.eye(owners.shape[1], dtype=torch.bool, device=owners.device)
        # a column that some query may not see is a node's
        return real(config, owners, positions, dtype, lineage & (alone | lineage.all(1, keepdim=True)))

    with replaced(layouts, "mask_argument", orphaned):
        yield


@contextmanager
def cache_that_lacks_a_token(model: Any, prompt: Prompt) -> Made:
    real = prefix_cache.PrefixCache.__init__

    def shorter(self: Any, scorer: Any) -> None:
        with replaced(scorer, "prompt", dataclasses.replace(scorer.prompt, prefix=scorer.prompt.prefix[:-1])):
            real(self, scorer)

    with replaced(prefix_cache.PrefixCache, "__init__", shorter):
        yield


@contextmanager
def cache_that_keeps_the_last_row(model: Any, prompt: Prompt) -> Made:
    """On 5.x a cache grows in place. A cache that is a tuple does not grow, and then this is not a mistake."""
    with replaced(prefix_cache.copy, "deepcopy", lambda past: past):
        yield


PACKED = (
    mask_ignored,
    window_left_out,
    prefix_without_gradient,
    positions_that_do_not_restart,
    one_padding_token_seen,
    two_suffixes_see_each_other,
    prefix_sees_suffixes,
)
"""Mistakes of the packed layout."""

ANSWERS = (answers_see_each_other, answers_without_a_parent)
"""Mistakes where answers have several tokens."""

CACHED = (cache_that_lacks_a_token, cache_that_keeps_the_last_row)
"""Mistakes of prediction after the cached prefix."""
