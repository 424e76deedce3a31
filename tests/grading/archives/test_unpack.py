"""Unpacking strangers' archives: their files exactly, or one finding; never a byte outside, never a traceback."""

import contextlib
import gzip
import itertools
import os
import subprocess
import sys
import tarfile
import zipfile

import pytest
from conftest import ROOT
from support.archives import (
    FILES,
    LONG,
    SMALL,
    TGZ,
    A,
    B,
    Entry,
    header,
    library_tar,
    library_zip,
    made_tar,
    made_zip,
    member,
    problem,
    unpacked,
    zip64_directory,
    zip_with,
)

from grading.archives.unpack import is_archive, unpack
from grading.errors import FileProblem


@pytest.mark.parametrize("name", ["a.zip", "a.ZIP", "a.tar", "a.tar.gz", "a.Tar.GZ", "a.tgz", "a.b.tgz"])
def test_names_of_archives(name):
    assert is_archive(name)


@pytest.mark.parametrize("name", ["a", "zip", "a.7z", "a.rar", "a.tar.xz", "a.tar.bz2", "a.gz", "a.zip.part", "a.zip "])
def test_names_of_other_files(name):
    assert not is_archive(name)


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
def test_folders_may_have_entries_in_any_order_or_twice(tmp_path, name, build):
    folders = ["pre_data", "pre_data/QQP", "nothing inside", "pre_data"]
    if name == "a.zip":
        with pytest.warns(UserWarning, match="Duplicate name"):
            data = build(FILES, folders)
    else:
        data = build(FILES, folders)
    assert unpacked(tmp_path, name, data) == FILES
    assert (tmp_path / "outer/into/nothing inside").is_dir()


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
    "text.tgz": (gzip.compress(b"x" * 600), "is not a tar archive: its first header is damaged, at byte 0"),
    "short.tgz": (gzip.compress(b"x"), "is truncated"),
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
        "entries 'é' and 'e\\u0301' differ only in case or Unicode form",
    ),
    "folded-case.tar": (
        made_tar(member("straße".encode()), member(b"STRASSE")),
        "entries 'straße' and 'STRASSE' differ only in case or Unicode form",
    ),
    "file-as-folder.zip": (made_zip(A, Entry(b"a/b")), "entry 'a' is a file and a folder at once"),
    "folder-as-file.zip": (made_zip(Entry(b"a/b"), A), "entry 'a' is a file and a folder at once"),
    "folder-entry-as-file.tar": (
        made_tar(header(b"a", kind=b"5"), member(b"a")),
        "entry 'a' is a file and a folder at once",
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
        "entry 'a' has 10,001 bytes, more than the limit of 10,000",
    ),
    "large-entry.tar": (
        made_tar(member(b"a", bytes(10_001))),
        "entry 'a' has 10,001 bytes, more than the limit of 10,000",
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
    "fat.zip": (bytes(100_001), "has 100,001 bytes, more than the limit of 100,000"),
}


@pytest.mark.parametrize("name", BAD)
def test_archives_that_are_refused(tmp_path, name):
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
        with pytest.raises(FileProblem, match=f"^'{name}': is not a regular file\n"):
            unpack(tmp_path / name, tmp_path / "into")
    with pytest.raises(FileProblem, match=r"^'none\.zip': cannot be read: No such file or directory\n"):
        unpack(tmp_path / "none.zip", tmp_path / "into")
    with pytest.raises(FileProblem, match=r"^'a\.rar': is not one of \.zip, \.tar, \.tar\.gz, \.tgz\n"):
        unpack(tmp_path / "a.rar", tmp_path / "into")
    assert list((tmp_path / "into").iterdir()) == []


def test_the_archives_own_name_is_shown_safely(tmp_path):
    with pytest.raises(FileProblem) as caught:
        unpack(tmp_path / "\x1b[2J\n.zip", tmp_path)
    assert caught.value.problem.startswith("'\\x1b[2J\\n.zip': ")


def test_an_unwritable_folder_is_no_fault_of_the_archive(tmp_path):
    (tmp_path / "a.zip").write_bytes(made_zip(A))
    with pytest.raises(FileNotFoundError):
        unpack(tmp_path / "a.zip", tmp_path / "nowhere")


def test_what_a_refused_archive_left_is_within_the_limits(tmp_path):
    data = made_tar(*(member(b"%d" % row, bytes(9000)) for row in range(3)))
    problem(tmp_path, "a.tar", data, SMALL)
    assert sum(path.stat().st_size for path in (tmp_path / "outer/into").rglob("*")) == 18_000


def test_nothing_but_zlib_is_imported():
    """The parsers that hang or grow on a hostile header stay out of the grader's process."""
    check = "import sys, grading.archives.unpack; sys.exit(bool({'zipfile', 'tarfile', 'gzip'} & set(sys.modules)))"
    root = ROOT
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
