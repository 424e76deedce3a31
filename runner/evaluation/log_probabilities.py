"""Log-probabilities: those of the labels, from the logits that a file holds."""

from __future__ import annotations

import math
from collections.abc import Sequence


def log_softmax(logits: Sequence[float]) -> list[float]:
    """The log-probability of each label, from its logit."""
    most = max(logits)
    total = most + math.log(math.fsum(math.exp(logit - most) for logit in logits))
    return [logit - total for logit in logits]


def best(values: Sequence[float]) -> int:
    """The number of the largest value, the first of equal ones."""
    return max(range(len(values)), key=values.__getitem__)
