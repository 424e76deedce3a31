"""Opening somebody else's files: whatever lies at the path, the answer is bytes or a finding, at once."""

import hashlib
import os
import socket

import pytest
from support import submissions

from grading.errors import CouldNotGrade, FileMissing, FileProblem
from grading.submission.folder import Submission


def problem(folder, path="file"):
    with pytest.raises(FileProblem) as caught:
        Submission(folder).read(path, 100)
    return caught.value.problem


def test_a_regular_file_is_read(tmp_path):
    submissions.write(tmp_path / "a/b", b"bytes")
    assert Submission(tmp_path).read("a/b", 5) == b"bytes"
    submissions.write(tmp_path / "empty", b"")
    assert Submission(tmp_path).read("empty", 5) == b""


def test_links_inside_are_followed(tmp_path):
    submissions.write(tmp_path / "real/file", b"bytes")
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "link").symlink_to("folder/file")
    assert Submission(tmp_path).read("folder/file", 9) == Submission(tmp_path).read("link", 9) == b"bytes"


def test_the_submission_itself_may_be_a_link(tmp_path):
    submissions.write(tmp_path / "real/file", b"bytes")
    (tmp_path / "link").symlink_to("real")
    assert Submission(tmp_path / "link").read("file", 9) == b"bytes"


@pytest.mark.parametrize("target", ["../secret", "../inside-but-longer/secret", "/etc/hostname", "../nothing"])
def test_links_out_are_refused(tmp_path, target):
    submissions.write(tmp_path / "secret", b"1\n")
    submissions.write(tmp_path / "inside-but-longer/secret", b"1\n")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/file").symlink_to(target)
    assert problem(tmp_path / "inside") == "file is a link out of the submission"


def test_a_folder_linked_out_is_refused(tmp_path):
    submissions.write(tmp_path / "outside/file", b"1\n")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside/result").symlink_to(tmp_path / "outside")
    assert problem(tmp_path / "inside", "result/file") == "result/file is a link out of the submission"


def test_what_is_no_regular_file(tmp_path):
    assert problem(tmp_path) == "file is missing"
    (tmp_path / "file").mkdir()
    assert problem(tmp_path) == "file is a folder"
    submissions.write(tmp_path / "plain", b"")
    assert problem(tmp_path, "plain/file") == "plain/file is missing"
    (tmp_path / "loop").symlink_to("loop")
    assert problem(tmp_path, "loop") == "loop is a link that leads to itself, or through more than 40 other links"
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(FileMissing):
        Submission(tmp_path).read("dangling", 1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_and_sockets_are_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "file")
    assert problem(tmp_path) == "file is a named pipe"
    monkeypatch.chdir(tmp_path)  # a socket's path has a short limit
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert problem(tmp_path, "socket") == "socket is a socket"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_an_unreadable_file(tmp_path):
    submissions.write(tmp_path / "file", b"")
    (tmp_path / "file").chmod(0)
    assert problem(tmp_path) == "file cannot be read: Permission denied"


def test_a_large_file_is_not_read(tmp_path):
    submissions.write(tmp_path / "file", b"x" * 101)
    assert problem(tmp_path) == "file has 101 bytes, more than the limit of 100"


def test_no_folder_is_the_graders_users_mistake(tmp_path):
    with pytest.raises(CouldNotGrade, match="expected the submission's folder, found nothing"):
        Submission(tmp_path / "nothing")
    submissions.write(tmp_path / "file", b"")
    with pytest.raises(CouldNotGrade, match="expected the submission's folder, found a file"):
        Submission(tmp_path / "file")


def test_a_file_that_is_written_to_while_it_is_read(tmp_path):
    submissions.write(tmp_path / "file", b"1\n0\n")
    with Submission(tmp_path).open("file", 9) as file:
        assert file.read(2) == b"1\n"
        (tmp_path / "file").write_bytes(b"0\n1\n")
        file.read(2)
        with pytest.raises(FileProblem, match="file changed while it was read"):
            file.require_unchanged()


def test_the_digest_of_a_file(tmp_path):
    """Of all of it, however little is read; none if it changes meanwhile, or has more bytes than its limit."""
    data = b"1\n0\n"
    submissions.write(tmp_path / "file", data)

    def digest(most, added=b""):
        submission = Submission(tmp_path)
        submission.digest_when_read(["file", "other"])
        with submission.open("file", most) as file:
            assert file.read(2) == b"1\n"
            with (tmp_path / "file").open("ab") as written:
                written.write(added)
        assert submission.digest("other") is None
        return submission.digest("file")

    assert digest(4) == hashlib.sha256(data).hexdigest()
    assert digest(3) is None
    assert digest(4, added=b"1\n") is None


@pytest.mark.parametrize(("links", "found"), [(40, True), (41, False), (1200, False)])
def test_a_chain_of_links_has_an_end(tmp_path, links, found):
    """The same on every Python, and at once: resolving a thousand links by recursion ends some of them in a traceback."""
    submissions.write(tmp_path / "file", b"bytes")
    for number in range(links):
        (tmp_path / f"l{number}").symlink_to("file" if number == 0 else f"l{number - 1}")
    if found:
        assert Submission(tmp_path).read(f"l{links - 1}", 9) == b"bytes"
    else:
        assert problem(tmp_path, f"l{links - 1}").endswith("or through more than 40 other links")


def test_links_climb_within_the_submission_only(tmp_path):
    submissions.write(tmp_path / "in/a/b/file", b"bytes")
    (tmp_path / "in/c").symlink_to("a/b/../../a/./b//")
    (tmp_path / "in/d").symlink_to(tmp_path / "in/a")
    (tmp_path / "in/e").symlink_to("a/../../in/a")
    for path in ("c/file", "d/b/file"):
        assert Submission(tmp_path / "in").read(path, 9) == b"bytes"
    assert problem(tmp_path / "in", "e/b/file") == "e/b/file is a link out of the submission"
