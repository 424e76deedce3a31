"""Small real things for the runner's tests: a tiny random Gemma, tables of a few rows, recipes that name both."""

import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# messages are asserted word for word
os.environ["LABELTUNE_LANG"] = "en"
# a report takes seconds, and the tests of reports write it themselves
os.environ["LABELTUNE_REPORT"] = "off"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# these models are too small for two threads: waiting would cost more
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
"""Where those who have them keep the exam's own files and a small pre-trained model: beside the checkout, never in it."""


def tiny_tokenizer() -> Any:
    """A tokenizer of single characters, with bytes for the rest and Gemma's special ids."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [chr(code) for code in range(32, 127)]
    tokenizer = Tokenizer(
        models.BPE({piece: number for number, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(pieces[:4])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>"
    )


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random Gemma with two layers of 32, and its tokenizer."""
    import torch
    from transformers import GemmaConfig, GemmaForCausalLM

    folder = tmp_path_factory.mktemp("tiny-gemma")
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    config = GemmaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=256,
        hidden_act="gelu_pytorch_tanh",
        # the usual 0.02 gives logits too small to learn from in a few steps
        initializer_range=0.2,
    )
    GemmaForCausalLM(config).save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> list[bytes]:
    """The outputs of a run of `support.runs` that nothing interrupts."""
    from support.runs import outputs, run

    folder = write_tables(tmp_path_factory.mktemp("whole"))
    run(folder, tiny_base)
    return outputs(folder)


TRAIN_ROWS = [f"{number}\t{number % 2}\t{'ab' if number % 2 else 'ba'} word {number}" for number in range(24)]
DEV_ROWS = [f"{number}\t{'ab' if number % 3 else 'ba'} dev {number}" for number in range(5)]


def recipe_tree(base: Path, **changes: Any) -> dict[str, Any]:
    """A recipe for `write_tables`, as plain values; `changes` are laid over it, `train={...}` key by key."""
    tree: dict[str, Any] = {
        "task": {
            "name": "tiny",
            "train": "data/tiny_train.tsv",
            "dev": "data/tiny_dev.tsv",
            "header": False,
            "columns": ["id", "label", "text"],
            "input": "{text}",
            "label": "label",
            "labels": ["0", "1"],
        },
        "instruction": "Which?",
        "base": str(base),
        "prompt": {"max_length": 64},
        "samples": {"train": 16, "holdout": 4, "dev": 5},
        "lora": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]},
        "train": {"epochs": 2, "batch_size": 4, "learning_rate": 0.01, "loss": "vocabulary"},
        "decoding": {"kind": "label"},
    }
    for name, value in changes.items():
        tree[name] = {**tree[name], **value} if isinstance(value, dict) and isinstance(tree.get(name), dict) else value
    return tree


def write_tables(workspace: Path, train: Any = TRAIN_ROWS, dev: Any = DEV_ROWS) -> Path:
    """The two TSV files of `recipe_tree`; returns the workspace."""
    (workspace / "data").mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("dev", dev)):
        (workspace / f"data/tiny_{name}.tsv").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return workspace


def write_recipe(folder: Path, tree: dict[str, Any], name: str = "tiny.yaml") -> Path:
    """A recipe file."""
    import yaml

    path = folder / name
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with the tables of `recipe_tree`."""
    return write_tables(tmp_path)
