"""The frozen layers, stored once, give the training that computing them again gives."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import recipe_tree, tiny_tokenizer, write_recipe, write_tables
from safetensors.torch import load_file
from support.shapes import BLOCK_MASKS, model

from runner.commands.run import execute
from runner.distributed import sharding
from runner.errors import UserError
from runner.model.base import Base, BaseFiles
from runner.model.compat import body
from runner.recipe.loader import load_recipes
from runner.recipe.schema import PromptShape
from runner.scoring import frozen_layers
from runner.scoring.dataset import EncodedDataset
from runner.scoring.frozen_layers import FrozenLayerCache, cached_frozen_layers
from runner.scoring.layout_choice import Choice
from runner.scoring.layouts import LAYOUTS
from runner.scoring.prompt import Prompt, build_prompt
from runner.scoring.scorer import LabelScorer

UPPER = {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1]}


def run(workspace: Path, base: Path, **train: Any) -> dict[str, torch.Tensor]:
    tree = recipe_tree(base, lora=UPPER, train={"epochs": 2, **train})
    execute(load_recipes([write_recipe(workspace, tree)]), workspace, ["prepare", "finetune"])
    return load_file(workspace / "saved_model/tiny/adapter_model.safetensors")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_from_the_cache_gives_the_same_adapter(workspace: Path, tiny_base: Path, layout: str) -> None:
    whole = run(workspace, tiny_base, layout=layout)
    stored = run(workspace, tiny_base, layout=layout, cache_frozen_layers=True)
    assert whole.keys() == stored.keys()
    assert max((whole[name] - stored[name]).abs().max().item() for name in whole) < 2e-5


def test_the_cache_of_a_sharded_base_is_refused(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "requested_sharding", lambda accelerator: "FSDP")
    with pytest.raises(
        UserError, match=r"train.cache_frozen_layers: the main process computes them alone, and FSDP shards"
    ):
        run(workspace, tiny_base, cache_frozen_layers=True)


def test_the_cache_serves_every_seed_but_no_other_rows(
    workspace: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(workspace, tiny_base, cache_frozen_layers=True)
    assert "frozen layers 0 to 0: storing " in capsys.readouterr().out
    run(workspace, tiny_base, cache_frozen_layers=True, seed=1, gradient_checkpointing=True)
    assert "frozen layers 0 to 0: found in the cache" in capsys.readouterr().out
    rows = (workspace / "data/tiny_train.tsv").read_text()
    (workspace / "data/tiny_train.tsv").write_text(rows.replace("word", "term"))
    run(workspace, tiny_base, cache_frozen_layers=True)
    assert "frozen layers 0 to 0: storing" in capsys.readouterr().out
    assert len(list((workspace / "pre_data/tiny/store/frozen_layers").iterdir())) == 2


PROMPT: Prompt = build_prompt(PromptShape(), "Which?", ("0", "1"), tiny_tokenizer())


def cached(
    own: Any, suffixes: list[list[int]], base: Path, folder: Path, prompt: Prompt = PROMPT
) -> tuple[LabelScorer, FrozenLayerCache]:
    """A scorer, and the states of its layer 0 for these suffixes."""
    scorer, choice = LabelScorer(own, prompt), Choice("packed", LAYOUTS["packed"](own, prompt), "for this test")
    datasets = [EncodedDataset(prompt, suffixes[:1]), EncodedDataset(prompt, suffixes[1:])]
    loaded = Base(BaseFiles(base), "fp32", own, tiny_tokenizer())
    return scorer, cached_frozen_layers(loaded, scorer, 1, datasets, choice, folder)


def test_states_of_another_layout_are_not_used(workspace: Path, tiny_base: Path) -> None:
    """They differ in the last bits, and so would the adapter. The batch size of training changes no state."""
    run(workspace, tiny_base, cache_frozen_layers=True)
    first = run(workspace, tiny_base, cache_frozen_layers=True, batch_size=8)
    run(workspace, tiny_base, cache_frozen_layers=True, batch_size=8, layout="padded")
    assert len(list((workspace / "pre_data/tiny/store/frozen_layers").iterdir())) == 2
    other = write_tables(workspace / "other")
    again = run(other, tiny_base, cache_frozen_layers=True, batch_size=8)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_leftovers_of_a_dead_process_are_removed(workspace: Path, tiny_base: Path) -> None:
    store = workspace / "pre_data/tiny/store"
    for kind in ("frozen_layers", "tokens"):
        (store / kind).mkdir(parents=True)
        (store / kind / ".aa.partial").write_bytes(b"half")
    run(workspace, tiny_base, cache_frozen_layers=True)
    assert not list(store.rglob("*.partial"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_states_of_the_wrong_tokens_are_noticed(
    workspace: Path, tiny_base: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FrozenLayerCache.__init__

    def shifted(self: Any, *rest: Any) -> None:
        real(self, *rest)
        self.starts = {name: start - 1 for name, start in self.starts.items()}

    monkeypatch.setattr(FrozenLayerCache, "__init__", shifted)
    with pytest.raises(
        UserError, match=r"train\.cache_frozen_layers: not for this model: its results differ from padded by"
    ):
        run(workspace, tiny_base, cache_frozen_layers=True, precision=precision)


def test_the_stored_layers_are_not_computed_again(tiny_base: Path, tmp_path: Path) -> None:
    own = model("Llama")
    suffixes = [[7, 8, 9], [10] * 6]
    scorer, made = cached(own, suffixes, tiny_base, tmp_path)
    layout = LAYOUTS["packed"](own, PROMPT)
    ran: list[int] = []
    for number, layer in enumerate(body(own).layers):
        layer.mlp.register_forward_hook(lambda *_, number=number: ran.append(number))
    with made.installed(scorer):
        expected = scorer(layout(suffixes)).label_logits
        found = scorer(made.layout(layout)(suffixes)).label_logits
    assert ran == [0, 1, 1]
    torch.testing.assert_close(found, expected)
    scorer(layout(suffixes))
    assert ran == [0, 1, 1, 0, 1], "the layers are as they were"


def test_stored_states_that_are_damaged_are_stored_again(tiny_base: Path, tmp_path: Path, caplog: Any) -> None:
    own = model("Llama")
    for damaged in (False, True):
        caplog.clear()
        cached(own, [[7, 8, 9]], tiny_base, tmp_path)
        assert ("is damaged; it is made again" in caplog.text) == damaged
        (path,) = tmp_path.iterdir()
        data = path.read_bytes()
        if not damaged:
            path.unlink()
            path.write_bytes(data[:9] + bytes([data[9] ^ 1]) + data[10:])


@pytest.mark.parametrize("name", [name for name in BLOCK_MASKS if name not in ("GPT2", "OPT")])
def test_the_cache_is_exact_on_every_architecture(name: str, tiny_base: Path, tmp_path: Path) -> None:
    own = model(name)
    suffixes = [[7] * 3, [300 - n for n in range(20)], [10] * 6]
    scorer, made = cached(own, suffixes, tiny_base, tmp_path)
    layout = LAYOUTS["packed"](own, PROMPT)
    with made.installed(scorer), torch.no_grad():
        for rows in (suffixes, suffixes[:0:-1]):
            torch.testing.assert_close(
                scorer(made.layout(layout)(rows)).label_logits,
                scorer(layout(rows)).label_logits,
                atol=1e-5,
                rtol=1e-5,
            )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_cache_holds_answers_of_several_tokens(tiny_base: Path, tmp_path: Path, layout: str) -> None:
    own = model("Llama")
    suffixes = [[7] * 3, [300 - n for n in range(20)], [10] * 6]
    prompt = build_prompt(PromptShape(), "Which?", ("not", "not_so", "no", "yes"), tiny_tokenizer())
    scorer, made = cached(own, suffixes, tiny_base, tmp_path, prompt)
    plain = LAYOUTS[layout](own, prompt)
    with made.installed(scorer), torch.no_grad():
        for rows in (suffixes, suffixes[:0:-1]):
            torch.testing.assert_close(
                scorer(made.layout(plain)(rows)).label_logits, scorer(plain(rows)).label_logits, atol=1e-5, rtol=1e-6
            )


def test_a_disk_without_room_is_reported_before_writing(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_layers.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1))
    with pytest.raises(UserError, match=r"train\.cache_frozen_layers: the states of .* tokens take .* GB"):
        run(workspace, tiny_base, cache_frozen_layers=True)
    assert not list((workspace / "pre_data/tiny/store/frozen_layers").iterdir())
