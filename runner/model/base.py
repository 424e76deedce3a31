"""The base model: the pre-trained model and its tokenizer, found by the recipe's name for it and loaded once a launch."""

from __future__ import annotations

import dataclasses
import functools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from runner.errors import UserError
from runner.language import tr
from runner.model.sources import content, find_base
from runner.recipe.schema import Recipe
from runner.system.files import digest_folder

log = logging.getLogger("labeltune.model")

LARGE = 10**9
"""Bytes of a base whose digest takes seconds, and so gets a line before."""


@dataclass(frozen=True)
class BaseFiles:
    """The files of a base."""

    folder: Path
    """The folder that they are in."""
    trusted: bool = False
    """Whether Python code in that folder may be run."""

    @property
    def bytes(self) -> int:
        """Size of the weights."""
        return sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over the files, computed once."""
        if self.bytes > LARGE:
            log.info(
                tr(
                    "computing the digest of the base {folder}, {bytes:.1f} GB",
                    folder=self.folder,
                    bytes=self.bytes / 1e9,
                )
            )
        return digest_folder(self.folder, content(self.trusted))


@dataclass(frozen=True)
class Base:
    """A loaded base."""

    files: BaseFiles
    """The files that it was loaded from."""
    precision: str
    """Type of its weights: `bf16` or `fp32`."""
    model: Any
    """The causal language model, frozen, on the device."""
    tokenizer: Any
    """Its tokenizer, a fast one."""

    @property
    def folder(self) -> Path:
        """The folder of its files."""
        return self.files.folder


def load_base(folder: Path, precision: str, device: Any, trusted: bool = False, on_host: bool = False) -> Base:
    """Loads the base in `folder`.

    Args:
        folder: A model saved by transformers, with a fast tokenizer.
        precision: `auto`, `bf16` or `fp32`.
        device: The `torch.device` that it computes on.
        trusted: Whether Python code in the folder may be run.
        on_host: Whether the weights stay in the host's memory, from where they are sharded.

    Raises:
        UserError: The folder cannot be loaded.
    """
    import torch
    from transformers import AutoTokenizer
    from transformers.utils import logging

    from runner.model.compat import load_model

    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    # a second progress bar would break the lines of ours
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trusted)
        model = load_model(folder, {"bf16": torch.bfloat16, "fp32": torch.float32}[precision], trusted)
    # a damaged or unknown folder raises errors of many libraries
    except Exception as error:
        raise UserError(
            tr("base: cannot load {folder}: {error}", folder=folder, error=" ".join(str(error).split())[:300]),
            tr(
                "check that the folder is complete and that this version of transformers knows the model; a model with its own "
                "Python code needs trust_remote_code: true in the recipe, if you trust its author"
            ),
        ) from error
    if not tokenizer.is_fast:
        raise UserError(
            tr("base: {folder} has no tokenizer.json", folder=folder),
            tr("save its tokenizer with a fast tokenizer class"),
        )
    # with bf16 weights only the adapter computes in fp32: TF32 is finer than bf16 and much faster than fp32
    tf32 = precision == "bf16" and device.type == "cuda"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    model = model.requires_grad_(False).to("cpu" if on_host else device)
    return Base(BaseFiles(folder, trusted), precision, model, tokenizer)


class Bases:
    """The base models of one launch. Each is found and hashed once, and loaded once for consecutive recipes that share it."""

    def __init__(self, root: Path) -> None:
        """`root`: the workspace, where relative folders start."""
        self.root = root
        self.loads = 0
        """How often a base was loaded."""
        self._files: dict[tuple[str, bool], BaseFiles] = {}
        self._loaded: Optional[tuple[tuple[str, bool, str], Base]] = None

    def digest(self, recipe: Recipe) -> str:
        """SHA-256 over the files of a recipe's base."""
        return self.files(recipe).digest

    def load(self, recipe: Recipe, device: Any) -> Base:
        """A recipe's base on `device`. Only the last one stays in memory: two gemmas may not fit."""
        key = (recipe.base, recipe.trust_remote_code, recipe.train.precision)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None
            self._loaded = (key, self._load(recipe, device))
        return self._loaded[1]

    def load_to_split(self, recipe: Recipe, device: Any) -> Base:
        """A recipe's base in the host's memory, for one caller alone: sharding changes it."""
        self._loaded = None
        return self._load(recipe, device, on_host=True)

    def files(self, recipe: Recipe) -> BaseFiles:
        """The files of a recipe's base. Raises UserError where they cannot be found."""
        key = (recipe.base, recipe.trust_remote_code)
        if key not in self._files:
            folder = find_base(recipe.base, self.root, recipe.trust_remote_code)
            self._files[key] = BaseFiles(folder, recipe.trust_remote_code)
        return self._files[key]

    def _load(self, recipe: Recipe, device: Any, on_host: bool = False) -> Base:
        files = self.files(recipe)
        log.info(tr("loading the base {base}, {bytes:.2f} GB", base=recipe.base, bytes=files.bytes / 1e9))
        self.loads += 1
        base = load_base(files.folder, recipe.train.precision, device, files.trusted, on_host)
        # with these files its digest is known, if it has been computed
        return dataclasses.replace(base, files=files)
