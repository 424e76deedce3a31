"""The look-ahead: everything about a recipe that can be known before a run, without torch, and nothing written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from runner.language import tr
from runner.lookahead.base_report import base_section, look_at_base
from runner.lookahead.costs import ALLOWANCE, Costs, costs_of, members
from runner.lookahead.data_report import DataReport, data_section, look_at_data
from runner.lookahead.findings import Findings, Section
from runner.lookahead.grader_report import look_at_grading
from runner.lookahead.layout import duration, problem_count, report_lines, size, thread_count, warning_count
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
        more = tr(", {warnings}", warnings=warning_count(warnings)) if warnings else ""
        if problems:
            return tr(
                "{path}: a run would fail: {problem_count}{more}",
                path=self.loaded.path,
                problem_count=problem_count(problems),
                more=more,
            )
        if self.findings.unknown:
            return tr(
                "{path}: not known: {unknown} could not be looked at{more}",
                path=self.loaded.path,
                unknown=", ".join(self.findings.unknown),
                more=more,
            )
        return tr("{path}: fine{more}", path=self.loaded.path, more=more)

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
    sections.append(Section(tr("packages"), [("", package_line(packages))]))
    return LookAhead(loaded, data, tokens, costs, sections, findings)


def device_line(machine: Machine) -> str:
    """The device that a run computes on."""
    if machine.gpu is not None:
        return tr(
            "{name}, {total} of memory, {free} free",
            name=machine.gpu.name,
            total=size(machine.gpu.total),
            free=size(machine.gpu.free),
        )
    memory = (
        tr(", {size} of memory free", size=size(machine.available or machine.memory or 0)) if machine.memory else ""
    )
    return tr("CPU, {thread_count}{memory}", thread_count=thread_count(machine.threads), memory=memory)


def _cost_section(
    recipe: Recipe, adapter: LoraSize, costs: Optional[Costs], machine: Machine, findings: Findings
) -> Section:
    lines = [
        (
            tr("adapter"),
            tr(
                "{trainable:,} parameters are trained, in {ranks_count} of {layers_count} linear "
                "layers; its file has {size}",
                trainable=adapter.trainable,
                ranks_count=len(adapter.ranks),
                layers_count=len(adapter.layers),
                size=size(4 * adapter.saved),
            ),
        ),
        (tr("device"), device_line(machine)),
    ]
    if machine.gpus and machine.gpu is None:
        findings.warn(
            tr("{name} is not used: the installed torch has no CUDA", name=machine.gpus[0].name),
            tr("install a torch that fits its driver"),
        )
    if costs is None:
        return Section(tr("costs"), lines)
    lines.append(
        (
            tr("memory"),
            tr(
                "about {memory} at the largest batch, {precision} (an estimate)",
                memory=size(costs.memory),
                precision=costs.precision,
            ),
        )
    )
    _check_memory(costs, machine, findings)
    if recipe.search.minutes is not None:
        lines.append(
            (tr("time"), tr("a search: {minutes:g} minutes, as search.minutes says", minutes=recipe.search.minutes))
        )
    elif isinstance(recipe.samples.train, Duration):
        lines.append(
            (
                tr("time"),
                tr(
                    "{train} x {members}, as samples.train says: the rows follow from it",
                    train=recipe.samples.train,
                    members=members(recipe),
                ),
            )
        )
    elif costs.seconds is None:
        lines.append((tr("time"), tr("not known for this GPU; --check=timed measures it")))
    else:
        low, high = (duration(costs.seconds * factor) for factor in ALLOWANCE)
        lines.append(
            (
                tr("time"),
                tr("{low} to {high} for all stages (an estimate; --check=timed measures it)", low=low, high=high),
            )
        )
    return Section(tr("costs"), lines)


def _check_memory(costs: Costs, machine: Machine, findings: Findings) -> None:
    room = machine.gpu.free if machine.gpu else machine.available
    advice = tr("lower train.batch_size (and raise train.accumulation), or set train.gradient_checkpointing: true")
    if room and costs.memory > room:
        findings.warn(
            tr(
                "memory: about {memory} are needed, and {room} are free: training would halve its "
                "batches, or end without memory",
                memory=size(costs.memory),
                room=size(room),
            ),
            tr("{advice}; --check=timed measures what is needed", advice=advice),
        )
