"""Archives for the grader's tests, built header by header: the library would not write most of the hostile ones."""

import gzip
import io
import os
import random
import stat
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from typing import Optional

import pytest

from grading.archives import unpack as archive
from grading.archives.unpack import Limits, unpack
from grading.contract.display import one_line
from grading.errors import FileProblem

SMALL = Limits(entries=8, expanded_bytes=20_000, entry_bytes=10_000, path_bytes=40, depth=4, archive_bytes=100_000)
"""Limits that a test can reach."""

FILES = {"pre_data/QQP/QQP_dev.json": b"[]\n", "result/result_QQP.txt": b"1\n0\n" * 500, "saved_model/empty": b""}


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
    assert one_line(caught.value.problem) == caught.value.problem
    return caught.value.problem[len(name) + 4 :]


class Pipe(io.BytesIO):
    """A stream that zipfile cannot seek in: it then writes sizes after the bytes."""

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


def zip64_directory(entry):
    """An archive whose end record says everything in zip64's."""
    data = made_zip(entry)
    place = len(data) - 22
    count, size, begin = struct.unpack("<HLL", data[place + 10 : place + 20])
    end64 = b"PK\x06\x06" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, count, count, size, begin)
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, place, 1)
    top = 0xFFFFFFFF
    return data[:place] + end64 + locator + b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 0xFFFF, 0xFFFF, top, top, 0)


A = Entry(b"a", b"1")

B = Entry(b"b", b"2" * 100)

UNIX = 16


def zip_with(name=b"a", data=b"1", **changes):
    return made_zip(Entry(name, data, **changes))


def damaged(data, position):
    return data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


TGZ = gzip.compress(made_tar(member(b"a", random.Random(0).getrandbits(8 * 3000).to_bytes(3000, "big"))), mtime=0)

SIX = b"abcdef"
