"""The zip reader: odd but sound archives give their files, any other one finding in exact words."""

import stat
import struct
import zlib
from dataclasses import replace

import pytest
from support.archives import (
    SIX,
    SMALL,
    UNIX,
    A,
    B,
    Entry,
    damaged,
    deflated,
    made_zip,
    problem,
    unpacked,
    with_local_extra,
    zip64_directory,
    zip_with,
)


def unicode_path(raw, text, encoded=None):
    """Info-ZIP's extra field: the name in UTF-8, and the checksum of the name that it belongs to."""
    data = b"\x01" + struct.pack("<L", zlib.crc32(raw)) + (text.encode() if encoded is None else encoded)
    return struct.pack("<HH", 0x7075, len(data)) + data


def with_descriptor(form, cut=0, local_size=0, **lies):
    """An archive of `a`, whose sizes are after its bytes, in one of the four forms."""
    packed = deflated(b"1")
    true = {"crc": zlib.crc32(b"1"), "packed": len(packed), "size": 1}
    said = {**true, **lies}
    for mark, kind in ((b"{L}", "<LLL"), (b"{Q}", "<LQQ")):
        form = form.replace(mark, struct.pack(kind, *said.values()))
    body = b"PK\x03\x04" + struct.pack("<HHHHHLLLHH", 20, 8, 8, 0, 33, 0, 0, local_size, 1, 0) + b"a" + packed
    body += form[: len(form) - cut]
    directory = b"PK\x01\x02" + struct.pack("<HHHHHHLLL", 20, 20, 8, 8, 0, 33, *true.values())
    directory += struct.pack("<HHHHHLL", 1, 0, 0, 0, 0, 0, 0) + b"a"
    return body + directory + b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 1, 1, len(directory), len(body), 0)


GOOD = {
    "nothing.zip": (made_zip(), {}),
    "comment.zip": (made_zip(Entry(b"a", b"1"))[:-2] + b"\x05\0hello", {"a": b"1"}),
    "directory64.zip": (zip64_directory(Entry(b"a", b"1")), {"a": b"1"}),
    "utf-8-said.zip": (made_zip(Entry("é".encode(), b"1", flags=1 << 11)), {"é": b"1"}),
    "utf-8-unsaid.zip": (made_zip(Entry("é".encode(), b"1")), {"é": b"1"}),
    "code-page.zip": (made_zip(Entry(b"\x82", b"1")), {"é": b"1"}),
    "deflated-folder.zip": (made_zip(Entry(b"d/"), Entry(b"d/a", b"1")), {"d/a": b"1"}),
    "dots.zip": (made_zip(Entry(b"./"), Entry(b"./d//./a", b"1")), {"d/a": b"1"}),
    "dots-in-names.zip": (made_zip(Entry(b"..a/b..c/...d", b"1")), {"..a/b..c/...d": b"1"}),
    "gap.zip": (b"PK\x03\x04 gap" + made_zip(Entry(b"a", b"1", offset=8), begin=8 + 34), {"a": b"1"}),
    "nested.zip": (made_zip(Entry(b"b.zip", made_zip(Entry(b"../x")))), {"b.zip": made_zip(Entry(b"../x"))}),
    "litter.zip": (
        made_zip(Entry(b"a", b"1"), Entry(b"__MACOSX/._a", b"2"), Entry(b"d/.DS_Store", b"3"), Entry(b"d/b", b"4")),
        {"a": b"1", "d/b": b"4"},
    ),
    "sixty-four-extras.zip": (
        made_zip(
            Entry(b"a", b"1", size=0xFFFFFFFF, flags=8, extra=b"\x99\x99\0\0" * 63 + struct.pack("<HHQ", 1, 8, 1))
        ),
        {"a": b"1"},
    ),
    "gbk.zip": (made_zip(Entry("\u5f20\u4e09/a".encode("gbk"), b"1")), {"\u5f20\u4e09/a": b"1"}),
    "gbk-with-5c.zip": (made_zip(Entry(b"\x95\x5c/a", b"1")), {b"\x95\x5c".decode("gbk") + "/a": b"1"}),
    "big5-with-5c.zip": (made_zip(Entry(b"\xa5\x5c/a", b"1")), {b"\xa5\x5c".decode("big5") + "/a": b"1"}),
    "shift-jis-with-5c.zip": (made_zip(Entry(b"\x94\x5c\xb1", b"1")), {"\u80fd\uff71": b"1"}),
    "unicode-path.zip": (zip_with(b"a", extra=unicode_path(b"a", "a")), {"a": b"1"}),
    "unicode-path-of-gbk.zip": (
        zip_with("\u5f20\u4e09".encode("gbk"), extra=unicode_path("\u5f20\u4e09".encode("gbk"), "\u5f20\u4e09")),
        {"\u5f20\u4e09": b"1"},
    ),
    "unicode-path-of-1252.zip": (
        zip_with(b"\xe9", extra=unicode_path(b"\xe9", "\u00e9")),
        {"\u00e9": b"1"},
    ),
    "other-extra-with-up.zip": (zip_with(extra=struct.pack("<HH", 0x5455, 2) + b"up"), {"a": b"1"}),
    **{
        f"descriptor-{number}.zip": (with_descriptor(form), {"a": b"1"})
        for number, form in enumerate((b"PK\x07\x08{L}", b"{L}", b"PK\x07\x08{Q}", b"{Q}"))
    },
    "local-extra.zip": (with_local_extra(bytes(4096)), {"a": b"1"}),
}


@pytest.mark.parametrize("name", GOOD)
def test_odd_but_sound_zips(tmp_path, name):
    data, files = GOOD[name]
    assert unpacked(tmp_path, name, data) == files


BAD = {
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
        f"the name of entry '{'a' * 80} ... {'a' * 80}' (40,000 characters) has more than 40 bytes",
    ),
    # Kinds.
    "link.zip": (zip_with(attributes=(stat.S_IFLNK | 0o777) << UNIX), "entry 'a' is a symbolic link"),
    "pipe.zip": (zip_with(attributes=stat.S_IFIFO << UNIX), "entry 'a' is a named pipe"),
    "socket.zip": (zip_with(attributes=stat.S_IFSOCK << UNIX), "entry 'a' is a socket"),
    "device.zip": (zip_with(attributes=stat.S_IFCHR << UNIX), "entry 'a' is a device"),
    "unknown.zip": (zip_with(attributes=0o150000 << UNIX), "entry 'a' is not an ordinary file"),
    "full-folder.zip": (zip_with(b"a/"), "entry 'a/' is a folder with data of its own"),
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
    "behind-deflated.zip": (zip_with(packed=deflated(b"1") + b"x"), "entry 'a' has data after its end"),
    "far-behind-deflated.zip": (
        zip_with(packed=deflated(b"1") + bytes(70_000)),
        "entry 'a' has data after its end",
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
        "entry 'a' has an extra field of 4,097 bytes, more than the limit of 4,096",
    ),
    "long-local-extra.zip": (
        with_local_extra(bytes(4097)),
        "entry 'a' has an extra field of 4,097 bytes, more than the limit of 4,096",
    ),
    "many-extras.zip": (
        zip_with(size=0xFFFFFFFF, extra=b"\x99\x99\0\0" * 64 + struct.pack("<HHQ", 1, 8, 1)),
        "entry 'a' has more than 64 records in its extra field",
    ),
    "outside.zip": (zip_with(offset=1 << 30), "entry 'a' is outside the archive"),
    "beyond.zip": (zip_with(packed_size=1000), "entry 'a' is outside the archive"),
    "elsewhere.zip": (made_zip(B, replace(A, offset=3)), "entry 'a' is not where the zip directory says"),
    # Zip: a second name, and sizes after the bytes.
    "unicode-path.zip": (
        zip_with(extra=unicode_path(b"a", "b")),
        "entry 'a' has another name in its Unicode path field",
    ),
    "unicode-path-of-another.zip": (
        zip_with(extra=unicode_path(b"b", "b")),
        "entry 'a' has another name in its Unicode path field",
    ),
    "unicode-path-above.zip": (
        zip_with(b"\xd5\xc5", extra=unicode_path(b"\xd5\xc5", "../a")),
        "entry '\u5f20' has another name in its Unicode path field",
    ),
    "unicode-path-cut.zip": (
        zip_with(extra=struct.pack("<HH", 0x7075, 1) + b"\x01"),
        "entry 'a' has another name in its Unicode path field",
    ),
    "unicode-path-not-utf-8.zip": (
        zip_with(extra=unicode_path(b"a", "a", b"\xff")),
        "entry 'a' has another name in its Unicode path field",
    ),
    "second-unicode-path.zip": (
        zip_with(extra=unicode_path(b"a", "a") + unicode_path(b"a", "b")),
        "entry 'a' has another name in its Unicode path field",
    ),
    "local-unicode-path.zip": (
        with_local_extra(unicode_path(b"a", "b")),
        "entry 'a' has another name in its Unicode path field",
    ),
    "descriptor-of-another-size.zip": (
        with_descriptor(b"PK\x07\x08{L}", size=2),
        "entry 'a' has a data descriptor that disagrees with the zip directory",
    ),
    "descriptor-of-another-checksum.zip": (
        with_descriptor(b"PK\x07\x08{L}", crc=0),
        "entry 'a' has a data descriptor that disagrees with the zip directory",
    ),
    "descriptor-of-another-length.zip": (
        with_descriptor(b"{Q}", packed=1),
        "entry 'a' has a data descriptor that disagrees with the zip directory",
    ),
    "descriptor-cut.zip": (
        with_descriptor(b"PK\x07\x08{L}", cut=4),
        "entry 'a' has a data descriptor that disagrees with the zip directory",
    ),
    "header-before-a-descriptor.zip": (
        with_descriptor(b"PK\x07\x08{L}", local_size=9),
        "entry 'a' has a header that disagrees with the zip directory",
    ),
    "no-zip64.zip": (zip_with(size=0xFFFFFFFF), "entry 'a' has a damaged zip64 field"),
    "short-zip64.zip": (
        zip_with(size=0xFFFFFFFF, extra=struct.pack("<HHL", 1, 4, 1)),
        "entry 'a' has a damaged zip64 field",
    ),
    "huge-zip64.zip": (
        zip_with(size=0xFFFFFFFF, extra=struct.pack("<HHQ", 1, 8, 1 << 62)),
        f"entry 'a' has {1 << 62:,} bytes, more than the limit of 10,000",
    ),
    # Zip: the directory.
    "cut.zip": (made_zip(A)[:-1], "has no zip directory at its end: it is truncated"),
    "beheaded.zip": (b"PK\x03\x04", "has no zip directory at its end: it is truncated"),
    "tail.zip": (made_zip(A) + b"x", "has data after its zip directory"),
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
}


@pytest.mark.parametrize("name", BAD)
def test_zips_that_are_refused(tmp_path, name):
    data, expected = BAD[name]
    assert problem(tmp_path, name, data, SMALL) == expected
