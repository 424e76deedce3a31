"""Sources: where a base model comes from. Each is a row of `SOURCES`: a folder, or the Hugging Face hub."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Optional

from grading import contract
from runner.errors import UserError

CONTENT = ("*.safetensors", "*.json", "*.model", "merges.txt", "vocab.txt", "*.jinja")
"""Patterns of the files that define a base. Its digest covers them, and a download brings them."""

CODE = ("*.py",)
"""The same where a recipe allows the code in the base's folder to run."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class Source(NamedTuple):
    """A place that bases come from."""

    matches: Callable[[str, Path], bool]
    """Whether a base of this name comes from here; the path is the workspace."""
    find: Callable[[str, Path, bool], Path]
    """The folder of the base of this name. The last argument: whether its code is wanted too. Raises UserError."""


def content(trusted: bool) -> tuple[str, ...]:
    """Patterns of a base's files; `trusted`: with its code."""
    return CONTENT + CODE if trusted else CONTENT


def find_base(name: str, root: Path, trusted: bool = False) -> Path:
    """The folder of the base that a recipe names; `root`: the workspace, where a relative folder starts.

    Raises UserError where no source has it, or where its weights are not safe to load."""
    for source in SOURCES:
        if source.matches(name, root):
            folder = source.find(name, root, trusted)
            _require_safetensors(folder)
            return folder
    raise UserError(
        f"base: the folder {_local(name, root)} does not exist", "name the model's folder: base=/models/gemma-2b"
    )


def cached_base(name: str, root: Path, trusted: bool = False) -> Optional[Path]:
    """The folder of the base on this machine, found without a download; None: a run would download it.

    Raises UserError as `find_base` does."""
    if _is_folder(name, root) or not _is_hub_id(name, root):
        return find_base(name, root, trusted)
    model = hub_cache() / f"models--{name.replace('/', '--')}"
    try:
        folder = model / "snapshots" / (model / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    if not (folder / "config.json").is_file():
        return None
    _require_safetensors(folder)
    return folder


def hub_cache() -> Path:
    """The folder in which the hub's client keeps what it downloads."""
    own = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expanduser(own)) if own else hub_home() / "hub"


def hub_home() -> Path:
    """The folder of the hub's client, with its token and its cache."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(os.path.expanduser(home))


def _local(name: str, root: Path) -> Path:
    return root / os.path.expanduser(name)


def _is_folder(name: str, root: Path) -> bool:
    return _local(name, root).is_dir()


def _find_folder(name: str, root: Path, trusted: bool) -> Path:
    folder = _local(name, root)
    if not (folder / "config.json").is_file():
        raise UserError(
            f"base: {folder} has no config.json", "name the folder that the model was saved or downloaded to"
        )
    return folder


def _is_hub_id(name: str, root: Path) -> bool:
    return bool(_HUB_ID.fullmatch(name))


def _download(name: str, root: Path, trusted: bool) -> Path:
    """The hub's snapshot of a model, downloaded once."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(content(trusted))))
    # the hub's client has dozens of error types; each means that the base cannot be downloaded
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"base: {name} is not a folder, and it cannot be downloaded from the hub: {reason}",
            "name the model's folder (base=/models/gemma-2b), or log in with `huggingface-cli login` if the model is gated",
        ) from error


SOURCES = (Source(_is_folder, _find_folder), Source(_is_hub_id, _download))
"""Every source. The first that matches a name is used."""


def _require_safetensors(folder: Path) -> None:
    """Raises UserError where a folder has pickled weights only, or an index that names them: reading a pickle can run code,
    even with `weights_only` (CVE-2025-32434, torch before 2.6).

    Also where it has an adapter: transformers would load the adapter too, from wherever its configuration says, and would
    then not report which weights of the base are missing."""
    if (folder / contract.ADAPTER_CONFIG).exists():
        raise UserError(
            f"base: {folder} has an adapter in it ({contract.ADAPTER_CONFIG})",
            "name the base model of that adapter; or merge the two and save the result as a new base",
        )
    named = [path.name for path in folder.glob("*.safetensors")]
    for index in folder.glob("*.safetensors.index.json"):
        try:
            named += dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"]).values()
        except (OSError, ValueError, TypeError, KeyError):
            raise UserError(f"base: {index} is not an index of weights", "copy or save the model again") from None
    there = {path.name for path in folder.iterdir()}
    missing = sorted({str(name) for name in named} - there)
    if missing and missing[0].endswith(".safetensors"):
        raise UserError(f"base: {folder} has {missing[0]} in its index, but not the file", "copy the model again")
    other = sorted({str(name) for name in named if not str(name).endswith(".safetensors")})
    if other or not named:
        raise UserError(
            f"base: {folder} {f'has {other[0]} in its index' if other else 'has no *.safetensors'}; pickled weights (*.bin) "
            "are not loaded, because they can run code",
            "if you trust the model, save it with save_pretrained(folder, safe_serialization=True)",
        )
