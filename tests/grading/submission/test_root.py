"""The root of a submission: where people put it, and the one sentence for a folder that holds none."""

import os
import shutil
import zipfile

import pytest
from support import submissions

import grading
from grading.errors import FileProblem


@pytest.fixture
def answers(tmp_path):
    return submissions.write_answers(tmp_path / "answers")


@pytest.fixture
def top(tmp_path):
    (tmp_path / "top").mkdir()
    return tmp_path / "top"


def packed(folder, archive):
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder))


def beside(*names):
    """A wrapper folder, and beside it the names; one that ends with a slash is a folder."""

    def build(top):
        submissions.write_submission(top / "handin")
        for name in names:
            if name.endswith("/"):
                submissions.write(top / name / "a/pre_data.txt", b"")
            else:
                submissions.write(top / name, b"")

    return build


def mirrored(top):
    """What macOS adds has the folders of a submission, too."""
    submissions.write_submission(top / "handin")
    submissions.write(top / "__MACOSX/handin/pre_data/._x", b"")
    submissions.write(top / ".git/result/x", b"")


def below(path):
    return lambda top: submissions.write_submission(top / path)


def archive_at(path, wrapper=""):
    def build(top):
        submissions.write_submission(top / "own" / wrapper)
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        packed(top / "own", top.parent / "packed")
        shutil.rmtree(top / "own")
        (top.parent / "packed").rename(top / path)

    return build


def both(top):
    """The folder, and the archive that it was unpacked from."""
    archive_at("handin.zip")(top)
    submissions.write_submission(top / "handin")


def with_near(top):
    submissions.write_submission(top / "handin")
    (top / "results").mkdir()


ACCEPTED = {
    "README.md": beside("README.md"),
    "Thumbs.db": beside("Thumbs.db", "desktop.ini"),
    ".git": beside(".git/", ".gitignore", ".DS_Store"),
    "__MACOSX": beside("__MACOSX/"),
    "Icon": beside("Icon\r"),
    "other folders": beside("docs/", "src/", "report.pdf"),
    "mirrored": mirrored,
    "wrapper in a wrapper": below("outer/inner"),
    "four wrappers": below("1/2/3/4"),
    "Moodle": archive_at("handin.zip"),
    "Moodle's own folder": archive_at("Alice_17_assignsubmission_file_/handin.zip"),
    "an archive with a wrapper": archive_at("a/handin.ZIP", wrapper="b/c"),
    "folder and archive": both,
    "a near name at the top": with_near,
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_submission_in_its_folders(top, answers, case):
    ACCEPTED[case](top)
    assert grading.grade(top, answers).points == 100
    packed_here = any(path.suffix.lower() == ".zip" for path in top.rglob("*"))
    if case in ("Moodle", "Moodle's own folder", "an archive with a wrapper"):
        return  # an archive in an archive is not opened
    packed(top, top.parent / "whole.zip")
    assert grading.grade(top.parent / "whole.zip", answers).points == 100 or packed_here


def two(top):
    submissions.write_submission(top / "a")
    submissions.write_submission(top / "b/c")


def two_archives(top):
    archive_at("handin.zip")(top)
    shutil.copy(top / "handin.zip", top / "handin (1).zip")


def files(*names):
    def build(top):
        for name in names:
            submissions.write(top / name, b"7z\xbc\xaf\x27\x1c")

    return build


def linked(top):
    submissions.write_submission(top.parent / "other")
    (top / "handin").symlink_to(top.parent / "other")
    (top / "handin.zip").symlink_to(top.parent / "other.zip")


NONE = "this holds none of pre_data, saved_model, result; it "
ARCHIVES = "it holds 'x', which is neither a folder nor a .zip, .tar, .tar.gz or .tgz archive"

REFUSED = {
    "empty": (files(), NONE + "is empty"),
    "notes": (files("notes.txt"), NONE + "holds 'notes.txt'"),
    "many": (files(*(f"{row}.py" for row in range(9))), NONE + "holds '0.py', '1.py', '2.py', '3.py' and 5 more"),
    "litter alone": (files(".DS_Store"), NONE + "holds '.DS_Store'"),
    "too deep": (below("1/2/3/4/5"), NONE + "holds '1'"),
    "two": (two, "it holds 2 folders that may each be the submission: 'a', 'b/c'"),
    "two archives": (two_archives, "it holds 2 archives: 'handin (1).zip', 'handin.zip'"),
    "7z": (files("handin.7z"), ARCHIVES.replace("x", "handin.7z")),
    "rar in a folder": (files("a/b.RAR"), ARCHIVES.replace("'x'", "'a/b.RAR'")),
    "tar.xz": (files("x.tar.xz"), ARCHIVES.replace("'x'", "'x.tar.xz'")),
    "links": (linked, NONE.replace("it ", "links are not followed: 'handin', 'handin.zip'")),
    "strange": (files("\x1b[2J\u4e2d"), NONE + "holds '\\x1b[2J\u4e2d'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_without_a_submission(top, answers, case):
    build, words = REFUSED[case]
    build(top)
    with pytest.raises(FileProblem) as caught:
        grading.grade(top, answers)
    assert caught.value.problem == words
    assert ".zip or" in caught.value.next_step or ".zip of it" in caught.value.next_step


def test_an_archive_in_an_archive_is_named(top, answers):
    archive_at("handin.zip")(top)
    packed(top, top.parent / "whole.zip")
    with pytest.raises(FileProblem, match=r"^it holds only an archive inside the archive: 'handin\.zip'"):
        grading.grade(top.parent / "whole.zip", answers)


def test_names_that_may_be_meant_are_graded_and_named(top, answers):
    """A flat hand-in, and one with folders in capitals: the report names what is there for each file."""
    submissions.write_submission(top / "own")
    (top / "own/result").rename(top / "Result")
    shutil.rmtree(top / "own")
    report = grading.grade(top, answers)
    reasons = [verdict.reason for part in report.datasets[0].parts for verdict in part.verdicts]
    assert any("'Result/result_QQP.txt'" in reason for reason in reasons)


def test_a_part_is_found_beside_more_names_than_are_listed(top, answers):
    submissions.write_submission(top)
    for number in range(1_500):
        (top / f"{number:04}").mkdir()
    assert grading.grade(top, answers).points == 100


def test_folders_below_one_that_may_be_meant_are_its_own(top, answers):
    """`Result` in a wrapper: the wrapper is meant, and the report names what is there."""
    submissions.write_submission(top / "handin")
    for name in ("pre_data", "saved_model", "result"):
        (top / "handin" / name).rename(top / "moved")  # in two steps, for file systems that ignore case
        (top / "moved").rename(top / "handin" / name.title())
    report = grading.grade(top, answers)
    reasons = [verdict.reason for part in report.datasets[0].parts for verdict in part.verdicts]
    assert any("'Result/result_QQP.txt'" in reason for reason in reasons)


@pytest.mark.parametrize("path", ["handin", "wrapper/handin"])
def test_a_wrapper_that_is_a_link_is_said_to_be_one(top, answers, path):
    (top / path).parent.mkdir(exist_ok=True)
    os.symlink(submissions.write_submission(top.parent / "elsewhere"), top / path)
    with pytest.raises(FileProblem, match=f"none of pre_data, saved_model, result; links are not followed: '{path}'"):
        grading.grade(top, answers)


def test_a_result_alone_in_a_folder(top, answers):
    submissions.write(top / "handin/result_QQP.txt", b"".join(each.encode() + b"\n" for each in submissions.ANSWERS))
    submissions.write(top / "README.md", b"")
    assert grading.grade(top, answers).points == 70


def test_looking_for_a_submission_is_bounded(top, answers):
    """More folders than are looked into: the submission in the last of them is not found, and nothing hangs."""
    for row in range(20):
        for inner in range(12):
            os.makedirs(top / f"{row:03}/{inner:03}")
    submissions.write_submission(top / "999")
    with pytest.raises(FileProblem, match="and 17 more"):
        grading.grade(top, answers)


def test_a_link_of_the_examiners_own_is_followed(top, answers):
    submissions.write_submission(top / "real")
    (top / "link").symlink_to("real")
    (top / "again").symlink_to(top / "link")
    assert grading.grade(top / "again", answers).points == 100


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make another's link")
def test_somebody_elses_link_is_not_followed(top, answers):
    submissions.write_submission(top / "real")
    (top / "link").symlink_to("real")
    os.lchown(top / "link", 12345, 12345)
    with pytest.raises(grading.CouldNotGrade, match="it is a link of somebody else's, which is not followed"):
        grading.grade(top / "link", answers)


@pytest.mark.parametrize("hidden", ["an empty folder", "a file", "a link", "litter"])
def test_a_part_that_holds_nothing_does_not_hide_the_submission_below(top, answers, hidden):
    submissions.write_submission(top / "handin")
    if hidden == "a file":
        submissions.write(top / "result", b"")
    elif hidden == "a link":
        (top / "result").symlink_to("nowhere")
    else:
        (top / "result").mkdir()
        if hidden == "litter":
            submissions.write(top / "result/.DS_Store", b"")
    assert float(grading.grade(top, answers=answers).points) == 100
