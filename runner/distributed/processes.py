"""The processes of a launch, as far as that needs no torch: who is the main one, and waiting for the others."""

from __future__ import annotations

import os
from collections.abc import Callable


def is_main_process() -> bool:
    """Whether this process writes files and reports. The launcher numbers its processes in the environment."""
    return os.environ.get("RANK", "0") == "0"


def process_count() -> int:
    """The number of processes of the launch."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def wait_for_everyone() -> None:
    """Wait until every process of the launch has come here. A launch of one process needs no torch for this."""
    if process_count() > 1:
        from runner.distributed.accelerator import connect
        from runner.distributed.collectives import barrier

        barrier(connect())


def main_process_decides(decide: Callable[[], bool]) -> bool:
    """Return the main process's decision on every process: the files that it reads may change before another reads them."""
    if process_count() == 1:
        return decide()
    from runner.distributed.accelerator import connect
    from runner.distributed.collectives import all_gather

    return bool(all_gather(connect(), [is_main_process() and decide()])[0])
