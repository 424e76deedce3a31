"""The tar reader: the entries of a tar archive, plain or gzipped, one at a time; no header is trusted.

Formats: POSIX.1-2001 `pax`, the GNU tar manual, RFC 1952 (gzip).
"""

import re
import zlib
from collections.abc import Iterator

from grading.archives.names import clean_name, decoded_name, unmarked_name
from grading.archives.source import (
    CHUNK,
    COPY_AGAIN,
    NO_LINKS,
    PACK_AGAIN,
    ArchiveFile,
    Entry,
    Limits,
    expanded,
    refused,
    too_large,
    too_large_entry,
    too_many,
    truncated,
)
from grading.contract.language import mark, tr
from grading.errors import FileProblem, quoted

BLOCK = 512
_ZEROS = bytes(BLOCK)
_EXTENDED_BYTES = 1 << 16
"""Most bytes of an extended header. With a long name, or attributes of macOS, it has about 1 kB."""

_ALL_EXTENDED_BYTES = 4 << 20
"""Most bytes of all extended headers together: a gzipped tar packs 300 MB of them into one."""

_PAX_RECORDS = 64
"""Most records of a pax header; packers write under ten. A million of the smallest, 5 bytes each, take minutes to read."""

_GZIP_MEMBERS = 1_000
"""Most gzip streams in a file, one after another. Packers write one; millions of empty ones take hours."""

_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*")
_DECIMAL = re.compile(rb"[0-9]{1,19}")

_FILE_KINDS = (b"0", b"\0")
_FOLDER_KIND = b"5"
_PAX, _PAX_ALL, _LONG_NAME, _LONG_LINK = b"x", b"g", b"L", b"K"
_EXTENDED_KINDS = (_PAX, _PAX_ALL, _LONG_NAME, _LONG_LINK)

_PAX_KEYS = (b"path", b"size")
_PAX_SPARSE = b"GNU.sparse."

_OTHER_KINDS = {
    b"1": mark("a hard link"),
    b"2": mark("a symbolic link"),
    b"3": mark("a device"),
    b"4": mark("a device"),
    b"6": mark("a named pipe"),
    b"S": mark("a sparse file"),
    b"M": mark("one part of a split archive"),
    b"V": mark("the label of a tape"),
}

_NO_SPARSE = mark("pack the folder again with tar -czf, without --sparse")
_NO_ATTRIBUTES = mark("{pack_again}, without extended attributes", pack_again=PACK_AGAIN)


class _Stream:
    """The bytes of a tar from front to back, counted as they are read: no header can hide how many there are."""

    def __init__(self, pieces: Iterator[bytes], limits: Limits) -> None:
        self._pieces = pieces
        self._limits = limits
        self._held = memoryview(b"")
        self.position = 0
        """Bytes read so far."""

    def some(self, most: int) -> bytes:
        """The next bytes, at most `most`; none at the end. Raises FileProblem beyond the limit."""
        if not self._held:
            self._held = memoryview(next(self._pieces, b""))
        taken = bytes(self._held[:most])
        self._held = self._held[most:]
        self.position += len(taken)
        if self.position > self._limits.expanded_bytes:
            raise too_large(self._limits)
        return taken

    def pieces(self, count: int) -> Iterator[bytes]:
        """The next `count` bytes. Raises FileProblem if there are fewer."""
        while count > 0:
            piece = self.some(min(count, CHUNK))
            if not piece:
                raise truncated()
            count -= len(piece)
            yield piece

    def exactly(self, count: int) -> bytes:
        """The next `count` bytes at once: for headers, whose size is bounded."""
        return b"".join(self.pieces(count))


def tar_entries(file: ArchiveFile, limits: Limits) -> Iterator[Entry]:
    """The entries of a plain tar. Raises FileProblem."""
    return _entries(_Stream(file.pieces(0, file.size), limits), limits)


def gzipped_tar_entries(file: ArchiveFile, limits: Limits) -> Iterator[Entry]:
    """The entries of a gzipped tar. Raises FileProblem."""
    return _entries(_Stream(_gunzipped(file), limits), limits)


def _gunzipped(file: ArchiveFile) -> Iterator[bytes]:
    members = 1
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)  # 16: with gzip's header and checksum
    for piece in file.pieces(0, file.size):
        left = piece
        while left:
            if inflater.eof:
                left = left.lstrip(b"\0")  # padding, which gzip allows
                if not left:
                    break
                members += 1
                if members > _GZIP_MEMBERS:
                    raise FileProblem(
                        tr("has more than {gzip_members:,} gzip streams", gzip_members=_GZIP_MEMBERS), PACK_AGAIN
                    )
                inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
            try:
                yield from expanded(inflater, left)
            except zlib.error:
                raise FileProblem(tr("is damaged: its gzip stream cannot be expanded"), COPY_AGAIN) from None
            left = inflater.unused_data
    if not inflater.eof:
        raise truncated()


def _entries(stream: _Stream, limits: Limits) -> Iterator[Entry]:
    count = extended_bytes = 0
    extended: dict[bytes, bytes] = {}
    while True:
        begin = stream.position
        block = stream.exactly(BLOCK)
        if block == _ZEROS:
            break
        if not is_tar_header(block):
            found = tr("has a damaged tar header") if begin else tr("is not a tar archive: its first header is damaged")
            raise FileProblem(tr("{found}, at byte {begin:,}", found=found, begin=begin), COPY_AGAIN)
        kind, size = block[156:157], _size(block, begin)
        if kind in _EXTENDED_KINDS:
            if size > _EXTENDED_BYTES:
                raise FileProblem(
                    tr(
                        "has an extended tar header of {size:,} bytes at byte {begin:,}, more than the limit "
                        "of {extended_bytes:,}",
                        size=size,
                        begin=begin,
                        extended_bytes=_EXTENDED_BYTES,
                    ),
                    _NO_ATTRIBUTES,
                )
            extended_bytes += size
            if extended_bytes > _ALL_EXTENDED_BYTES:
                raise FileProblem(
                    tr(
                        "has more than {all_extended_bytes:,} bytes of extended tar headers",
                        all_extended_bytes=_ALL_EXTENDED_BYTES,
                    ),
                    _NO_ATTRIBUTES,
                )
            if kind in extended:
                raise FileProblem(
                    tr("has two extended tar headers of one kind at byte {begin:,}", begin=begin), PACK_AGAIN
                )
            extended[kind] = stream.exactly(size)
            stream.exactly(-size % BLOCK)
            continue
        count += 1
        if count > limits.entries:
            raise too_many(limits)
        entry, size = _entry(stream, block, kind, size, extended, limits)
        extended = {}
        yield entry
        stream.exactly(-size % BLOCK)
    if extended:
        raise FileProblem(tr("ends after an extended tar header, without the entry it belongs to"), COPY_AGAIN)
    while True:
        rest = stream.some(CHUNK)
        if not rest:
            return
        if rest.count(0) != len(rest):
            raise FileProblem(tr("has data after the end of the tar"), PACK_AGAIN)


def _entry(
    stream: _Stream, block: bytes, kind: bytes, size: int, extended: dict[bytes, bytes], limits: Limits
) -> tuple[Entry, int]:
    records = _pax_records(extended.get(_PAX, b""))
    everywhere = _pax_records(extended.get(_PAX_ALL, b""))
    raw = _field(block[0:100])
    # GNU's own headers have "ustar " and times in place of the prefix
    if block[257:263] == b"ustar\0" and block[345]:
        raw = _field(block[345:500]) + b"/" + raw
    names = [record for record in (records.get(b"path"), extended.get(_LONG_NAME)) if record is not None]
    if len(names) > 1 or b"path" in everywhere or b"size" in everywhere:
        raise FileProblem(tr("gives entry {raw} two names or sizes", raw=quoted(raw)), PACK_AGAIN)
    if names:
        raw = names[0] if b"path" in records else _field(names[0])
    if b"size" in records:
        if not _DECIMAL.fullmatch(records[b"size"]):
            raise FileProblem(tr("gives entry {raw} a size that is not a number", raw=quoted(raw)), COPY_AGAIN)
        size = int(records[b"size"])
    # only pax says an encoding: UTF-8
    name = decoded_name(raw) if b"path" in records else unmarked_name(raw)
    path = clean_name(name, limits)
    if _PAX_SPARSE in records or _PAX_SPARSE in everywhere:
        raise refused(name, tr("is a sparse file"), _NO_SPARSE)
    is_folder = kind == _FOLDER_KIND or (kind in _FILE_KINDS and name.endswith("/"))
    if not is_folder and kind not in _FILE_KINDS:
        words = _OTHER_KINDS.get(kind, tr("of the unknown type {kind}", kind=quoted(kind)))
        raise refused(name, tr("is {words}", words=words), _NO_SPARSE if kind == b"S" else NO_LINKS)
    if is_folder and size:
        raise refused(name, tr("is a folder with data of its own"))
    if not path and not is_folder:
        raise refused(name, tr("has no name"))
    if size > limits.entry_bytes:
        raise too_large_entry(name, size, limits)
    if stream.position + size > limits.expanded_bytes:
        raise too_large(limits)
    return Entry(path, is_folder, stream.pieces(size)), size


def is_tar_header(block: bytes) -> bool:
    """Whether the header's checksum is right: the sum of its bytes, with spaces for those of the checksum itself."""
    if len(block) != BLOCK:
        return False
    match = _OCTAL.fullmatch(block[148:156])
    stated = int(match[1], 8) if match and match[1] else -1
    return stated == sum(block[:148]) + sum(block[156:]) + 8 * ord(" ")


def _size(block: bytes, begin: int) -> int:
    field = block[124:136]
    # GNU writes sizes above 8 GiB as a big-endian number; 0xff would start a negative one
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    match = _OCTAL.fullmatch(field)
    if not match:
        raise FileProblem(tr("has a tar header without a size at byte {begin:,}", begin=begin), COPY_AGAIN)
    return int(match[1] or b"0", 8)


def _field(data: bytes) -> bytes:
    return data.split(b"\0", 1)[0]


def _pax_records(data: bytes) -> dict[bytes, bytes]:
    """The needed records of a pax header: `_PAX_KEYS`, and `_PAX_SPARSE` if any key starts with it. The last of a key counts.

    A record is `length key=value` and a newline; the length includes itself."""
    records = {}
    position = count = 0
    while position < len(data):
        count += 1
        if count > _PAX_RECORDS:
            raise FileProblem(
                tr("has more than {pax_records} records in one extended tar header", pax_records=_PAX_RECORDS),
                _NO_ATTRIBUTES,
            )
        space = data.find(b" ", position, position + 8)
        length = int(data[position:space]) if space >= 0 and _DECIMAL.fullmatch(data, position, space) else 0
        record = data[space + 1 : position + length]
        key, equals, value = record.partition(b"=")
        if not length or position + length > len(data) or not record.endswith(b"\n") or not equals:
            raise FileProblem(tr("has a damaged extended tar header"), COPY_AGAIN)
        if key in _PAX_KEYS:
            records[key] = value[:-1]
        elif key.startswith(_PAX_SPARSE):
            records[_PAX_SPARSE] = b""
        position += length
    return records
