"""The zip reader: the entries of a zip archive, one at a time; no header is trusted.

Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT. The directory at the end names the entries; each
entry has a header of its own before its bytes. If the two disagree, the archive is refused.
"""

import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

from grading.archives.names import clean_name, decoded_name, unmarked_name
from grading.archives.source import (
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
)
from grading.contract.language import mark, tr
from grading.errors import FileProblem

_END = struct.Struct("<4sHHHHLLH")
_END64 = struct.Struct("<4sQHHLLQQQQ")
_LOCATOR = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4sHHHHHHLLLHHHHHLL")
_LOCAL = struct.Struct("<4sHHHHHLLLHH")
_COMMENT_BYTES = 0xFFFF
"""Most bytes of the archive's comment."""

_IN_ZIP64 = 0xFFFFFFFF
"""A 32-bit field whose value is in the entry's zip64 extra field."""

_STORED, _DEFLATED = 0, 8
_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz", 98: "PPMd"}
"""Methods of common packers that the grader does not read."""

_EXTRA_BYTES = 1 << 12
"""Most bytes of an entry's extra field. Packers write times and owners there, under 100 bytes."""
_EXTRA_RECORDS = 64
"""Most records in it."""

_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
_PATCHED = 1 << 5
_SIZES_AFTER = 1 << 3
"""The entry's own header has no sizes; they are after its bytes, and in the directory."""
_IS_UTF8 = 1 << 11


@dataclass(frozen=True)
class _Directory:
    """Where the central directory of a zip is."""

    begin: int
    end: int
    count: int
    """Number of entries by the end record."""


@dataclass(frozen=True)
class _Record:
    """One record of the directory, unparsed."""

    fields: tuple[Any, ...]
    """The fixed part, by `_CENTRAL`."""
    name: bytes
    extra: bytes


@dataclass(frozen=True)
class _Member:
    """One entry of a zip, its two headers checked against each other."""

    header: int
    """Where its own header starts."""
    begin: int
    """First of its packed bytes."""
    end: int
    """First byte after them."""
    after: int
    """First byte after its data descriptor, which follows them in some archives."""
    path: str
    is_folder: bool
    method: int
    crc: int
    size: int
    """Bytes when expanded."""


def zip_entries(file: ArchiveFile, limits: Limits) -> Iterator[Entry]:
    """The entries of a zip. Raises FileProblem."""
    directory = _directory(file)
    if directory.count > limits.entries:
        raise too_many(limits)
    members = sorted(_members(file, directory, limits), key=lambda member: member.header)
    if sum(member.size for member in members) > limits.expanded_bytes:
        raise too_large(limits)
    position = 0
    # a small file can claim to be a huge one with entries that share bytes
    for member in members:
        if member.header < position:
            raise refused(member.path, tr("overlaps the entry before it"), COPY_AGAIN)
        position = member.after
    for member in members:
        yield Entry(member.path, member.is_folder, _zip_pieces(file, member))


def _directory(file: ArchiveFile) -> _Directory:
    tail_begin = max(0, file.size - _END.size - _COMMENT_BYTES)
    tail = file.read_at(tail_begin, file.size - tail_begin)
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) - found < _END.size:
        raise FileProblem(tr("has no zip directory at its end: it is truncated"), COPY_AGAIN)
    position = tail_begin + found
    _, disk, first_disk, here, count, size, begin, comment = _END.unpack_from(tail, found)
    if position + _END.size + comment != file.size:
        raise FileProblem(tr("has data after its zip directory"), COPY_AGAIN)
    disks = (disk, first_disk)
    end = position
    if position >= _LOCATOR.size:
        locator = file.read_at(position - _LOCATOR.size, _LOCATOR.size)
        if locator.startswith(b"PK\x06\x07"):
            small = (here, count, size, begin)
            end, disks, (here, count, size, begin) = _directory64(file, locator, position - _LOCATOR.size)
            most = (0xFFFF, 0xFFFF, _IN_ZIP64, _IN_ZIP64)
            if any(value not in (big, top) for value, big, top in zip(small, (here, count, size, begin), most)):
                raise FileProblem(tr("has two zip directories that disagree"), COPY_AGAIN)
    if any(disks) or here != count:
        raise FileProblem(tr("is one part of a split zip archive"), PACK_AGAIN)
    if begin + size != end or count * _CENTRAL.size > size:
        raise FileProblem(tr("has a zip directory that is not where it says, or not as long"), COPY_AGAIN)
    return _Directory(begin, end, count)


def _directory64(
    file: ArchiveFile, locator: bytes, after: int
) -> tuple[int, tuple[int, int], tuple[int, int, int, int]]:
    """Where the zip64 end record starts; its disks; entries on this disk, all entries, bytes and start of the directory."""
    _, _, position, _ = _LOCATOR.unpack(locator)
    if position + _END64.size > after:
        raise FileProblem(tr("has a damaged zip64 directory"), COPY_AGAIN)
    sign, size, _, _, disk, first_disk, *where = _END64.unpack(file.read_at(position, _END64.size))
    if sign != b"PK\x06\x06" or position + 12 + size != after:
        raise FileProblem(tr("has a damaged zip64 directory"), COPY_AGAIN)
    return position, (disk, first_disk), (where[0], where[1], where[2], where[3])


def _members(file: ArchiveFile, directory: _Directory, limits: Limits) -> Iterator[_Member]:
    position = directory.begin
    headers: set[int] = set()
    for _ in range(directory.count):
        if position + _CENTRAL.size > directory.end:
            raise FileProblem(tr("has fewer entries than its zip directory says"), COPY_AGAIN)
        fields = _CENTRAL.unpack(file.read_at(position, _CENTRAL.size))
        name_size, extra_size, comment_size = fields[10:13]
        after = position + _CENTRAL.size + name_size + extra_size + comment_size
        if fields[0] != b"PK\x01\x02" or after > directory.end:
            raise FileProblem(tr("has a damaged zip directory at byte {position:,}", position=position), COPY_AGAIN)
        names = file.read_at(position + _CENTRAL.size, name_size + extra_size)
        record = _Record(fields, names[:name_size], names[name_size:])
        yield _member(file, directory, record, headers, limits)
        position = after
    if position != directory.end:
        raise FileProblem(tr("has more entries than its zip directory says"), COPY_AGAIN)


def _member(file: ArchiveFile, directory: _Directory, record: _Record, headers: set[int], limits: Limits) -> _Member:
    """The entry of one record of the directory. `headers`: where those before it start; its own is added."""
    _, _, _, flags, method, _, _, crc, packed, size, _, _, _, _, _, attributes, header = record.fields
    name = _zip_name(record.name, flags, record.extra)
    path = clean_name(name, limits)
    if flags & _ENCRYPTED:
        raise refused(name, tr("is encrypted"), tr("{pack_again}, without a password", pack_again=PACK_AGAIN))
    if method not in (_STORED, _DEFLATED) or flags & _PATCHED:
        words = _METHODS.get(method, tr("method {method}", method=method))
        raise refused(name, tr("is compressed with {words}, expected stored or deflated", words=words), PACK_AGAIN)
    kind = stat.S_IFMT(attributes >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise refused(name, tr("is {kind}", kind=_UNIX_KINDS.get(kind, tr("not an ordinary file"))), NO_LINKS)
    _require_small(name, len(record.extra))
    size, packed, header = _with_zip64(name, record.extra, [size, packed, header])
    # checked before it is read: reading one header 5,000 times would take minutes
    if header in headers:
        raise refused(name, tr("has its header where another entry has it"), COPY_AGAIN)
    headers.add(header)
    is_folder = name.endswith("/")
    if is_folder and size:
        raise refused(name, tr("is a folder with data of its own"))
    if not path and not is_folder:
        raise refused(name, tr("has no name"))
    if size > limits.entry_bytes:
        raise too_large_entry(name, size, limits)
    listed = (flags, method, crc, packed, size)
    begin, descriptor = _packed_begin(file, directory, header, name, record.name, listed)
    if begin + packed > directory.begin:
        raise refused(name, tr("is outside the archive"), COPY_AGAIN)
    after = _after_descriptor(file, directory, name, begin + packed, listed, descriptor)
    return _Member(header, begin, begin + packed, after, path, is_folder, method, crc, size)


_UNIX_KINDS = {
    stat.S_IFLNK: mark("a symbolic link"),
    stat.S_IFIFO: mark("a named pipe"),
    stat.S_IFCHR: mark("a device"),
    stat.S_IFBLK: mark("a device"),
    stat.S_IFSOCK: mark("a socket"),
}


_UNICODE_PATH = 0x7075
"""Kind of Info-ZIP's extra field with the name in UTF-8, beside one in the packer's own code page."""

_CODE_PAGES = ("gbk", "cp437", "big5", "shift_jis", "cp949", "cp850", "cp1252", "cp1251", "cp866", "cp874")
"""Code pages in which packers write names without saying so."""


def _zip_name(raw: bytes, flags: int, extra: bytes) -> str:
    """The name of an entry."""
    return _agreed_name(raw, decoded_name(raw) if flags & _IS_UTF8 else unmarked_name(raw), extra)


def _decoded(raw: bytes, encoding: str) -> Optional[str]:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return None


def _agreed_name(raw: bytes, name: str, extra: bytes) -> str:
    """The name by Info-ZIP's Unicode path field, if there is one. Raises FileProblem unless it is the same name: readers that
    know the field would take the one, and others the other."""
    for kind, data in _extra_records(name, extra) if b"up" in extra else ():
        if kind != _UNICODE_PATH:
            continue
        text = _decoded(data[5:], "utf-8")
        is_valid = len(data) > 5 and data[0] == 1 and struct.unpack_from("<L", data, 1)[0] == zlib.crc32(raw)
        if not is_valid or text is None or (text != name and not any(_is_in(text, page, raw) for page in _CODE_PAGES)):
            raise refused(name, tr("has another name in its Unicode path field"))
        name = text
    return name


def _is_in(text: str, page: str, raw: bytes) -> bool:
    try:
        return text.encode(page) == raw
    except (UnicodeEncodeError, LookupError):
        return False


def _extra_records(name: str, extra: bytes) -> Iterator[tuple[int, bytes]]:
    """The records of an extra field: kind and bytes. Raises FileProblem after too many."""
    position = count = 0
    while position + 4 <= len(extra):
        count += 1
        if count > _EXTRA_RECORDS:
            raise refused(
                name, tr("has more than {extra_records} records in its extra field", extra_records=_EXTRA_RECORDS)
            )
        kind, length = struct.unpack_from("<HH", extra, position)
        yield kind, extra[position + 4 : position + 4 + length]
        position += 4 + length


def _with_zip64(name: str, extra: bytes, values: list[int]) -> list[int]:
    """`values`, with those that do not fit in 32 bits taken from the extra field of zip64."""
    if _IN_ZIP64 not in values:
        return values
    for kind, data in _extra_records(name, extra):
        if kind == 1:
            wanted = [place for place, value in enumerate(values) if value == _IN_ZIP64]
            if len(data) < 8 * len(wanted):
                break
            found = dict(zip(wanted, struct.unpack_from(f"<{len(wanted)}Q", data)))
            return [found.get(place, value) for place, value in enumerate(values)]
    raise refused(name, tr("has a damaged zip64 field"), COPY_AGAIN)


def _require_small(name: str, extra_size: int) -> None:
    if extra_size > _EXTRA_BYTES:
        problem = tr(
            "has an extra field of {extra_size:,} bytes, more than the limit of {extra_bytes:,}",
            extra_size=extra_size,
            extra_bytes=_EXTRA_BYTES,
        )
        raise refused(name, problem)


_Listed = tuple[int, int, int, int, int]
"""An entry by the directory: flags, method, checksum, packed bytes, bytes."""


def _packed_begin(
    file: ArchiveFile, directory: _Directory, header: int, name: str, raw: bytes, listed: _Listed
) -> tuple[int, bool]:
    """Where the entry's bytes begin, and whether a data descriptor must follow them.

    Raises FileProblem if its own header differs from the values `listed` in the directory."""
    if header + _LOCAL.size > directory.begin:
        raise refused(name, tr("is outside the archive"), COPY_AGAIN)
    sign, _, flags, method, _, _, crc, packed, size, name_size, extra_size = _LOCAL.unpack(
        file.read_at(header, _LOCAL.size)
    )
    if sign != b"PK\x03\x04":
        raise refused(name, tr("is not where the zip directory says"), COPY_AGAIN)
    begin = header + _LOCAL.size
    if begin + name_size + extra_size > directory.begin:
        raise refused(name, tr("is outside the archive"), COPY_AGAIN)
    listed_flags, listed_method, *listed_values = listed
    same = method == listed_method and name_size == len(raw) and not (flags ^ listed_flags) & _ENCRYPTED
    _require_small(name, extra_size)
    names = file.read_at(begin, name_size + extra_size)
    same = same and names[:name_size] == raw
    same = same and _agreed_name(raw, name, names[name_size:]) == name
    if flags & _SIZES_AFTER:
        values = zip((crc, packed, size), listed_values)
        same = same and all(own in (0, _IN_ZIP64, value) for own, value in values)
    else:
        same = same and listed_values == [crc, *reversed(_with_zip64(name, names[name_size:], [size, packed]))]
    if not same:
        raise refused(name, tr("has a header that disagrees with the zip directory"), COPY_AGAIN)
    return begin + name_size + extra_size, bool(flags & _SIZES_AFTER)


def _after_descriptor(
    file: ArchiveFile, directory: _Directory, name: str, end: int, listed: _Listed, is_said: bool
) -> int:
    """Where the data descriptor behind an entry's bytes ends, if its header says that there is one.

    It has four forms, and some packers leave it out: then the next header must be there. Raises FileProblem."""
    if not is_said:
        return end
    found = file.read_at(end, min(24, directory.begin - end))
    crc, packed, size = listed[2:]
    for sign in (b"PK\x07\x08", b""):
        for form in ("<LLL", "<LQQ") if max(packed, size) < _IN_ZIP64 else ("<LQQ",):
            expected = sign + struct.pack(form, crc, packed, size)
            if found.startswith(expected):
                return end + len(expected)
    if found and not found.startswith(b"PK\x03\x04"):
        raise refused(name, tr("has a data descriptor that disagrees with the zip directory"), COPY_AGAIN)
    return end


def _zip_pieces(file: ArchiveFile, member: _Member) -> Iterator[bytes]:
    packed = file.pieces(member.begin, member.end)
    count = crc = 0
    for piece in packed if member.method == _STORED else _inflated(packed, member.path):
        count += len(piece)
        if count > member.size:
            raise refused(
                member.path, tr("expands to more than the {size:,} bytes of its header", size=member.size), COPY_AGAIN
            )
        crc = zlib.crc32(piece, crc)
        yield piece
    if count != member.size:
        raise refused(
            member.path,
            tr("expands to {count:,} bytes, its header says {size:,}", count=count, size=member.size),
            COPY_AGAIN,
        )
    if crc != member.crc:
        raise refused(member.path, tr("is damaged: its checksum is wrong"), COPY_AGAIN)


def _inflated(packed: Iterator[bytes], path: str) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for piece in packed:
        if inflater.eof:
            raise refused(path, tr("has data after its end"), COPY_AGAIN)
        try:
            yield from expanded(inflater, piece)
        except zlib.error:
            raise refused(path, tr("is damaged: it cannot be expanded"), COPY_AGAIN) from None
    if not inflater.eof or inflater.unused_data:
        fault = tr("has data after its end") if inflater.eof else tr("is damaged: it cannot be expanded")
        raise refused(path, fault, COPY_AGAIN)
