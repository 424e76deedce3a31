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
    ("result_情感_3.txt", "情感"),
    ("result_情感.txt", "情感"),
    ("README.md", None),
]


@pytest.mark.parametrize(("file_name", "dataset"), NAMES)
def test_dataset_of_an_answer_key(file_name, dataset):
    assert contract.dataset_of_answer(file_name) == dataset


def test_any_dataset_name_is_found_again_in_its_key():
    hypothesis = pytest.importorskip("hypothesis")
    from hypothesis import strategies

    @hypothesis.given(strategies.from_regex(r"[A-Za-z0-9._情感é-]{1,20}", fullmatch=True), strategies.integers(0, 999))
    def check(name, number):
        if contract.is_dataset_name(name):
            assert contract.dataset_of_answer(f"result_{name}.txt") == name
            assert contract.dataset_of_answer(f"result_{name}_{number}.txt") == name

    check()


def test_what_can_name_a_dataset():
    good = ["QQP", "CoLA", "sst-2", "my_task", "a_1b", "x" * 64, "情感", "情感_2a", "é", "情" * 64]
    assert all(map(contract.is_dataset_name, good))
    bad = ["", ".", "..", "a/b", "a\\b", "-a", "_a", "a_46", "a_46_b", "a__b", "a_", "a b", "a\n", "x" * 65]
    bad += ["e\u0301", "情感_46", "情 感", "\uff11", "\xb9", "\U00020000" * 64]
    assert not any(map(contract.is_dataset_name, bad))
