"""Compatibility: every difference between the supported versions of the libraries, each with its reason.

The oldest are the exam's (transformers 4.38.1, peft 0.10.0, accelerate 0.26.1, torch 2.0.0), tested beside the newest. Only
modules that load torch anyway import this one.
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

# transformers 5 has renamed a method that peft 0.21 calls: nothing that our user could fix
warnings.filterwarnings("ignore", "`(is_)?gradient_checkpointing\\w*` is deprecated", FutureWarning)


def load_model(folder: Path, dtype: torch.dtype, trusted: bool = False) -> Any:
    """The causal language model in `folder`, in evaluation mode, its weights in `dtype`.

    Only safetensors are read, and Python code in the folder is run only where it is `trusted`: without that argument
    transformers would ask at the terminal. Raises OSError, ValueError or KeyError, as transformers does, where the folder
    has no such model, and ValueError where weights are missing: transformers would fill them with random values."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trusted)
    if config.model_type == "gemma":
        # 4.38 uses hidden_act as it is, and the released config says "gelu". The model was trained with the tanh form, which
        # 5.x always uses. Setting both keys makes the two agree.
        config.hidden_act = config.hidden_activation = "gelu_pytorch_tanh"
    # both know torch_dtype; 4.38 does not know dtype
    model, found = AutoModelForCausalLM.from_pretrained(
        folder,
        config=config,
        torch_dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=trusted,
        output_loading_info=True,
    )
    # weights that are tied to others are not in this list
    missing = sorted(found["missing_keys"])
    if missing:
        raise ValueError(f"{len(missing)} weights are in none of its files, the first is {missing[0]}")
    # generation_config.json may ask for beams, sampling or penalties, which every call would use
    model.generation_config = GenerationConfig()
    return model.eval()


def body(model: Any) -> Any:
    """The decoder without its output head. Both versions have `base_model_prefix`; get_decoder() is newer."""
    return getattr(model, model.base_model_prefix)


def decoder_layers(model: Any) -> Any:
    """The decoder's layers in order, whatever their name in this family of models. Raises LookupError."""
    for module in body(model).modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == model.config.num_hidden_layers:
            return module
    raise LookupError(f"cannot find the layers of {type(model).__name__}")


@contextmanager
def full_precision() -> Iterator[None]:
    """Inside the block, fp32 products are computed in fp32, also where TF32 was allowed."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def enable_checkpointing(model: Any) -> None:
    """Turns gradient checkpointing on, in the form that works with frozen inputs in both versions."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def dora_magnitude(layer: Any) -> Any:
    """The magnitude vector of a DoRA layer, a parameter. PEFT 0.10 keeps the parameter itself, newer ones a module with it."""
    magnitude = layer.lora_magnitude_vector["default"]
    return getattr(magnitude, "weight", magnitude)


def take_block_masks(model: Any) -> None:
    """Makes the decoder body use a 4-D mask as it is. 4.38 silently ignores it and makes its own; newer bodies use it."""
    decoder = body(model)
    own = getattr(decoder, "_update_causal_mask", None)
    if own is not None and "_update_causal_mask" not in vars(decoder):
        decoder._update_causal_mask = lambda mask, *rest: (
            mask if mask is not None and mask.dim() == 4 else own(mask, *rest)
        )


def repeated_cache(past: Any, rows: int) -> Any:
    """The keys and values of one row, for this many equal rows. 4.38 has tuples of tensors; 5.x has a class and changes it."""
    if isinstance(past, tuple):
        return tuple(tuple(tensor.repeat_interleave(rows, 0) for tensor in layer) for layer in past)
    past.batch_repeat_interleave(rows)
    return past


def layer_output(forward: Any, hidden: torch.Tensor) -> Any:
    """`hidden` as a decoder layer with this `forward` returns it. 4.38 returns a tuple, because its layers can also return their
    attentions; 5.x returns the tensor."""
    return (hidden,) if "output_attentions" in inspect.signature(forward).parameters else hidden
