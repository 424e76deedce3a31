"""The processes of a launch, without torch: which one is the main process, and waiting for the others."""

from __future__ import annotations

import os
from collections.abc import Callable


def is_main_process() -> bool:
    """Whether this process is the one that writes and logs. The launcher numbers its processes in the environment."""
    return os.environ.get("RANK", "0") == "0"


def wait_for_everyone() -> None:
    """Hold every process of the launch until all are here. A single process does not even load torch for it."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        from runner.distributed.accelerator import connect
        from runner.distributed.collectives import barrier

        barrier(connect())


def as_main_says(decide: Callable[[], bool]) -> bool:
    """The main process's decision, for all: the files that it depends on may change before another process reads them."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return decide()
    from runner.distributed.accelerator import connect
    from runner.distributed.collectives import all_gather

    return bool(all_gather(connect(), [is_main_process() and decide()])[0])
