"""The label scorer: one logit per label and example. It gives the loss in training, the metrics on the hold-out and the
answer in prediction, so the three cannot disagree.

The logit of a label whose answer is one token is that token's logit. Where any answer has several tokens, each label's logit
is the sum of the log-probabilities of its answer's tokens, among the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Optional

import torch

from runner.model.compat import body
from runner.scoring.last_layer import mlp_at
from runner.scoring.layouts import Batch
from runner.scoring.prompt import Prompt


class Scores(NamedTuple):
    """The scores of a batch."""

    label_logits: torch.Tensor
    """(examples, labels) in fp32. Their soft-max is each label's probability, given that the answer is a label."""
    losses: Optional[torch.Tensor]
    """(examples,) in fp32, in nats; None without targets."""


class LabelScorer(torch.nn.Module):
    """Runs the decoder body and applies the output head only at the positions where answers are predicted.

    On gemma-2b the head is a fifth of a forward pass, and 4,096 positions of fp32 logits are 3.9 GiB. It is a module, so
    `train()`, `eval()` and `parameters()` are those of the model in it."""

    def __init__(self, model: Any, prompt: Prompt, loss: str = "vocabulary") -> None:
        """Wraps a model for one task.

        Args:
            model: The causal language model, with LoRA layers in it or not.
            prompt: The task's prompt; its answers are compared.
            loss: A row of `LOSSES`.
        """
        super().__init__()
        self.model, self.prompt, self.loss, self.tree = model, prompt, loss, prompt.tree
        steps = torch.tensor([step for steps in prompt.tree.steps for step in steps], dtype=torch.long)
        self.register_buffer("label_ids", torch.tensor(prompt.label_ids), persistent=False)
        self.register_buffer("prior_shift", None, persistent=False)
        self.register_buffer("steps", steps.view(-1, 2), persistent=False)
        self.to(next(model.parameters()).device)

    def undo_prior(self, shift: Optional[Mapping[str, float]]) -> None:
        """Add `shift`, a number for each label, to the label logits in evaluation mode; None: add nothing.

        With log(share in the file / share in training) for each label, a model that was trained on other label shares than the
        file's gives the probabilities of the file. As with dropout, training mode is left alone: its loss is that of the raw
        logits."""
        numbers = None if shift is None else [shift[label] for label in self.prompt.labels]
        self.prior_shift = None if numbers is None else torch.tensor(numbers, device=self.label_ids.device)

    def forward(self, batch: Batch) -> Scores:
        """The scores of a batch; with losses where the batch has targets."""
        with mlp_at(self.model, batch.rows, batch.positions):
            hidden = body(self.model)(**batch.inputs, use_cache=False)[0][batch.rows, batch.positions]
        if batch.targets is None:
            return Scores(self.label_logits(hidden), None)
        return LOSSES[self.loss](self, hidden, batch.targets)

    def label_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(examples, labels) in fp32, from the body's (examples × nodes, width). Where every answer is one token, it needs only a
        few rows of the head."""
        if self.tree.steps:
            return self.from_all_logits(self.all_logits(hidden))
        return self._by_example(self.shifted(self._of_labels(hidden)))

    def from_all_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """(examples, labels) in fp32, from the whole vocabulary's (examples × nodes, vocabulary)."""
        if not self.tree.steps:
            return self._by_example(self.shifted(logits[:, self.label_ids]))
        nodes, tokens = self.steps.T
        each = logits.view(-1, self.tree.size, logits.shape[-1])
        found = each[:, nodes, tokens] - each.logsumexp(-1)[:, nodes]
        parts = found.split([len(steps) for steps in self.tree.steps], 1)
        return self.shifted(torch.stack([part.sum(1) for part in parts], 1))

    def _by_example(self, logits: torch.Tensor) -> torch.Tensor:
        # the shallow copy compares every node
        return logits if self.tree.size == 1 else logits.reshape(-1, self.tree.size * logits.shape[-1])

    def all_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(…, vocabulary) in fp32: the whole head."""
        logits = self._bounded(self.model.get_output_embeddings()(hidden))
        ours = self._of_labels(hidden)
        # the sums of answers of several tokens are shifted, not the tokens' logits
        logits[..., self.label_ids] = ours if self.tree.steps else self.shifted(ours)
        return logits

    def _of_labels(self, hidden: torch.Tensor) -> torch.Tensor:
        """(…, label_ids) in fp32, multiplied in fp32: a logit of 16 to 32 is a multiple of 1/8 in bf16, so close rows would be
        tied."""
        head = self.model.get_output_embeddings()
        bias = None if head.bias is None else head.bias[self.label_ids].float()
        weight = head.weight[self.label_ids].float()
        return self._bounded(torch.nn.functional.linear(hidden.float(), weight, bias))

    def shifted(self, label_logits: torch.Tensor) -> torch.Tensor:
        """(…, labels): the model's label logits as the scorer gives them, with the shift of `undo_prior` in evaluation mode."""
        return label_logits + self.prior_shift if self._shifts else label_logits

    @property
    def _shifts(self) -> bool:
        return self.prior_shift is not None and not self.training

    def _bounded(self, logits: torch.Tensor) -> torch.Tensor:
        # Gemma-2 bounds its logits
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return logits.float() if cap is None else cap * torch.tanh(logits.float() / cap)


def vocabulary_loss(scorer: LabelScorer, hidden: torch.Tensor, targets: torch.Tensor) -> Scores:
    """Minus the log-probability of the right answer among the whole vocabulary: the language model's own objective."""
    if scorer.tree.steps:
        sums = scorer.label_logits(hidden)
        return Scores(sums, -sums.gather(1, targets[:, None])[:, 0])
    logits = scorer.all_logits(hidden)
    losses = torch.nn.functional.cross_entropy(logits, scorer.label_ids[targets], reduction="none")
    return Scores(logits[:, scorer.label_ids], losses)


def labels_loss(scorer: LabelScorer, hidden: torch.Tensor, targets: torch.Tensor) -> Scores:
    """Minus the log-probability of the right label among the labels: nothing but the choice between them."""
    logits = scorer.label_logits(hidden)
    return Scores(logits, torch.nn.functional.cross_entropy(logits, targets, reduction="none"))


LOSSES: Mapping[str, Callable[[LabelScorer, torch.Tensor, torch.Tensor], Scores]] = {
    "vocabulary": vocabulary_loss,
    "labels": labels_loss,
}
"""Every loss by its name in the recipe."""
