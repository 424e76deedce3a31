"""Unpacking strangers' archives: their files exactly, or one finding; never a byte outside, never a traceback.

Hostile archives are built here header by header, for the library would not write most of them.
"""

import contextlib
import gzip
import hashlib
import io
import itertools
import os
import random
import stat
import struct
import subprocess
import sys
import tarfile
import time
import tracemalloc
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

import pytest

from grading.archives import unpack as archive
from grading.archives.names import folded
from grading.archives.unpack import Limits, is_archive, unpack
from grading.errors import FileProblem

SMALL = Limits(entries=8, expanded_bytes=20_000, entry_bytes=10_000, path_bytes=40, depth=4, archive_bytes=100_000)
"""Limits that a test can reach."""

FILES = {"pre_data/QQP/QQP_dev.json": b"[]\n", "result/result_QQP.txt": b"1\n0\n" * 500, "saved_model/empty": b""}


# Builders.


@dataclass(frozen=True)
class Entry:
    """One entry of a zip; None where a header should tell the truth."""

    name: bytes
    data: bytes = b""
    method: int = 8
    flags: int = 0
    attributes: int = 0
    crc: Optional[int] = None
    size: Optional[int] = None
    packed: Optional[bytes] = None
    packed_size: Optional[int] = None
    local_name: Optional[bytes] = None
    local_crc: Optional[int] = None
    offset: Optional[int] = None
    extra: bytes = b""


def deflated(data):
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def made_zip(*entries, count=None, begin=None, disk=0, behind=b"", here=None):
    body, directory = b"", b""
    for entry in entries:
        packed = entry.packed
        if packed is None:
            packed = deflated(entry.data) if entry.method == 8 else entry.data
        crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
        size = len(entry.data) if entry.size is None else entry.size
        packed_size = len(packed) if entry.packed_size is None else entry.packed_size
        offset = len(body) if entry.offset is None else entry.offset
        values = struct.pack("<HHHHLLL", entry.flags, entry.method, 0, 33, crc, packed_size, size)
        directory += b"PK\x01\x02" + struct.pack("<HH", 20, 20) + values
        directory += struct.pack("<HHHHHLL", len(entry.name), len(entry.extra), 0, 0, 0, entry.attributes, offset)
        directory += entry.name + entry.extra
        name = entry.name if entry.local_name is None else entry.local_name
        if entry.local_crc is not None:
            values = values[:8] + struct.pack("<L", entry.local_crc) + values[12:]
        body += b"PK\x03\x04" + struct.pack("<H", 20) + values + struct.pack("<HH", len(name), 0) + name + packed
    count = len(entries) if count is None else count
    end = struct.pack(
        "<HHHHLLH",
        disk,
        disk,
        count if here is None else here,
        count,
        len(directory),
        len(body) if begin is None else begin,
        0,
    )
    return body + directory + b"PK\x05\x06" + end + behind


def with_local_extra(extra):
    """An archive of `a`, whose own header alone has an extra field."""
    data = made_zip(Entry(b"a", b"1"))
    end = struct.pack("<LH", len(data) - 22 - 47 + len(extra), 0)
    return data[:28] + struct.pack("<H", len(extra)) + data[30:31] + extra + data[31:-6] + end


def header(name, size=0, kind=b"0", magic=b"ustar\x0000", prefix=b"", size_field=None):
    block = bytearray(512)
    block[0 : len(name)] = name
    block[100:124] = b"0000644\0" + b"0000000\0" * 2
    block[124:136] = b"%011o\0" % size if size_field is None else size_field
    block[136:148] = b"0" * 11 + b"\0"
    block[156:157] = kind
    block[257:265] = magic
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = b"%06o\0 " % (sum(block) + 8 * 32)
    return bytes(block)


def member(name, data=b"", kind=b"0", **more):
    return header(name, len(data), kind, **more) + data + bytes(-len(data) % 512)


def made_tar(*blocks):
    return b"".join(blocks) + bytes(1024)


def pax(records, kind=b"x"):
    return member(b"PaxHeaders", records, kind)


def record(key, value):
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length += 1
    return str(length).encode() + body


def unpacked(tmp_path, name, data, limits=archive.LIMITS):
    """The files that come out, path to bytes. Whatever happens, nothing may appear beside the folder."""
    outer = tmp_path / "outer"
    into = outer / "into"
    into.mkdir(parents=True)
    (tmp_path / name).write_bytes(data)
    beside = sorted(tmp_path.iterdir())
    try:
        unpack(tmp_path / name, into, limits)
    finally:
        assert sorted(tmp_path.iterdir()) == beside
        assert list(outer.iterdir()) == [into]
    for folder, folders, files in os.walk(into):
        assert all(stat.S_IMODE(os.lstat(os.path.join(folder, name)).st_mode) == 0o700 for name in folders)
        for name in files:
            status = os.lstat(os.path.join(folder, name))
            assert stat.S_ISREG(status.st_mode)
            assert stat.S_IMODE(status.st_mode) == 0o600
    return {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*") if path.is_file()}


def problem(tmp_path, name, data, limits=archive.LIMITS):
    with pytest.raises(FileProblem) as caught:
        unpacked(tmp_path, name, data, limits)
    assert caught.value.next_step
    assert caught.value.problem.startswith(f"'{name}': ")
    assert len(caught.value.problem) < 400
    assert caught.value.problem.isascii()
    assert caught.value.problem.isprintable()
    return caught.value.problem[len(name) + 4 :]


# What is taken.


@pytest.mark.parametrize("name", ["a.zip", "a.ZIP", "a.tar", "a.tar.gz", "a.Tar.GZ", "a.tgz", "a.b.tgz"])
def test_names_of_archives(name):
    assert is_archive(name)


@pytest.mark.parametrize("name", ["a", "zip", "a.7z", "a.rar", "a.tar.xz", "a.tar.bz2", "a.gz", "a.zip.part", "a.zip "])
def test_names_of_other_files(name):
    assert not is_archive(name)


class Pipe(io.BytesIO):
    """What zipfile cannot seek in: it then writes sizes behind the bytes."""

    def tell(self):
        raise OSError


def library_zip(files, folders=(), method=zipfile.ZIP_DEFLATED, stream=False, zip64=False):
    memory = Pipe() if stream else io.BytesIO()
    with zipfile.ZipFile(memory, "w", method) as made:
        for folder in folders:
            made.writestr(f"{folder}/", b"")
        for name, data in files.items():
            with made.open(zipfile.ZipInfo(name), "w", force_zip64=zip64) as file:
                file.write(data)
    return memory.getvalue()


def library_tar(files, folders=(), form=tarfile.PAX_FORMAT, mode="w"):
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode=mode, format=form) as made:
        for folder in folders:
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o777
            made.addfile(info)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o4777
            made.addfile(info, io.BytesIO(data))
    return memory.getvalue()


LONG = {f"{'deep/' * 25}{'long' * 30}.txt": b"long", f"{'x' * 120}": b"y", "Ünï/çødé/语": b"1\n"}


@pytest.mark.parametrize("files", [FILES, {f"hand-in-1/{name}": data for name, data in FILES.items()}, LONG, {}])
@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("a.zip", library_zip),
        ("stored.zip", lambda files: library_zip(files, method=zipfile.ZIP_STORED)),
        ("descriptor.zip", lambda files: library_zip(files, stream=True)),
        ("zip64.zip", lambda files: library_zip(files, zip64=True)),
        ("a.tar", library_tar),
        ("gnu.tar", lambda files: library_tar(files, form=tarfile.GNU_FORMAT)),
        ("a.tgz", lambda files: library_tar(files, mode="w:gz")),
        ("a.tar.gz", lambda files: library_tar(files, mode="w:gz")),
    ],
)
def test_what_the_library_writes(tmp_path, files, name, build):
    assert unpacked(tmp_path, name, build(files)) == files


@pytest.mark.parametrize(("name", "build"), [("a.zip", library_zip), ("a.tar", library_tar)])
def test_folders_may_have_entries_before_or_after_their_files_or_twice(tmp_path, name, build):
    folders = ["pre_data", "pre_data/QQP", "nothing inside", "pre_data"]
    if name == "a.zip":
        with pytest.warns(UserWarning, match="Duplicate name"):
            data = build(FILES, folders)
    else:
        data = build(FILES, folders)
    assert unpacked(tmp_path, name, data) == FILES
    assert (tmp_path / "outer/into/nothing inside").is_dir()


@pytest.mark.skipif(not Path("/bin/tar").exists(), reason="no tar here")
@pytest.mark.parametrize("form", ["v7", "ustar", "gnu", "posix"])
def test_what_tar_writes(tmp_path, form):
    for name, data in FILES.items():
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_bytes(data)
    command = ["/bin/tar", f"--format={form}", "-C", str(tmp_path / "source"), "-cf", "-", "."]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    assert unpacked(tmp_path / "1", "a.tar", data) == FILES
    assert unpacked(tmp_path / "2", "a.tgz", gzip.compress(data)) == FILES


def zip64_directory(entry):
    """An archive whose end record says everything in zip64's."""
    data = made_zip(entry)
    place = len(data) - 22
    count, size, begin = struct.unpack("<HLL", data[place + 10 : place + 20])
    end64 = b"PK\x06\x06" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, count, count, size, begin)
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, place, 1)
    top = 0xFFFFFFFF
    return data[:place] + end64 + locator + b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 0xFFFF, 0xFFFF, top, top, 0)


GOOD = {
    "nothing.zip": (made_zip(), {}),
    "nothing.tar": (bytes(1024), {}),
    "comment.zip": (made_zip(Entry(b"a", b"1"))[:-2] + b"\x05\0hello", {"a": b"1"}),
    "directory64.zip": (zip64_directory(Entry(b"a", b"1")), {"a": b"1"}),
    "utf-8-said.zip": (made_zip(Entry("é".encode(), b"1", flags=1 << 11)), {"é": b"1"}),
    "utf-8-unsaid.zip": (made_zip(Entry("é".encode(), b"1")), {"é": b"1"}),
    "code-page.zip": (made_zip(Entry(b"\x82", b"1")), {"é": b"1"}),
    "deflated-folder.zip": (made_zip(Entry(b"d/"), Entry(b"d/a", b"1")), {"d/a": b"1"}),
    "dots.zip": (made_zip(Entry(b"./"), Entry(b"./d//./a", b"1")), {"d/a": b"1"}),
    "dots-in-names.zip": (made_zip(Entry(b"..a/b../...", b"1")), {"..a/b../...": b"1"}),
    "gap.zip": (b"PK\x03\x04 gap" + made_zip(Entry(b"a", b"1", offset=8), begin=8 + 34), {"a": b"1"}),
    "nested.zip": (made_zip(Entry(b"b.zip", made_zip(Entry(b"../x")))), {"b.zip": made_zip(Entry(b"../x"))}),
    "litter.zip": (
        made_zip(Entry(b"a", b"1"), Entry(b"__MACOSX/._a", b"2"), Entry(b"d/.DS_Store", b"3"), Entry(b"d/b", b"4")),
        {"a": b"1", "d/b": b"4"},
    ),
    "litter.tar": (made_tar(member(b"./._a", b"fork"), member(b"./a", b"1")), {"a": b"1"}),
    "old.tar": (made_tar(header(b"d/", kind=b"\0", magic=bytes(8)), member(b"d/a", b"1")), {"d/a": b"1"}),
    "prefix.tar": (made_tar(member(b"a", b"1", prefix=b"d/e")), {"d/e/a": b"1"}),
    "times-for-prefix.tar": (made_tar(member(b"a", b"1", magic=b"ustar  \0", prefix=b"0123")), {"a": b"1"}),
    "big-number.tar": (made_tar(header(b"a", size_field=b"\x80" + bytes(10) + b"\1") + b"1".ljust(512)), {"a": b"1"}),
    "pax-size.tar": (made_tar(pax(record(b"size", b"1")), header(b"a"), b"1".ljust(512)), {"a": b"1"}),
    "git.tar": (made_tar(pax(record(b"comment", b"0" * 40), b"g"), member(b"a", b"1")), {"a": b"1"}),
    "mac.tar": (made_tar(pax(record(b"SCHILY.xattr.a", b"\xff\n=\0")), member(b"a", b"1")), {"a": b"1"}),
    "MZ.tar": (made_tar(member(b"MZ", b"1")), {"MZ": b"1"}),
    "sixty-four-records.tar": (made_tar(pax(b"5 a=\n" * 64), member(b"a", b"1")), {"a": b"1"}),
    "sixty-four-extras.zip": (
        made_zip(
            Entry(b"a", b"1", size=0xFFFFFFFF, flags=8, extra=b"\x99\x99\0\0" * 63 + struct.pack("<HHQ", 1, 8, 1))
        ),
        {"a": b"1"},
    ),
    "local-extra.zip": (with_local_extra(bytes(4096)), {"a": b"1"}),
    "one-zero-block.tar": (member(b"a", b"1") + bytes(512), {"a": b"1"}),
    "streams.tgz": (
        gzip.compress(made_tar(member(b"a", b"1"))[:700])
        + gzip.compress(made_tar(member(b"a", b"1"))[700:])
        + bytes(9),
        {"a": b"1"},
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_odd_but_sound(tmp_path, name):
    data, files = GOOD[name]
    assert unpacked(tmp_path, name, data) == files


# What is refused, with the exact words.

A = Entry(b"a", b"1")
B = Entry(b"b", b"2" * 100)
UNIX = 16


def zip_with(name=b"a", data=b"1", **changes):
    return made_zip(Entry(name, data, **changes))


def damaged(data, position):
    return data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


TGZ = gzip.compress(made_tar(member(b"a", random.Random(0).getrandbits(8 * 3000).to_bytes(3000, "big"))), mtime=0)
SIX = b"abcdef"

NAMES = {
    "above": (b"../a", "the name of entry '../a' climbs with '..'"),
    "above-from-inside": (b"a/../../b", "the name of entry 'a/../../b' climbs with '..'"),
    "above-at-end": (b"a/..", "the name of entry 'a/..' climbs with '..'"),
    "absolute": (b"/etc/passwd", "the name of entry '/etc/passwd' is absolute"),
    "drive": (b"c:a", "the name of entry 'c:a' starts with a drive letter"),
    "backslash": (b"..\\a", "the name of entry '..\\\\a' has a backslash"),
    "newline": (b"a\nb", "the name of entry 'a\\nb' has a control character"),
    "escape": (b"\x1b[2J", "the name of entry '\\x1b[2J' has a control character"),
    "line-separator": ("a\u2028".encode(), "the name of entry 'a\\u2028' has a control character"),
    "no-name": (b"./.", "entry './.' has no name"),
    "deep": (b"a/b/c/d/e", "entry 'a/b/c/d/e' lies more than 4 folders deep"),
    "long": (b"a" * 41, f"the name of entry '{'a' * 41}' has more than 40 bytes"),
    "long-in-bytes": ("语".encode() * 14, f"the name of entry '{'语' * 14}' has more than 40 bytes"),
}
"""Names that are refused in every format."""


@pytest.mark.parametrize("defect", NAMES)
@pytest.mark.parametrize("form", ["zip", "tar", "pax", "gnu"])
def test_names_that_are_refused(tmp_path, defect, form):
    name, expected = NAMES[defect]
    data = {
        "zip": lambda: made_zip(Entry(b"x", b"1"), Entry(name, b"1", flags=1 << 11)),
        "tar": lambda: made_tar(member(b"x", b"1"), member(name, b"1")),
        "pax": lambda: made_tar(member(b"x", b"1"), pax(record(b"path", name)), member(b"y", b"1")),
        "gnu": lambda: made_tar(member(b"x", b"1"), member(b"././@LongLink", name + b"\0", b"L"), member(b"y", b"1")),
    }[form]()
    expected = "".join(char if char.isascii() else ascii(char)[1:-1] for char in expected)
    assert problem(tmp_path, f"a.{'zip' if form == 'zip' else 'tar'}", data, SMALL) == expected


BAD = {
    # Not what the suffix says.
    "tar.zip": (made_tar(member(b"a")), "expected a zip archive, found a tar archive"),
    "rar.zip": (b"Rar!\x1a\x07\x01\0", "expected a zip archive, found a RAR archive"),
    "7z.zip": (b"7z\xbc\xaf\x27\x1c", "expected a zip archive, found a 7z archive"),
    "page.zip": (b"<html>", "expected a zip archive, found a web page"),
    "empty.zip": (b"", "expected a zip archive, found an empty file"),
    "split.zip": (b"PK\x07\x08" + made_zip(A), "expected a zip archive, found one part of a split zip archive"),
    "program.zip": (b"MZ" + made_zip(A), "expected a zip archive, found a Windows program"),
    "text.zip": (b"hello\n\xff", "expected a zip archive, found a file that starts with 'hello\\n\\xff'"),
    "zip.tar": (made_zip(A), "expected a tar archive, found a zip archive"),
    "gzip.tar": (TGZ, "expected a tar archive, found a gzip file"),
    "xz.tar": (b"\xfd7zXZ\0".ljust(512), "expected a tar archive, found an xz file"),
    "empty.tar": (b"", "expected a tar archive, found an empty file"),
    "tar.tgz": (made_tar(member(b"a")), "expected a gzipped tar, found a tar archive"),
    "zip.tar.gz": (made_zip(A), "expected a gzipped tar, found a zip archive"),
    "text.tgz": (gzip.compress(b"x" * 600), "holds no tar archive: its first header is damaged, at byte 0"),
    "short.tgz": (gzip.compress(b"x"), "is cut short"),
    # Names.
    "not-utf-8.zip": (zip_with(b"a\xff", flags=1 << 11), "the name of entry 'a\\xff' is not UTF-8"),
    "surrogate.zip": (
        zip_with(b"\xed\xa0\x80", flags=1 << 11),
        "the name of entry '\\xed\\xa0\\x80' is not UTF-8",
    ),
    "nul.zip": (zip_with(b"a.txt\0.json"), "the name of entry 'a.txt\\x00.json' has a control character"),
    "nameless.zip": (zip_with(b""), "entry '' has no name"),
    "endless-name.zip": (
        zip_with(b"a" * 40_000),
        f"the name of entry '{'a' * 80}'... has more than 40 bytes",
    ),
    "not-utf-8.tar": (made_tar(member(b"a\xff")), "the name of entry 'a\\xff' is not UTF-8"),
    "nul-in-pax.tar": (
        made_tar(pax(record(b"path", b"a\0b")), member(b"a")),
        "the name of entry 'a\\x00b' has a control character",
    ),
    # Two entries at one place.
    "twice.zip": (made_zip(A, A), "entry 'a' is there twice"),
    "twice.tar": (made_tar(member(b"a"), member(b"./a")), "entry 'a' is there twice"),
    "case.zip": (made_zip(A, Entry(b"A")), "entries 'a' and 'A' differ only in case or Unicode form"),
    "case-of-folder.zip": (
        made_zip(Entry(b"d/a"), Entry(b"D/b")),
        "entries 'd' and 'D' differ only in case or Unicode form",
    ),
    "normal-form.tar": (
        made_tar(member("é".encode()), member("e\u0301".encode())),
        "entries '\\xe9' and 'e\\u0301' differ only in case or Unicode form",
    ),
    "folded-case.tar": (
        made_tar(member("straße".encode()), member(b"STRASSE")),
        "entries 'stra\\xdfe' and 'STRASSE' differ only in case or Unicode form",
    ),
    "file-as-folder.zip": (made_zip(A, Entry(b"a/b")), "entry 'a' is a file and a folder at once"),
    "folder-as-file.zip": (made_zip(Entry(b"a/b"), A), "entry 'a' is a file and a folder at once"),
    "folder-entry-as-file.tar": (
        made_tar(header(b"a", kind=b"5"), member(b"a")),
        "entry 'a' is a file and a folder at once",
    ),
    # Kinds.
    "link.zip": (zip_with(attributes=(stat.S_IFLNK | 0o777) << UNIX), "entry 'a' is a symbolic link"),
    "pipe.zip": (zip_with(attributes=stat.S_IFIFO << UNIX), "entry 'a' is a named pipe"),
    "socket.zip": (zip_with(attributes=stat.S_IFSOCK << UNIX), "entry 'a' is a socket"),
    "device.zip": (zip_with(attributes=stat.S_IFCHR << UNIX), "entry 'a' is a device"),
    "unknown.zip": (zip_with(attributes=0o150000 << UNIX), "entry 'a' is no ordinary file"),
    "hard-link.tar": (made_tar(header(b"a", kind=b"1")), "entry 'a' is a hard link"),
    "link.tar": (made_tar(header(b"a", kind=b"2")), "entry 'a' is a symbolic link"),
    "link.tgz": (gzip.compress(made_tar(header(b"a", kind=b"2"))), "entry 'a' is a symbolic link"),
    "device.tar": (made_tar(header(b"a", kind=b"3")), "entry 'a' is a device"),
    "disk.tar": (made_tar(header(b"a", kind=b"4")), "entry 'a' is a device"),
    "pipe.tar": (made_tar(header(b"a", kind=b"6")), "entry 'a' is a named pipe"),
    "sparse.tar": (made_tar(header(b"a", kind=b"S")), "entry 'a' is a sparse file"),
    "pax-sparse.tar": (
        made_tar(pax(record(b"GNU.sparse.realsize", b"9999999999")), member(b"a")),
        "entry 'a' is a sparse file",
    ),
    "split.tar": (made_tar(header(b"a", kind=b"M")), "entry 'a' is one part of a split archive"),
    "unknown.tar": (made_tar(header(b"a", kind=b"\xff")), "entry 'a' is of the unknown type '\\xff'"),
    "full-folder.zip": (zip_with(b"a/"), "entry 'a/' is a folder with bytes of its own"),
    "full-folder.tar": (made_tar(member(b"a", b"1", b"5")), "entry 'a' is a folder with bytes of its own"),
    # Zip: what cannot be read.
    "encrypted.zip": (zip_with(flags=1), "entry 'a' is encrypted"),
    "hidden.zip": (zip_with(flags=1 << 13), "entry 'a' is encrypted"),
    "bzip2.zip": (zip_with(method=12), "entry 'a' is compressed with bzip2, expected stored or deflated"),
    "aes.zip": (zip_with(method=99), "entry 'a' is compressed with method 99, expected stored or deflated"),
    # Zip: headers that lie.
    "larger-than-said.zip": (
        zip_with(data=b"1" * 9000, size=5),
        "entry 'a' expands to more than the 5 bytes of its header",
    ),
    "smaller-than-said.zip": (zip_with(size=5), "entry 'a' expands to 1 bytes, its header says 5"),
    "stored-other-size.zip": (
        zip_with(data=SIX, method=0, size=5),
        "entry 'a' expands to more than the 5 bytes of its header",
    ),
    "checksum.zip": (zip_with(crc=0), "entry 'a' is damaged: its checksum is wrong"),
    "not-deflated.zip": (zip_with(packed=b"\xff\xff"), "entry 'a' is damaged: it cannot be expanded"),
    "cut-deflated.zip": (
        zip_with(data=SIX, packed=deflated(SIX)[:-2]),
        "entry 'a' is damaged: it cannot be expanded",
    ),
    "behind-deflated.zip": (zip_with(packed=deflated(b"1") + b"x"), "entry 'a' has something behind its end"),
    "far-behind-deflated.zip": (
        zip_with(packed=deflated(b"1") + bytes(70_000)),
        "entry 'a' has something behind its end",
    ),
    "two-names.zip": (
        zip_with(local_name=b"b"),
        "entry 'a' has a header that disagrees with the zip directory",
    ),
    "two-checksums.zip": (zip_with(local_crc=0), "entry 'a' has a header that disagrees with the zip directory"),
    "overlap.zip": (
        made_zip(replace(A, packed_size=80), replace(B, method=0)),
        "entry 'b' overlaps the entry before it",
    ),
    "one-body.zip": (
        made_zip(A, replace(A, packed=b"", packed_size=3, offset=0)),
        "entry 'a' has its header where another entry has it",
    ),
    "one-header.zip": (
        made_zip(A, replace(B, packed=b"", offset=0)),
        "entry 'b' has its header where another entry has it",
    ),
    "one-header-in-zip64.zip": (
        made_zip(A, replace(A, packed=b"", packed_size=3, offset=0xFFFFFFFF, extra=struct.pack("<HHQ", 1, 8, 0))),
        "entry 'a' has its header where another entry has it",
    ),
    "long-extra.zip": (
        zip_with(extra=struct.pack("<HH", 0x9999, 4093) + bytes(4093)),
        "entry 'a' has an extra field of 4,097 bytes, more than the 4,096 that are read",
    ),
    "long-local-extra.zip": (
        with_local_extra(bytes(4097)),
        "entry 'a' has an extra field of 4,097 bytes, more than the 4,096 that are read",
    ),
    "many-extras.zip": (
        zip_with(size=0xFFFFFFFF, extra=b"\x99\x99\0\0" * 64 + struct.pack("<HHQ", 1, 8, 1)),
        "entry 'a' has more than 64 records in its extra field",
    ),
    "outside.zip": (zip_with(offset=1 << 30), "entry 'a' lies outside the archive"),
    "beyond.zip": (zip_with(packed_size=1000), "entry 'a' lies outside the archive"),
    "elsewhere.zip": (made_zip(B, replace(A, offset=3)), "entry 'a' is not where the zip directory says"),
    "no-zip64.zip": (zip_with(size=0xFFFFFFFF), "entry 'a' has a damaged zip64 field"),
    "short-zip64.zip": (
        zip_with(size=0xFFFFFFFF, extra=struct.pack("<HHL", 1, 4, 1)),
        "entry 'a' has a damaged zip64 field",
    ),
    "huge-zip64.zip": (
        zip_with(size=0xFFFFFFFF, extra=struct.pack("<HHQ", 1, 8, 1 << 62)),
        f"entry 'a' has {1 << 62:,} bytes, more than the 10,000 that are taken",
    ),
    # Zip: the directory.
    "cut.zip": (made_zip(A)[:-1], "has no zip directory at its end: it is cut short"),
    "beheaded.zip": (b"PK\x03\x04", "has no zip directory at its end: it is cut short"),
    "tail.zip": (made_zip(A) + b"x", "has something behind its zip directory"),
    "middle-of-set.zip": (made_zip(A, disk=1), "is one part of a split zip archive"),
    "other-counts.zip": (made_zip(A, here=2), "is one part of a split zip archive"),
    "moved.zip": (made_zip(A, begin=3), "has a zip directory that is not where it says, or not as long"),
    "more-said.zip": (
        made_zip(A, B, Entry(b"c" * 40), Entry(b"d" * 40), count=5),
        "has fewer entries than its zip directory says",
    ),
    "fewer-said.zip": (made_zip(A, B, count=1), "has more entries than its zip directory says"),
    "millions-said.zip": (
        made_zip(A, count=65_535),
        "has a zip directory that is not where it says, or not as long",
    ),
    "damaged-directory.zip": (
        damaged(made_zip(A), len(made_zip(A)) - 22 - 47),
        "has a damaged zip directory at byte 34",
    ),
    "two-directories.zip": (
        zip64_directory(A)[:-14] + struct.pack("<HHLLH", 7, 7, 0xFFFFFFFF, 0xFFFFFFFF, 0),
        "has two zip directories that disagree",
    ),
    "damaged-zip64.zip": (
        zip64_directory(A).replace(b"PK\x06\x06", b"PK\x06\x05"),
        "has a damaged zip64 directory",
    ),
    # Limits.
    "many.zip": (made_zip(*(Entry(b"%d" % row) for row in range(9))), "holds more than 8 files and folders"),
    "many.tar": (made_tar(*(member(b"%d" % row) for row in range(9))), "holds more than 8 files and folders"),
    "much-litter.zip": (
        made_zip(*(Entry(b"%d/.DS_Store" % row) for row in range(9))),
        "holds more than 8 files and folders",
    ),
    "many-folders.tar": (
        made_tar(*(member(b"%d/b/c/d" % row) for row in range(3))),
        "holds more than 8 files and folders",
    ),
    "large-entry.zip": (
        zip_with(data=bytes(10_001)),
        "entry 'a' has 10,001 bytes, more than the 10,000 that are taken",
    ),
    "large-entry.tar": (
        made_tar(member(b"a", bytes(10_001))),
        "entry 'a' has 10,001 bytes, more than the 10,000 that are taken",
    ),
    "large.zip": (
        made_zip(*(Entry(b"%d" % row, bytes(7000)) for row in range(3))),
        "expands to more than 20,000 bytes",
    ),
    "large.tar": (
        made_tar(*(member(b"%d" % row, bytes(7000)) for row in range(3))),
        "expands to more than 20,000 bytes",
    ),
    "large.tgz": (
        gzip.compress(made_tar(*(member(b"%d" % row, bytes(7000)) for row in range(3)))),
        "expands to more than 20,000 bytes",
    ),
    "zeros-behind.tgz": (gzip.compress(made_tar() + bytes(10**6)), "expands to more than 20,000 bytes"),
    "fat.zip": (bytes(100_001), "has 100,001 bytes, more than the 100,000 that are read"),
    # Tar: headers.
    "absurd.tar": (
        made_tar(header(b"a", size_field=b"\x80" + b"\xff" * 11)),
        f"entry 'a' has {(1 << 88) - 1:,} bytes, more than the 10,000 that are taken",
    ),
    "negative.tar": (made_tar(header(b"a", size_field=b"\xff" * 12)), "has a tar header without a size at byte 0"),
    "no-number.tar": (
        made_tar(header(b"a", size_field=b"12345678\x009 ")),
        "has a tar header without a size at byte 0",
    ),
    "pax-size.tar": (
        made_tar(pax(record(b"size", b"-1")), member(b"a")),
        "gives entry 'a' a size that is not a number",
    ),
    "pax-lie.tar": (made_tar(pax(record(b"size", b"9000")), member(b"a")), "is cut short"),
    "huge-pax.tar": (
        made_tar(header(b"p", 500 << 20, b"x")),
        "has an extended tar header of 524,288,000 bytes at byte 0, more than the 65,536 that are read",
    ),
    "huge-name.tar": (
        made_tar(member(b"a"), header(b"p", 500 << 20, b"L")),
        "has an extended tar header of 524,288,000 bytes at byte 512, more than the 65,536 that are read",
    ),
    "many-records.tar": (
        made_tar(pax(b"5 a=\n" * 65), member(b"a")),
        "has more than 64 records in one extended tar header",
    ),
    "many-records-for-all.tar": (
        made_tar(pax(b"5 a=\n" * 65, b"g"), member(b"a")),
        "has more than 64 records in one extended tar header",
    ),
    "damaged-pax.tar": (made_tar(pax(b"9 path=abc\n"), member(b"a")), "has a damaged extended tar header"),
    "endless-pax.tar": (made_tar(pax(record(b"a", b"b") + b"x"), member(b"a")), "has a damaged extended tar header"),
    "backward-pax.tar": (made_tar(pax(b"0 a=b\n"), member(b"a")), "has a damaged extended tar header"),
    "two-pax.tar": (
        made_tar(pax(b""), pax(b""), member(b"a")),
        "has two extended tar headers of one kind at byte 512",
    ),
    "only-pax.tar": (
        made_tar(pax(b"")),
        "ends behind an extended tar header, without the entry that it is for",
    ),
    "two-names.tar": (
        made_tar(pax(record(b"path", b"b")), member(b"@", b"c\0", b"L"), member(b"a")),
        "gives entry 'a' two names or sizes",
    ),
    "name-for-all.tar": (
        made_tar(pax(record(b"path", b"b"), b"g"), member(b"a")),
        "gives entry 'a' two names or sizes",
    ),
    "damaged-first.tar": (
        damaged(made_tar(member(b"a")), 0),
        "holds no tar archive: its first header is damaged, at byte 0",
    ),
    "damaged.tar": (damaged(made_tar(member(b"a"), member(b"b")), 512), "has a damaged tar header, at byte 512"),
    "cut.tar": (made_tar(member(b"a", bytes(5000)))[:3000], "is cut short"),
    "cut-between.tar": (member(b"a", b"1"), "is cut short"),
    "behind.tar": (made_tar(member(b"a")) + member(b"b"), "has something behind the end of its tar"),
    # Gzip.
    "cut.tgz": (TGZ[:-1], "is cut short"),
    "beheaded.tgz": (TGZ[:5], "is cut short"),
    "checksum.tgz": (damaged(TGZ, len(TGZ) - 8), "is damaged: its gzip stream cannot be expanded"),
    "tail.tgz": (TGZ + b"x", "is cut short"),
    "junk-tail.tgz": (TGZ + b"hello, here is more", "is damaged: its gzip stream cannot be expanded"),
    "many-streams.tgz": (gzip.compress(b"") * 1001, "has more than 1,000 gzip streams"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(tmp_path, name):
    data, expected = BAD[name]
    assert problem(tmp_path, name, data, SMALL) == expected


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_regular_file(tmp_path):
    (tmp_path / "into").mkdir()
    (tmp_path / "real.zip").write_bytes(made_zip(A))
    (tmp_path / "link.zip").symlink_to("real.zip")
    (tmp_path / "folder.zip").mkdir()
    os.mkfifo(tmp_path / "pipe.zip")
    for name in ("link.zip", "folder.zip", "pipe.zip"):
        with pytest.raises(FileProblem, match=f"^'{name}': is no regular file$"):
            unpack(tmp_path / name, tmp_path / "into")
    with pytest.raises(FileProblem, match=r"^'none\.zip': cannot be read: No such file or directory$"):
        unpack(tmp_path / "none.zip", tmp_path / "into")
    with pytest.raises(FileProblem, match=r"^'a\.rar': is none of \.zip, \.tar, \.tar\.gz, \.tgz$"):
        unpack(tmp_path / "a.rar", tmp_path / "into")
    assert list((tmp_path / "into").iterdir()) == []


def test_the_archives_own_name_is_shown_safely(tmp_path):
    with pytest.raises(FileProblem) as caught:
        unpack(tmp_path / "\x1b[2J\n.zip", tmp_path)
    assert caught.value.problem.startswith("'\\x1b[2J\\n.zip': ")


def test_a_folder_that_cannot_be_written_is_no_fault_of_the_archive(tmp_path):
    (tmp_path / "a.zip").write_bytes(made_zip(A))
    with pytest.raises(FileNotFoundError):
        unpack(tmp_path / "a.zip", tmp_path / "nowhere")


def test_what_was_written_before_the_refusal_is_within_the_limits(tmp_path):
    data = made_tar(*(member(b"%d" % row, bytes(9000)) for row in range(3)))
    problem(tmp_path, "a.tar", data, SMALL)
    assert sum(path.stat().st_size for path in (tmp_path / "outer/into").rglob("*")) == 18_000


BOMBS = {
    "zeros.zip": lambda: made_zip(Entry(b"a", bytes(32 << 20))),
    "zeros.tgz": lambda: gzip.compress(made_tar(member(b"a", bytes(32 << 20)))),
    "entries.zip": lambda: made_zip(*(Entry(b"%d" % row) for row in range(6_000))),
    "longest-names.zip": lambda: made_zip(*(Entry(b"%04d/" % row + b"x" * 250) for row in range(1_000))),
    "keys.tar": lambda: made_tar(pax(b"".join(record(b"%d" % row, b"") for row in range(6_000))), member(b"a")),
    "pax.tgz": lambda: gzip.compress(made_tar(member(b"p", bytes(32 << 20), b"x"))),
}


@pytest.mark.parametrize("name", BOMBS)
def test_memory_is_bounded(tmp_path, name):
    (tmp_path / name).write_bytes(BOMBS[name]())
    (tmp_path / "into").mkdir()
    tracemalloc.start()
    try:
        unpack(tmp_path / name, tmp_path / "into")
    except FileProblem:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8 << 20


def test_extended_headers_are_bounded_over_all_entries(tmp_path):
    """A gzipped tar packs 5,000 headers of 64 KiB into a few hundred kilobytes; packers write 1 kB of them in all."""
    longest = pax(record(b"comment", b"x" * 65_500))
    data = gzip.compress(made_tar(*(longest + member(b"%d" % row) for row in range(65))))
    assert len(data) < 20_000
    expected = "has more than 4,194,304 bytes of extended tar headers"
    assert problem(tmp_path, "a.tgz", data, replace(archive.LIMITS, expanded_bytes=5 << 20)) == expected


def one_header_often():
    """5,000 records of a directory that name one header, and in that 16,000 records of an extra field."""
    extra = b"\x99\x99\0\0" * 16_000 + struct.pack("<HHQQ", 1, 16, 0, 0)
    local = b"PK\x03\x04" + struct.pack("<HHHLLLLHH", 20, 0, 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF, 1, len(extra))
    central = b"PK\x01\x02" + struct.pack("<HHHHLLLLHHHHHLL", 20, 20, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    begin = len(local) + 1 + len(extra)
    end = b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 5_000, 5_000, 5_000 * len(central), begin, 0)
    return local + b"a" + extra + central * 5_000 + end


SLOW = {
    "records.tgz": lambda: gzip.compress(
        made_tar(*(pax(b"5 a=\n" * 13_000) + member(b"%d" % row) for row in range(1_000))), 1
    ),
    "one-header.zip": one_header_often,
    "deep.tgz": lambda: gzip.compress(
        made_tar(
            *(
                member(b"L", ("\u2c2f\u00e9\u00c9\u2c2f\u00e9/" * 31 + str(row)).encode(), b"L") + member(b"x")
                for row in range(1_500)
            )
        ),
        1,
    ),
}
"""What costs most of a reader's time for its bytes."""


@pytest.mark.parametrize("name", SLOW)
def test_time_is_bounded(tmp_path, name):
    (tmp_path / name).write_bytes(SLOW[name]())
    (tmp_path / "into").mkdir()
    started = time.process_time()
    with contextlib.suppress(FileProblem):
        unpack(tmp_path / name, tmp_path / "into")
    assert time.process_time() - started < 2


SAME_PLACE = {
    ("a", "A"): True,
    ("\u00e9", "E\u0301"): True,
    ("stra\u00dfe", "STRASSE"): True,
    ("\u212a", "k"): True,  # the sign of the kelvin
    ("\u03c3", "\u03c2"): True,
    ("\uac00", "\u1100\u1161"): True,
    ("a\u0323\u0301", "a\u0301\u0323"): True,  # two marks, in either order
    ("\u10a0", "\u2d00"): True,  # the small letter came later than the large one
    ("\u2126", "\u03c9"): True,
    ("a", "b"): False,
    ("i", "\u0131"): False,
    ("\u2c2f", "\u2c5f"): False,  # letters of Unicode 14: Python 3.9 does not know that they are one
    ("\ua7c0", "\ua7c1"): False,
    ("\U00010570", "\U00010597"): False,
    ("a\u1dfa\u0301", "a\u0301\u1dfa"): False,  # a mark of Unicode 14
    ("\u2c2fA", "\u2c2fa"): True,
    ("\u023a", "\u2c65"): False,  # of Unicode 4.1 and 5.0, in every Python's own tables
    ("\u13a0", "\uab70"): False,
}
"""Two names, and whether they are one wherever case or Unicode form does not count."""


@pytest.mark.parametrize("names", SAME_PLACE, ids=ascii)
@pytest.mark.parametrize("as_folders", [False, True])
def test_names_that_are_one_are_so_for_every_python(tmp_path, names, as_folders):
    one, other = (name.encode() for name in names)
    data = made_tar(member(one + b"/1" * as_folders, b"1"), member(other + b"/2" * as_folders, b"2"))
    if SAME_PLACE[names]:
        assert problem(tmp_path, "a.tar", data).endswith("differ only in case or Unicode form")
    else:
        assert sorted(unpacked(tmp_path, "a.tar", data).values()) == [b"1", b"2"]


FOLDED = "0ee89d94d2d915eae3faada36f600606b4c9c357d19021e1cd1869bcab471446"
MARKS_FOLDED = "f68263e7b7c85a0863170d56071ee03bb1bb0c6a3e52073b9cfd851cfb7d1037"


def test_every_python_folds_every_character_alike():
    """The same digests on 3.9, which knows Unicode 13, and on 3.13, which knows 15.1."""
    digest = hashlib.sha256()
    for point in range(0x110000):
        if not 0xD800 <= point < 0xE000:
            digest.update(folded(chr(point)).encode())
    assert digest.hexdigest() == FOLDED
    marks = [chr(point) for point in range(0x110000) if unicodedata.ucd_3_2_0.combining(chr(point))]
    digest.update(folded("".join(f"a{mark}\u0301{mark}\u1dfa{mark}" for mark in marks)).encode())
    assert digest.hexdigest() == MARKS_FOLDED


@pytest.mark.skipif(sys.platform != "linux", reason="the names of files are UTF-8 here")
def test_a_name_that_the_file_system_cannot_write(tmp_path):
    (tmp_path / "a.tar").write_bytes(made_tar(member("d\u00e9/a".encode(), b"1")))
    (tmp_path / "b.zip").write_bytes(made_zip(Entry("\u00e9".encode(), b"1", flags=1 << 11)))
    (tmp_path / "into").mkdir()
    check = (
        "import sys; from pathlib import Path\n"
        "from grading.archives.unpack import unpack; from grading.errors import FileProblem\n"
        "for name in sys.argv[2:]:\n"
        "    try: unpack(Path(name), Path(sys.argv[1]))\n"
        "    except FileProblem as problem: print(problem.problem)\n"
    )
    command = [sys.executable, "-S", "-c", check, *(str(tmp_path / name) for name in ("into", "a.tar", "b.zip"))]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, env=environment, cwd=root, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "'a.tar': entry 'd\\xe9' cannot be stored under its name: names here are ascii",
        "'b.zip': entry '\\xe9' cannot be stored under its name: names here are ascii",
    ]


def test_nothing_but_zlib_is_imported():
    """The parsers that hang or grow on a hostile header stay out of the grader's process."""
    check = "import sys, grading.archives.unpack; sys.exit(bool({'zipfile', 'tarfile', 'gzip'} & set(sys.modules)))"
    root = Path(__file__).resolve().parents[1]
    assert subprocess.run([sys.executable, "-S", "-c", check], cwd=root, check=False).returncode == 0


SOUND = {
    "a.zip": library_zip(FILES, ["pre_data"]),
    "stored.zip": library_zip(FILES, method=zipfile.ZIP_STORED),
    "descriptor.zip": library_zip(FILES, stream=True),
    "zip64.zip": zip64_directory(B),
    "a.tar": library_tar(FILES, ["pre_data"]),
    "long.tar": library_tar(LONG),
    "gnu.tar": library_tar(LONG, form=tarfile.GNU_FORMAT),
    "a.tgz": library_tar(FILES, mode="w:gz"),
}


def test_cut_and_flipped_archives(tmp_path):
    """A sound archive that loses its end or some bits gives a finding, or files: nothing else, and nothing outside."""
    hypothesis = pytest.importorskip("hypothesis")
    draw = hypothesis.strategies
    place = draw.integers(0, 1 << 20)
    cases = itertools.count()

    @hypothesis.settings(max_examples=300, deadline=2000, database=None)
    @hypothesis.given(
        draw.sampled_from(sorted(SOUND)),
        draw.none() | place,
        draw.lists(draw.tuples(place, draw.integers(1, 255)), max_size=4),
        draw.booleans(),
    )
    def check(name, cut, flips, at_end):
        data = bytearray(SOUND[name])
        for position, bits in flips:
            where = position % len(data)
            data[len(data) - 1 - where % 200 if at_end else where] ^= bits  # directories lie at the end
        if cut is not None:
            del data[cut % len(data) :]
        folder = tmp_path / str(next(cases))
        folder.mkdir()
        with contextlib.suppress(FileProblem):
            unpacked(folder, name, bytes(data), SMALL)

    check()


def test_every_cut_is_noticed(tmp_path):
    """Of these archives no beginning is an archive."""
    for name in ("a.zip", "a.tar", "a.tgz"):
        data = library_zip({"a": b"1" * 90}) if name == "a.zip" else library_tar({"a": b"1" * 90}).rstrip(b"\0")
        data = gzip.compress(data + bytes(1024)) if name == "a.tgz" else data
        for end in range(0, len(data), 7):
            folder = tmp_path / f"{name}-{end}"
            folder.mkdir()
            problem(folder, name, data[:end])
