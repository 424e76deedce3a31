"""The exchange: what the processes of a launch tell each other, and how they wait for each other.

Each holds the whole adapter and computes its own rows by itself, so that is the adapter's start once, the sum of its
gradients once a step, and what to do next.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Optional

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object

from runner.errors import UserError
from runner.system.memory import is_out_of_memory

log = logging.getLogger("labeltune.distributed")

PATIENCE = 60.0
"""Seconds of waiting for the other processes before it is said."""

LONGEST_WAIT = timedelta(days=7)
"""How long a process waits for what the main one does alone."""


def broadcast_parameters(accelerator: Accelerator, parameters: Iterable[torch.Tensor]) -> None:
    """Gives every process the main one's values."""
    if accelerator.num_processes > 1:
        for parameter in parameters:
            parameter.data.copy_(broadcast(parameter.data))


def all_reduce_gradients(
    accelerator: Accelerator, parameters: Iterable[torch.Tensor], loss: torch.Tensor
) -> torch.Tensor:
    """Makes each gradient the sum of all processes', and returns that of their losses. One message: an adapter is some
    megabytes."""
    if accelerator.num_processes == 1:
        return loss
    parameters = list(parameters)
    met = loss.new_tensor([parameter.grad is not None for parameter in parameters])
    own = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]  # all send the same
    with _waiting(accelerator):
        whole = accelerator.reduce(torch.cat([loss[None], met, *(gradient.flatten() for gradient in own)]), "sum")
    loss, met, flat = whole.split([1, len(parameters), whole.numel() - 1 - len(parameters)])
    parts = flat.split([parameter.numel() for parameter in parameters])
    for parameter, anywhere, part in zip(parameters, met.tolist(), parts):
        parameter.grad = part.view_as(parameter).clone() if anywhere else None  # none: the optimizer passes it over
    return loss[0]


def all_reduce_max(accelerator: Accelerator, numbers: Sequence[int]) -> list[int]:
    """The largest of each number that any process has: what they are to do alike."""
    if accelerator.num_processes == 1:
        return list(numbers)
    with _waiting(accelerator):
        found: list[int] = accelerator.gather(torch.tensor([numbers], device=accelerator.device)).amax(0).tolist()
    return found


def all_gather(accelerator: Accelerator, own: list[Any]) -> list[Any]:
    """What all processes have, in their order."""
    with _waiting(accelerator):
        found: list[Any] = gather_object(own)
    return found


def barrier(accelerator: Accelerator) -> None:
    """Holds every process until all have come here, however long the main one alone has to do before: a long prediction, a
    trunk to be stored. One that dies ends the others through the launcher."""
    if accelerator.num_processes > 1:
        torch.distributed.barrier(group=_meeting())


@functools.cache
def _meeting() -> Any:
    """A group for `meet` alone: in all that is done together the backend's own limit, 10 to 30 minutes, is right."""
    return torch.distributed.new_group(timeout=LONGEST_WAIT, backend="gloo")


@contextmanager
def main_process_first(accelerator: Accelerator) -> Iterator[None]:
    """The main process goes through the block before the others do: they find what it has kept."""
    if not accelerator.is_main_process:
        barrier(accelerator)
    yield
    if accelerator.is_main_process:
        barrier(accelerator)


def unreachable(error: BaseException) -> Optional[UserError]:
    """What to say of an error of a backend that has lost the other processes; None where it is another error."""
    text = " ".join(str(error).split())
    if is_out_of_memory(error) or not any(words in text for words in _LOST):
        return None
    return UserError(
        f"the other processes of this launch cannot be reached any more: {text[:160]}",
        "one of them has ended: look for what it said; the same command goes on",
    )


_LOST = (
    "Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting", "Socket Timeout",
    "remote process exited", "communicator was aborted", "collective operation timeout",
)  # fmt: skip
"""Words of gloo, of NCCL and of PyTorch's store."""


@contextmanager
def _waiting(accelerator: Accelerator) -> Iterator[None]:
    """Says when the block takes long: one that is stopped, or hangs, would have the others wait without a word."""

    def tell() -> None:
        log.warning(
            f"process {accelerator.process_index} of {accelerator.num_processes} has waited {PATIENCE:g} s for the others: "
            "is one of them stopped?",
            extra={"every_process": True},
        )

    timer = threading.Timer(PATIENCE, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
