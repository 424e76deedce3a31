"""Files as the grader writes them: whole or not at all; and their digest."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from grading.errors import CouldNotGrade


def digest_files(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # a table that no submission's grading may ask for
            digest.update(f"{path.name} is not there\n".encode("utf-8", "surrogateescape"))
            continue
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise CouldNotGrade(f"{path}: cannot be read: {reason}", "make it readable") from None
        digest.update(f"{path.name} {len(data)}\n".encode("utf-8", "surrogateescape") + data)
    return digest.hexdigest()


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None


def write_text(path: Path, text: str) -> None:
    """Written aside and renamed: a file that exists is whole. Raises CouldNotGrade."""
    aside = path.with_name(f".{path.name}.partial")
    try:
        aside.write_bytes(text.encode("utf-8", "backslashreplace"))  # a name may hold bytes that are no text
        os.replace(aside, path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise unwritable(path, error) from None


def remove_folder(folder: Path) -> None:
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:  # the same; what is left is scratch
        return


def shown(path: Path) -> str:
    return ascii(str(path))[1:-1]


def unwritable(path: Path, error: OSError) -> CouldNotGrade:
    reason = error.strerror or type(error).__name__
    return CouldNotGrade(f"{path}: cannot be written: {reason}", "make room or name another folder with --out")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Written aside and renamed: a report that exists is whole."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        if path.exists() and not path.is_file():  # renaming over /dev/stdout would replace the device
            raise CouldNotGrade(
                f"{path}: the report needs a regular file", "name one, or pass --json - for standard output"
            )
        try:
            aside.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="ascii")
            os.replace(aside, path)
        finally:
            if aside.exists():
                aside.unlink()
    except OSError as error:
        raise CouldNotGrade(
            f"{path}: the report cannot be written: {error.strerror}", "name a file in a folder that exists"
        ) from None
