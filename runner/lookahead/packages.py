"""The packages: which are installed, in which version, against the two supported ends that are tested."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from runner.language import mark, tr
from runner.lookahead.findings import Findings
from runner.system.provenance import package_version

PYTHON = ("3.9", "3.11")
"""Oldest and newest tested Python."""

TESTED: Mapping[str, tuple[str, str]] = {
    "torch": ("2.0.0", "2.13.0"),
    "transformers": ("4.38.1", "5.23.0"),
    "peft": ("0.10.0", "0.21.2"),
    "accelerate": ("0.26.1", "1.15.0"),
    "datasets": ("2.18.0", "5.2.0"),
    "evaluate": ("0.4.1", "0.4.6"),
    "numpy": ("1.24", ""),
    "scikit-learn": ("1.2", "1.9.1"),
    "PyYAML": ("6.0", ""),
    "tqdm": ("4.66", ""),
    "safetensors": ("", ""),
    "tokenizers": ("", ""),
    "huggingface_hub": ("", ""),
    "matplotlib": ("3.7", ""),
    "Jinja2": ("3.1", ""),
}
"""Packages that a run needs, by pip's names: the oldest and the newest tested version; empty: any that the others accept."""

FOR_REPORTS = ("matplotlib", "Jinja2")
"""Those without which a run has its result, and only no report."""


@dataclass(frozen=True)
class Package:
    """One package of `TESTED`, as it is here."""

    name: str
    """Its name for pip."""
    version: str
    """The installed version; empty: it is missing."""
    remark: str
    """How the version compares with the tested ones; empty: it is between them."""


def packages() -> list[Package]:
    """All packages that a run needs."""
    found = []
    for name, (oldest, newest) in TESTED.items():
        version = package_version(name) or ""
        remark = "missing" if not version else ""
        if version and oldest and _parts(version) < _parts(oldest):
            remark = mark("older than {oldest}, the oldest that is tested", oldest=oldest)
        elif version and newest and _parts(version)[:2] > _parts(newest)[:2]:
            remark = mark("newer than {newest}, the newest that is tested", newest=newest)
        found.append(Package(name, version, remark))
    return found


def check_packages(findings: Findings) -> list[Package]:
    """The packages; adds a problem for those that are missing or too old, and a warning for those that are too new."""
    found = packages()
    missing = [each.name for each in found if each.remark == "missing"]
    old = [each for each in found if each.remark.startswith("older")]
    new = [each for each in found if each.remark.startswith("newer")]
    needed = [name for name in missing if name not in FOR_REPORTS]
    if needed:
        findings.problem(tr("not installed: {missing}", missing=", ".join(needed)), f"pip install {' '.join(needed)}")
    wished = [name for name in missing if name in FOR_REPORTS]
    if wished:
        findings.warn(
            tr("not installed: {missing}, so runs have no report", missing=", ".join(wished)),
            f"pip install {' '.join(wished)}",
        )
    if old:
        wanted = " ".join(f"'{each.name}>={TESTED[each.name][0]}'" for each in old)
        findings.problem(
            "; ".join(
                tr("{name} {version} is {remark}", name=each.name, version=each.version, remark=each.remark)
                for each in old
            ),
            f"pip install {wanted}",
        )
    if new:
        findings.warn(
            "; ".join(
                tr("{name} {version} is {remark}", name=each.name, version=each.version, remark=each.remark)
                for each in new
            ),
            tr("it may work; constraints.txt has the tested versions"),
        )
    python = platform.python_version()
    if sys.version_info < tuple(map(int, PYTHON[0].split("."))):
        findings.problem(
            tr("Python {python} is older than {oldest}", python=python, oldest=PYTHON[0]),
            tr("use Python {oldest} or newer", oldest=PYTHON[0]),
        )
    return found


def package_line(found: list[Package]) -> str:
    """The versions of the libraries that decide a result, in one line."""
    main = [f"{each.name} {each.version}" for each in found[:4] if each.version]
    odd = sum(bool(each.remark) for each in found)
    return tr("Python {python_version}, {main}", python_version=platform.python_version(), main=", ".join(main)) + (
        tr("; {odd} not as tested", odd=odd) if odd else tr("; as tested")
    )


def _parts(version: str) -> tuple[int, ...]:
    """`2.13.0+cpu` as (2, 13, 0)."""
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])
