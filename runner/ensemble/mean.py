"""The mean of several models' answers to one row: of their log-probabilities, so the log-odds of any two labels are the mean of
the models' log-odds."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence


def mean_log_probabilities(models: Sequence[Sequence[float]]) -> list[float]:
    """The mean over models, for each label. `models`: (models, labels), log-probabilities."""
    return [math.fsum(values) / len(models) for values in zip(*models)]


def logarithms(probabilities: Sequence[float]) -> list[float]:
    """The log-probability of each label, from its probability. One that was rounded to 0 counts as the smallest number."""
    return [math.log(max(each, sys.float_info.min)) for each in probabilities]
