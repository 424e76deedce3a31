"""The answer keys: a bad key is the examiner's mistake, and no report shows a line of it."""

import os

import pytest
from support import submissions
from support.commands import refusal, run


@pytest.fixture
def folder(tmp_path):
    return submissions.write_submission(tmp_path / "submission")


@pytest.fixture
def answers(tmp_path):
    return submissions.write_answers(tmp_path / "answers")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (b"", "result_QQP_46.txt: the answer key is empty"),
        (
            b"1\n\n0\n",
            "result_QQP_46.txt:2: bad answer key: expected one label of 1 to 32 visible ASCII characters or letters, found "
            "a blank line",
        ),
        (
            b"1\n0 \n",
            "result_QQP_46.txt:2: bad answer key: expected one label of 1 to 32 visible ASCII characters or letters, found "
            "spaces or a line end of an old Mac beside a label",
        ),
        (b"1\r0\r", "found spaces or a line end of an old Mac beside a label"),
        (b"1\n\xff\n", "result_QQP_46.txt: bad answer key: expected UTF-8 text, found byte 0xff at offset 2"),
        (
            "1\n0\n".encode("utf-16"),
            "result_QQP_46.txt: bad answer key: expected UTF-8 text, found UTF-16; save it as UTF-8",
        ),
        (
            "1\n0\n".encode("utf-32"),
            "result_QQP_46.txt: bad answer key: expected UTF-8 text, found UTF-32; save it as UTF-8",
        ),
        (
            b"".join(b"%d\n" % number for number in range(5000)),
            "result_QQP_46.txt: bad answer key: 5,000 different labels, more than 4,096",
        ),
    ],
)
def test_a_bad_key_costs_nobody_points(folder, answers, capsys, key, words):
    (answers / "result_QQP_46.txt").write_bytes(key)
    assert words in refusal(capsys, folder, answers)


def test_two_keys_of_one_dataset(folder, answers, capsys):
    submissions.write_answers(answers, name="result_QQP.txt")
    found = refusal(capsys, folder, answers)
    assert "2 answer keys for 'QQP': result_QQP.txt, result_QQP_46.txt. Next: keep one" in found


@pytest.mark.parametrize("options", [(), ("--datasets", "QQP")])
def test_two_keys_whose_names_differ_only_in_case(folder, answers, capsys, options):
    """One dataset's points would be halved: nobody hands in both."""
    submissions.write_answers(answers, name="result_qqp_46.txt")
    if len(list(answers.iterdir())) == 1:
        pytest.skip("this file system ignores case")
    found = refusal(capsys, folder, answers, *options)
    assert "2 answer keys for 'QQP': result_QQP_46.txt, result_qqp_46.txt. Next: keep one" in found


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_key_that_is_a_pipe_is_not_waited_for(folder, answers, capsys):
    (answers / "result_QQP_46.txt").unlink()
    os.mkfifo(answers / "result_QQP_46.txt")
    assert "result_QQP_46.txt: the answer key is not a regular file. Next: make it a" in refusal(
        capsys, folder, answers
    )


def test_no_keys_and_no_such_key(folder, answers, tmp_path, capsys):
    assert "expected the folder of the answer keys: No such file or directory. Next: pass it with --answers DIR" in (
        refusal(capsys, folder, tmp_path / "nothing")
    )
    assert (
        "no answer key, expected result_{dataset}.txt or result_{dataset}_{number}.txt; "
        "it holds 'pre_data', 'result', 'saved_model'"
    ) in refusal(capsys, folder, folder)
    assert "no answer key for 'SST-2', only for QQP" in refusal(capsys, folder, answers, "--datasets", "QQP,SST-2")
    (answers / "result_A.txt").mkdir()
    assert "result_A.txt: the answer key cannot be read: Is a directory" in refusal(capsys, folder, answers)


@pytest.mark.parametrize("line", ["0 ", "1 "])
def test_a_line_of_a_bad_key_is_in_no_report(folder, answers, tmp_path, capsys, line):
    submissions.write_answers(answers, [*submissions.ANSWERS[:6], line])
    assert (
        run(folder, answers, "--json", str(tmp_path / "report.json"), "--gradescope", str(tmp_path / "results.json"))
        == 2
    )
    said = (tmp_path / "report.json").read_text() + (tmp_path / "results.json").read_text() + capsys.readouterr().err
    assert f"'{line}'" not in said


STRAYS = [
    "result_QQP_46 (1).txt", "result_QQP_46.TXT", "Result_QQP.txt", "result-QQP.txt", "result_QQP.txt.txt", "result_QQP.csv",
    "result_QQP_46 - Copy.txt", "result_QQP_46 - \u526f\u672c.txt", "result_QQP_46\uff081\uff09.txt", "results_QQP.txt",
    "result QQP 46.txt", "result_QQP.txt ", "result_QQP.txt (1)", "result_QQP_46.txt~",
]  # fmt: skip


@pytest.mark.parametrize("name", STRAYS)
def test_a_file_that_is_nearly_named_as_a_key_is_named(folder, tmp_path, capsys, name):
    """Alone, and beside the key of another dataset, it would be passed over."""
    for number, other in enumerate((None, "result_CoLA.txt", "result_QQP_46.txt")):
        answers = submissions.write_answers(tmp_path / str(number), name=name)
        if other:
            submissions.write_answers(answers, name=other)
        assert (
            f"'{name}' looks like an answer key, but a key is named result_{{dataset}}.txt or result_{{dataset}}_{{number}}.txt. "
            "Next: rename it, or move it out of the folder"
        ) in refusal(capsys, folder, answers)


@pytest.mark.parametrize("name", ["result_QQP_46\u526f\u672c.txt", "result_QQP_46-1.txt", "result_QQP_46copy.txt"])
def test_a_copy_is_no_other_dataset(folder, answers, capsys, name):
    submissions.write_answers(answers, name=name)
    assert f"'{name}' looks like an answer key" in refusal(capsys, folder, answers)


def test_other_files_beside_the_keys(folder, answers, capsys):
    for name in ("README.md", "notes.txt", "._result_QQP.txt", "result_QQP_46.txt.bak", "results.csv", "resulting.txt"):
        submissions.write(answers / name, b"x")
    submissions.write(answers / "result_CoLA (1).txt", b"1\n")
    assert run(folder, answers, "--datasets", "QQP") == 0
    assert capsys.readouterr().out.endswith("points: 100 / 100\n")
