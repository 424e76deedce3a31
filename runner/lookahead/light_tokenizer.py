"""The light tokenizer: a base's tokenizer.json, read without transformers, with what a prompt needs of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from runner.errors import UserError
from runner.language import tr

FILE = "tokenizer.json"

DEFAULTS: Mapping[str, tuple[Optional[str], Optional[str]]] = {
    "Gemma": ("<bos>", "<eos>"),
    "Llama": ("<s>", "</s>"),
    "CodeLlama": ("<s>", "</s>"),
    "GPT2": ("<|endoftext|>", "<|endoftext|>"),
    "GPTNeoX": ("<|endoftext|>", "<|endoftext|>"),
    "Qwen2": (None, "<|endoftext|>"),
}
"""BOS and EOS that transformers takes where tokenizer_config.json does not name them, by the beginning of the class's name."""


class LightTokenizer:
    """A tokenizer with the attributes that `runner.scoring.prompt` uses, under the names that they have in transformers."""

    def __init__(self, folder: Path) -> None:
        """`folder`: a base with a tokenizer.json. Raises UserError where it cannot be read."""
        from tokenizers import Tokenizer

        path = folder / FILE
        try:
            self.backend_tokenizer = Tokenizer.from_file(str(path))
        # the library raises a bare Exception
        except Exception as error:
            raise UserError(
                tr("base: {path} cannot be read: {error}", path=path, error=" ".join(str(error).split())[:120]),
                tr("copy it again"),
            ) from None
        self.bos_token_id, self.eos_token_id = (self._id(folder, name) for name in ("bos_token", "eos_token"))

    def _id(self, folder: Path, name: str) -> Optional[int]:
        config = read_json(folder / "tokenizer_config.json")
        value = config.get(name) if name in config else read_json(folder / "special_tokens_map.json").get(name)
        if isinstance(value, dict):
            value = value.get("content")
        if value is None and name not in config:
            given = str(config.get("tokenizer_class"))
            defaults = next((row for start, row in DEFAULTS.items() if given.startswith(start)), (None, None))
            value = defaults[name == "eos_token"]
        return None if value is None else self.backend_tokenizer.token_to_id(str(value))

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        """The added tokens by their ids."""
        return dict(self.backend_tokenizer.get_added_tokens_decoder())

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[Optional[str]]:
        """The pieces of the vocabulary."""
        return [self.backend_tokenizer.id_to_token(each) for each in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these ids, with special tokens."""
        return str(self.backend_tokenizer.decode(list(ids), skip_special_tokens=False))


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none that can be read."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}
