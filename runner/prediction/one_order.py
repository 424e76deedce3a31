"""One order: the hold-out by each row's own order alone, compared with the mean of both orders (`decoding.average: swap`).

Both are before calibration, and come from the same pass of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from runner.evaluation.intervals import accuracy_interval, with_interval
from runner.evaluation.significance import PairedComparison, compare
from runner.language import tr
from runner.prediction.decoders import Scored


def one_order(scored: Sequence[Scored], targets: Sequence[int]) -> Optional[dict[str, Any]]:
    """The accuracy with one order, and its comparison with the mean of both; None where only one order was scored.

    Args:
        scored: The hold-out's rows.
        targets: (rows,), the number of each row's right label.
    """
    own = [each.own_order for each in scored]
    alone = [int(logits.argmax()) == target for logits, target in zip(own, targets) if logits is not None]
    if not alone:
        return None
    both = [int(each.logits.argmax()) == target for each, target in zip(scored, targets)]
    paired = compare(alone, both)
    accuracy = sum(alone) / len(alone)
    return {
        "accuracy": accuracy,
        "interval": list(accuracy_interval(accuracy, len(alone))),
        "only_one_order": paired.only_first,
        "only_both_orders": paired.only_second,
        "difference": paired.difference,
        "difference_interval": list(paired.interval),
        "p": paired.p,
    }


def orders_words(evaluation: Mapping[str, Any]) -> str:
    """What both orders are worth, in words, from the content of evaluation.json."""
    rows, one, both = evaluation["rows"], evaluation["one_order"], evaluation["uncalibrated"]["accuracy"]
    low, high = one["difference_interval"]
    paired = PairedComparison(rows, one["only_one_order"], one["only_both_orders"], one["p"], (low, high))
    words = tr(
        "decoding.average: swap: hold-out accuracy with one order {one}, with the mean of both {both}; exact McNemar test: "
        "{sentence}",
        one=with_interval(one["accuracy"], rows),
        both=with_interval(both, rows),
        sentence=paired.sentence(tr("one order"), tr("the mean of both")),
    )
    return words + tr(" (all before calibration)") if evaluation["calibration"]["used"] else words
