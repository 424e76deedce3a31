"""Shared work is computed once for each key."""

import time

import pytest

from runner.system.shared_work import SharedWork


def test_equal_keys_share_one_result_and_its_time():
    shared, calls = SharedWork(), []

    def compute():
        calls.append(1)
        time.sleep(0.01)
        return object()

    first = shared.once("a", "1", compute)
    assert shared.saved == {}
    assert shared.once("a", "1", compute) is first
    assert shared.once("a", "2", compute) is not first
    assert shared.once("b", "1", compute) is not first
    assert len(calls) == 3
    assert list(shared.saved) == ["a"]
    assert set(shared.spent) == {"a", "b"}
    assert shared.saved["a"] >= 0.01


def test_an_error_leaves_nothing_behind():
    shared = SharedWork()
    with pytest.raises(ZeroDivisionError):
        shared.once("a", "1", lambda: 1 // 0)
    assert shared.once("a", "1", lambda: 2) == 2
