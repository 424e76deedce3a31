"""Shared work: what several runs of one process need alike is computed once, and the time that this saves is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from runner.language import mark

Value = TypeVar("Value")

ROWS = mark("the rows read and checked")
UNTUNED = mark("the untuned base evaluated")
BAG_OF_WORDS = mark("the bag of words fitted")


class SharedWork:
    """Results by the kind of work and a key for everything that they depend on. They stay in memory."""

    def __init__(self) -> None:
        self.saved: dict[str, float] = {}
        """Seconds that were not spent again, by the kind of work."""
        self.spent: dict[str, float] = {}
        """Seconds that were spent, by the kind of work."""
        self._done: dict[tuple[str, str], tuple[Any, float]] = {}

    def once(self, kind: str, key: str, compute: Callable[[], Value]) -> Value:
        """The result of `compute`, from the first call with this kind and key. Equal keys must mean equal results."""
        if (kind, key) in self._done:
            value, seconds = self._done[kind, key]
            self.saved[kind] = self.saved.get(kind, 0.0) + seconds
            return value
        started = time.perf_counter()
        value = compute()
        seconds = time.perf_counter() - started
        self._done[kind, key] = value, seconds
        self.spent[kind] = self.spent.get(kind, 0.0) + seconds
        return value
