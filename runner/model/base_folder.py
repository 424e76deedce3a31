"""A base's folder, looked at before it is loaded: is it a whole model, and safe to load? Each defect has its own sentence."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Optional

from grading import contract
from runner.errors import UserError
from runner.language import mark, tr

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
"""Files that hold a tokenizer's words; one of them is enough."""

POINTER = b"version https://git-lfs.github.com/spec/"
"""How a Git LFS pointer begins, the text that stands for a large file in a clone without git-lfs."""

MOST_HEADER = 100 << 20
"""Most bytes of a safetensors header that is read; the format's own limit."""

_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors")
_AGAIN = mark("download or copy it again; a download that was cut resumes")


def require_base_folder(folder: Path) -> None:
    """Raise UserError where a folder is not a whole base, or its weights are not safe to load.

    Reading a pickle can run code, even with `weights_only` (CVE-2025-32434, torch before 2.6). With an adapter in the folder
    transformers would load that too, from wherever its configuration says, and would then not report which weights of the
    base are missing."""
    _require_no_adapter(folder)
    _require_config(folder)
    _require_safetensors(folder)
    for path in _content(folder):
        _require_whole(path, folder)
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise UserError(
            tr(
                "base: {folder} has no tokenizer ({tokenizers})",
                folder=folder,
                tokenizers=tr(" or ").join(TOKENIZERS[:2]),
            ),
            tr(
                "copy the tokenizer's files from where the model comes from: tokenizer.json, "
                "tokenizer_config.json and the like"
            ),
        )


def file_problem(path: Path) -> UserError:
    """The error for a base that names a file."""
    if path.suffix == ".gguf":
        return UserError(
            tr("base: {path} is a GGUF file, made for llama.cpp: it cannot be trained", path=path), _NOT_GGUF
        )
    if path.suffix in (".zip", ".gz", ".tgz", ".tar", ".rar", ".7z"):
        return UserError(
            tr("base: {path} is an archive", path=path), tr("unpack it, and name the folder that has config.json")
        )
    if (path.parent / "config.json").is_file():
        return UserError(
            tr("base: {path} is a file, and a base is a folder", path=path),
            tr("name its folder: base={parent}", parent=path.parent),
        )
    return UserError(
        tr("base: {path} is a file, and a base is a folder", path=path), tr("name the folder that has config.json")
    )


def near_folder(path: Path) -> str:
    """`; did you mean …?` with a folder that has almost the name of a missing one."""
    with suppress(OSError):
        names = [each.name for each in islice(path.parent.iterdir(), 1000) if each.is_dir()]
        near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7)
        return tr("; did you mean {parent}?", parent=path.parent / near[0]) if near else ""
    return ""


_NOT_GGUF = mark("name the original model, whose weights are *.safetensors")


def _require_no_adapter(folder: Path) -> None:
    path = folder / contract.ADAPTER_CONFIG
    if not path.exists():
        return
    base: Optional[object] = None
    with suppress(OSError, ValueError):
        config = json.loads(path.read_text(encoding="utf-8"))
        base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    raise UserError(
        tr(
            "base: {folder} has an adapter in it ({adapter_config})",
            folder=folder,
            adapter_config=contract.ADAPTER_CONFIG,
        ),
        tr(
            "name the base model of that adapter{more}; or merge the two and save the result as a new base",
            more=tr(": base={base}", base=base) if isinstance(base, str) and base else "",
        ),
    )


def _require_config(folder: Path) -> None:
    path = folder / "config.json"
    if path.is_symlink():
        _require_file(path)
    if path.is_file():
        return
    files = [path.name for path in islice(folder.iterdir(), 1000)]
    gguf = sorted(name for name in files if name.endswith(".gguf"))
    if gguf:
        raise UserError(
            tr(
                "base: {folder} has GGUF files ({gguf}), made for llama.cpp: they cannot be trained",
                folder=folder,
                gguf=gguf[0],
            ),
            _NOT_GGUF,
        )
    inner = sorted([*folder.glob("*/config.json"), *folder.glob("snapshots/*/config.json")])
    if inner:
        raise UserError(
            tr("base: {folder} has no config.json", folder=folder),
            tr("name the folder inside it: base={parent}", parent=inner[-1].parent),
        )
    found = tr("; it has {files}", files=", ".join(sorted(files)[:5])) if files else tr("; it is empty")
    raise UserError(
        tr("base: {folder} has no config.json{found}", folder=folder, found=found),
        tr("name the folder that the model was saved or downloaded to"),
    )


def _require_safetensors(folder: Path) -> None:
    named = [path.name for path in folder.glob("*.safetensors")]
    for index in folder.glob("*.safetensors.index.json"):
        if _is_pointer(index):
            raise _pointer_problem(index, folder)
        try:
            named += dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"]).values()
        except (OSError, ValueError, TypeError, KeyError):
            raise UserError(
                tr("base: {index} is not an index of weights", index=index), tr("copy or save the model again")
            ) from None
    there = {path.name for path in folder.iterdir()}
    missing = sorted({str(name) for name in named} - there)
    if missing and missing[0].endswith(".safetensors"):
        more = tr(" and {missing_count} more", missing_count=len(missing) - 1) if len(missing) > 1 else ""
        raise UserError(
            tr(
                "base: {folder} has {missing} in its index, but not the file{more}",
                folder=folder,
                missing=missing[0],
                more=more,
            ),
            _AGAIN,
        )
    other = sorted({str(name) for name in named if not str(name).endswith(".safetensors")})
    if other or not named:
        raise UserError(
            tr(
                "base: {folder} {more}; pickled weights (*.bin) are not loaded, because they can run code",
                folder=folder,
                more=tr("has {other} in its index", other=other[0]) if other else tr("has no *.safetensors"),
            ),
            _how_to_convert(folder, there),
        )
    _require_all_shards(folder, named)


def _how_to_convert(folder: Path, there: set[str]) -> str:
    if not any(name.endswith((".bin", ".pt", ".pth")) for name in there):
        return tr("the weights are missing: {again}", again=_AGAIN)
    return tr(
        "if you trust the model, save it with save_pretrained(folder, "
        'safe_serialization=True): python -c "from transformers import AutoModelForCausalLM '
        "as M; M.from_pretrained('{folder}').save_pretrained('{folder}', "
        'safe_serialization=True)"',
        folder=folder,
    )


def _require_all_shards(folder: Path, named: list[str]) -> None:
    """The shards count themselves, also where the index is missing."""
    for name in sorted(set(named)):
        found = _SHARD.fullmatch(name)
        for number in range(1, min(int(found["count"]), 999) + 1) if found else ():
            assert found is not None
            shard = f"{found['stem']}-{number:05d}-of-{found['count']}.safetensors"
            if not (folder / shard).exists():
                raise UserError(
                    tr("base: {folder} has {name}, but not {shard}", folder=folder, name=name, shard=shard), _AGAIN
                )
        if found and not list(folder.glob("*.safetensors.index.json")):
            raise UserError(
                tr(
                    "base: {folder} has {name}, but no {stem}.safetensors.index.json",
                    folder=folder,
                    name=name,
                    stem=found["stem"],
                ),
                _AGAIN,
            )


def _content(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.glob("*.safetensors"))
    for name in ("config.json", *TOKENIZERS):
        if (folder / name).is_file() or (folder / name).is_symlink():
            yield folder / name


def _require_whole(path: Path, folder: Path) -> None:
    """Raise UserError for a pointer, a safetensors file that is shorter than its header says, and a file of another kind."""
    _require_file(path)
    if _is_pointer(path):
        raise _pointer_problem(path, folder)
    size = path.stat().st_size
    if path.suffix != ".safetensors":
        if size == 0:
            raise UserError(tr("base: {path} is empty", path=path), _AGAIN)
        if path.suffix == ".json" and not _is_json(path):
            raise UserError(tr("base: {path} is not a JSON object", path=path), _AGAIN)
        return
    needed = _needed_bytes(path)
    if needed is None:
        raise UserError(tr("base: {path} is not a safetensors file", path=path), _AGAIN)
    if size < needed:
        raise UserError(
            tr("base: {path} is incomplete: it has {size:,} of {needed:,} bytes", path=path, size=size, needed=needed),
            _AGAIN,
        )


def _require_file(path: Path) -> None:
    """Raise UserError for a link to nothing, as in a part of the hub's cache, and for a folder."""
    if path.is_symlink() and not path.exists():
        raise UserError(
            tr("base: {path} is a link to {readlink}, which is not there", path=path, readlink=os.readlink(path)),
            tr("copy the folder with the files behind its links: cp -rL"),
        )
    if not path.is_file():
        raise UserError(tr("base: {path} is not a file", path=path), _AGAIN)


def _is_json(path: Path) -> bool:
    """Whether a file is a JSON object; of a tokenizer, which has many MB, the first bytes have to do."""
    try:
        if path.name in TOKENIZERS:
            with path.open("rb") as file:
                return file.read(100).lstrip().startswith(b"{")
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (ValueError, RecursionError):
        return False


def _needed_bytes(path: Path) -> Optional[int]:
    """The size of a safetensors file by its header; None where it has no header."""
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8:
            return 8
        if length > MOST_HEADER:
            return None
        text = file.read(length)
    if len(text) < length:
        return 8 + length
    with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
        ends = [value["data_offsets"][1] for name, value in json.loads(text).items() if name != "__metadata__"]
        return 8 + length + max([int(end) for end in ends], default=0)
    return None


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(POINTER)) == POINTER


def _pointer_problem(path: Path, folder: Path) -> UserError:
    return UserError(
        tr(
            "base: {path} is a Git LFS pointer of {size} bytes, not the file itself: the folder "
            "was cloned without git-lfs",
            path=path,
            size=path.stat().st_size,
        ),
        tr("git lfs install && git -C {folder} lfs pull", folder=folder),
    )
