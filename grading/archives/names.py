"""Names in archives: accepted are those that mean the same file inside the folder on every machine."""

import itertools
import re
import unicodedata
from collections.abc import Callable
from typing import Any

from grading.archives.source import SHORTER, Limits
from grading.errors import FileProblem, quoted

_UNICODE = unicodedata.ucd_3_2_0

_PART_BYTES = 255
"""Most bytes of one name in one folder, on all common file systems."""

_NAME_RULES: tuple[tuple[Callable[[str], Any], str], ...] = (
    (lambda name: any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in name), "has a control character"),
    (lambda name: "\\" in name, "has a backslash"),
    (lambda name: name.startswith("/"), "is absolute"),
    (lambda name: re.match("[A-Za-z]:", name), "starts with a drive letter"),
    (lambda name: ".." in name.split("/"), "has a part '..'"),
)


def decoded_name(name: bytes) -> str:
    """The name as text. Raises FileProblem if it is not UTF-8."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        raise FileProblem(f"the name of entry {quoted(name)} is not UTF-8", SHORTER) from None


def clean_name(name: str, limits: Limits) -> str:
    """The path of an entry. Raises FileProblem unless it stays inside the folder on every machine."""
    # checked first: a name may have a million characters
    if len(name.encode("utf-8")) > limits.path_bytes:
        raise FileProblem(f"the name of entry {quoted(name)} has more than {limits.path_bytes} bytes", SHORTER)
    for breaks, problem in _NAME_RULES:
        if breaks(name):
            raise FileProblem(f"the name of entry {quoted(name)} {problem}", SHORTER)
    parts = [part for part in name.split("/") if part not in ("", ".")]  # `tar -cf x.tar .` writes ./a
    if len(parts) > limits.depth:
        raise FileProblem(f"entry {quoted(name)} is more than {limits.depth} folders deep", SHORTER)
    if any(len(part.encode("utf-8")) > _PART_BYTES for part in parts):
        raise FileProblem(f"the name of entry {quoted(name)} has a part of more than {_PART_BYTES} bytes", SHORTER)
    return "/".join(parts)


def folded(part: str) -> str:
    """A key for one part of a path: two parts have the same key if a file system that ignores case, or normalises names,
    takes them for one file.

    All versions of Python give the same key, although their Unicode tables differ: Unicode 3.2, which each of them has, is
    used, and newer characters are kept as they are. Its `normalize` on the whole text would sort newer marks by newer tables."""
    if part.isascii():
        return part.lower()
    runs = itertools.groupby(part, key=lambda char: _UNICODE.category(char) != "Cn")
    return "".join(_folded_run("".join(chars)) if is_known else "".join(chars) for is_known, chars in runs)


def _folded_run(text: str) -> str:
    """Case folding of known characters never changes, by Unicode's stability policy."""
    return _UNICODE.normalize("NFD", _UNICODE.normalize("NFD", text).casefold())


def is_litter(parts: list[str]) -> bool:
    """Whether macOS added it: resource forks, and the layout of a window."""
    return "__MACOSX" in parts or parts[-1] == ".DS_Store" or parts[-1].startswith("._")
