"""Sharding: where the launcher asks for FSDP, every process keeps a shard of the frozen layers' weights and has a layer
whole only while it computes it. Experimental: tested on CPU processes, not on several GPUs.

The adapter, the embedding and the head stay whole on every process, so the training loop, the checkpoints and the
adapter's file need not know about it.
"""

from __future__ import annotations

import logging
import os
from typing import Any, Optional

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from runner.errors import UserError
from runner.language import tr
from runner.model.compat import body, decoder_layers

log = logging.getLogger("labeltune.distributed")

FSDP = DistributedType.FSDP.value


def requested_sharding(accelerator: Accelerator) -> Optional[str]:
    """`FSDP` where the launcher asks for it, None where every process holds the whole base.

    Raises UserError for other ways to shard: DeepSpeed and Megatron-LM."""
    kind = accelerator.distributed_type.value
    for name in (FSDP, "DEEPSPEED", "MEGATRON_LM"):
        # on a CPU, Accelerate ignores the request silently
        if accelerator.num_processes > 1 and os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true":
            kind = name
    if kind in ("DEEPSPEED", "MEGATRON_LM"):
        raise UserError(tr("the launcher asks for {kind}", kind=kind), tr("use FSDP: recipes/accelerate/fsdp.yaml"))
    return FSDP if kind == FSDP else None


def shard(scorer: Any, accelerator: Accelerator) -> None:
    """Shards the base that `scorer` runs, in place, with PyTorch's FSDP 2 and the launcher's `fsdp_reshard_after_forward` and
    `fsdp_offload_params`. Does nothing where no sharding is asked for.

    From here on every process has to compute whenever one does."""
    if requested_sharding(accelerator) is None:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    layers = decoder_layers(scorer.model)
    sharded = {id(weight) for layer in layers for weight in layer.parameters() if not weight.requires_grad}
    replicated = [weight for weight in scorer.parameters() if id(weight) not in sharded]
    plugin = _fsdp_plugin(accelerator)
    settings = {
        "mesh": init_device_mesh(accelerator.device.type, (accelerator.num_processes,)),
        "reshard_after_forward": plugin.reshard_after_forward,
        "offload_policy": plugin.cpu_offload,
        "ignored_params": set(replicated),
    }
    for layer in layers:
        fully_shard(layer, **settings)
    # the body has no weights of its own: it fetches the next layer while one computes
    fully_shard(body(scorer.model), **settings)
    for tensor in [*replicated, *scorer.buffers()]:
        tensor.data = tensor.data.to(accelerator.device)
    log.info(tr("the base is sharded over {num_processes} processes (FSDP)", num_processes=accelerator.num_processes))


def _fsdp_plugin(accelerator: Accelerator) -> FullyShardedDataParallelPlugin:
    return getattr(accelerator.state, "fsdp_plugin", None) or FullyShardedDataParallelPlugin()


def require_fully_shard() -> None:
    """Raise UserError where the launcher asks for FSDP 1, or for FSDP before torch 2.7.

    Call it before an Accelerator is made: on a CPU, Accelerate ends FSDP 1 with an error of its own."""
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 7):
        raise UserError(
            tr(
                "the launcher asks for FSDP, which needs torch 2.7 or newer here; this is {version}",
                version=torch.__version__,
            ),
            tr("let each process hold the whole base: recipes/accelerate/ddp.yaml"),
        )
    # as Accelerate reads it
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise UserError(
            tr("the launcher asks for FSDP 1"), tr("set fsdp_version: 2, as in recipes/accelerate/fsdp.yaml")
        )
