"""The split base: where the launcher asks for FSDP or DeepSpeed's ZeRO stage 3, every process keeps a share of the frozen
layers' weights and has a layer whole only while it computes it.

The adapter, the embedding and the head stay whole on every process, so the training loop, the checkpoints and the adapter's
file know nothing of the split.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Optional

import torch
from accelerate import Accelerator
from accelerate.utils import DeepSpeedPlugin, DistributedType, FullyShardedDataParallelPlugin

from runner.errors import UserError
from runner.scorer import LabelScorer
from runner.stack import body, decoder_layers


def split_asked_for(accelerator: Accelerator) -> Optional[str]:
    """The row of `SPLITS` that the launcher asks for; None where every process holds the whole base.

    Raises UserError for a split that is none of them, or not to be had with these libraries."""
    kind = accelerator.distributed_type.value
    for wished in SPLITS:  # on a CPU Accelerate passes over the wish in silence
        if accelerator.num_processes > 1 and os.environ.get(f"ACCELERATE_USE_{wished}", "false").lower() == "true":
            kind = wished
    if "MEGATRON" in kind:
        raise UserError(f"the launcher asks for {kind}", "use FSDP: recipes/accelerate/fsdp.yaml")
    if kind == DistributedType.FSDP.value:
        _require_fully_shard(accelerator)
    elif kind == DistributedType.DEEPSPEED.value:
        _require_stage_3(accelerator)
    else:
        return None
    return kind


def split(scorer: LabelScorer, accelerator: Accelerator, say: Callable[[str], None]) -> None:
    """Splits the base that `scorer` runs over the processes, in place and for good; its weights may lie on the host.

    From here on every process has to compute whenever one does. Changes nothing where no split is asked for."""
    kind = split_asked_for(accelerator)
    if kind is None:
        return
    layers = decoder_layers(scorer.model)
    frozen = {id(weight) for layer in layers for weight in layer.parameters() if not weight.requires_grad}
    whole = [weight for weight in scorer.parameters() if id(weight) not in frozen]
    SPLITS[kind](scorer, whole, accelerator)
    say(f"the base is split over {accelerator.num_processes} processes ({kind})")


def _fully_shard(scorer: LabelScorer, whole: list[Any], accelerator: Accelerator) -> None:
    """PyTorch's FSDP 2, with the launcher's `fsdp_reshard_after_forward` and `fsdp_offload_params`."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    plugin = _fsdp_plugin(accelerator)
    settings = {
        "mesh": init_device_mesh(accelerator.device.type, (accelerator.num_processes,)),
        "reshard_after_forward": plugin.reshard_after_forward,
        "offload_policy": plugin.cpu_offload,
        "ignored_params": set(whole),
    }
    for layer in decoder_layers(scorer.model):
        fully_shard(layer, **settings)
    fully_shard(
        body(scorer.model), **settings
    )  # holds no weights of its own: it lets a layer come while the last is at work
    for tensor in [*whole, *scorer.buffers()]:
        tensor.data = tensor.data.to(accelerator.device)


def _zero(scorer: LabelScorer, whole: list[Any], accelerator: Accelerator) -> None:
    """DeepSpeed's ZeRO stage 3, with the launcher's `zero_optimization`: its engine for a model without an optimizer."""
    import deepspeed

    given = _deepspeed_plugin(accelerator).deepspeed_config["zero_optimization"]
    kept = [weight.detach().clone() for weight in whole]
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": {name: value for name, value in given.items() if value != "auto"},
        "bf16": {"enabled": scorer.model.dtype == torch.bfloat16},
    }
    deepspeed.initialize(model=scorer, config=config)
    for (
        weight
    ) in whole:  # while DeepSpeed learns the modules' order it frees what is persistent, too, but not what is external
        weight.ds_persist = weight.is_external_param = True
    whole[0].all_gather(whole)
    for weight, value in zip(whole, kept):  # in the type that they had: beside bf16 the adapter is fp32
        weight.data = value.to(accelerator.device)


SPLITS: Mapping[str, Callable[[LabelScorer, list[Any], Accelerator], None]] = {
    DistributedType.FSDP.value: _fully_shard,
    DistributedType.DEEPSPEED.value: _zero,
}
"""Every way to split the base, by Accelerate's name for it."""


def _fsdp_plugin(accelerator: Accelerator) -> FullyShardedDataParallelPlugin:
    return getattr(accelerator.state, "fsdp_plugin", None) or FullyShardedDataParallelPlugin()


def _deepspeed_plugin(accelerator: Accelerator) -> DeepSpeedPlugin:
    return getattr(accelerator.state, "deepspeed_plugin", None) or DeepSpeedPlugin()


def _require_fully_shard(accelerator: Accelerator) -> None:
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 7):
        raise UserError(
            f"the launcher asks for FSDP, which this runner splits a base with from torch 2.7 on; this is {torch.__version__}",
            "let each process hold the whole base: recipes/accelerate/ddp.yaml",
        )
    if getattr(_fsdp_plugin(accelerator), "fsdp_version", 1) != 2:
        raise UserError("the launcher asks for FSDP 1", "set fsdp_version: 2, as in recipes/accelerate/fsdp.yaml")


def _require_stage_3(accelerator: Accelerator) -> None:
    stage = _deepspeed_plugin(accelerator).zero_stage
    if stage != 3:
        raise UserError(
            f"the launcher asks for DeepSpeed's ZeRO stage {stage}, which splits the optimizer: an adapter's is some megabytes",
            "split the base with zero_stage: 3 (recipes/accelerate/zero3.yaml), or nothing (recipes/accelerate/ddp.yaml)",
        )
