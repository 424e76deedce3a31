"""The base model's shapes: the sizes of the modules that LoRA adapts, from the examiner's `config.json` of the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grading import contract
from grading.contract.language import reason_of, tr
from grading.errors import CouldNotGrade, quoted

FAMILIES = ("gemma", "gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen3")
"""Values of `model_type` whose modules are named and sized as in `_modules`."""


@dataclass(frozen=True)
class BaseShapes:
    """The sizes of a base model that adapters must fit."""

    layers: int
    """Decoder layers."""
    modules: Mapping[str, tuple[int, int]]
    """Last part of a module's name to its input and output size."""


def read_base_shapes(path: Path) -> BaseShapes:
    """The shapes of the model whose folder or `config.json` is at `path`. Raises CouldNotGrade."""
    file = path / "config.json" if path.is_dir() else path
    try:
        value = contract.parse_json(file.read_bytes())
        if not isinstance(value, dict):
            raise contract.ContractError(tr("expected a JSON object"))
        if value.get("model_type") not in FAMILIES:
            raise contract.ContractError(
                tr(
                    "model_type is {model_type}, expected one of {families}",
                    model_type=quoted(value.get("model_type")),
                    families=", ".join(FAMILIES),
                )
            )
        return BaseShapes(_size(value, "num_hidden_layers"), _modules(value))
    except OSError as error:
        raise CouldNotGrade(
            tr("{file}: the base model's configuration cannot be read: {reason}", file=file, reason=reason_of(error)),
            tr("correct --base"),
        ) from None
    except contract.ContractError as error:
        raise CouldNotGrade(
            tr("{file}: bad configuration of a base model: {error}", file=file, error=error),
            tr("correct --base, or leave it out"),
        ) from None


MODULES = frozenset(
    ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "embed_tokens", "lm_head")
)
"""The names of `_modules`: linear layers and embeddings."""


def _modules(value: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    width, inner, heads = (_size(value, key) for key in ("hidden_size", "intermediate_size", "num_attention_heads"))
    head = _size(value, "head_dim") if value.get("head_dim") is not None else width // heads
    keys = _size(value, "num_key_value_heads") if value.get("num_key_value_heads") is not None else heads
    vocabulary = _size(value, "vocab_size")
    return {
        "q_proj": (width, heads * head),
        "k_proj": (width, keys * head),
        "v_proj": (width, keys * head),
        "o_proj": (heads * head, width),
        "gate_proj": (width, inner),
        "up_proj": (width, inner),
        "down_proj": (inner, width),
        "embed_tokens": (vocabulary, width),
        "lm_head": (width, vocabulary),
    }


def _size(value: Mapping[str, Any], key: str) -> int:
    size = value.get(key)
    if type(size) is not int or size < 1:
        raise contract.ContractError(tr("{key} is {size}, expected a whole number > 0", key=key, size=quoted(size)))
    return size
