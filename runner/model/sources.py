"""Sources: where a base model comes from. Each is a row of `SOURCES`: a folder, the Hugging Face hub, or ModelScope."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Optional

from runner.errors import UserError
from runner.model.base_folder import file_problem, near_folder, require_base_folder

CONTENT = ("*.safetensors", "*.json", "*.model", "merges.txt", "vocab.txt", "*.jinja")
"""Patterns of the files that define a base. Its digest covers them, and a download brings them."""

CODE = ("*.py",)
"""The same where a recipe allows the code in the base's folder to run."""

HUB = "LABELTUNE_HUB"
"""Environment variable: the hub that a plain id such as `google/gemma-2b` means, `huggingface` or `modelscope`."""

HUBS = ("huggingface", "modelscope")
"""The hubs. A base's name may begin with one of them and a colon."""

MIRRORED = {"google/gemma-2b": "AI-ModelScope/gemma-2b"}
"""Ids on ModelScope of bases that our recipes name by their id on Hugging Face."""

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

    Raises UserError where no source has it, where it is not a whole model, or where its weights are not safe to load."""
    for source in SOURCES:
        if source.matches(name, root):
            folder = source.find(name, root, trusted)
            require_base_folder(folder)
            return folder
    local = _local(name, root)
    if local.is_file():
        raise file_problem(local)
    two = "" if "/" in name or "\\" in name else ", or a hub id of two parts: base=google/gemma-2b"
    raise UserError(
        f"base: the folder {local} does not exist{near_folder(local)}",
        f"name the model's folder: base=/models/gemma-2b{two}",
    )


def cached_base(name: str, root: Path, trusted: bool = False) -> Optional[Path]:
    """The folder of the base on this machine, found without a download; None: a run would download it.

    Raises UserError as `find_base` does."""
    if _is_on("modelscope", name, root):
        return None
    if not _is_on("huggingface", name, root) or _is_folder(name, root):
        return find_base(name, root, trusted)
    model = hub_cache() / f"models--{_hub_and_id(name)[1].replace('/', '--')}"
    try:
        folder = model / "snapshots" / (model / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    if not (folder / "config.json").is_file():
        return None
    require_base_folder(folder)
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
    return _local(name, root)


def _hub_and_id(name: str) -> tuple[str, str]:
    """The hub that a name means, and the id there; raises UserError for an unknown hub in `LABELTUNE_HUB`."""
    hub, colon, rest = name.partition(":")
    if colon and hub in HUBS:
        return hub, rest
    usual = os.environ.get(HUB) or HUBS[0]
    if usual not in HUBS:
        raise UserError(f"{HUB}={usual}: expected {' or '.join(HUBS)}", f"unset {HUB}, or set it to one of them")
    return usual, name


def _is_on(hub: str, name: str, root: Path) -> bool:
    prefix, colon, rest = name.partition(":")
    is_id = _HUB_ID.fullmatch(rest if colon and prefix in HUBS else name)
    return bool(is_id) and not _local(name, root).is_file() and _hub_and_id(name)[0] == hub


def _from_hugging_face(name: str, root: Path, trusted: bool) -> Path:
    """The hub's snapshot of a model, downloaded once. `HF_ENDPOINT` names another server."""
    from huggingface_hub import snapshot_download

    _, model = _hub_and_id(name)
    try:
        return Path(snapshot_download(model, allow_patterns=list(content(trusted))))
    # the hub's client has dozens of error types; each means that the base cannot be downloaded
    except Exception as error:
        raise _not_downloaded(name, model, error, near_folder(_local(name, root))) from error


def _from_modelscope(name: str, root: Path, trusted: bool) -> Path:
    """ModelScope's snapshot of a model, downloaded once."""
    _, model = _hub_and_id(name)
    try:
        from modelscope import snapshot_download
    except ImportError:
        raise UserError(
            f"base: {name} is on ModelScope, and the package modelscope is not installed",
            "pip install modelscope (or pip install -e '.[modelscope]'); or name the model's folder: base=/models/gemma-2b",
        ) from None
    offline = _is_offline()
    try:
        return Path(snapshot_download(model, allow_file_pattern=list(content(trusted)), local_files_only=offline))
    except Exception as error:
        where = "ModelScope's cache does not have it, and this run is offline" if offline else _first_line(error)
        raise UserError(
            f"base: {name} is not a folder, and it cannot be downloaded from ModelScope: {where}",
            f"check the name on the site (OWNER/NAME) and the connection; `modelscope download --model {model}` downloads it "
            "alone; or name the model's folder: base=/models/gemma-2b",
        ) from error


SOURCES = (
    Source(_is_folder, _find_folder),
    Source(lambda name, root: _is_on("huggingface", name, root), _from_hugging_face),
    Source(lambda name, root: _is_on("modelscope", name, root), _from_modelscope),
)
"""Every source. The first that matches a name is used."""


class _Failure(NamedTuple):
    """A row of `_FAILURES`."""

    errors: tuple[str, ...]
    """Names of the errors of the hub's client, or of those below it."""
    reason: str
    next_step: str
    """With `{model}`, `{endpoint}` and `{elsewhere}`."""


_FAILURES = (
    _Failure(
        ("GatedRepoError",),
        "it is gated: its owner wants its licence accepted first (HTTP {status})",
        "accept the licence on {endpoint}/{model}, then `hf auth login` (older: `huggingface-cli login`) with a token of that "
        "account, or set HF_TOKEN; {elsewhere}",
    ),
    _Failure(
        ("RepositoryNotFoundError",),
        "{endpoint} has no such model, or it is private (HTTP {status})",
        "check the spelling (OWNER/NAME); for a private model, `hf auth login` (older: `huggingface-cli login`); {elsewhere}",
    ),
    _Failure(
        ("OfflineModeIsEnabled",),
        "this run is offline, and the hub's cache does not have it",
        "download it where there is a network, `hf download {model}`, and copy the folder; or allow the network: offline: false, "
        "and HF_HUB_OFFLINE not set; {elsewhere}",
    ),
    _Failure(
        ("LocalEntryNotFoundError", "ConnectError", "ConnectionError", "TimeoutException", "Timeout", "ProxyError"),
        "{endpoint} cannot be reached, and the hub's cache does not have it",
        "check the network, or set HF_ENDPOINT to the address of a mirror that you can reach; {elsewhere}",
    ),
)
"""Why a download fails, most special first."""

_OTHER = _Failure(
    (), "{error}", "check the network and the free disk space, and run again: a download resumes; {elsewhere}"
)


def _not_downloaded(name: str, model: str, error: Exception, near: str) -> UserError:
    kinds: set[str] = set()
    cause: object = error
    while isinstance(cause, BaseException):
        kinds.update(each.__name__ for each in type(cause).__mro__)
        cause = cause.__cause__ or cause.__context__
    row = next((row for row in _FAILURES if kinds & set(row.errors)), _OTHER)
    if _is_offline() and "LocalEntryNotFoundError" in kinds:
        row = _FAILURES[2]
    mirrored = MIRRORED.get(model, "OWNER/NAME")
    words = {
        "model": model,
        "endpoint": (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/"),
        "status": str(getattr(getattr(error, "response", None), "status_code", "?")),
        "error": _first_line(error),
        "elsewhere": f"or take it from ModelScope: base=modelscope:{mirrored}; or name a folder: base=/models/gemma-2b",
    }
    return UserError(
        f"base: {name} is not a folder, and it cannot be downloaded from the hub: {row.reason.format(**words)}{near}",
        row.next_step.format(**words),
    )


def _is_offline() -> bool:
    """Whether the hub's client may not use the network, by the values that it knows; `offline: true` sets it too."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
