"""Names in archives: accepted are those that mean the same file inside the folder on every machine."""

import itertools
import re
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from grading.archives.source import SHORTER, Limits
from grading.contract.language import mark, tr
from grading.errors import FileProblem, quoted

_UNICODE = unicodedata.ucd_3_2_0

_PART_BYTES = 255
"""Most bytes of one name in one folder, on all common file systems."""

_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"]
    + [f"{port}{number}" for port in ("com", "lpt") for number in "0123456789\u00b9\u00b2\u00b3"]
)
"""Names that are devices on Windows, with any ending: `con.txt` too."""


def _is_alias(part: str) -> bool:
    """Whether the part of a path means another file on Windows: it drops dots and spaces at the end, takes what follows a colon
    for a stream of the file before it, and some names for devices."""
    return ":" in part or part.endswith((".", " ")) or part.partition(".")[0].rstrip(" ").lower() in _DEVICES


_NAME_RULES: tuple[tuple[Callable[[str], Any], str], ...] = (
    (
        lambda name: any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in name),
        mark("has a control character"),
    ),
    (lambda name: "\\" in name, mark("has a backslash")),
    (lambda name: name.startswith("/"), mark("is absolute")),
    (lambda name: re.match("[A-Za-z]:", name), mark("starts with a drive letter")),
    (lambda name: ".." in name.split("/"), mark("has a part '..'")),
    (
        lambda name: any(_is_alias(part) for part in name.split("/") if part not in ("", ".")),
        mark("means another file on Windows"),
    ),
)


def decoded_name(name: bytes) -> str:
    """The name as text. Raises FileProblem if it is not UTF-8."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        raise FileProblem(tr("the name of entry {name} is not UTF-8", name=quoted(name)), SHORTER) from None


def unmarked_name(name: bytes) -> str:
    """The name as text, where an archive does not say its encoding. Chinese Windows writes GBK, in which a byte 0x5c, a
    backslash, can be the second of a character; so do Big5 and Shift JIS. Code page 437 has every byte."""
    pages = ("utf-8", "gbk", *(("big5", "shift_jis") if b"\\" in name else ()))
    for page in pages:
        with suppress(UnicodeDecodeError):
            return name.decode(page)
    return name.decode("cp437")


def clean_name(name: str, limits: Limits) -> str:
    """The path of an entry. Raises FileProblem unless it stays inside the folder on every machine."""
    # checked first: a name may have a million characters
    if len(name.encode("utf-8")) > limits.path_bytes:
        raise FileProblem(
            tr(
                "the name of entry {name} has more than {path_bytes} bytes",
                name=quoted(name),
                path_bytes=limits.path_bytes,
            ),
            SHORTER,
        )
    tested = name[:-1] if name.rpartition("/")[2] in _ICONS else name
    for breaks, problem in _NAME_RULES:
        if breaks(tested):
            raise FileProblem(tr("the name of entry {name} {problem}", name=quoted(name), problem=problem), SHORTER)
    parts = [part for part in name.split("/") if part not in ("", ".")]  # `tar -cf x.tar .` writes ./a
    if len(parts) > limits.depth:
        raise FileProblem(
            tr("entry {name} is more than {depth} folders deep", name=quoted(name), depth=limits.depth), SHORTER
        )
    if any(len(part.encode("utf-8")) > _PART_BYTES for part in parts):
        raise FileProblem(
            tr(
                "the name of entry {name} has a part of more than {part_bytes} bytes",
                name=quoted(name),
                part_bytes=_PART_BYTES,
            ),
            SHORTER,
        )
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
    return "__MACOSX" in parts or parts[-1] in (".DS_Store", *_ICONS) or parts[-1].startswith("._")


_ICONS = ("Icon\r", "._Icon\r")
"""The file of a folder's own icon on macOS: its name ends with a carriage return."""
