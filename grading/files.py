"""Writing files whole or not at all; and the digest of the examiner's files."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from grading.contract.language import english, reason_of, tr
from grading.errors import CouldNotGrade


def digest_files(paths: Iterable[Path]) -> str:
    """SHA-256 of the names and contents of files. One that is missing counts as such. Raises CouldNotGrade."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # a table that grading may never need
            digest.update(f"{path.name} is not there\n".encode("utf-8", "surrogateescape"))
            continue
        except OSError as error:
            reason = reason_of(error)
            raise CouldNotGrade(
                tr("{path}: cannot be read: {reason}", path=path, reason=reason), tr("make it readable")
            ) from None
        digest.update(f"{path.name} {len(data)}\n".encode("utf-8", "surrogateescape") + data)
    return digest.hexdigest()


def make_folder(path: Path) -> None:
    """Makes a folder and those above it. Raises CouldNotGrade."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None


def write_text(path: Path, text: str) -> None:
    """Writes a file of a class: a file that exists is whole. Raises CouldNotGrade."""
    try:
        # a name in the text may hold bytes that are not UTF-8
        _replace(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise unwritable(path, error) from None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a report: a report that exists is whole. Raises CouldNotGrade."""
    try:
        # renaming over /dev/stdout would replace the device
        if path.exists() and not path.is_file():
            raise CouldNotGrade(
                tr("{path}: the report needs a regular file", path=path),
                tr("name one, or pass --json - for standard output"),
            )
        _replace(path, (json.dumps(english(value), indent=2, allow_nan=False) + "\n").encode("ascii"))
    except OSError as error:
        raise CouldNotGrade(
            tr("{path}: the report cannot be written: {reason}", path=path, reason=reason_of(error)),
            tr("name a file in a folder that exists"),
        ) from None


def is_partial(name: str) -> bool:
    """Whether a file of this name is a temporary one, which a run that was killed has left."""
    return name.startswith(".") and name.endswith(".partial")


def _replace(path: Path, data: bytes) -> None:
    """Writes to a temporary file and renames it. There is one name for each path, so a leftover is replaced."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def remove_folder(folder: Path) -> None:
    """Removes a folder of temporary files as far as that is possible."""
    with suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)


def unwritable(path: Path, error: OSError) -> CouldNotGrade:
    """The error where a file of a class cannot be written."""
    reason = reason_of(error)
    return CouldNotGrade(
        tr("{path}: cannot be written: {reason}", path=path, reason=reason),
        tr("free space, or name another folder with --out"),
    )
