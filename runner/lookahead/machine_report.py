"""The machine report: whether this machine can run a recipe at all, line by line, each with its fix."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

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
        Section("software", _software(found, here)),
        Section("device", _device(here, findings)),
        Section("disk", _disks(workspace.absolute(), findings)),
        Section("hub", _hub(findings)),
    ]


def _software(found: Sequence[Package], machine: Machine) -> list[tuple[str, str]]:
    lines = [
        ("Python", f"{platform.python_version()} (tested: {PYTHON[0]} to {PYTHON[1]}), {platform.platform(terse=True)}")
    ]
    lines.append(("packages", ", ".join(map(_package, found))))
    built = f"for CUDA {machine.torch_cuda}" if machine.torch_cuda else "for CPUs only"
    if package_version("torch"):
        lines.append(("torch", f"built {built}"))
    return lines


def _package(package: Package) -> str:
    if not package.version:
        return f"{package.name} missing"
    return f"{package.name} {package.version}" + (f" ({package.remark})" if package.remark else "")


def _device(machine: Machine, findings: Findings) -> list[tuple[str, str]]:
    lines = [("GPU", _gpu_line(gpu)) for gpu in machine.gpus] or [
        ("GPU", "none that nvidia-smi shows: runs use the CPU")
    ]
    for gpu in machine.gpus[:1]:
        _check_gpu(gpu, machine, findings)
    if not machine.gpus and machine.torch_cuda:
        findings.warn(
            f"torch is built for CUDA {machine.torch_cuda}, and no GPU is found",
            "look at nvidia-smi and CUDA_VISIBLE_DEVICES, if this machine has one",
        )
    fast = next((flag for flag in BF16_FLAGS if flag in machine.flags), "")
    lines.append(
        (
            "CPU",
            f"{machine.processor}, {machine.threads} threads; "
            + (f"bf16 by {fast}" if fast else "no bf16 instructions: train.precision: fp32 is faster here"),
        )
    )
    if machine.memory:
        free = "" if machine.available is None else f", {size(machine.available)} free"
        lines.append(("memory", f"{size(machine.memory)}{free}"))
        if (machine.available or machine.memory) < LITTLE_MEMORY:
            findings.warn(
                "memory: less than 4 GB are free", "end other programs, or take a small base: recipes/laptop.yaml"
            )
    return lines


def _gpu_line(gpu: Gpu) -> str:
    bf16 = "bf16" if gpu.has_bf16 else "no bf16"
    return f"{gpu.name}, {size(gpu.total)} ({size(gpu.free)} free), {bf16}, driver {gpu.driver}"


def _check_gpu(gpu: Gpu, machine: Machine, findings: Findings) -> None:
    if machine.torch_cuda is None:
        if package_version("torch"):
            findings.problem(
                f"{gpu.name} cannot be used: the installed torch is built for CPUs only",
                "pip install torch --index-url https://download.pytorch.org/whl/cu121, or the CUDA that fits your driver",
            )
        return
    needed = DRIVERS.get(int(machine.torch_cuda.partition(".")[0]), 0)
    major = gpu.driver.partition(".")[0]
    if major.isdigit() and int(major) < needed:
        findings.problem(
            f"driver {gpu.driver} is too old for torch's CUDA {machine.torch_cuda}: it needs {needed} or newer",
            "update the driver, or install a torch for an older CUDA",
        )
    if not gpu.has_bf16:
        findings.warn(
            f"{gpu.name} does not compute bf16", "set train.precision: fp32; a base then takes twice the memory"
        )
    if gpu.total and gpu.free < gpu.total / 2:
        findings.warn(f"{gpu.name}: {size(gpu.total - gpu.free)} of its memory are in use", "nvidia-smi shows by whom")


def _disks(workspace: Path, findings: Findings) -> list[tuple[str, str]]:
    lines = []
    for name, folder in (("workspace", workspace), ("hub cache", hub_cache())):
        free, total = free_disk(folder)
        lines.append((name, f"{folder}: {size(free)} of {size(total)} free"))
        if free < NO_DISK:
            findings.problem(f"{folder}: only {size(free)} are free on its disk", "make room there")
        elif free < LITTLE_DISK:
            findings.warn(f"{folder}: {size(free)} are free on its disk", "gemma-2b alone takes 5 GB")
    return lines


def _hub(findings: Findings) -> list[tuple[str, str]]:
    endpoint = os.environ.get("HF_ENDPOINT")
    if endpoint and not endpoint.startswith(("http://", "https://")):
        findings.problem(
            f"HF_ENDPOINT={endpoint} is not an address", "export HF_ENDPOINT=https://..., or unset HF_ENDPOINT"
        )
    offline = [name for name in OFFLINE_SWITCHES if is_set(name)]
    models = sorted(path.name[len("models--") :].replace("--", "/") for path in hub_cache().glob("models--*"))
    lines = [
        ("address", endpoint or "https://huggingface.co (HF_ENDPOINT is not set)"),
        (
            "offline",
            f"{', '.join(offline)} set: nothing is downloaded" if offline else "no: a hub id may be downloaded",
        ),
        ("token", "there is one" if hub_token() else "none: gated models such as google/gemma-2b cannot be downloaded"),
        ("bases", ", ".join(models[:8]) if models else "none in the hub cache; a recipe may name a folder"),
    ]
    if offline and not models:
        findings.warn(
            f"{offline[0]} is set and the hub cache is empty",
            "name the base's folder in the recipe: base=/models/gemma-2b",
        )
    return lines
