"""The frozen trunk, stored once, gives the training that computing it anew gives."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import recipe_tree, tiny_tokenizer, write_recipe, write_tables
from safetensors.torch import load_file
from support.shapes import BLOCK_MASKS, model

from runner.commands.run import execute
from runner.distributed import sharding as split
from runner.errors import UserError
from runner.model.base import Base
from runner.model.compat import body
from runner.recipe.loader import load_recipes
from runner.recipe.schema import PromptShape
from runner.scoring import frozen_layers as trunk
from runner.scoring.layout_choice import Choice
from runner.scoring.layouts import LAYOUTS
from runner.scoring.prompt import build_prompt
from runner.scoring.scorer import LabelScorer

UPPER = {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1]}


def run(workspace: Path, base: Path, **train: Any) -> dict[str, torch.Tensor]:
    tree = recipe_tree(base, lora=UPPER, train={"epochs": 2, **train})
    execute(load_recipes([write_recipe(workspace, tree)]), workspace, ["prepare", "finetune"])
    return load_file(workspace / "saved_model/tiny/adapter_model.safetensors")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_from_the_stored_trunk_gives_the_same_adapter(workspace: Path, tiny_base: Path, layout: str) -> None:
    whole = run(workspace, tiny_base, layout=layout)
    stored = run(workspace, tiny_base, layout=layout, keep_trunk=True)
    assert whole.keys() == stored.keys()
    assert max((whole[name] - stored[name]).abs().max().item() for name in whole) < 2e-5


def test_a_trunk_of_a_split_base_is_refused(workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "requested_sharding", lambda accelerator: "FSDP")
    with pytest.raises(
        UserError, match=r"train.keep_trunk: the main process computes the trunk alone, and FSDP splits"
    ):
        run(workspace, tiny_base, keep_trunk=True)


def test_the_trunk_is_stored_once_for_every_seed_and_anew_for_other_rows(
    workspace: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(workspace, tiny_base, keep_trunk=True)
    assert "trunk: storing layers 0 to 0 for" in capsys.readouterr().out
    run(workspace, tiny_base, keep_trunk=True, seed=1, gradient_checkpointing=True)
    assert "trunk: layers 0 to 0 are stored" in capsys.readouterr().out
    rows = (workspace / "data/tiny_train.tsv").read_text()
    (workspace / "data/tiny_train.tsv").write_text(rows.replace("word", "term"))
    run(workspace, tiny_base, keep_trunk=True)
    assert "trunk: storing" in capsys.readouterr().out
    assert len(list((workspace / "pre_data/tiny/store/trunk").iterdir())) == 2


def packed(own: Any) -> Choice:
    return Choice("packed", LAYOUTS["packed"](own), "for this test")


def test_states_of_rows_that_were_computed_otherwise_are_not_taken(workspace: Path, tiny_base: Path) -> None:
    """They differ in the last bits, and so would the adapter. Another batch computes none otherwise."""
    run(workspace, tiny_base, keep_trunk=True)
    first = run(workspace, tiny_base, keep_trunk=True, batch_size=8)
    run(workspace, tiny_base, keep_trunk=True, batch_size=8, layout="padded")
    assert len(list((workspace / "pre_data/tiny/store/trunk").iterdir())) == 2
    other = write_tables(workspace / "other")
    again = run(other, tiny_base, keep_trunk=True, batch_size=8)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_what_a_dead_process_had_begun_to_store_makes_room(workspace: Path, tiny_base: Path) -> None:
    store = workspace / "pre_data/tiny/store"
    for kind in ("trunk", "tokens"):
        (store / kind).mkdir(parents=True)
        (store / kind / ".aa.partial").write_bytes(b"half")
    run(workspace, tiny_base, keep_trunk=True)
    assert not list(store.rglob("*.partial"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_states_of_the_wrong_tokens_are_noticed(
    workspace: Path, tiny_base: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trunk.Trunk.__init__

    def shifted(self: Any, *rest: Any) -> None:
        real(self, *rest)
        self.starts = {name: start - 1 for name, start in self.starts.items()}

    monkeypatch.setattr(trunk.Trunk, "__init__", shifted)
    with pytest.raises(UserError, match=r"train\.keep_trunk: not for this model: its results differ from padded by"):
        run(workspace, tiny_base, keep_trunk=True, precision=precision)


def test_the_stored_layers_are_not_computed_again(tiny_base: Path, tmp_path: Path) -> None:
    own = model("Llama")
    prompt = build_prompt(PromptShape(), "Which?", ("0", "1"), tiny_tokenizer())
    suffixes = [[7, 8, 9], [10] * 6]
    scorer = LabelScorer(own, prompt.label_ids)
    base = Base(tiny_base, "fp32", own, tiny_tokenizer())
    made = trunk.open_trunk(base, scorer, 1, prompt, suffixes, packed(own), tmp_path)
    ran: list[int] = []
    for number, layer in enumerate(body(own).layers):
        layer.mlp.register_forward_hook(lambda *_, number=number: ran.append(number))
    with made.installed(scorer):
        expected = scorer(LAYOUTS["packed"](own)(prompt, suffixes)).label_logits
        found = scorer(made.layout(LAYOUTS["packed"](own))(prompt, suffixes)).label_logits
    assert ran == [0, 1, 1]
    torch.testing.assert_close(found, expected)
    scorer(LAYOUTS["packed"](own)(prompt, suffixes))
    assert ran == [0, 1, 1, 0, 1], "the layers are as they were"


def test_stored_states_that_are_damaged_are_stored_again(tiny_base: Path, tmp_path: Path, caplog: Any) -> None:
    own = model("Llama")
    prompt = build_prompt(PromptShape(), "Which?", ("0", "1"), tiny_tokenizer())
    scorer, base = LabelScorer(own, prompt.label_ids), Base(tiny_base, "fp32", own, tiny_tokenizer())
    for damaged in (False, True):
        caplog.clear()
        trunk.open_trunk(base, scorer, 1, prompt, [[7, 8, 9]], packed(own), tmp_path)
        assert ("is damaged, storing it again" in caplog.text) == damaged
        (path,) = tmp_path.iterdir()
        data = path.read_bytes()
        if not damaged:
            path.unlink()
            path.write_bytes(data[:9] + bytes([data[9] ^ 1]) + data[10:])


@pytest.mark.parametrize("name", [name for name in BLOCK_MASKS if name not in ("GPT2", "OPT")])
def test_the_trunk_is_exact_on_every_architecture(name: str, tiny_base: Path, tmp_path: Path) -> None:
    own = model(name)
    prompt = build_prompt(PromptShape(), "Which?", ("0", "1"), tiny_tokenizer())
    suffixes = [[7] * 3, [300 - n for n in range(20)], [10] * 6]
    scorer = LabelScorer(own, prompt.label_ids)
    layout = LAYOUTS["packed"](own)
    made = trunk.open_trunk(
        Base(tiny_base, "fp32", own, tiny_tokenizer()), scorer, 1, prompt, suffixes, packed(own), tmp_path
    )
    with made.installed(scorer), torch.no_grad():
        for rows in (suffixes, suffixes[:0:-1]):
            torch.testing.assert_close(
                scorer(made.layout(layout)(prompt, rows)).label_logits,
                scorer(layout(prompt, rows)).label_logits,
                atol=1e-5,
                rtol=1e-5,
            )


def test_a_disk_without_room_is_said_before_anything_is_written(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trunk.shutil, "disk_usage", lambda folder: trunk.shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(UserError, match=r"train\.keep_trunk: the states of .* tokens take .* GB"):
        run(workspace, tiny_base, keep_trunk=True)
    assert not list((workspace / "pre_data/tiny/store/trunk").iterdir())
