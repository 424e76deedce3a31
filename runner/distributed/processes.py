"""The processes of a launch, as far as that needs no torch: who is the main one, and waiting for the others."""

from __future__ import annotations

import os
from collections.abc import Callable


def is_main_process() -> bool:
    """Whether this process is the one that writes and speaks. The launcher numbers its processes in the environment."""
    return os.environ.get("RANK", "0") == "0"


def wait_for_everyone() -> None:
    """Holds every process of the launch until all have come here; needs nothing, not even torch, where there is one."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        from runner.distributed.accelerator import connect
        from runner.distributed.collectives import barrier

        barrier(connect())


def as_main_says(decide: Callable[[], bool]) -> bool:
    """What the main process decides: the files that it looks at may change before others would come to look."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return decide()
    from runner.distributed.accelerator import connect
    from runner.distributed.collectives import all_gather

    return bool(all_gather(connect(), [is_main_process() and decide()])[0])
