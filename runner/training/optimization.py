"""The optimizer: AdamW over an adapter with the recipe's schedule, one step at a time, by all processes together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import torch
from accelerate import Accelerator
from transformers import get_scheduler

from runner.distributed.collectives import all_reduce_gradients
from runner.distributed.sharding import requested_sharding
from runner.language import tr
from runner.model.pissa import starts
from runner.recipe.schema import Train
from runner.scoring.collator import Collator
from runner.scoring.scorer import LabelScorer
from runner.system.memory import MicroBatchSize
from runner.training.class_balance import class_weights
from runner.training.train_state import load_optimizer_tensors, optimizer_tensors


class AdapterOptimizer:
    """The parameters of `scorer` that require a gradient, and how a step changes them."""

    def __init__(
        self, config: Train, scorer: LabelScorer, collator: Collator, total_steps: int, accelerator: Accelerator
    ) -> None:
        """`config`: its `learning_rate` is a number. `collator`: makes batches of the training rows. `total_steps`: the length
        of the schedule."""
        self.config, self.scorer, self.collator, self.accelerator = config, scorer, collator, accelerator
        self.rows_per_step = config.batch_size * config.accumulation
        self.parameters = {name: each for name, each in scorer.named_parameters() if each.requires_grad}
        self.starts = starts(scorer)
        """PiSSA's start: not trained, but the adapter means nothing without it."""
        weights = class_weights(config, collator.dataset)
        self.class_weights = None if weights is None else torch.tensor(weights, device=accelerator.device)
        self.optimizer = torch.optim.AdamW(self._groups(), weight_decay=config.weight_decay)
        warmup = math.ceil(config.warmup * total_steps)
        self.scheduler = get_scheduler(config.schedule, self.optimizer, warmup, total_steps)
        self.micro_batch_size = MicroBatchSize(
            -(-config.batch_size // accelerator.num_processes),
            tr("training"),
            tr("; a step still has {rows_per_step} rows", rows_per_step=self.rows_per_step),
            may_shrink=requested_sharding(accelerator) is None,
        )

    def _groups(self) -> list[dict[str, Any]]:
        """The optimizer's parameters: LoRA+ gives B, and the magnitudes of DoRA, another rate, as PEFT does."""
        rate = float(self.config.learning_rate)
        faster = {name for name, each in self.parameters.items() if "lora_B" in name or each.dim() == 1}
        return [
            {"params": [each for name, each in self.parameters.items() if (name in faster) == fast], "lr": group_rate}
            for fast, group_rate in ((False, rate), (True, rate * self.config.loraplus_lr_ratio))
        ]

    def step(self, rows: Sequence[int]) -> Optional[torch.Tensor]:
        """One step over these rows. Returns their mean loss; None where it or its gradient is not finite: then nothing was
        changed but the schedule."""
        parameters = list(self.parameters.values())
        most = -(-len(rows) // self.accelerator.num_processes)
        loss = self.micro_batch_size.run(lambda size: self._accumulate(rows, size), most)
        loss = all_reduce_gradients(self.accelerator, parameters, loss)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)
        usable = math.isfinite(float(norm) + loss.item())
        if usable:
            self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        return loss if usable else None

    def _accumulate(self, rows: Sequence[int], size: int) -> torch.Tensor:
        """Computes this process's part of the gradient of the rows' mean loss, `size` rows at once; returns its part of that
        mean.

        Each part counts by its rows, and each row by its label's weight alone, so the gradient is the same for every `size` and
        number of processes."""
        self.optimizer.zero_grad()  # of a pass that ran out of memory
        processes = self.accelerator.num_processes
        mine = rows[self.accelerator.process_index :: processes]
        total = torch.zeros((), device=self.accelerator.device)
        for start in range(0, -(-len(rows) // processes), size):
            # a process without a row of its own computes one with weight 0: a sharded base needs all of them to compute
            part, weight = mine[start : start + size] or rows[:1], float(start < len(mine)) / len(rows)
            batch = self.collator(part)
            losses = self.scorer(batch).losses
            if self.class_weights is not None:
                losses = losses * self.class_weights[batch.targets]
            loss = losses.sum() * weight
            loss.backward()
            total += loss.detach()
        return total

    @property
    def learning_rate(self) -> float:
        """That of the next step, without LoRA+'s ratio."""
        return float(self.scheduler.get_last_lr()[0])

    def groups(self) -> dict[str, Mapping[str, torch.Tensor]]:
        """The tensors for a checkpoint."""
        optimizer = optimizer_tensors(self.optimizer, self.parameters)
        return {"parameters": self.parameters, "starts": self.starts, "optimizer": optimizer}

    def set_parameters(self, values: Mapping[str, torch.Tensor]) -> None:
        """Give the parameters these values, by their names."""
        for name, tensor in values.items():
            self.parameters[name].data.copy_(tensor)

    def restore(self, groups: Mapping[str, Mapping[str, torch.Tensor]], scheduler: dict[str, Any]) -> None:
        """Set everything to what `groups` returned, and to the scheduler's state."""
        self.set_parameters(groups["parameters"])
        for name, tensor in groups["starts"].items():
            self.starts[name].copy_(tensor)
        load_optimizer_tensors(self.optimizer, self.parameters, groups["optimizer"])
        self.scheduler.load_state_dict(scheduler)
        for group, learning_rate in zip(self.optimizer.param_groups, self.scheduler.get_last_lr()):
            group["lr"] = learning_rate


def trained_tensors(scorer: LabelScorer) -> list[torch.Tensor]:
    """The tensors that make the adapter: the parameters that require a gradient, and PiSSA's start."""
    return [*(each for each in scorer.parameters() if each.requires_grad), *starts(scorer).values()]


def row_order(seed: int, epoch: int, rows: int) -> list[int]:
    """The numbers of all rows in the order of an epoch, counted from 1. It depends on nothing else."""
    generator = torch.Generator().manual_seed(seed * 1000 + epoch)
    order: list[int] = torch.randperm(rows, generator=generator).tolist()
    return order
