"""The base model: the pre-trained model and its tokenizer, found by the recipe's name for it and loaded once a launch."""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from runner.errors import UserError
from runner.files import digest_folder

CONTENT = ("*.safetensors", "*.json", "*.model", "merges.txt", "vocab.txt", "*.jinja")
"""The files that can make a base what it is: its digest covers them and a download brings them."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Base:
    """A loaded base."""

    folder: Path
    """Where it lies."""
    precision: str
    """Type of its weights: `bf16` or `fp32`."""
    model: Any
    """The causal language model, frozen, on the device."""
    tokenizer: Any
    """Its tokenizer, a fast one."""

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over its files."""
        return base_digest(self.folder)


def find_base(name: str, root: Path) -> Path:
    """The folder of the base that a recipe names: a folder (from the workspace or absolute) or a hub id, downloaded once.

    Raises UserError where neither is there."""
    folder = root / os.path.expanduser(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(
                f"base: {folder} holds no config.json", "name the folder that the model was saved or downloaded to"
            )
        if not list(folder.glob("*.safetensors")):
            raise UserError(
                f"base: {folder} holds no *.safetensors; pickled weights (*.bin) are not loaded, they can run code",
                "save the model with save_pretrained(folder, safe_serialization=True) where you trust it",
            )
        return folder
    if not _HUB_ID.fullmatch(name):
        raise UserError(f"base: there is no folder {folder}", "name the model's folder: base=/models/gemma-2b")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(CONTENT)))
    except Exception as error:  # the hub's client has dozens of error types; each means that the base is not to be had
        raise UserError(
            f"base: {name} is no folder here and cannot be had from the hub: {str(error).strip().splitlines()[0]}",
            "name the model's folder (base=/models/gemma-2b), or log in with `huggingface-cli login` if the model is gated",
        ) from error


def base_digest(folder: Path) -> str:
    """SHA-256 over the base's files."""
    return digest_folder(folder, CONTENT)


def load_base(folder: Path, precision: str, device: Any, on_host: bool = False) -> Base:
    """Loads the base in `folder` onto `device`; `precision` is `auto`, `bf16` or `fp32`. `on_host`: it is to compute on
    `device`, but stays in the host's memory, from where it is split.

    Raises UserError where the folder cannot be loaded."""
    import torch
    from transformers import AutoTokenizer
    from transformers.utils import logging

    from runner.stack import load_model

    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    logging.disable_progress_bar()  # a bar of its own for each file would break ours
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = load_model(folder, {"bf16": torch.bfloat16, "fp32": torch.float32}[precision])
    except Exception as error:  # a damaged or foreign folder raises errors of many libraries' own
        raise UserError(
            f"base: cannot load {folder}: {' '.join(str(error).split())[:300]}",
            "check that the folder is complete and that this version of transformers knows the model",
        ) from error
    if not tokenizer.is_fast:
        raise UserError(f"base: {folder} has no tokenizer.json", "save its tokenizer with a fast tokenizer class")
    # beside bf16 weights only the adapter computes in fp32: TF32 is finer than what surrounds it, and much faster
    tf32 = precision == "bf16" and device.type == "cuda"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    return Base(folder, precision, model.requires_grad_(False).to("cpu" if on_host else device), tokenizer)


class Bases:
    """The base models of one launch: each found once, digested once, and loaded once while recipes in a row share it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, Path] = {}
        self._digests: dict[str, str] = {}
        self._loaded: Optional[tuple[str, str, Base]] = None

    def folder(self, name: str) -> Path:
        """Where the base that a recipe names lies."""
        if name not in self._folders:
            self._folders[name] = find_base(name, self.root)
        return self._folders[name]

    def digest(self, name: str) -> str:
        """SHA-256 of that base's files."""
        if name not in self._digests:
            self._digests[name] = base_digest(self.folder(name))
        return self._digests[name]

    def load(self, name: str, precision: str, device: Any) -> Base:
        """That base on `device`. Only the last one is kept: two gemmas need not fit beside each other."""
        if self._loaded is None or self._loaded[:2] != (name, precision):
            self.forget()
            self._loaded = (name, precision, load_base(self.folder(name), precision, device))
        return self._loaded[2]

    def load_to_split(self, name: str, precision: str, device: Any) -> Base:
        """That base, in the host's memory and the caller's own: what is split is whole no more."""
        self.forget()
        return load_base(self.folder(name), precision, device, on_host=True)

    def forget(self) -> None:
        """Lets the loaded base go."""
        self._loaded = None
