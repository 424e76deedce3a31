"""The machine report: whether this machine can run a recipe at all, line by line, each with its fix."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from runner.language import tr
from runner.lookahead.base_report import OFFLINE_SWITCHES, hub_token, is_set
from runner.lookahead.findings import Findings, Section
from runner.lookahead.layout import size
from runner.lookahead.machine import Gpu, Machine, free_disk, this_machine
from runner.lookahead.packages import PYTHON, Package, check_packages
from runner.model.sources import hub_cache
from runner.system.provenance import package_version

DRIVERS = {11: 450, 12: 525, 13: 580}
"""The oldest driver for each major version of CUDA: https://docs.nvidia.com/cuda/cuda-toolkit-release-notes."""

LITTLE_DISK, NO_DISK = 10 << 30, 1 << 30
"""Free bytes below which a base of some GB may not fit, and below which a run may not."""

LITTLE_MEMORY = 4 << 30
"""Bytes of memory below which only the smallest bases fit."""

BF16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")
"""Instruction sets of processors that compute bf16 fast."""


def look_at_machine(workspace: Path, findings: Findings, machine: Optional[Machine] = None) -> list[Section]:
    """Everything about this machine, or the given one, that a run depends on. `workspace`: whose disk is looked at."""
    here = machine or this_machine()
    found = check_packages(findings)
    return [
        Section(tr("software"), _software(found, here)),
        Section(tr("device"), _device(here, findings)),
        Section(tr("disk"), _disks(workspace.absolute(), findings)),
        Section(tr("hub"), _hub(findings)),
    ]


def _software(found: Sequence[Package], machine: Machine) -> list[tuple[str, str]]:
    lines = [
        (
            "Python",
            tr(
                "{python_version} (tested: {oldest} to {newest}), {platform}",
                python_version=platform.python_version(),
                oldest=PYTHON[0],
                newest=PYTHON[1],
                platform=platform.platform(terse=True),
            ),
        )
    ]
    lines.append((tr("packages"), ", ".join(map(_package, found))))
    built = (
        tr("built for CUDA {torch_cuda}", torch_cuda=machine.torch_cuda)
        if machine.torch_cuda
        else tr("built for CPUs only")
    )
    if package_version("torch"):
        lines.append(("torch", built))
    return lines


def _package(package: Package) -> str:
    if not package.version:
        return tr("{name} missing", name=package.name)
    return f"{package.name} {package.version}" + (f" ({tr(package.remark)})" if package.remark else "")


def _device(machine: Machine, findings: Findings) -> list[tuple[str, str]]:
    lines = [("GPU", _gpu_line(gpu)) for gpu in machine.gpus] or [
        ("GPU", tr("none that nvidia-smi shows: runs use the CPU"))
    ]
    for gpu in machine.gpus[:1]:
        _check_gpu(gpu, machine, findings)
    if not machine.gpus and machine.torch_cuda:
        findings.warn(
            tr("torch is built for CUDA {torch_cuda}, and no GPU is found", torch_cuda=machine.torch_cuda),
            tr("look at nvidia-smi and CUDA_VISIBLE_DEVICES, if this machine has one"),
        )
    fast = next((flag for flag in BF16_FLAGS if flag in machine.flags), "")
    lines.append(
        (
            "CPU",
            tr(
                "{processor}, {threads} threads; bf16 by {fast}",
                processor=machine.processor,
                threads=machine.threads,
                fast=fast,
            )
            if fast
            else tr(
                "{processor}, {threads} threads; no bf16 instructions: train.precision: fp32 is faster here",
                processor=machine.processor,
                threads=machine.threads,
            ),
        )
    )
    if machine.memory:
        free = "" if machine.available is None else tr(", {free} free", free=size(machine.available))
        lines.append((tr("memory"), f"{size(machine.memory)}{free}"))
        if (machine.available or machine.memory) < LITTLE_MEMORY:
            findings.warn(
                tr("memory: less than 4 GB are free"),
                tr("end other programs, or take a small base: recipes/laptop.yaml"),
            )
    return lines


def _gpu_line(gpu: Gpu) -> str:
    bf16 = "bf16" if gpu.has_bf16 else tr("no bf16")
    return tr(
        "{name}, {total} ({free} free), {bf16}, driver {driver}",
        name=gpu.name,
        total=size(gpu.total),
        free=size(gpu.free),
        bf16=bf16,
        driver=gpu.driver,
    )


def _check_gpu(gpu: Gpu, machine: Machine, findings: Findings) -> None:
    if machine.torch_cuda is None:
        if package_version("torch"):
            findings.problem(
                tr("{name} cannot be used: the installed torch is built for CPUs only", name=gpu.name),
                tr(
                    "pip install torch --index-url https://download.pytorch.org/whl/cu121, or the CUDA "
                    "that fits your driver"
                ),
            )
        return
    needed = DRIVERS.get(int(machine.torch_cuda.partition(".")[0]), 0)
    major = gpu.driver.partition(".")[0]
    if major.isdigit() and int(major) < needed:
        findings.problem(
            tr(
                "driver {driver} is too old for torch's CUDA {torch_cuda}: it needs {needed} or newer",
                driver=gpu.driver,
                torch_cuda=machine.torch_cuda,
                needed=needed,
            ),
            tr("update the driver, or install a torch for an older CUDA"),
        )
    if not gpu.has_bf16:
        findings.warn(
            tr("{name} does not compute bf16", name=gpu.name),
            tr("set train.precision: fp32; a base then takes twice the memory"),
        )
    if gpu.total and gpu.free < gpu.total / 2:
        findings.warn(
            tr("{name}: {size} of its memory are in use", name=gpu.name, size=size(gpu.total - gpu.free)),
            tr("nvidia-smi shows by whom"),
        )


def _disks(workspace: Path, findings: Findings) -> list[tuple[str, str]]:
    lines = []
    for name, folder in ((tr("workspace"), workspace), (tr("hub cache"), hub_cache())):
        free, total = free_disk(folder)
        lines.append((name, tr("{folder}: {free} of {total} free", folder=folder, free=size(free), total=size(total))))
        if free < NO_DISK:
            findings.problem(
                tr("{folder}: only {free} are free on its disk", folder=folder, free=size(free)), tr("make room there")
            )
        elif free < LITTLE_DISK:
            findings.warn(
                tr("{folder}: {free} are free on its disk", folder=folder, free=size(free)),
                tr("gemma-2b alone takes 5 GB"),
            )
    return lines


def _hub(findings: Findings) -> list[tuple[str, str]]:
    endpoint = os.environ.get("HF_ENDPOINT")
    if endpoint and not endpoint.startswith(("http://", "https://")):
        findings.problem(
            tr("HF_ENDPOINT={endpoint} is not an address", endpoint=endpoint),
            tr("export HF_ENDPOINT=https://..., or unset HF_ENDPOINT"),
        )
    offline = [name for name in OFFLINE_SWITCHES if is_set(name)]
    models = sorted(path.name[len("models--") :].replace("--", "/") for path in hub_cache().glob("models--*"))
    lines = [
        (tr("address"), endpoint or tr("https://huggingface.co (HF_ENDPOINT is not set)")),
        (
            tr("offline"),
            tr("{offline} set: nothing is downloaded", offline=", ".join(offline))
            if offline
            else tr("no: a hub id may be downloaded"),
        ),
        (
            tr("token"),
            tr("there is one")
            if hub_token()
            else tr("none: gated models such as google/gemma-2b cannot be downloaded"),
        ),
        (tr("bases"), ", ".join(models[:8]) if models else tr("none in the hub cache; a recipe may name a folder")),
    ]
    if offline and not models:
        findings.warn(
            tr("{offline} is set and the hub cache is empty", offline=offline[0]),
            tr("name the base's folder in the recipe: base=/models/gemma-2b"),
        )
    return lines
