"""The side run: stages of a recipe in a workspace of its own, such as a trial of a search, a member of an ensemble or a fold."""

from __future__ import annotations

from collections.abc import Sequence

from runner.distributed.processes import is_main_process
from runner.stages import Stage, StageContext, run_stage
from runner.system.signals import raise_if_asked
from runner.workspace.run_moves import recover


def run_aside(stages: Sequence[Stage], context: StageContext) -> None:
    """Run stages that have not finished, and finish first what a killed process has left half done.

    Raises Stopped before a stage where a signal asks for it, or where the time is over. What the last stage has written
    counts."""
    if is_main_process():
        context.workspace.make_folders()
        recover(context.workspace)
    for stage in stages:
        raise_if_asked()
        run_stage(stage, context)
