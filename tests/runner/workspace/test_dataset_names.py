"""A dataset's name that is almost a known one is refused or reported before anything is trained."""

from pathlib import Path

import pytest

from runner.errors import UserError
from runner.workspace.dataset_names import check_dataset_name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data/questionBAnswer").mkdir(parents=True)
    for name in ("result_CoLA_64.txt", "result_QQP_46.txt", "notes.txt"):
        (tmp_path / "data/questionBAnswer" / name).write_text("1\n")
    (tmp_path / "data/questionBData/SST-2").mkdir(parents=True)
    (tmp_path / "data/questionBData/MRPC_train.tsv").write_text("")
    return tmp_path


@pytest.mark.parametrize("name", ["CoLA", "QQP", "SST-2", "MRPC", "QNLI", "QNP", "tiny", "Co"])
def test_a_name_that_is_known_or_new_is_fine(root: Path, name: str) -> None:
    assert check_dataset_name(name, root) is None


@pytest.mark.parametrize(("name", "known"), [("cola", "CoLA"), ("COLA", "CoLA"), ("Co-LA", "CoLA"), ("q_q.p", "QQP")])
def test_another_spelling_of_an_answer_key_is_refused(root: Path, name: str, known: str) -> None:
    with pytest.raises(UserError) as error:
        check_dataset_name(name, root)
    key = next((root / "data/questionBAnswer").glob(f"result_{known}_*"))
    assert str(error.value) == (
        f"task.name: {name!r} is not {known!r}, the dataset of {key}: the grader would look for result/result_{known}.txt, "
        f"and find nothing\n  next: write task.name: {known}; if it is another dataset, choose a name that is not so alike"
    )


@pytest.mark.parametrize(
    ("name", "known", "where"),
    [
        ("CLoA", "CoLA", "questionBAnswer/result_CoLA_64.txt"),
        ("CoLA2", "CoLA", "questionBAnswer/result_CoLA_64.txt"),
        ("sst2", "SST-2", "questionBData/SST-2"),
        ("mrpc", "MRPC", "questionBData/MRPC_train.tsv"),
    ],
)
def test_a_name_that_is_almost_known_is_reported(root: Path, name: str, known: str, where: str) -> None:
    assert check_dataset_name(name, root) == (
        f"task.name: {name!r} is almost {known!r}, the dataset of {root}/data/{where}; is that meant?"
    )


def test_no_folder_is_needed(tmp_path: Path) -> None:
    assert check_dataset_name("cola", tmp_path) is None
