"""The look-ahead: everything about a recipe that can be known before a run, without torch, and nothing written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from runner.lookahead.base_report import base_section, look_at_base
from runner.lookahead.costs import ALLOWANCE, Costs, costs_of, members
from runner.lookahead.data_report import DataReport, data_section, look_at_data
from runner.lookahead.findings import Findings, Section
from runner.lookahead.grader_report import look_at_grading
from runner.lookahead.layout import counted, duration, report_lines, size
from runner.lookahead.lora_size import LoraSize, size_of
from runner.lookahead.machine import Machine, this_machine
from runner.lookahead.packages import check_packages, package_line
from runner.lookahead.prompt_preview import Tokenizers, Tokens, look_at_prompts, prompt_section
from runner.lookahead.workspace_report import look_at_workspace
from runner.recipe.duration import Duration
from runner.recipe.loader import LoadedRecipe
from runner.recipe.schema import Recipe
from runner.workspace.paths import Workspace


@dataclass(frozen=True)
class LookAhead:
    """What was found about one recipe."""

    loaded: LoadedRecipe
    data: DataReport
    tokens: Optional[Tokens]
    """The prompts; None where they cannot be built."""
    costs: Optional[Costs]
    """What a run takes; None where that cannot be estimated."""
    sections: list[Section]
    findings: Findings

    @property
    def verdict(self) -> str:
        """The last line: whether a run would work."""
        problems, warnings = len(self.findings.problems), len(self.findings.warnings)
        more = f", {counted(warnings, 'warning')}" if warnings else ""
        if problems:
            return f"{self.loaded.path}: a run would fail: {counted(problems, 'problem')}{more}"
        if self.findings.unknown:
            return f"{self.loaded.path}: not known: {', '.join(self.findings.unknown)} could not be looked at{more}"
        return f"{self.loaded.path}: fine{more}"

    def text(self) -> str:
        """The whole report."""
        return "\n".join([f"{self.loaded.path}", *report_lines(self.sections, self.findings), self.verdict])


def look_ahead(
    recipes: Sequence[LoadedRecipe], root: Path, stages: Iterable[str], machine: Optional[Machine] = None
) -> list[LookAhead]:
    """Look at everything that these recipes need.

    Args:
        recipes: what would be run.
        root: the workspace.
        stages: those that would be run; without any that needs a model, the base is not looked at.
        machine: where it would run; None: this machine.
    """
    tokenizers, here = Tokenizers(), machine or this_machine()
    with_model = bool(set(stages) - {"prepare"})
    return [_look(loaded, root.absolute(), with_model, tokenizers, here) for loaded in recipes]


def _look(loaded: LoadedRecipe, root: Path, with_model: bool, tokenizers: Tokenizers, machine: Machine) -> LookAhead:
    recipe, findings = loaded.recipe, Findings()
    data = look_at_data(recipe, root, findings)
    sections = [data_section(data)]
    tokens: Optional[Tokens] = None
    costs: Optional[Costs] = None
    if with_model:
        base = look_at_base(recipe, root, findings)
        tokens = look_at_prompts(recipe, data, base, tokenizers, findings)
        sections += [prompt_section(recipe, data, tokens), base_section(recipe, base)]
        if base is not None and base.tensors:
            adapter = size_of(recipe.lora, base.tensors, findings)
            if tokens is not None and tokens.lengths:
                costs = costs_of(recipe, data, base, adapter, tokens, machine)
            sections.append(_cost_section(recipe, adapter, costs, machine, findings))
    workspace = Workspace(root, recipe.task.name)
    sections.append(look_at_workspace(recipe, workspace, costs.disk if costs else 0, findings))
    sections.append(look_at_grading(recipe, data, costs, root, findings))
    packages = check_packages(findings)
    sections.append(Section("packages", [("", package_line(packages))]))
    return LookAhead(loaded, data, tokens, costs, sections, findings)


def device_line(machine: Machine) -> str:
    """The device that a run computes on."""
    if machine.gpu is not None:
        return f"{machine.gpu.name}, {size(machine.gpu.total)} of memory, {size(machine.gpu.free)} free"
    memory = f", {size(machine.available or machine.memory or 0)} of memory free" if machine.memory else ""
    return f"CPU, {counted(machine.threads, 'thread')}{memory}"


def _cost_section(
    recipe: Recipe, adapter: LoraSize, costs: Optional[Costs], machine: Machine, findings: Findings
) -> Section:
    lines = [
        (
            "adapter",
            f"{adapter.trainable:,} parameters are trained, in {len(adapter.ranks)} of {len(adapter.layers)} linear layers; "
            f"its file has {size(4 * adapter.saved)}",
        ),
        ("device", device_line(machine)),
    ]
    if machine.gpus and machine.gpu is None:
        findings.warn(
            f"{machine.gpus[0].name} is not used: the installed torch has no CUDA",
            "install a torch that fits its driver",
        )
    if costs is None:
        return Section("costs", lines)
    lines.append(("memory", f"about {size(costs.memory)} at the largest batch, {costs.precision} (an estimate)"))
    _check_memory(costs, machine, findings)
    if recipe.search.minutes is not None:
        lines.append(("time", f"a search: {recipe.search.minutes:g} minutes, as search.minutes says"))
    elif isinstance(recipe.samples.train, Duration):
        lines.append(
            ("time", f"{recipe.samples.train} x {members(recipe)}, as samples.train says: the rows follow from it")
        )
    elif costs.seconds is None:
        lines.append(("time", "not known for this GPU; --check=timed measures it"))
    else:
        low, high = (duration(costs.seconds * factor) for factor in ALLOWANCE)
        lines.append(("time", f"{low} to {high} for all stages (an estimate; --check=timed measures it)"))
    return Section("costs", lines)


def _check_memory(costs: Costs, machine: Machine, findings: Findings) -> None:
    room = machine.gpu.free if machine.gpu else machine.available
    advice = "lower train.batch_size (and raise train.accumulation), or set train.gradient_checkpointing: true"
    if room and costs.memory > room:
        findings.warn(
            f"memory: about {size(costs.memory)} are needed, and {size(room)} are free: training would halve its batches, "
            "or end without memory",
            f"{advice}; --check=timed measures what is needed",
        )
