"""The Python packages that the runner needs: found, and new enough, before any work is done with them.

They are looked up, not imported: `import torch` takes seconds.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import NamedTuple

from runner.errors import UserError
from runner.language import tr


class Package(NamedTuple):
    """A package."""

    module: str
    """Its name in Python."""
    name: str
    """Its name for pip."""
    least: str
    """The oldest version that is supported, as in pyproject.toml; empty for any."""


RECIPES = (Package("yaml", "PyYAML", "6.0"),)
"""What reading a recipe needs."""

RUN = (
    *RECIPES,
    Package("torch", "torch", "2.0.0"),
    Package("transformers", "transformers", "4.38.1"),
    Package("peft", "peft", "0.10.0"),
    Package("accelerate", "accelerate", "0.26.1"),
    Package("datasets", "datasets", "2.18.0"),
    Package("evaluate", "evaluate", "0.4.1"),
    Package("safetensors", "safetensors", ""),
    Package("huggingface_hub", "huggingface_hub", ""),
    Package("tqdm", "tqdm", "4.66"),
    Package("numpy", "numpy", "1.24"),
    Package("sklearn", "scikit-learn", "1.2"),
)
"""What a run needs."""

REPORT = (
    *RECIPES,
    Package("matplotlib", "matplotlib", "3.7"),
    Package("jinja2", "Jinja2", "3.1"),
)
"""What the report of a run needs. A run without them has its result, and no report."""


def require_packages(packages: Sequence[Package]) -> None:
    """Raise UserError with the command that installs them where packages are missing or too old."""
    missing = [package for package in packages if find_spec(package.module) is None]
    old = [package for package in packages if package not in missing and _is_old(package)]
    if not missing and not old:
        return
    found = [tr("the package {name} is not installed", name=package.name) for package in missing]
    found += [
        tr(
            "{name} {version} is older than {least}",
            name=package.name,
            version=version(package.name),
            least=package.least,
        )
        for package in old
    ]
    wanted = " ".join(f'"{each.name}>={each.least}"' if each.least else each.name for each in (*missing, *old))
    raise UserError(
        tr(
            "{found} (Python {version}, {executable})",
            found="; ".join(found),
            version=sys.version.split()[0],
            executable=sys.executable,
        ),
        tr("{executable} -m pip install {wanted}", executable=sys.executable, wanted=wanted),
    )


def exit_without(packages: Sequence[Package]) -> None:
    """End the command with 2 and a sentence where packages are missing or too old."""
    try:
        require_packages(packages)
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


def _is_old(package: Package) -> bool:
    with suppress(PackageNotFoundError):
        return _numbers(version(package.name)) < _numbers(package.least)
    return False


def _numbers(text: str) -> list[int]:
    """The release's numbers: `2.1.0+cu121` gives 2, 1, 0."""
    found = re.match(r"[0-9.]*", text)
    return [int(part) for part in (found[0] if found else "").split(".") if part]
