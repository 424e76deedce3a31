"""The stack: where the supported ends of the libraries differ, in one place, each difference with its reason.

The ends are the exam's (transformers 4.38.1, peft 0.10.0, accelerate 0.26.1, torch 2.0.0) and the newest.
Imported only by modules that load torch anyway.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

# transformers 5 has renamed what peft 0.21 asks for and what 4.38 alone knows: nothing that our user could mend.
warnings.filterwarnings("ignore", "`(is_)?gradient_checkpointing\\w*` is deprecated", FutureWarning)


def load_model(folder: Path, dtype: torch.dtype, trusted: bool = False) -> Any:
    """The causal language model in `folder`, in evaluation mode, its weights in `dtype`.

    Only safetensors are read, and code that lies beside a model is run only where it is `trusted`: left unsaid,
    transformers would ask whoever sits at the terminal. Raises OSError, ValueError or KeyError as
    transformers does where the folder holds no such model, and ValueError where it holds a part of one: transformers
    would draw the rest at random."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trusted)
    if config.model_type == "gemma":
        # 4.38 takes hidden_act literally and the released config says "gelu"; the model was trained with the tanh form,
        # which 5.x always uses. Setting both keys makes the two agree.
        config.hidden_act = config.hidden_activation = "gelu_pytorch_tanh"
    # torch_dtype is understood by both ends; 4.38 does not know dtype.
    model, found = AutoModelForCausalLM.from_pretrained(
        folder,
        config=config,
        torch_dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=trusted,
        output_loading_info=True,
    )
    missing = sorted(found["missing_keys"])  # those that are tied to others are not among them
    if missing:
        raise ValueError(f"weights that are in none of its files: {len(missing)}, the first is {missing[0]}")
    # generation_config.json may ask for beams, sampling or penalties, and fills in whatever a call leaves unsaid
    model.generation_config = GenerationConfig()
    return model.eval()


def body(model: Any) -> Any:
    """The decoder without its output head. `base_model_prefix` names it on both ends; get_decoder() is newer."""
    return getattr(model, model.base_model_prefix)


def decoder_layers(model: Any) -> Any:
    """The decoder's layers in their order, whatever the model's family calls them. Raises LookupError."""
    for module in body(model).modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == model.config.num_hidden_layers:
            return module
    raise LookupError(f"cannot find the layers of {type(model).__name__}")


@contextmanager
def full_precision() -> Iterator[None]:
    """For the length of the block, fp32 products are computed in fp32, also where TF32 was allowed."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def enable_checkpointing(model: Any) -> None:
    """Turns gradient checkpointing on, in the form that works with frozen inputs on both ends."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def take_block_masks(model: Any) -> None:
    """Lets the decoder body take a 4-D mask as it is. 4.38 ignores one silently and makes its own instead; newer bodies
    have no such method, they take it."""
    decoder = body(model)
    own = getattr(decoder, "_update_causal_mask", None)
    if own is not None and "_update_causal_mask" not in vars(decoder):
        decoder._update_causal_mask = lambda mask, *rest: (
            mask if mask is not None and mask.dim() == 4 else own(mask, *rest)
        )


def layer_output(forward: Any, hidden: torch.Tensor) -> Any:
    """What a decoder layer whose `forward` this is returns around `hidden`: 4.38 wraps it in a tuple, as long as layers
    can also return their attentions; 5.x returns it bare."""
    return (hidden,) if "output_attentions" in inspect.signature(forward).parameters else hidden
