"""The diagnosis of an adapter that is not better than a baseline: which baselines, and the likeliest cause."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

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

FACTOR = 5
"""How far the next learning rate to try is from the last one. Rates that fit a base are often a factor of 5 apart: 2e-4 for
Gemma-3-270m, 1e-3 for SmolLM2-135M."""

LOWEST = 5e-5
"""The lowest learning rate that `train.learning_rate: auto` tries. Below it, a factor does not lead to a usual one."""

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
    better = [f"{tr(BASELINES[name])} ({found:.1%})" for name, found in baselines.items() if accuracy <= found]
    if not better or accuracy == 1:
        return ""
    return tr(" and ").join(filter(None, (", ".join(better[:-1]), better[-1])))


def cause(facts: TrainingFacts) -> str:
    """The likeliest cause, and what to change."""
    rate = facts.learning_rate
    size = trn("{rows:,} rows × {count} epoch", "{rows:,} rows × {count} epochs", facts.epochs, rows=facts.rows)
    more_rows = tr("raise samples.train") if facts.more_rows else tr("add labelled rows (all of the file's are used)")
    if facts.skipped_steps:
        return _too_high(
            rate,
            tr(
                "{skipped_steps} steps were skipped because their loss or gradient was not finite",
                skipped_steps=facts.skipped_steps,
            ),
        )
    if not facts.losses:
        return tr("{size} are too few; {more_rows}, or raise train.epochs", size=size, more_rows=more_rows)
    quarters = _quarters(facts.losses)
    lowest, end = min(map(statistics.fmean, quarters)), statistics.fmean(quarters[-1])
    shares = _entropy(facts.label_shares)
    if _has_diverged(quarters):
        return _too_high(rate, tr("the training loss rose from {levels:.2f} to {end:.2f}", levels=lowest, end=end))
    if end > LEARNED * shares:
        return _too_low(facts, size, end, more_rows)
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


def _too_low(facts: TrainingFacts, size: str, end: float, more_rows: str) -> str:
    rate, shares = facts.learning_rate, _entropy(facts.label_shares)
    if rate < LOWEST:
        return tr(
            "train.learning_rate {rate:g} is far below the usual ones: the training loss ended at {end:.2f}, and the label "
            "shares alone give {shares:.2f}; set train.learning_rate: auto, which takes a usual one",
            rate=rate,
            end=end,
            shares=shares,
        )
    return tr(
        "train.learning_rate {rate:g} is too low for this base, or {size} are too few: the training loss ended at {end:.2f}, "
        "and the label shares alone give {shares:.2f}; raise it, for instance to {rate_2:g}, or {more_rows}, or raise "
        "train.epochs",
        rate=rate,
        size=size,
        end=end,
        shares=shares,
        rate_2=rate * FACTOR,
        more_rows=more_rows,
    )


def _too_high(rate: float, sign: str) -> str:
    return tr(
        "train.learning_rate {rate:g} is too high: {sign}; lower it, for instance to {rate_2:g}",
        rate=rate,
        sign=sign,
        rate_2=rate / FACTOR,
    )


def _quarters(losses: Sequence[float]) -> list[Sequence[float]]:
    """The losses of each quarter of the training; fewer parts where there are fewer losses."""
    parts = min(4, len(losses))
    edges = [len(losses) * number // parts for number in range(parts + 1)]
    return [losses[start:end] for start, end in zip(edges, edges[1:])]


def _has_diverged(quarters: Sequence[Sequence[float]]) -> bool:
    """Whether the last quarter's mean loss is above the lowest one by more than noise."""
    lowest, last = min(quarters, key=statistics.fmean), quarters[-1]
    # the noise of a single loss is not known
    errors = [statistics.variance(each) / len(each) for each in (lowest, last) if len(each) > 1]
    rise = statistics.fmean(last) - statistics.fmean(lowest)
    return rise > NOISE * math.sqrt(sum(errors)) and statistics.fmean(last) > DIVERGED * statistics.fmean(lowest)


def _entropy(counts: Mapping[str, float]) -> float:
    """The entropy of the label shares in nats: the loss of a model that knows nothing else."""
    total = sum(counts.values())
    return -math.fsum(count / total * math.log(count / total) for count in counts.values() if count)
