"""Names in archives: only those that mean the same file on every machine."""

import hashlib
import os
import subprocess
import sys
import unicodedata

import pytest
from conftest import ROOT
from support.archives import (
    SMALL,
    Entry,
    made_tar,
    made_zip,
    member,
    pax,
    problem,
    record,
    unpacked,
)

from grading.archives.names import folded

NAMES = {
    "above": (b"../a", "the name of entry '../a' has a part '..'"),
    "above-from-inside": (b"a/../../b", "the name of entry 'a/../../b' has a part '..'"),
    "above-at-end": (b"a/..", "the name of entry 'a/..' has a part '..'"),
    "absolute": (b"/etc/passwd", "the name of entry '/etc/passwd' is absolute"),
    "drive": (b"c:a", "the name of entry 'c:a' starts with a drive letter"),
    "backslash": (b"..\\a", "the name of entry '..\\\\a' has a backslash"),
    "newline": (b"a\nb", "the name of entry 'a\\nb' has a control character"),
    "escape": (b"\x1b[2J", "the name of entry '\\x1b[2J' has a control character"),
    "line-separator": ("a\u2028".encode(), "the name of entry 'a\\u2028' has a control character"),
    "stream": (b"a/b::$DATA", "the name of entry 'a/b::$DATA' means another file on Windows"),
    "stream-of-a-folder": (b"aa:b/c", "the name of entry 'aa:b/c' means another file on Windows"),
    "dot-at-end": (b"a/b.", "the name of entry 'a/b.' means another file on Windows"),
    "dots-in-folder": (b"a.../b", "the name of entry 'a.../b' means another file on Windows"),
    "three-dots": (b"a/...", "the name of entry 'a/...' means another file on Windows"),
    "space-at-end": (b"a/b ", "the name of entry 'a/b ' means another file on Windows"),
    "device": (b"con.txt", "the name of entry 'con.txt' means another file on Windows"),
    "device-in-folder": (b"a/Nul/b", "the name of entry 'a/Nul/b' means another file on Windows"),
    "device-with-space": (b"LPT1 .a.b", "the name of entry 'LPT1 .a.b' means another file on Windows"),
    "device-of-other-digits": ("COM\u00b9".encode(), "the name of entry 'COM\u00b9' means another file on Windows"),
    "two-icons": (b"Icon\r/a", "the name of entry 'Icon\\r/a' has a control character"),
    "icon-alike": (b"Icon\r\r", "the name of entry 'Icon\\r\\r' has a control character"),
    "no-name": (b"./.", "entry './.' has no name"),
    "deep": (b"a/b/c/d/e", "entry 'a/b/c/d/e' is more than 4 folders deep"),
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
    assert problem(tmp_path, f"a.{'zip' if form == 'zip' else 'tar'}", data, SMALL) == expected


@pytest.mark.parametrize("name", ["Icon\r", "a/Icon\r", "__MACOSX/a/._Icon\r", "a/Thumbs.db", "a/desktop.ini"])
def test_what_a_system_adds_is_no_reason_to_refuse(tmp_path, name):
    """A folder of macOS with an icon of its own has a file whose name ends with a carriage return."""
    kept = {name: b"2"} if name.endswith((".db", ".ini")) else {}
    data = made_zip(Entry(b"a/b", b"1"), Entry(name.encode(), b"2"))
    assert unpacked(tmp_path, "a.zip", data) == {"a/b": b"1", **kept}


@pytest.mark.parametrize("name", ["contract.json", "aux_loss/a", "com.txt", "com10", "console.log", "a.b..c", ".a/b"])
def test_names_that_are_like_devices(tmp_path, name):
    assert unpacked(tmp_path, "a.tar", made_tar(member(name.encode(), b"1"))) == {name: b"1"}


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
        "from grading.contract.display import writable\n"
        "for name in sys.argv[2:]:\n"
        "    try: unpack(Path(name), Path(sys.argv[1]))\n"
        "    except FileProblem as problem: print(writable(problem.problem, sys.stdout))\n"
    )
    command = [sys.executable, "-S", "-c", check, *(str(tmp_path / name) for name in ("into", "a.tar", "b.zip"))]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment.pop("PYTHONIOENCODING", None)
    root = ROOT
    done = subprocess.run(command, env=environment, cwd=root, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "'a.tar': entry 'd\\xe9' cannot be stored under its name: file names here are ascii",
        "'b.zip': entry '\\xe9' cannot be stored under its name: file names here are ascii",
    ]
