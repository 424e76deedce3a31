"""The training state: the progress of a fine-tune, its optimizer and random numbers, by names, for checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

import torch

from runner.language import tr
from runner.system.memory import MicroBatchSize
from runner.training.evaluation import Evaluation

COUNTERS = ("epoch", "step_in_epoch", "global_step", "skipped_steps", "consecutive_skips", "seconds", "best_epoch")


@dataclass
class TrainState:
    """The progress of a fine-tune."""

    micro_batch_size: MicroBatchSize
    """How many rows a process computes at once: its share of `train.batch_size`, less where memory has run out."""
    epoch: int = 1
    """The current epoch, from 1."""
    step_in_epoch: int = 0
    """Optimizer steps done in this epoch."""
    global_step: int = 0
    """Optimizer steps done in all epochs."""
    skipped_steps: int = 0
    """Steps whose loss or gradient was not finite."""
    consecutive_skips: int = 0
    """How many of them came last, without a usable step after them."""
    seconds: float = 0.0
    """Training time so far, over all runs that were stopped and resumed."""
    evaluations: list[Evaluation] = field(default_factory=list)
    """The hold-out's evaluation after each finished epoch."""
    best_epoch: int = 0
    """The epoch whose evaluation is the best; 0: none is finished."""
    best_adapter: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """The adapter's tensors after that epoch, or those of the average where it is better; on the CPU."""
    recent: list[dict[str, torch.Tensor]] = field(default_factory=list)
    """The trained parameters after each of the last `train.average_epochs` epochs, on the CPU; empty where that is 1."""
    average: Optional[Evaluation] = None
    """The evaluation of their mean, after the last epoch."""

    @property
    def average_is_best(self) -> bool:
        """Whether the mean of the last epochs is better than the best one."""
        return self.average is not None and self.average.better_than(self.evaluations[self.best_epoch - 1])

    @property
    def best(self) -> Optional[Evaluation]:
        """The evaluation of the adapter that is kept; None where no epoch is finished."""
        if self.average_is_best:
            return self.average
        return self.evaluations[self.best_epoch - 1] if self.best_epoch else None

    @property
    def best_name(self) -> str:
        """The epochs of the adapter that is kept: `epoch 2`, `average of epochs 2–3`."""
        last = len(self.evaluations)
        if self.average_is_best:
            return tr("average of epochs {first}–{last}", first=last - len(self.recent) + 1, last=last)
        return tr("epoch {best_epoch}", best_epoch=self.best_epoch)

    def state_dict(self) -> dict[str, Any]:
        """All but the tensors and the average, which is the last thing to be computed; as plain values for JSON."""
        return {
            **{name: getattr(self, name) for name in COUNTERS},
            "micro_batch_size": self.micro_batch_size.rows,
            "evaluations": [dataclasses.asdict(evaluation) for evaluation in self.evaluations],
        }

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Set the state from the values that `state_dict` returned."""
        for name in COUNTERS:
            setattr(self, name, values[name])
        self.micro_batch_size.rows = values["micro_batch_size"]
        self.evaluations = [Evaluation(**evaluation) for evaluation in values["evaluations"]]


def optimizer_tensors(optimizer: torch.optim.Optimizer, parameters: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The optimizer's state by names: `exp_avg/<parameter>`, and the like for each of its tensors."""
    return {
        f"{key}/{name}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Set the optimizer's state from the tensors that `optimizer_tensors` returned. `parameters` are all of its parameters."""
    in_order = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    numbers = {name: in_order.index(id(parameter)) for name, parameter in parameters.items()}
    state = optimizer.state_dict()
    for full_name, tensor in tensors.items():
        key, _, name = full_name.partition("/")
        state["state"].setdefault(numbers[name], {})[key] = tensor
    optimizer.load_state_dict(state)


def random_state() -> dict[str, torch.Tensor]:
    """The state of torch's random number generators: training draws from no others."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, torch.Tensor]) -> None:
    """Set the generators to the state that `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
