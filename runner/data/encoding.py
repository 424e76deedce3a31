"""The encoding of a text file: found by its bytes, and its lines as UTF-8 whatever it is.

A text in another encoding than UTF-8 is read only where the recipe names that encoding. Where it does not, the message names
the encoding and the key to set.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from pathlib import Path

from runner.errors import DataError
from runner.language import tr

CODECS: Mapping[str, str] = {
    "auto": "utf-8",
    "utf-8": "utf-8",
    "utf-16": "utf-16",
    "gb18030": "gb18030",
    "gbk": "gb18030",
    "big5": "big5",
    "cp1252": "cp1252",
}
"""Python's codec for each value of `task.encoding`."""

BAD_BYTES = b"\xff"
"""Stands in a line for bytes that are not in the file's encoding. UTF-8 never has it, so the row is bad."""


class EncodingError(DataError):
    """A file in another encoding than UTF-8."""

    def __init__(self, what: str, encoding: str) -> None:
        """`encoding`: what `task.encoding` has to be."""
        super().__init__(
            what,
            tr("add to the recipe, below task: encoding: {encoding}; or save the file as UTF-8", encoding=encoding),
        )
        self.encoding = encoding


_CHUNK = 1 << 20
_SHOWN_LINES = 200
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udcff", error.end


codecs.register_error("labeltune-mark", _mark)


def utf8_lines(path: Path, codec: str) -> Iterator[bytes]:
    """The lines of a file with their ends, as UTF-8, without a byte order mark. A line ends at LF only."""
    if codec == "utf-8":
        with path.open("rb") as file:
            first = file.readline()
            if first:
                yield first[len(codecs.BOM_UTF8) :] if first.startswith(codecs.BOM_UTF8) else first
            yield from file
        return
    with path.open(encoding=codec, errors="labeltune-mark", newline="\n") as text:
        for line in text:
            yield line.encode("utf-8", "surrogateescape")


def find_codec(path: Path, shown: str, wanted: str) -> str:
    """The codec of a file, where the recipe's `task.encoding` is `wanted`.

    A file in UTF-8, or with UTF-16's byte order mark, is read as what it is, whatever the recipe names for the others. With
    `utf-8` every other byte is damage, and makes a bad row.

    Raises DataError for a file in another encoding than the recipe allows."""
    with path.open("rb") as file:
        head = file.read(4096)
    is_marked, bare = head.startswith(_UTF16_MARKS), _bare_utf16(head)
    if CODECS[wanted] != "utf-8":
        if is_marked or bare:
            return bare or "utf-16"
        if _is_utf8(path):
            return "utf-8"
        return "utf-16-le" if wanted == "utf-16" else CODECS[wanted]
    if is_marked or (bare and wanted == "auto"):
        raise EncodingError(tr("{shown}:1: expected UTF-8, found UTF-16", shown=shown), "utf-16")
    if wanted == "auto" and not _is_utf8(path):
        _require_mostly_utf8(path, shown)
    return "utf-8"


def _bare_utf16(head: bytes) -> str:
    """The codec of UTF-16 without a byte order mark, where every second byte of Western letters is 0; else nothing."""
    first, second = head[0::2].count(0), head[1::2].count(0)
    if head.startswith(_UTF16_MARKS) or len(head) < 8 or max(first, second) < 0.4 * len(head):
        return ""
    if min(first, second) > 0.05 * len(head):
        return ""
    return "utf-16-be" if first > second else "utf-16-le"


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        try:
            while chunk := file.read(_CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", True)
            return True
        except UnicodeDecodeError:
            return False


def _require_mostly_utf8(path: Path, shown: str) -> None:
    """Raise DataError for a file in another encoding. A few bad bytes in a UTF-8 file are bad rows, and found there."""
    valid, bad, first = 0, 0, 0
    lines: list[bytes] = []
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.isascii():
                continue
            if _is(line, "utf-8"):
                valid += 1
                continue
            bad += 1
            first = first or number
            if len(lines) < _SHOWN_LINES:
                lines.append(line)
    found = tr("in {bad:,} lines, the first is line {first}", bad=bad, first=first)
    if bad >= valid and all(map(_is_chinese, lines)):
        raise EncodingError(
            tr("{shown}:{first}: expected UTF-8, found GBK (GB18030) {found}", shown=shown, first=first, found=found),
            "gb18030",
        )
    if bad >= 3 and bad > valid:
        raise DataError(
            tr(
                "{shown}:{first}: expected UTF-8, found another encoding {found}: {line}",
                shown=shown,
                first=first,
                found=found,
                line=ascii(lines[0][:40])[1:],
            ),
            tr(
                "save the file as UTF-8, or name its encoding in the recipe, below task: "
                "encoding: gb18030, big5 or cp1252 (labeltune new: --encoding); with encoding: utf-8 these lines are bad rows"
            ),
        )


def _is(line: bytes, codec: str) -> bool:
    try:
        line.decode(codec)
    except UnicodeDecodeError:
        return False
    return True


def _is_chinese(line: bytes) -> bool:
    """Whether a line is GBK: it decodes, and nine tenths of its other characters than ASCII are in everyday use."""
    try:
        marks = [mark for mark in line.decode("gb18030") if mark > "\x7f"]
    except UnicodeDecodeError:
        return False
    common = len("".join(marks).encode("gb2312", "ignore")) // 2
    return common >= 0.9 * len(marks)
