"""The base model: the pre-trained model and its tokenizer, found by the recipe's name for it and loaded once a launch."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from runner.errors import UserError
from runner.model.sources import content, find_base
from runner.recipe.schema import Recipe
from runner.system.files import digest_folder


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
    trusted: bool = False
    """Whether code that lies in its folder may be run."""

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over its files."""
        return digest_folder(self.folder, content(self.trusted))


def load_base(folder: Path, precision: str, device: Any, trusted: bool = False, on_host: bool = False) -> Base:
    """Loads the base in `folder` onto `device`; `precision` is `auto`, `bf16` or `fp32`. `trusted`: code that lies there may be
    run. `on_host`: it is to compute on `device`, but stays in the host's memory, from where it is split.

    Raises UserError where the folder cannot be loaded."""
    import torch
    from transformers import AutoTokenizer
    from transformers.utils import logging

    from runner.model.compat import load_model

    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    logging.disable_progress_bar()  # a bar of its own for each file would break ours
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trusted)
        model = load_model(folder, {"bf16": torch.bfloat16, "fp32": torch.float32}[precision], trusted)
    except Exception as error:  # a damaged or foreign folder raises errors of many libraries' own
        raise UserError(
            f"base: cannot load {folder}: {' '.join(str(error).split())[:300]}",
            "check that the folder is complete and that this version of transformers knows the model; one that brings code of "
            "its own needs trust_remote_code: true in the recipe, if you trust who wrote it",
        ) from error
    if not tokenizer.is_fast:
        raise UserError(f"base: {folder} has no tokenizer.json", "save its tokenizer with a fast tokenizer class")
    # beside bf16 weights only the adapter computes in fp32: TF32 is finer than what surrounds it, and much faster
    tf32 = precision == "bf16" and device.type == "cuda"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    model = model.requires_grad_(False).to("cpu" if on_host else device)
    return Base(folder, precision, model, tokenizer, trusted)


class Bases:
    """The base models of one launch: each found once, digested once, and loaded once while recipes in a row share it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[tuple[str, bool], Path] = {}
        self._digests: dict[tuple[str, bool], str] = {}
        self._loaded: Optional[tuple[tuple[str, bool, str], Base]] = None

    def folder(self, recipe: Recipe) -> Path:
        """Where a recipe's base lies."""
        key = (recipe.base, recipe.trust_remote_code)
        if key not in self._folders:
            self._folders[key] = find_base(recipe.base, self.root, recipe.trust_remote_code)
        return self._folders[key]

    def digest(self, recipe: Recipe) -> str:
        """SHA-256 of its files."""
        key = (recipe.base, recipe.trust_remote_code)
        if key not in self._digests:
            self._digests[key] = digest_folder(self.folder(recipe), content(recipe.trust_remote_code))
        return self._digests[key]

    def load(self, recipe: Recipe, device: Any) -> Base:
        """That base on `device`. Only the last one is kept: two gemmas need not fit beside each other."""
        key = (recipe.base, recipe.trust_remote_code, recipe.train.precision)
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None
            self._loaded = (key, self._load(recipe, device))
        return self._loaded[1]

    def load_to_split(self, recipe: Recipe, device: Any) -> Base:
        """That base, in the host's memory and the caller's own: what is split is whole no more."""
        self._loaded = None
        return self._load(recipe, device, on_host=True)

    def _load(self, recipe: Recipe, device: Any, on_host: bool = False) -> Base:
        return load_base(self.folder(recipe), recipe.train.precision, device, recipe.trust_remote_code, on_host)
