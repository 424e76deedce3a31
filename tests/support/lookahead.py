"""Look-aheads of the tiny recipe, on a machine that is always the same."""

from pathlib import Path
from typing import Any, Optional

from conftest import recipe_tree, write_recipe

from runner.lookahead.machine import Gpu, Machine
from runner.lookahead.report import LookAhead, look_ahead
from runner.recipe.loader import load_recipes
from runner.workspace.paths import STAGE_NAMES

CPU = Machine((), 2, "a processor", frozenset({"avx2"}), 16 << 30, 8 << 30, None)
A10 = Gpu("NVIDIA A10", 24 << 30, 23 << 30, "535.104", 8.6)


def with_gpu(gpu: Gpu, torch_cuda: Optional[str] = "12.1") -> Machine:
    return Machine((gpu,), 8, "a processor", frozenset({"avx2"}), 64 << 30, 60 << 30, torch_cuda)


def look(workspace: Path, named: Any, machine: Machine = CPU, **changes: Any) -> LookAhead:
    """What `--check` finds about the tiny recipe."""
    path = write_recipe(workspace, recipe_tree(named, **changes))
    (found,) = look_ahead(load_recipes([path]), workspace, STAGE_NAMES, machine)
    return found


def words_of(found: LookAhead) -> str:
    """The report in one line: where its lines are wrapped says nothing."""
    return " ".join(found.text().split())


def problems(found: LookAhead) -> str:
    return "\n".join(f"{each.what} -> {each.next_step}" for each in found.findings.problems)


def warnings(found: LookAhead) -> str:
    return "\n".join(f"{each.what} -> {each.next_step}" for each in found.findings.warnings)


def snapshot(*folders: Path) -> dict[str, tuple[int, int]]:
    """Every file below these folders with its size and the time of its last change."""
    files = [path for folder in folders for path in [folder, *folder.rglob("*")]]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.exists()}
