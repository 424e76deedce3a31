"""What an archive may cost: memory and time are bounded, whatever its headers claim."""

import contextlib
import gzip
import struct
import time
import tracemalloc
from dataclasses import replace

import pytest
from support.archives import Entry, made_tar, made_zip, member, pax, problem, record

from grading.archives import unpack as archive
from grading.archives.unpack import unpack
from grading.errors import FileProblem

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
