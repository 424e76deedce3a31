"""The exchange: what the processes of a launch tell each other.

Each holds the whole adapter and computes its own rows by itself, so that is the adapter's start once, the sum of its
gradients once a step, and what to do next.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object

PATIENCE = 60.0
"""Seconds of waiting for the other processes before it is said."""


def share(accelerator: Accelerator, parameters: Iterable[torch.Tensor]) -> None:
    """Gives every process the main one's values."""
    if accelerator.num_processes > 1:
        for parameter in parameters:
            parameter.data.copy_(broadcast(parameter.data))


def add_up(accelerator: Accelerator, parameters: Iterable[torch.Tensor], loss: torch.Tensor) -> torch.Tensor:
    """Makes each gradient the sum of all processes', and returns that of their losses. One message: an adapter is some
    megabytes."""
    if accelerator.num_processes == 1:
        return loss
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    with _waiting(accelerator):
        whole = accelerator.reduce(torch.cat([loss[None], *(gradient.flatten() for gradient in gradients)]), "sum")
    for gradient, part in zip(gradients, whole[1:].split([gradient.numel() for gradient in gradients])):
        gradient.copy_(part.view_as(gradient))
    return whole[0]


def agree(accelerator: Accelerator, numbers: Sequence[int]) -> list[int]:
    """The largest of each number that any process has: what they are to do alike."""
    if accelerator.num_processes == 1:
        return list(numbers)
    with _waiting(accelerator):
        found: list[int] = accelerator.gather(torch.tensor([numbers], device=accelerator.device)).amax(0).tolist()
    return found


def gathered(accelerator: Accelerator, own: list[Any]) -> list[Any]:
    """What all processes have, in their order."""
    with _waiting(accelerator):
        found: list[Any] = gather_object(own)
    return found


@contextmanager
def _waiting(accelerator: Accelerator) -> Iterator[None]:
    """Says when the block takes long: one that is stopped, or hangs, would have the others wait without a word."""

    def tell() -> None:
        print(
            f"WARNING: process {accelerator.process_index} of {accelerator.num_processes} has waited {PATIENCE:g} s for the "
            "others: is one of them stopped?",
            file=sys.stderr,
            flush=True,
        )

    timer = threading.Timer(PATIENCE, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
