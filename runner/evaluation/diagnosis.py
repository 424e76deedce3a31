"""The diagnosis of an adapter that is not better than a baseline: which baselines, and the likeliest cause."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from grading.contract.language import joined
from runner.language import mark, tr, trn
from runner.workspace.history import read_history
from runner.workspace.paths import Workspace

log = logging.getLogger("labeltune.evaluation")

LEARNED = 0.9
"""Below this share of the label shares' entropy, a loss says that more than the shares was learned."""

DIVERGED = 1.1
"""A training loss that ends above this many times its lowest level has diverged."""

NOISE = 2.0
"""Standard errors by which the loss must have risen as well: with few steps it varies by more than a tenth."""

FEWEST_LATER = 4
"""Losses after a single low one that are needed to know their noise."""

FACTOR = 5
"""How far the next learning rate to try is from the last one. Rates that fit a base are often a factor of 5 apart: 2e-4 for
Gemma-3-270m, 1e-3 for SmolLM2-135M."""

LOWEST = 5e-5
"""The lowest learning rate that `train.learning_rate: auto` tries. Below it, a factor does not lead to a usual one."""

HIGHEST = 2e-3
"""The highest learning rate that `train.learning_rate: auto` tries. No higher one is called too low or advised: rates that fit a
base are between `LOWEST` and this one, and a LoRA adapter diverges at about 1e-2."""

BASELINES: Mapping[str, str] = {
    "majority": mark("the majority"),
    "untuned": mark("the untuned base"),
    "bag_of_words": mark("a bag of words"),
}
"""The baselines' names in messages, by their names in evaluation.json."""


@dataclass(frozen=True)
class TrainingFacts:
    """What is known of a training."""

    rows: int
    """Training rows."""
    epochs: int
    """Passes over them."""
    learning_rate: float
    """Peak learning rate."""
    losses: Sequence[float]
    """The training losses of metrics.jsonl, in nats, in order."""
    label_shares: Mapping[str, float]
    """The share of each label in training, or its rows. Rows count by their weight."""
    holdout_loss: float
    """The saved adapter's loss on the hold-out, in nats."""
    skipped_steps: int = 0
    """Steps whose loss or gradient was not finite."""
    holdout_shares: Optional[Mapping[str, float]] = None
    """The label shares on the hold-out; default: as in training."""
    more_rows: bool = True
    """Whether the training file has labelled rows that are not used."""
    planned_epochs: Optional[int] = None
    """The recipe's `train.epochs`, more than `epochs` where `train.patience` ended the training; None: not known."""


def training_facts(
    trained: Mapping[str, Any], prepared: Mapping[str, Any], history: Sequence[Mapping[str, Any]]
) -> TrainingFacts:
    """What the stages know of a training.

    Args:
        trained: The figures of the finetune stage.
        prepared: The figures of the prepare stage.
        history: The lines of metrics.jsonl.
    """
    shift = trained.get("prior_shift")
    shares: Mapping[str, float] = trained["training_shares"] if shift else prepared["train"]
    labelled, *used = (sum(prepared.get(name, {}).values()) for name in ("labels", "drawn", "holdout"))
    return TrainingFacts(
        rows=trained["rows"],
        epochs=len(trained["epochs"]),
        learning_rate=trained["learning_rate"],
        losses=[step["loss"] for step in history if "loss" in step],
        label_shares=shares,
        holdout_loss=trained["tuned"]["loss"],
        skipped_steps=trained["skipped_steps"],
        holdout_shares={label: share * math.exp(shift[label]) for label, share in shares.items()} if shift else None,
        more_rows=not labelled or sum(used) < labelled,
        planned_epochs=trained.get("planned_epochs"),
    )


def warn_if_not_better(
    workspace: Workspace, evaluation: Mapping[str, Any], trained: Mapping[str, Any], prepared: Mapping[str, Any]
) -> None:
    """Log a warning where the adapter is not better than a baseline.

    Args:
        workspace: It has the adapter with its metrics.jsonl.
        evaluation: The content of evaluation.json.
        trained: The figures of the finetune stage.
        prepared: The figures of the prepare stage.
    """
    history = read_history(workspace.at(workspace.adapter))
    baselines = {name: each["accuracy"] for name, each in evaluation["baselines"].items()}
    facts = training_facts(trained, prepared, history)
    text = warning(evaluation["accuracy"], baselines, facts)
    if text:
        log.warning(text)


def warning(accuracy: float, baselines: Mapping[str, float], facts: TrainingFacts) -> Optional[str]:
    """The warning about an adapter that is not better than some baselines; None for one that is better than all, or without a
    mistake.

    Args:
        accuracy: The adapter's, on the hold-out, 0 to 1.
        baselines: The accuracies of some of `BASELINES`.
        facts: The training of the adapter.
    """
    names = not_worse(accuracy, baselines)
    if not names:
        return None
    return tr(
        "the adapter ({accuracy:.1%}) is not better than {names} on the hold-out; likeliest cause: {cause}",
        accuracy=accuracy,
        names=names,
        cause=cause(facts),
    )


def not_worse(accuracy: float, baselines: Mapping[str, float]) -> str:
    """The names of the baselines that are as good as this accuracy or better, each with its own; empty where none is, and for
    answers without a mistake."""
    better = [with_accuracy(tr(BASELINES[name]), found) for name, found in baselines.items() if accuracy <= found]
    if not better or accuracy == 1:
        return ""
    return joined(tr(" and "), filter(None, (joined(tr(", "), better[:-1]), better[-1])))


def with_accuracy(name: str, accuracy: float) -> str:
    """A baseline's name in words, with its accuracy."""
    return tr("{name} ({accuracy:.1%})", name=name, accuracy=accuracy)


def cause(facts: TrainingFacts) -> str:
    """The likeliest cause, and what to change."""
    rate = facts.learning_rate
    size = trn("{rows:,} rows × {count} epoch", "{rows:,} rows × {count} epochs", facts.epochs, rows=facts.rows)
    more_rows = tr("raise samples.train") if facts.more_rows else tr("add labelled rows (all of the file's are used)")
    more_epochs = _more_epochs(facts)
    if facts.skipped_steps:
        return _too_high(
            rate,
            tr(
                "{skipped_steps} steps were skipped because their loss or gradient was not finite",
                skipped_steps=facts.skipped_steps,
            ),
        )
    if not facts.losses:
        return tr(
            "{size} are too few; {more_rows}, or {more_epochs}", size=size, more_rows=more_rows, more_epochs=more_epochs
        )
    quarters = _quarters(facts.losses)
    end = statistics.fmean(quarters[-1])
    risen_from = _risen_from(facts.losses, quarters)
    if risen_from is not None:
        return _too_high(rate, tr("the training loss rose from {levels:.2f} to {end:.2f}", levels=risen_from, end=end))
    if end > LEARNED * _entropy(facts.label_shares):
        return _nothing_learned(
            facts, end, size, tr("{more_rows}, or {more_epochs}", more_rows=more_rows, more_epochs=more_epochs)
        )
    if facts.holdout_loss > LEARNED * _entropy(facts.holdout_shares or facts.label_shares):
        return tr(
            "too few rows ({rows:,}), or damaged labels: the training loss fell to {end:.2f}, "
            "and the hold-out loss is {holdout_loss:.2f}; {more_rows}, and read some training records",
            rows=facts.rows,
            more_rows=more_rows,
            end=end,
            holdout_loss=facts.holdout_loss,
        )
    return tr(
        "{size} are too few, or the base is too small for this task; {more_rows}, or take a larger base",
        size=size,
        more_rows=more_rows,
    )


def _more_epochs(facts: TrainingFacts) -> str:
    """How to train for longer. After an early stop, more `train.epochs` would change nothing."""
    if facts.planned_epochs is None or facts.epochs >= facts.planned_epochs:
        return tr("raise train.epochs")
    return tr(
        "raise train.patience, which stopped the training after epoch {epochs} of {planned_epochs}",
        epochs=facts.epochs,
        planned_epochs=facts.planned_epochs,
    )


def _nothing_learned(facts: TrainingFacts, end: float, size: str, more: str) -> str:
    """The cause of a loss that ended near that of the label shares or above it. `more`: the advice on rows and epochs."""
    rate = facts.learning_rate
    known = tr(
        "the training loss ended at {end:.2f}, and the label shares alone give {shares:.2f}",
        end=end,
        shares=_entropy(facts.label_shares),
    )
    if rate < LOWEST:
        return tr(
            "train.learning_rate {rate:g} is far below the usual ones: {known}; set train.learning_rate: auto, which takes a "
            "usual one",
            rate=rate,
            known=known,
        )
    if rate > HIGHEST:
        return tr(
            "train.learning_rate {rate:g} is above the usual ones: {known}; set train.learning_rate: auto, which takes a "
            "usual one",
            rate=rate,
            known=known,
        )
    if rate == HIGHEST:
        return tr("{size} are too few: {known}; {more}", size=size, known=known, more=more)
    return tr(
        "train.learning_rate {rate:g} is too low for this base, or {size} are too few: {known}; raise it, for instance to "
        "{rate_2:g}, or {more}",
        rate=rate,
        size=size,
        known=known,
        rate_2=min(rate * FACTOR, HIGHEST),
        more=more,
    )


def _too_high(rate: float, sign: str) -> str:
    return tr(
        "train.learning_rate {rate:g} is too high: {sign}; lower it, for instance to {rate_2:g}",
        rate=rate,
        sign=sign,
        rate_2=min(rate / FACTOR, HIGHEST),
    )


def _quarters(losses: Sequence[float]) -> list[Sequence[float]]:
    """The losses of each quarter of the training; fewer parts where there are fewer losses."""
    parts = min(4, len(losses))
    edges = [len(losses) * number // parts for number in range(parts + 1)]
    return [losses[start:end] for start, end in zip(edges, edges[1:])]


def _risen_from(losses: Sequence[float], quarters: Sequence[Sequence[float]]) -> Optional[float]:
    """The earlier level above which the training loss ended by more than noise: the lowest quarter's mean, or a single loss;
    None where it did not."""
    lowest, last = min(quarters, key=statistics.fmean), quarters[-1]
    end = statistics.fmean(last)
    # the noise of a single loss is not known
    errors = [statistics.variance(each) / len(each) for each in (lowest, last) if len(each) > 1]
    low = statistics.fmean(lowest)
    if end > DIVERGED * low and end - low > NOISE * math.sqrt(sum(errors)):
        return low
    low = min(losses)
    later = losses[losses.index(low) + 1 :]
    if len(later) < FEWEST_LATER or end <= DIVERGED * low:
        return None
    # the lowest of n losses that only vary is expected up to sqrt(2 ln n) standard deviations below their mean
    spread = (NOISE + math.sqrt(2 * math.log(len(losses)))) * statistics.stdev(later)
    return low if statistics.fmean(later) - low > spread else None


def _entropy(counts: Mapping[str, float]) -> float:
    """The entropy of the label shares in nats: the loss of a model that knows nothing else."""
    total = sum(counts.values())
    return -math.fsum(count / total * math.log(count / total) for count in counts.values() if count)
