"""Tiny random models of many architectures, all with the tiny tokenizer's vocabulary."""

from typing import Any

import pytest
import torch
import transformers

NEWEST = int(transformers.__version__.split(".")[0]) >= 5

SMALL = {
    "vocab_size": 355, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
MLP = {"intermediate_size": 64, "num_key_value_heads": 1}
SLIDING = {"head_dim": 16, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
SHAPES: dict[str, dict[str, Any]] = {
    "Gemma": {**SMALL, **MLP, "head_dim": 16},
    "Gemma2": {**SMALL, **MLP, **SLIDING, "final_logit_softcapping": 0.5},
    "Gemma3Text": {**SMALL, **MLP, **SLIDING},
    "Llama": {**SMALL, **MLP},
    "Mistral": {**SMALL, **MLP, "sliding_window": 8},
    "Qwen2": {**SMALL, **MLP},
    "Qwen3": {**SMALL, **MLP, "head_dim": 16},
    "Phi": {**SMALL, "intermediate_size": 64},
    "Phi3": {**SMALL, **MLP, "sliding_window": 8, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1},
    "GPT2": {"vocab_size": 355, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128},
    "GPTNeoX": {**SMALL, "intermediate_size": 64},
    "OPT": {**SMALL, "ffn_dim": 64, "word_embed_proj_dim": 32},
}
CLASSES = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}

BLOCK_MASKS = tuple(SHAPES) if NEWEST else ("Gemma", "Llama")
"""Architectures that take the mask of packed rows on this stack."""


def model(name: str, **changes: Any) -> Any:
    """A random model of that architecture, in evaluation mode; skips where this transformers does not know it."""
    if not hasattr(transformers, f"{name}Config") or not hasattr(transformers, CLASSES.get(name, f"{name}ForCausalLM")):
        pytest.skip(f"this transformers has no {name}")
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**{**SHAPES[name], **changes})
    return getattr(transformers, CLASSES.get(name, f"{name}ForCausalLM"))(config).eval()
