"""The label logits of examples to predict: one example at a time after the cached prefix, or several in one batch.

Each way is used only where it gives the same results as padded batches on the user's own examples. Where it does not, padded
batches are used and a message says so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Optional

import torch

from runner.language import tr
from runner.scoring.dataset import BothOrders, EncodedDataset
from runner.scoring.layout_choice import packed_ways
from runner.scoring.prefix_cache import PrefixCache
from runner.scoring.proof import LabelLogits, Subject, Way, padded_way, prove
from runner.scoring.scorer import LabelScorer
from runner.system.memory import MicroBatchSize

log = logging.getLogger("labeltune.scoring")


def averaged_label_logits(
    subject: Subject, dataset: EncodedDataset, batch_size: int, start: int = 0
) -> Iterator[torch.Tensor]:
    """The label logits that prediction uses: those of `predict_label_logits`, or, where the dataset has swapped records too, the
    mean of both orders' log-probabilities. They are the same whichever order is first.

    Args:
        subject: As in `predict_label_logits`.
        dataset: The examples, without targets; its `swapped` has the same examples in the other order, or is None.
        batch_size: Examples computed at once; both orders of an example count as two.
        start: The number of the first example that is computed, a multiple of `batch_size`.

    Yields:
        (labels,) in fp32 for each example.
    """
    return (averaged for averaged, _ in label_logits_and_own(subject, dataset, batch_size, start))


def label_logits_and_own(
    subject: Subject, dataset: EncodedDataset, batch_size: int, start: int = 0
) -> Iterator[tuple[torch.Tensor, Optional[torch.Tensor]]]:
    """The same, each with the log-probabilities of the example's own order alone; None where the dataset has no other order."""
    if dataset.swapped is None:
        for logits in predict_label_logits(subject, dataset, batch_size, start):
            yield logits, None
        return
    # one dataset, so that both orders are computed in the same way
    both = EncodedDataset(dataset.prompt, BothOrders(dataset.suffixes, dataset.swapped.suffixes))
    computed = predict_label_logits(subject, both, batch_size, 2 * start)
    for one, other in zip(computed, computed):
        own = one.log_softmax(0)
        yield (own + other.log_softmax(0)) / 2, own


def predict_label_logits(
    subject: Subject, dataset: EncodedDataset, batch_size: int, start: int = 0
) -> Iterator[torch.Tensor]:
    """The label logits of each example from number `start`, in order. Call it without gradient.

    The examples before `start` take part in the proof, so a resumed prediction uses the same way as the first run.

    Args:
        subject: The scorer and its shallow copy.
        dataset: The examples, without targets.
        batch_size: Examples computed at once.
        start: The number of the first example that is computed.

    Yields:
        (labels,) in fp32 for each example.
    """
    longest = max(dataset.lengths(), default=0)
    proved_length, logits = subject.proved.get(batch_size, (-1, None))
    if logits is None or longest > proved_length:
        logits = _proved(subject, dataset, batch_size)
        subject.proved[batch_size] = longest, logits
    size = MicroBatchSize(batch_size, tr("prediction"))
    # whole batches, so that the same rows are computed together in a resumed run
    for first in range(start, len(dataset), batch_size):
        yield from size.run_in_parts(dataset.suffixes[first : first + batch_size], logits)


def _proved(subject: Subject, dataset: EncodedDataset, batch_size: int) -> LabelLogits:
    """The fast way for the whole model; padded batches, with a message, where the proof does not hold."""
    subject.renew()
    if batch_size == 1:
        ways: Sequence[Way] = (after_cached_prefix,)
        name = tr("one row after the cached prefix")
    else:
        ways, name = packed_ways(subject, batch_size), "packed"
    proof = prove(subject, ways, dataset)
    subject.release()
    if proof.holds:
        return ways[0](subject.scorer)
    log.info(
        tr(
            "predicting with padded rows, which is slower: {name} is not used, {reason}",
            name=name,
            reason=proof.words(),
        )
    )
    return padded_way()(subject.scorer)


def after_cached_prefix(scorer: LabelScorer) -> LabelLogits:
    """A way: each example alone, after the prefix that is computed once."""
    cache = PrefixCache(scorer)
    return lambda suffixes: torch.stack([cache.label_logits(suffix) for suffix in suffixes])
