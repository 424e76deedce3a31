"""The exchange: what the processes of a launch tell each other.

Each holds the whole adapter and computes its own rows by itself, so that is the adapter's start once, the sum of its
gradients once a step, and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast


def share(accelerator: Accelerator, parameters: Iterable[torch.Tensor]) -> None:
    """Gives every process the main one's values."""
    if accelerator.num_processes > 1:
        for parameter in parameters:
            parameter.data.copy_(broadcast(parameter.data))


def add_up(accelerator: Accelerator, parameters: Iterable[torch.Tensor]) -> None:
    """Makes each gradient the sum of all processes', in one message: an adapter is some megabytes."""
    if accelerator.num_processes == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    whole = accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "sum")
    for gradient, part in zip(gradients, whole.split([gradient.numel() for gradient in gradients])):
        gradient.copy_(part.view_as(gradient))


def agree(accelerator: Accelerator, numbers: Sequence[int]) -> list[int]:
    """The largest of each number that any process has: what they are to do alike."""
    if accelerator.num_processes == 1:
        return list(numbers)
    largest: list[int] = accelerator.gather(torch.tensor([numbers], device=accelerator.device)).amax(0).tolist()
    return largest
