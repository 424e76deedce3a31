"""The class balance: how much a training row counts by its label, and how far that moves the label shares from the file's."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from runner.errors import UserError
from runner.language import tr
from runner.recipe.schema import Recipe, Train
from runner.scoring.dataset import EncodedDataset


@dataclass(frozen=True)
class ClassBalance:
    """The label shares that a training sees."""

    shares: Mapping[str, float]
    """The share of each label among the training rows, each row counted by its weight."""
    file_shares: Mapping[str, float]
    """The share of each label among all labelled rows of the file."""
    is_changed: bool
    """Whether the recipe asks for other shares than the file's."""

    @property
    def prior_shift(self) -> Optional[dict[str, float]]:
        """log(file share / training share) of each label, which undoes the change (Saerens et al. 2002,
        doi:10.1162/089976602753284446); None where the recipe asks for no change."""
        if not self.is_changed:
            return None
        return {label: math.log(share / self.shares[label]) for label, share in self.file_shares.items()}

    def figures(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"training_shares": dict(self.shares), "prior_shift": self.prior_shift}

    def words(self) -> str:
        """The change for the log."""
        parts = [
            tr(
                "{label}: {shares:.1%} ({file_shares:.1%} in the file, {shift:+.3f})",
                label=label,
                shares=self.shares[label],
                file_shares=self.file_shares[label],
                shift=shift,
            )
            for label, shift in (self.prior_shift or {}).items()
        ]
        return tr(
            "label shares in training, and what is added to the label's logit to undo them: {parts}",
            parts=", ".join(parts),
        )


def class_weights(config: Train, dataset: EncodedDataset) -> Optional[list[float]]:
    """The weight of a row by its label, in the order of the labels; their mean over the rows is 1. None: all rows count alike.

    Raises UserError where a label has no row."""
    if config.class_weights == "none":
        return None
    counts = _counts(dataset)
    if isinstance(config.class_weights, str):
        return [len(dataset) / len(counts) / count for count in counts]
    wanted = [config.class_weights[label] for label in dataset.prompt.labels]
    mean = sum(weight * count for weight, count in zip(wanted, counts)) / len(dataset)
    return [weight / mean for weight in wanted]


def class_balance(recipe: Recipe, dataset: EncodedDataset, file_counts: Mapping[str, int]) -> ClassBalance:
    """The label shares that training on `dataset` sees. `file_counts`: the file's labelled rows by label.

    Raises UserError where the shares are to be changed and a label has no row."""
    labels = dataset.prompt.labels
    is_changed = recipe.samples.balance != "none" or recipe.train.class_weights != "none"
    counts = _counts(dataset) if is_changed else _plain_counts(dataset)
    weights = class_weights(recipe.train, dataset) or [1.0] * len(labels)
    seen = [weight * count for weight, count in zip(weights, counts)]
    in_file = [file_counts[label] for label in labels]
    shares, file_shares = ({label: n / sum(of) for label, n in zip(labels, of)} for of in (seen, in_file))
    return ClassBalance(shares, file_shares, is_changed)


def _plain_counts(dataset: EncodedDataset) -> Sequence[int]:
    counts = Counter(dataset.targets)
    return [counts[number] for number in range(len(dataset.prompt.labels))]


def _counts(dataset: EncodedDataset) -> Sequence[int]:
    counts = _plain_counts(dataset)
    for label, count in zip(dataset.prompt.labels, counts):
        if not count:
            raise UserError(
                tr("no training row of label {label!r} is left, so it can get no weight", label=label),
                tr("raise samples.train or prompt.max_length"),
            )
    return counts
