"""A base model is somebody else's folder: nothing in it is run, and nothing but safetensors read, unless the recipe says so."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import recipe_tree, write_recipe
from support.shapes import SHAPES, model

from runner.commands.run import main

CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM
Path({mark!r}).write_text("was here")
class MineConfig(LlamaConfig):
    model_type = "mine"
class MineForCausalLM(LlamaForCausalLM):
    config_class = MineConfig
"""


@pytest.fixture
def base_with_code(tmp_path: Path, tiny_base: Path) -> Path:
    """A base of a kind that transformers does not know, with the code for it, which leaves a mark where it is run."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path / "base"
    shutil.copytree(tiny_base, folder)
    config = json.loads((tiny_base / "config.json").read_text())
    torch.manual_seed(0)
    made = LlamaConfig(
        vocab_size=config["vocab_size"],
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,
    )
    LlamaForCausalLM(made).save_pretrained(folder, safe_serialization=True)
    tree = json.loads((folder / "config.json").read_text())
    tree |= {
        "model_type": "mine",
        "auto_map": {"AutoConfig": "mine.MineConfig", "AutoModelForCausalLM": "mine.MineForCausalLM"},
    }
    (folder / "config.json").write_text(json.dumps(tree))
    (folder / "mine.py").write_text(CODE.format(mark=str(tmp_path / "mark")))
    return folder


def start(workspace: Path, base: Path, *more: str) -> int:
    return main([str(write_recipe(workspace, recipe_tree(base))), "--workspace", str(workspace), *more])


def test_code_beside_a_base_is_run_only_where_the_recipe_says_so(
    workspace: Path, base_with_code: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("HF_MODULES_CACHE", str(workspace / "modules"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(workspace / "modules"))
    monkeypatch.setattr("builtins.input", lambda *rest: "y")  # transformers asks where it is left open
    mark = workspace / "mark"
    assert start(workspace, base_with_code) == 2
    assert "needs trust_remote_code: true in the recipe, if you trust its author" in capsys.readouterr().err
    assert not mark.exists()
    assert start(workspace, base_with_code, "trust_remote_code=true") == 0
    assert mark.exists()
    (base_with_code / "mine.py").write_text((base_with_code / "mine.py").read_text() + "# another version\n")
    capsys.readouterr()
    assert start(workspace, base_with_code, "trust_remote_code=true") == 0
    assert "finetune: nothing changed" not in capsys.readouterr().out, "its code is a part of it"


def damaged(folder: Path, base: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A copy of a base, its weights changed."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_base_that_holds_a_part_of_its_weights_is_refused(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    """Transformers would draw the others at random, other ones at every loading."""
    lost = "model.layers.0.self_attn.q_proj.weight"
    base = damaged(workspace / "base", tiny_base, lambda weights: weights.pop(lost))
    assert start(workspace, base) == 2
    assert f"1 weights are in none of its files, the first is {lost}" in capsys.readouterr().err


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", SHAPES)
def test_a_base_that_holds_all_is_loaded_whole(tmp_path: Path, name: str, tied: bool) -> None:
    """A head that is tied to the embedding lies in no file, and is missed by nobody."""
    import torch

    from runner.model.compat import load_model

    saved = model(name, tie_word_embeddings=tied)
    saved.save_pretrained(tmp_path, safe_serialization=True)
    loaded = load_model(tmp_path, torch.float32).state_dict()
    assert all(torch.equal(loaded[key], weight) for key, weight in saved.state_dict().items())


def test_an_index_that_names_pickled_weights_is_refused(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    """Beside safetensors that it leaves alone. One for pickled weights may lie there: it is not read."""
    base = workspace / "base"
    shutil.copytree(tiny_base, base)
    (base / "pytorch_model.bin.index.json").write_text('{"weight_map": {"a": "weights.bin"}}')
    assert start(workspace, base, "--stages", "prepare,finetune") == 0
    (base / "model.safetensors.index.json").write_text('{"weight_map": {"a": "weights.bin"}}')
    assert start(workspace, base) == 2
    assert "has weights.bin in its index; pickled weights (*.bin) are not loaded" in capsys.readouterr().err
    (base / "model.safetensors.index.json").write_text("[]")
    assert start(workspace, base) == 2
    assert "model.safetensors.index.json is not an index of weights" in capsys.readouterr().err


def test_pickled_weights_are_not_read(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    import torch

    folder = workspace / "base"
    shutil.copytree(tiny_base, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save({}, folder / "pytorch_model.bin")
    for trusted in ("false", "true"):
        assert start(workspace, folder, f"trust_remote_code={trusted}") == 2
        assert "pickled weights (*.bin) are not loaded, because they can run code" in capsys.readouterr().err


def test_a_folder_that_holds_an_adapter_is_no_base(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    """Transformers would load it too, from wherever it says, and forget which weights of the base are missing."""
    base = workspace / "base"
    shutil.copytree(tiny_base, base)
    (base / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "somebody/else"}')
    assert start(workspace, base) == 2
    assert "has an adapter in it (adapter_config.json)" in capsys.readouterr().err


def test_an_index_names_no_weights_that_lie_elsewhere(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    base = workspace / "base"
    shutil.copytree(tiny_base, base)
    (base / "model.safetensors").rename(workspace / "outside.safetensors")
    shutil.copy(workspace / "outside.safetensors", base / "other.safetensors")
    (base / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../outside.safetensors"}}')
    assert start(workspace, base) == 2
    assert "has ../outside.safetensors in its index, but not the file" in capsys.readouterr().err


def test_a_tokenizer_of_another_model_is_refused(workspace: Path, tiny_base: Path, capsys: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    base = workspace / "base"
    shutil.copytree(tiny_base, base)
    own = AutoModelForCausalLM.from_pretrained(tiny_base)
    own.resize_token_embeddings(100)
    own.save_pretrained(base, safe_serialization=True)
    torch.manual_seed(0)
    assert start(workspace, base) == 2
    assert "its tokenizer has ids up to 354, the model knows 100" in capsys.readouterr().err


def test_missing_safetensors_are_not_looked_for_elsewhere(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEFT would open pickled weights instead."""
    import torch

    from runner.errors import UserError
    from runner.model.adapter import saved_adapter
    from runner.model.base import load_base

    assert start(workspace, tiny_base) == 0
    adapter = workspace / "saved_model/tiny"
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({}, adapter / "adapter_model.bin")
    monkeypatch.setattr(torch, "load", None)  # it would raise if it were called
    base = load_base(tiny_base, "fp32", torch.device("cpu"))
    with pytest.raises(UserError, match=r"No such file.*adapter_model\.safetensors"), saved_adapter(base, adapter):
        pass
