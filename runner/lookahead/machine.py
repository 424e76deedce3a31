"""The machine: its GPUs, processor, memory and disks, found without torch."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Optional

QUERIES = ("name,memory.total,memory.free,driver_version,compute_cap", "name,memory.total,memory.free,driver_version")
"""What nvidia-smi is asked; older drivers do not know the first."""

QUERY_SECONDS = 5.0
"""Most seconds that nvidia-smi may take."""


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU."""

    name: str
    total: int
    """Bytes of its memory."""
    free: int
    """Bytes that nobody uses now."""
    driver: str
    """Version of its driver."""
    capability: Optional[float]
    """CUDA compute capability, such as 8.6; None: the driver does not say it."""

    @property
    def has_bf16(self) -> bool:
        """Whether it computes bf16: Ampere (8.0) and newer do."""
        return self.capability is None or self.capability >= 8.0


@dataclass(frozen=True)
class Machine:
    """The machine that a run would use."""

    gpus: tuple[Gpu, ...]
    """Those that CUDA_VISIBLE_DEVICES leaves."""
    threads: int
    """Processor threads that this process may use."""
    processor: str
    """The processor's name."""
    flags: frozenset[str]
    """Instruction sets of the processor, as Linux names them."""
    memory: Optional[int]
    """Bytes of memory; None: not known."""
    available: Optional[int]
    """Bytes of memory that are free now."""
    torch_cuda: Optional[str]
    """The CUDA version that the installed torch was built for; None: it computes on CPUs only, or is not installed."""

    @property
    def gpu(self) -> Optional[Gpu]:
        """The GPU that a run of one process computes on; None: it computes on the CPU."""
        return self.gpus[0] if self.gpus and self.torch_cuda else None


def this_machine() -> Machine:
    """Look at this machine."""
    processor, flags = _processor()
    memory, available = _memory()
    return Machine(_gpus(), _threads(), processor, flags, memory, available, torch_cuda())


def torch_cuda() -> Optional[str]:
    """The CUDA version in the installed torch's own version file, which is read and not imported."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^cuda(?::[^=]*)? = '([\d.]+)'", text, re.MULTILINE)
    return found[1] if found else None


def free_disk(folder: Path) -> tuple[int, int]:
    """Free and total bytes of the disk of a folder, or of the nearest folder above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return usage.free, usage.total


def _gpus() -> tuple[Gpu, ...]:
    program = shutil.which("nvidia-smi")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if program is None or (visible is not None and visible.strip() in ("", "-1")):
        return ()
    for query in QUERIES:
        command = [program, f"--query-gpu={query}", "--format=csv,noheader,nounits"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_SECONDS, check=False)
        except (OSError, subprocess.SubprocessError):
            return ()
        if done.returncode == 0:
            found = [_gpu(line) for line in done.stdout.splitlines() if line.strip()]
            return tuple(_chosen(found, visible))
    return ()


def _gpu(line: str) -> Gpu:
    name, total, free, driver, *more = (cell.strip() for cell in line.split(","))
    capability = float(more[0]) if more and re.fullmatch(r"\d+\.\d+", more[0]) else None
    return Gpu(name, _mebibytes(total), _mebibytes(free), driver, capability)


def _mebibytes(text: str) -> int:
    return int(text) << 20 if text.isdigit() else 0


def _chosen(gpus: list[Gpu], visible: Optional[str]) -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES names by number, in its order."""
    if visible is None or not re.fullmatch(r"\d+(,\d+)*", visible.replace(" ", "")):
        return gpus
    return [gpus[int(number)] for number in visible.split(",") if int(number) < len(gpus)]


def _threads() -> int:
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(threads, int(limit)) if limit.isdigit() and int(limit) > 0 else threads


def _processor() -> tuple[str, frozenset[str]]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    name = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.+)$", text, re.MULTILINE)
    return name[1] if name else platform.machine(), frozenset(flags[1].split()) if flags else frozenset()


def _memory() -> tuple[Optional[int], Optional[int]]:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE))
        return int(sizes["MemTotal"]) << 10, int(sizes["MemAvailable"]) << 10
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    except (AttributeError, ValueError, OSError):
        return None, None
