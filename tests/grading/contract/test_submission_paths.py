"""Paths and names of datasets."""

import pytest

from grading import contract

NAMES = [
    ("result_QQP_46.txt", "QQP"),
    ("result_CoLA_64.txt", "CoLA"),
    ("result_QQP.txt", "QQP"),
    ("result_sst-2.txt", "sst-2"),
    ("result_my_task_7.txt", "my_task"),
    ("result_a_1b.txt", "a_1b"),
    ("result_46.txt", "46"),
    ("result_.txt", None),
    ("result__46.txt", None),
    ("result_QQP_46.txt.bak", None),
    ("result_QQP\n.txt", None),
    ("Result_QQP.txt", None),
    ("result_../QQP.txt", None),
    ("README.md", None),
]


@pytest.mark.parametrize(("file_name", "dataset"), NAMES)
def test_dataset_of_an_answer_key(file_name, dataset):
    assert contract.dataset_of_answer(file_name) == dataset


def test_any_dataset_name_is_found_again_in_its_key():
    hypothesis = pytest.importorskip("hypothesis")
    from hypothesis import strategies

    @hypothesis.given(strategies.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True), strategies.integers(0, 999))
    def check(name, number):
        if contract.is_dataset_name(name):
            assert contract.dataset_of_answer(f"result_{name}.txt") == name
            assert contract.dataset_of_answer(f"result_{name}_{number}.txt") == name

    check()


def test_what_can_name_a_dataset():
    assert all(contract.is_dataset_name(name) for name in ("QQP", "CoLA", "sst-2", "my_task", "a_1b", "x" * 64))
    assert not any(
        contract.is_dataset_name(name)
        for name in ("", ".", "..", "a/b", "a\\b", "-a", "_a", "a_46", "a b", "a\n", "\xe9", "x" * 65)
    )


def test_paths_stay_below_the_submission():
    assert contract.train_path("QQP") == "pre_data/QQP/QQP_train.json"
    assert contract.dev_path("QQP") == "pre_data/QQP/QQP_dev.json"
    assert contract.adapter_folder("QQP") == "saved_model/QQP"
    assert contract.result_paths("QQP") == ("result/result_QQP.txt", "result_QQP.txt")
