"""The tar reader: odd but sound archives give their files, any other one finding in exact words."""

import gzip
import subprocess
from pathlib import Path

import pytest
from support.archives import FILES, SMALL, TGZ, damaged, header, made_tar, member, pax, problem, record, unpacked


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


GOOD = {
    "nothing.tar": (bytes(1024), {}),
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
    "gbk.tar": (made_tar(member("\u5f20\u4e09/a".encode("gbk"), b"1")), {"\u5f20\u4e09/a": b"1"}),
    "gbk-with-5c.tar": (made_tar(member(b"\x95\x5c/a", b"1")), {b"\x95\x5c".decode("gbk") + "/a": b"1"}),
    "code-page.tar": (made_tar(member(b"\x82", b"1")), {"\u00e9": b"1"}),
    "one-zero-block.tar": (member(b"a", b"1") + bytes(512), {"a": b"1"}),
    "streams.tgz": (
        gzip.compress(made_tar(member(b"a", b"1"))[:700])
        + gzip.compress(made_tar(member(b"a", b"1"))[700:])
        + bytes(9),
        {"a": b"1"},
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_odd_but_sound_tars(tmp_path, name):
    data, files = GOOD[name]
    assert unpacked(tmp_path, name, data) == files


BAD = {
    # Names.
    "not-utf-8.tar": (
        made_tar(pax(record(b"path", b"\xd5\xc5")), member(b"a")),
        "the name of entry '\\xd5\\xc5' is not UTF-8",
    ),
    "nul-in-pax.tar": (
        made_tar(pax(record(b"path", b"a\0b")), member(b"a")),
        "the name of entry 'a\\x00b' has a control character",
    ),
    # Kinds.
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
    "full-folder.tar": (made_tar(member(b"a", b"1", b"5")), "entry 'a' is a folder with data of its own"),
    # Tar: headers.
    "absurd.tar": (
        made_tar(header(b"a", size_field=b"\x80" + b"\xff" * 11)),
        f"entry 'a' has {(1 << 88) - 1:,} bytes, more than the limit of 10,000",
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
    "pax-lie.tar": (made_tar(pax(record(b"size", b"9000")), member(b"a")), "is truncated"),
    "huge-pax.tar": (
        made_tar(header(b"p", 500 << 20, b"x")),
        "has an extended tar header of 524,288,000 bytes at byte 0, more than the limit of 65,536",
    ),
    "huge-name.tar": (
        made_tar(member(b"a"), header(b"p", 500 << 20, b"L")),
        "has an extended tar header of 524,288,000 bytes at byte 512, more than the limit of 65,536",
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
        "ends after an extended tar header, without the entry it belongs to",
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
        "is not a tar archive: its first header is damaged, at byte 0",
    ),
    "damaged.tar": (damaged(made_tar(member(b"a"), member(b"b")), 512), "has a damaged tar header, at byte 512"),
    "cut.tar": (made_tar(member(b"a", bytes(5000)))[:3000], "is truncated"),
    "cut-between.tar": (member(b"a", b"1"), "is truncated"),
    "behind.tar": (made_tar(member(b"a")) + member(b"b"), "has data after the end of the tar"),
    # Gzip.
    "cut.tgz": (TGZ[:-1], "is truncated"),
    "beheaded.tgz": (TGZ[:5], "is truncated"),
    "checksum.tgz": (damaged(TGZ, len(TGZ) - 8), "is damaged: its gzip stream cannot be expanded"),
    "tail.tgz": (TGZ + b"x", "is truncated"),
    "junk-tail.tgz": (TGZ + b"hello, here is more", "is damaged: its gzip stream cannot be expanded"),
    "many-streams.tgz": (gzip.compress(b"") * 1001, "has more than 1,000 gzip streams"),
}


@pytest.mark.parametrize("name", BAD)
def test_tars_that_are_refused(tmp_path, name):
    data, expected = BAD[name]
    assert problem(tmp_path, name, data, SMALL) == expected
