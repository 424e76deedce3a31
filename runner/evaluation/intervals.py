"""Accuracies with their 95 % Wilson interval, as messages show them."""

from __future__ import annotations

from grading.contract.metrics import wilson_interval
from runner.language import tr


def accuracy_interval(accuracy: float, rows: int) -> tuple[float, float]:
    """The 95 % Wilson interval of an accuracy that was measured on so many rows."""
    # a mean over repeated cross-validation is not always a whole number of rows
    return wilson_interval(round(accuracy * rows), rows)


def with_interval(accuracy: float, rows: int) -> str:
    """An accuracy for the user: `96.2% (94.1 to 97.6)`."""
    low, high = accuracy_interval(accuracy, rows)
    return tr("{accuracy:.1%} ({low:.1f} to {high:.1f})", accuracy=accuracy, low=low * 100, high=high * 100)
