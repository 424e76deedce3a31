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
        # renaming over /dev/stdout would replace the device, and over a link the link
        if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
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


def require_outside(submission: Path, targets: Iterable[Path]) -> None:
    """Raises CouldNotGrade if a report would be written over the submission, or into its folder: there its author decides what
    a name is."""
    around = os.path.realpath(submission)
    for path in targets:
        folder = os.path.realpath(path.parent)
        if around in (folder, os.path.realpath(path)) or folder.startswith(around.rstrip(os.sep) + os.sep):
            raise CouldNotGrade(
                tr("{path}: the report must not be written into the submission", path=path),
                tr("name a file outside of it, or pass --json - for standard output"),
            )


def are_one(one: str, other: str) -> bool:
    """Whether two paths mean one file."""
    try:
        return os.path.realpath(one) == os.path.realpath(other) or os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def is_partial(name: str) -> bool:
    """Whether a file of this name is a temporary one, which a run that was killed has left."""
    return name.startswith(".") and name.endswith(".partial")


def remove_partials(folder: Path) -> None:
    """Removes the temporary files in a folder."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if is_partial(name):
                with suppress(OSError):
                    os.unlink(folder / name)


def _replace(path: Path, data: bytes) -> None:
    """Writes to a new file with a name that nobody can foresee, and renames it."""
    temporary = path.with_name(f".{os.urandom(8).hex()}.partial")
    try:
        with temporary.open("xb") as file:  # exclusive: it follows no link
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
    is_in_the_way = isinstance(error, (FileExistsError, IsADirectoryError, NotADirectoryError))
    return CouldNotGrade(
        tr("{path}: cannot be written: {reason}", path=path, reason=reason),
        tr("remove it, or name another folder with --out")
        if is_in_the_way
        else tr("free space, or name another folder with --out"),
    )
