"""The base report: where the base model is, its size and type, whether it is a chat model, and whether its files are whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Optional

from runner.lookahead.findings import Findings, Section
from runner.lookahead.layout import millions, size
from runner.lookahead.light_tokenizer import FILE, read_json
from runner.lookahead.weight_files import Tensor, missing_tensors, read_header, types_of
from runner.model.base_folder import TOKENIZERS
from runner.model.chat_base import chat_base_warning
from runner.model.sources import cached_base, hub_home
from runner.recipe.schema import Recipe
from runner.system.provenance import package_version

GATED = ("google/gemma", "meta-llama/")
"""Beginnings of hub ids whose licence has to be accepted with an account."""

OFFLINE_SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Environment variables that forbid downloads."""

EMBEDDINGS = ("embed_tokens", "wte", "embed_in", "word_embeddings")
"""Last parts of the names of input embeddings."""


@dataclass(frozen=True)
class BaseReport:
    """A base that is on this machine."""

    folder: Path
    config: Mapping[str, Any]
    """Its config.json."""
    tensors: Mapping[str, Tensor]
    """The tensors of all weight files; empty where one of them cannot be read."""
    file_bytes: int
    """Bytes of its weight files."""
    chat: Optional[str]
    """The warning about a chat model under a plain prompt; None: there is none."""

    @property
    def parameters(self) -> int:
        """Number of weights in its files."""
        return sum(tensor.size for tensor in self.tensors.values())

    @property
    def vocabulary(self) -> Optional[int]:
        """Number of ids that the model knows; None: not known."""
        rows = [tensor.shape[0] for name, tensor in self.tensors.items() if part(name, -2) in EMBEDDINGS]
        return rows[0] if rows else self.size("vocab_size")

    def size(self, *keys: str) -> Optional[int]:
        """The first whole number of these keys in the configuration, or in the one of its text model; None: there is none."""
        text = self.config.get("text_config")
        for tree in (self.config, text if isinstance(text, dict) else {}):
            for key in keys:
                if type(tree.get(key)) is int:
                    return int(tree[key])
        return None


def part(name: str, place: int) -> str:
    """A part of a dotted name, such as the last but one; empty where there is none."""
    parts = name.split(".")
    return parts[place] if len(parts) >= abs(place) else ""


def look_at_base(recipe: Recipe, root: Path, findings: Findings) -> Optional[BaseReport]:
    """Find a recipe's base on this machine, without any download, and read the headers of its files; None: it is not here."""
    folder = None
    before = len(findings.problems)
    with findings.collect():
        folder = cached_base(recipe.base, root, recipe.trust_remote_code)
        if folder is None:
            _not_here(recipe, findings)
    if folder is None:
        findings.unknown.append("the base")
        return None
    folder = folder.absolute()
    config = read_json(folder / "config.json")
    if not config:
        findings.problem(f"base: {folder / 'config.json'} cannot be read as JSON", "copy it again")
    tensors: dict[str, Tensor] = {}
    files = sorted(folder.glob("*.safetensors"))
    for path in files:
        with findings.collect():
            tensors.update(read_header(path))
    whole = len(findings.problems) == before
    missing = missing_tensors(folder, tensors) if whole else []
    if missing:
        findings.problem(
            f"base: {folder}: {len(missing):,} weights of its index are in none of its files, the first is {missing[0]}",
            "download or copy the whole folder again",
        )
    _check_tokenizer(folder, findings)
    _check_model_type(recipe, config, findings)
    chat = chat_base_warning(recipe.base, folder, recipe.prompt.template)
    report = BaseReport(folder, config, tensors if whole else {}, sum(path.stat().st_size for path in files), chat)
    if report.chat:
        findings.warn(report.chat)
    return report


def base_section(recipe: Recipe, report: Optional[BaseReport]) -> Section:
    """The report as text."""
    if report is None:
        return Section("base", [("path", f"{recipe.base}: not on this machine")])
    kind = report.config.get("model_type", "unknown type")
    lines = [("path", str(report.folder))]
    if report.tensors:
        lines.append(
            (
                "model",
                f"{kind}, {millions(report.parameters)} weights, {types_of(report.tensors)}, "
                f"{size(report.file_bytes)}, files whole; {'chat' if report.chat else 'plain'} model",
            )
        )
    return Section("base", lines)


def is_offline(recipe: Recipe) -> bool:
    """Whether a run may not use the network."""
    return recipe.offline or any(map(is_set, OFFLINE_SWITCHES))


def is_set(name: str) -> bool:
    """Whether an environment variable says yes, as the hub's client reads it."""
    return os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")


def hub_token() -> bool:
    """Whether the hub's client has a token."""
    named = any(os.environ.get(name) for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"))
    return named or Path(os.environ.get("HF_TOKEN_PATH") or hub_home() / "token").expanduser().is_file()


def hub_command() -> str:
    """The name of the hub client's own command: version 1 has renamed it."""
    version = package_version("huggingface_hub") or "1"
    return "huggingface-cli" if version.startswith("0.") else "hf"


def _not_here(recipe: Recipe, findings: Findings) -> None:
    hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    client = hub_command()
    command = f"name its folder (base=/models/{recipe.base.rpartition('/')[2]}), or download it first: "
    command += f"{client} download {recipe.base}"
    if is_offline(recipe):
        findings.problem(
            f"base: {recipe.base} is not on this machine, and offline: true or HF_HUB_OFFLINE forbids a download",
            command,
        )
    elif recipe.base.startswith(GATED) and not hub_token():
        findings.problem(
            f"base: {recipe.base} is not on this machine, and {hub} gives it only to accounts that have accepted its licence; "
            "no token was found",
            f"accept the licence on its page, then {'hf auth login' if client == 'hf' else f'{client} login'}; or {command}",
        )
    else:
        findings.warn(f"base: {recipe.base} is not on this machine; a run downloads it from {hub}", command)


def _check_tokenizer(folder: Path, findings: Findings) -> None:
    if (folder / FILE).is_file():
        return
    other = next(name for name in TOKENIZERS if (folder / name).is_file())
    findings.warn(
        f"base: {folder} has {other} and no {FILE}: tokens, prompts and labels could not be checked",
        f"copy {FILE} too; without it a run has to convert {other}, which needs more packages",
    )
    findings.unknown.append("the tokenizer")


def _check_model_type(recipe: Recipe, config: Mapping[str, Any], findings: Findings) -> None:
    """Whether the installed transformers names the model's type in its tables. Only their text is read."""
    kind, spec = config.get("model_type"), find_spec("transformers")
    if not isinstance(kind, str) or spec is None or spec.origin is None or recipe.trust_remote_code:
        return
    tables = list((Path(spec.origin).parent / "models" / "auto").glob("*.py"))
    if tables and not any(f'"{kind}"' in path.read_text(encoding="utf-8", errors="replace") for path in tables):
        findings.problem(
            f"base: this version of transformers does not know models of type {kind}",
            "install a newer transformers, or name another base",
        )
