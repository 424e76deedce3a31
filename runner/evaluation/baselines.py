"""Plain baselines: what a task is worth without a language model, to set beside every result."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from runner.language import tr

log = logging.getLogger("labeltune.evaluation")

MOST_ROWS = 10_000
"""Training rows that the bag of words uses. This many pairs of QQP take four seconds on one core, all of them minutes."""


@dataclass(frozen=True)
class BagOfWords:
    """TF-IDF features with a logistic regression, on the hold-out."""

    accuracy: float
    """Share of right answers, 0 to 1."""
    rows: int
    """Training rows that were used."""
    seconds: float
    """Time for fitting and predicting, without the import of scikit-learn."""


def bag_of_words(
    train: Iterable[tuple[str, str]], rows: int, holdout: Sequence[tuple[str, str]]
) -> Optional[BagOfWords]:
    """Fit the baseline and score it on the hold-out; None, with a message, where the texts give no features.

    Args:
        train: Training inputs and their labels.
        rows: How many there are. Above `MOST_ROWS`, that many are taken, evenly spaced.
        holdout: Held-out inputs and their labels.
    """
    used = [pair for number, pair in enumerate(train) if _is_taken(number, rows)]
    texts, labels = [text for text, _ in used], [label for _, label in used]
    if len(set(labels)) < 2:
        log.info(
            tr("no bag of words: all {labels_count:,} training rows have the same label", labels_count=len(labels))
        )
        return None
    model, started = _model(), time.perf_counter()
    try:
        model.fit(texts, labels)
    except ValueError as error:
        log.info(tr("no bag of words: {error}", error=error))
        return None
    predicted = model.predict([text for text, _ in holdout])
    right = sum(str(found) == label for found, (_, label) in zip(predicted, holdout))
    return BagOfWords(right / len(holdout), len(used), round(time.perf_counter() - started, 3))


def _model() -> Any:
    """The pipeline of scikit-learn: words and pairs of words, and two to four characters within words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]", sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    return make_pipeline(make_union(words, characters), LogisticRegression(max_iter=200))


def _is_taken(number: int, rows: int) -> bool:
    """Whether the bag of words uses this row: all, or `MOST_ROWS` of them with equal distances."""
    most = min(rows, MOST_ROWS)
    return number * most // rows != (number - 1) * most // rows
