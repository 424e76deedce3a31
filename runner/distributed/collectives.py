"""Collectives: the data that the processes of a launch exchange, and how they wait for each other.

Each process holds the whole adapter and computes its own rows. So they exchange the adapter's start once, the sum of its
gradients once a step, and a few numbers that decide the next action.
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
from runner.language import tr
from runner.system.memory import is_out_of_memory

log = logging.getLogger("labeltune.distributed")

PATIENCE = 60.0
"""Seconds of waiting for the other processes before that is logged."""

LONGEST_WAIT = timedelta(days=7)
"""How long a process waits while the main process works alone."""


def broadcast_parameters(accelerator: Accelerator, parameters: Iterable[torch.Tensor]) -> None:
    """Give every process the main process's values."""
    if accelerator.num_processes > 1:
        for parameter in parameters:
            parameter.data.copy_(broadcast(parameter.data))


def all_reduce_gradients(
    accelerator: Accelerator, parameters: Iterable[torch.Tensor], loss: torch.Tensor
) -> torch.Tensor:
    """Make each gradient the sum of all processes' gradients; returns the sum of their losses. One message, because an
    adapter has only some megabytes."""
    if accelerator.num_processes == 1:
        return loss
    parameters = list(parameters)
    used = loss.new_tensor([parameter.grad is not None for parameter in parameters])
    # all processes send tensors of the same size
    own = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
    with _waiting(accelerator):
        whole = accelerator.reduce(torch.cat([loss[None], used, *(gradient.flatten() for gradient in own)]), "sum")
    loss, used, flat = whole.split([1, len(parameters), whole.numel() - 1 - len(parameters)])
    parts = flat.split([parameter.numel() for parameter in parameters])
    for parameter, anywhere, part in zip(parameters, used.tolist(), parts):
        # without a gradient the optimizer leaves a parameter out
        parameter.grad = part.view_as(parameter).clone() if anywhere else None
    return loss[0]


def all_reduce_max(accelerator: Accelerator, numbers: Sequence[int]) -> list[int]:
    """The maximum of each number over all processes, so that all of them decide alike."""
    if accelerator.num_processes == 1:
        return list(numbers)
    with _waiting(accelerator):
        found: list[int] = accelerator.gather(torch.tensor([numbers], device=accelerator.device)).amax(0).tolist()
    return found


def all_gather(accelerator: Accelerator, own: list[Any]) -> list[Any]:
    """The lists of all processes as one, in rank order."""
    with _waiting(accelerator):
        found: list[Any] = gather_object(own)
    return found


def barrier(accelerator: Accelerator) -> None:
    """Hold every process until all are here, however long the main process works alone before: a long prediction, frozen
    layers to store. If one dies, the launcher ends the others."""
    if accelerator.num_processes > 1:
        torch.distributed.barrier(group=_barrier_group())


@functools.cache
def _barrier_group() -> Any:
    """A group for `barrier` alone: for all other collectives the backend's own limit, 10 to 30 minutes, is right."""
    return torch.distributed.new_group(timeout=LONGEST_WAIT, backend="gloo")


@contextmanager
def main_process_first(accelerator: Accelerator) -> Iterator[None]:
    """The main process runs the block before the others do: they find the files that it has stored."""
    if not accelerator.is_main_process:
        barrier(accelerator)
    yield
    if accelerator.is_main_process:
        barrier(accelerator)


def unreachable(error: BaseException) -> Optional[UserError]:
    """The error to report where a backend has lost the other processes; None where it is another error."""
    text = " ".join(str(error).split())
    if is_out_of_memory(error) or not any(words in text for words in _LOST):
        return None
    return UserError(
        tr("the other processes of this launch cannot be reached any more: {text}", text=text[:160]),
        tr("one of them has ended: look for its message; run the same command again to resume"),
    )


_LOST = (
    "Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting", "Socket Timeout",
    "remote process exited", "communicator was aborted", "collective operation timeout",
)  # fmt: skip
"""Texts of gloo, of NCCL and of PyTorch's store."""


@contextmanager
def _waiting(accelerator: Accelerator) -> Iterator[None]:
    """Log it when the block takes long: where one process is stopped, or hangs, the others would wait in silence."""

    def warn() -> None:
        log.warning(
            tr(
                "process {process_index} of {num_processes} has waited {patience:g} s for the "
                "others: is one of them stopped?",
                process_index=accelerator.process_index,
                num_processes=accelerator.num_processes,
                patience=PATIENCE,
            ),
            extra={"every_process": True},
        )

    timer = threading.Timer(PATIENCE, warn)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
