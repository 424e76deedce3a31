"""The submissions of a class: everybody who handed something in is in the table, under a safe name."""

import contextlib
import csv
import os
import re
import socket

import pytest
from support import submissions
from support.classes import run_class, zipped

from grading.archives.names import folded
from grading.classroom import run as classroom
from grading.classroom.hand_ins import stems
from grading.contract.display import shown, told_apart
from grading.errors import CouldNotGrade
from grading.grader import Exam


@pytest.fixture
def exam(tmp_path):
    return Exam(submissions.write_answers(tmp_path / "answers"))


@pytest.fixture
def folder(tmp_path):
    """The folder of the submissions, with one in it that earns every point."""
    submissions.write_submission(tmp_path / "class/good")
    return tmp_path / "class"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_what_is_neither_folder_nor_archive_is_refused_and_shown(exam, folder, out):
    """Everybody who handed something in is in the table: whoever is not would be taken for somebody who did not."""
    zipped(folder / "good", folder / "packed.zip")
    (folder / "late.7z").write_bytes(b"7z")
    (folder / "other.rar").write_bytes(b"Rar!")
    (folder / "link").symlink_to(folder / "good")
    (folder / "link.zip").symlink_to(folder / "packed.zip")
    (folder / "nowhere.tgz").symlink_to("nothing")
    os.mkfifo(folder / "f.zip")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(os.path.relpath(folder / "s.zip"))  # such a path may have 107 bytes
    (folder / ".hidden.7z").write_bytes(b"7z")
    (folder / ".DS_Store").write_bytes(b"")
    cards, lines = run_class(exam, folder, out)
    wanted = {
        "f.zip": "it is a named pipe",
        "late.7z": "it is neither a folder nor a .zip, .tar, .tar.gz or .tgz archive",
        "link": "it is a link, which is not followed",
        "link.zip": "it is a link, which is not followed",
        "nowhere.tgz": "it is a link, which is not followed",
        "other.rar": "it is neither a folder nor a .zip, .tar, .tar.gz or .tgz archive",
        "s.zip": "it is a socket",
    }
    refused = {name: card.report["problem"] for name, card in cards.items() if card.report["problem"]}
    assert {name: problem["reason"] for name, problem in refused.items()} == wanted
    step = "submit the folder itself, or a .zip or .tar.gz of it"
    assert {(each["fault"], each["next_step"]) for each in refused.values()} == {("submission", step)}
    assert all(cards[name].points == 0 for name in wanted)
    rows = {row["name"]: row["problem"] for row in csv.DictReader((out / "class.csv").open(encoding="utf-8-sig"))}
    assert rows == {"good": "", "packed.zip": "", **wanted}
    page = (out / "index.html").read_text(encoding="utf-8")
    assert all(f'href="reports/{stem}.txt"' in page for stem in stems(cards).values())
    assert lines[-1].startswith("9 submissions: ")
    (folder / "late.7z").unlink()
    submissions.write_submission(folder / "late.7z")
    cards, _ = run_class(exam, folder, out, resume=True)
    assert cards["late.7z"].points == 100


def test_what_nobody_hands_in_is_left_out_and_named(exam, folder, out):
    """Files that are no archive by their name; litter is not even named. An archive that lost its ending is somebody's."""
    zipped(folder / "good", folder / "Alice")
    zipped(folder / "good", folder / "bob.rar")
    left_out = ["README.md", "alice.pdf", "grades.csv", "list.xlsx", "notes", "notes.txt"]
    for name in [*left_out, "Thumbs.db", "desktop.ini", "Icon\r", ".DS_Store"]:
        (folder / name).write_bytes(b"late: nobody")
    zipped(folder / "good", folder / "list.xlsx")
    (folder / "__MACOSX").mkdir()
    cards, lines = run_class(exam, folder, out)
    assert list(cards) == ["Alice", "bob.rar", "good"]
    assert {name for name, card in cards.items() if card.report["problem"]} == {"Alice", "bob.rar"}
    assert lines[0] == (
        "6 entries are left out, for they are neither folders nor archives: "
        "'README.md', 'alice.pdf', 'grades.csv', 'list.xlsx', 'notes', ..."
    )
    for name in ("Alice", "bob.rar", "good"):
        (folder / name).rename(folder / f".{name}")
    with pytest.raises(CouldNotGrade, match=r"no submission found, .* it holds 'README\.md', 'alice\.pdf', "):
        run_class(exam, folder, out / "again")


def test_a_submission_is_no_class(exam, folder, out):
    """Its three folders would be three candidates."""
    words = "this is one submission, and no folder of submissions; it holds pre_data, saved_model, result"
    with pytest.raises(CouldNotGrade, match=words):
        run_class(exam, folder / "good", out)


def test_a_fingerprint_follows_no_link(folder):
    """A folder with links to the outside, pipes and a loop: one mark, whatever is behind the links."""
    path = folder / "good"
    (path / "out").symlink_to(folder.parent)
    (path / "loop").symlink_to(".")
    os.mkfifo(path / "pipe")
    mark = classroom.fingerprint(path)
    submissions.write(folder.parent / "new", b"")
    assert classroom.fingerprint(path) == mark
    (folder / "link").symlink_to(path)
    assert classroom.fingerprint(folder / "link") != mark


def test_stems():
    names = ["plain-1.zip", "Case", "case", "a b", "..", "x" * 81, "\udcff", "", "-rf", ".hidden"]
    found = stems(names)
    assert found["plain-1.zip"] == "plain-1.zip"
    assert found["a b"] == "a b"
    assert found["-rf"].startswith("rf-")
    assert len({stem.lower() for stem in found.values()}) == len(names)
    assert all(len(stem) <= 80 and stem[0] not in ".-" for stem in found.values())
    assert not any(character in stem for stem in found.values() for character in "/\\\n:")
    # whoever names a submission like somebody else's files does not get them
    thief = found["-rf"]
    again = stems([*names, thief])
    assert again["-rf"] == thief
    assert again[thief] != thief


WRITTEN = (
    "王小明",
    "王小明.zip",
    "José",
    "Silva, Ana (late).tar.gz",
    "😀",
    "li'l $x",
    "a" * 80,
    "语" * 66,
    "e\u0301",
    "com",
    "con1",
)
UNSAFE = (
    "con", "CON.zip", "aux.tar.gz", "com1", "LPT9.txt", "nul .x", "conin$", "com\xb9", "x.", "x ", " x", "x::$DATA", "a:b", "a?b",
    "a*b", 'a"b', "a|b", "a<b", "a>b", "back\\slash", "-rf", "~root", ".hidden", "a" * 81, "语" * 67, "a  b", "a\nb", "a\u200bb",
    "\u202ea", "a\u3000b", "\udcff", "\u0301",
)  # fmt: skip


def test_a_report_has_the_name_of_its_candidate_where_every_system_has_such_files():
    assert stems(WRITTEN) == {name: name for name in WRITTEN}
    found = stems(UNSAFE)
    for name, stem in found.items():
        assert stem != name
        assert stem == shown(stem)
        assert not re.search(r'[<>:"/\\|?*\s]|^[-.~]|\.$', stem)
        assert len(f".{stem}.json.partial".encode()) <= 255
    assert len(set(found.values())) == len(UNSAFE)
    assert found["a\u3000b"].startswith("ab-")
    assert stems(["王: 小明"])["王: 小明"].startswith("王-小明-")


@pytest.mark.parametrize(
    "names",
    [
        ("Li", "li"),
        ("José", "Jose\u0301"),
        ("STRASSE", "straße"),
        ("\u212a", "k"),
        ("\u2126", "ω"),
        ("\u0430lice", "alice"),
    ],
    ids=ascii,
)
def test_names_that_are_one_file_somewhere_are_two(names):
    found = stems(names)
    assert len({folded(stem) for stem in found.values()}) == 2
    assert len(set(told_apart(found.values()).values())) == 2


def test_a_fingerprint_sees_what_a_candidate_may_change(folder):
    path = folder / "good"
    seen = {classroom.fingerprint(path)}
    assert classroom.fingerprint(path) in seen
    result = path / "result/result_QQP.txt"

    def change(action):
        action()
        mark = classroom.fingerprint(path)
        assert mark not in seen
        seen.add(mark)

    change(lambda: os.utime(result, (1, 1)))
    change(lambda: result.write_text("1\n"))
    change(lambda: result.chmod(0o600 if result.stat().st_mode & 0o77 else 0o644))
    change(lambda: result.rename(path / "result_QQP.txt"))
    change(lambda: (path / "link").symlink_to(folder))
    assert classroom.fingerprint(path / "nothing") is None
