"""Sources: where a base model comes from, a folder or the Hugging Face hub."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from grading import contract
from runner.errors import UserError

CONTENT = ("*.safetensors", "*.json", "*.model", "merges.txt", "vocab.txt", "*.jinja")
"""The files that can make a base what it is: its digest covers them and a download brings them."""


CODE = ("*.py",)
"""The same where a recipe says that code in the base's folder may be run."""


_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def content(trusted: bool) -> tuple[str, ...]:
    """Patterns of a base's files; `trusted`: its code counts."""
    return CONTENT + CODE if trusted else CONTENT


def find_base(name: str, root: Path, trusted: bool = False) -> Path:
    """The folder of the base that a recipe names: a folder (from the workspace or absolute) or a hub id, downloaded once.

    Raises UserError where neither is there."""
    folder = root / os.path.expanduser(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(
                f"base: {folder} holds no config.json", "name the folder that the model was saved or downloaded to"
            )
        _require_safetensors(folder)
        return folder
    if not _HUB_ID.fullmatch(name):
        raise UserError(f"base: the folder {folder} does not exist", "name the model's folder: base=/models/gemma-2b")
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=list(content(trusted))))
    except Exception as error:  # the hub's client has dozens of error types; each means that the base is not to be had
        raise UserError(
            f"base: {name} is not a folder, and it cannot be downloaded from the hub: {str(error).strip().partition(chr(10))[0]}",
            "name the model's folder (base=/models/gemma-2b), or log in with `huggingface-cli login` if the model is gated",
        ) from error
    _require_safetensors(folder)
    return folder


def _require_safetensors(folder: Path) -> None:
    """Raises UserError where a folder has other weights, or an index that names others: even with `weights_only`, reading a
    pickle has run code (CVE-2025-32434, torch before 2.6). So it does for a folder that holds an adapter: transformers would
    load that too, from wherever it says, and no longer tell which weights of the base are missing."""
    if (folder / contract.ADAPTER_CONFIG).exists():
        raise UserError(
            f"base: {folder} holds an adapter ({contract.ADAPTER_CONFIG})",
            "name the model below it; or merge the two and save the result as a base of its own",
        )
    named = [path.name for path in folder.glob("*.safetensors")]
    for index in folder.glob("*.safetensors.index.json"):
        try:
            named += dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"]).values()
        except (OSError, ValueError, TypeError, KeyError):
            raise UserError(f"base: {index} is no index of weights", "copy or save the model again") from None
    there = {path.name for path in folder.iterdir()}
    far = sorted({str(name) for name in named} - there)
    if far and far[0].endswith(".safetensors"):
        raise UserError(f"base: {folder} has {far[0]} in its index, which does not lie in it", "copy the model again")
    other = sorted({str(name) for name in named if not str(name).endswith(".safetensors")})
    if other or not named:
        raise UserError(
            f"base: {folder} {f'has {other[0]} in its index' if other else 'holds no *.safetensors'}; pickled weights (*.bin) "
            "are not loaded, they can run code",
            "save the model with save_pretrained(folder, safe_serialization=True) where you trust it",
        )
