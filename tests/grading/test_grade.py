"""`grading.grade`, the grader for Python callers."""

import copy
import subprocess
import sys
import zipfile
from fractions import Fraction

import pytest
from conftest import ROOT
from support import submissions

import grading
from grading.errors import CouldNotGrade, FileProblem


@pytest.fixture
def folder(tmp_path):
    return submissions.write_submission(tmp_path / "submission")


@pytest.fixture
def answers(tmp_path):
    return submissions.write_answers(tmp_path / "answers")


def test_a_folder_and_an_archive(folder, answers, tmp_path):
    (folder / "result/result_QQP.txt").write_text("1\n0\n0\n1\n0\n0\n1\n0\n0\n1\n")
    report = grading.grade(folder, answers)
    assert report.points == Fraction(93)
    assert report.datasets[0].metrics.accuracy == 0.9
    with zipfile.ZipFile(tmp_path / "submission.zip", "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    assert grading.grade(str(tmp_path / "submission.zip"), answers=str(answers)) == report


def test_its_options(folder, answers, tmp_path):
    submissions.write_answers(answers, name="result_CoLA.txt")
    assert grading.grade(folder, answers).points == 50
    assert grading.grade(folder, answers, datasets=["QQP"]).points == 100
    with pytest.raises(CouldNotGrade, match="the base model's configuration cannot be read"):
        grading.grade(folder, answers, base=tmp_path / "nothing")
    with pytest.raises(CouldNotGrade, match=r"QQP_dev\.tsv: no such table\n"):
        grading.grade(folder, answers, ["QQP"], data=tmp_path)


def test_its_errors(folder, answers, tmp_path):
    with pytest.raises(CouldNotGrade, match="expected the submission's folder, found nothing") as caught:
        grading.grade(tmp_path / "nothing", answers)
    assert caught.value.next_step == "pass --submission DIR"
    assert str(caught.value) == f"{caught.value.problem}\n  next: pass --submission DIR"
    assert str(copy.copy(caught.value)) == str(caught.value)
    with pytest.raises(CouldNotGrade, match="no answer key, expected"):
        grading.grade(folder, folder)
    submissions.write(tmp_path / "broken.zip", b"PK\3\4 and no more")
    with pytest.raises(FileProblem, match=r"^'broken\.zip': has no zip directory at its end: it is truncated\n"):
        grading.grade(tmp_path / "broken.zip", answers)


@pytest.mark.parametrize("datasets", [[], (), "QQP", ["QQP", "QQP"], [["QQP"]]], ids=str)
def test_datasets_that_are_not_a_list_of_different_names(folder, answers, datasets):
    with pytest.raises(CouldNotGrade) as caught:
        grading.grade(folder, answers, datasets)
    expected = "expected a list with the name of at least one dataset, each once"
    assert caught.value.problem == f"datasets={datasets!r}: {expected}"
    assert caught.value.next_step == "pass ['QQP'], say, or None for all that have an answer key"


@pytest.mark.parametrize("name", ["submission", "answers", "base", "data"])
@pytest.mark.parametrize("path", ["", "a\0b"])
def test_texts_that_are_not_a_path(folder, answers, name, path):
    with pytest.raises(CouldNotGrade) as caught:
        grading.grade(**{"submission": folder, "answers": answers, name: path})
    assert caught.value.problem == f"{name}={path!r}: expected a path"
    assert caught.value.next_step == "pass '.', say, which is the current folder"


def test_a_printed_report_shows_no_answer(folder, answers):
    report = grading.grade(folder, answers)
    assert report.datasets[0].key.answers == report.datasets[0].predictions == tuple(submissions.ANSWERS)
    shown = repr(report)
    assert "'QQP'" in shown
    assert "answers=" not in shown
    assert "predictions=" not in shown


def test_importing_the_package_loads_nothing_of_it():
    code = (
        "import sys, grading\n"
        "assert [name for name in sys.modules if name.startswith('grading')] == ['grading']\n"
        "assert callable(grading.grade)\n"
        "assert dir(grading) == ['CouldNotGrade', 'FileProblem', 'grade']\n"
        "import grading.grades\n"
        "assert callable(grading.grade)\n"
    )
    subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, check=True)
    assert (grading.CouldNotGrade, grading.FileProblem) == (CouldNotGrade, FileProblem)
    with pytest.raises(AttributeError, match=r"^module 'grading' has no attribute 'grde'$"):
        _ = grading.grde
