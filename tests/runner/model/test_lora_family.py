"""Every kind of LoRA learns, computes the same in every layout, and is saved as an adapter that plain PEFT reads."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import recipe_tree, write_recipe
from peft import LoraConfig, PeftModel, get_peft_model
from peft import __version__ as peft_version
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from grading.checks.adapter import check_adapter
from grading.submission.folder import Submission
from runner.commands.run import execute
from runner.errors import UserError
from runner.model.adapter import new_adapter, save_adapter
from runner.model.base import Base, load_base
from runner.model.pissa import starts
from runner.prediction.classifier import Classifier
from runner.recipe.loader import load_recipes
from runner.recipe.schema import Lora
from runner.scoring.layout_choice import choose_layout
from runner.scoring.proof import subject_of

KINDS: dict[str, dict[str, Any]] = {
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True, "r": 4},
    "pissa": {"init_lora_weights": "pissa"},
    "pissa-niter": {"init_lora_weights": "pissa_niter_4", "use_rslora": True},
    "pissa-ranks": {"init_lora_weights": "pissa", "rank_pattern": {"q_proj": 3}, "alpha_pattern": {"v_proj": 6.0}},
    "upper": {"target_modules": "all-linear", "layers_to_transform": [1]},
}
PRECISIONS = {"fp32": (torch.float32, 2e-5), "bf16": (torch.bfloat16, 0.1)}
"""The type of each, and how far two ways to compute a logit may differ."""


def run(workspace: Path, base: Path, **changes: Any) -> dict[str, Any]:
    path = write_recipe(workspace, recipe_tree(base, **changes))
    execute(load_recipes([path]), workspace)
    return dict(json.loads((workspace / "saved_model/tiny/manifest.json").read_text())["figures"])


def adapter_config(workspace: Path) -> dict[str, Any]:
    return dict(json.loads((workspace / "saved_model/tiny/adapter_config.json").read_text()))


def label_logits_by_peft(workspace: Path, base: Path, dtype: torch.dtype, inputs: list[str]) -> torch.Tensor:
    """Whole rows, one at a time, by PEFT's own model on the untouched base."""
    from conftest import tiny_tokenizer

    folder = workspace / "saved_model/tiny"
    prompt = json.loads((folder / "prompt.json").read_text())
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, torch_dtype=dtype), folder).eval()
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
    found = []
    for text in inputs:
        ids = [*prompt["prefix"], *tiny_tokenizer()(text, add_special_tokens=False)["input_ids"], *prompt["tail"]]
        with torch.no_grad():
            found.append(model(input_ids=torch.tensor([ids])).logits[0, -1, prompt["label_ids"]].float())
    return torch.stack(found)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_lora_is_the_same_in_training_prediction_and_plain_peft(
    workspace: Path, tiny_base: Path, kind: str, precision: str
) -> None:
    """Training in the packed layout, after its proof; prediction one row at a time, after the cached prefix."""
    how = {"precision": precision, "learning_rate": 0.003}
    figures = run(workspace, tiny_base, lora=KINDS[kind], train=how)
    assert figures["layout"] == "packed"
    assert figures["layout_proof"]["holds"]
    assert figures["tuned"]["loss"] < figures["untuned"]["loss"]
    dtype, allowed = PRECISIONS[precision]
    records = json.loads((workspace / "pre_data/tiny/tiny_holdout.json").read_text())
    inputs = [record["input"] for record in records]
    expected = label_logits_by_peft(workspace, tiny_base, dtype, inputs)
    with Classifier.load(workspace / "saved_model/tiny") as classifier:
        torch.testing.assert_close(classifier.label_logits(inputs), expected, atol=allowed, rtol=0)
        torch.testing.assert_close(classifier.label_logits(inputs, batch_size=4), expected, atol=allowed, rtol=0)
    right = [str(int(logits.argmax())) == record["output"] for logits, record in zip(expected, records)]
    if precision == "fp32":
        assert figures["tuned"]["accuracy"] == sum(right) / len(right)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_lora_earns_the_adapters_points(workspace: Path, tiny_base: Path, kind: str) -> None:
    run(workspace, tiny_base, lora=KINDS[kind])
    verdicts, _ = check_adapter(Submission(workspace), "tiny")
    assert [verdict.reason for verdict in verdicts if verdict.share < 1] == []


@pytest.mark.parametrize("kind", KINDS)
def test_packed_and_padded_batches_train_the_same_adapter(workspace: Path, tiny_base: Path, kind: str) -> None:
    found = []
    for layout in ("packed", "padded"):
        run(workspace, tiny_base, lora=KINDS[kind], train={"layout": layout, "epochs": 1, "learning_rate": 0.003})
        found.append(load_file(workspace / "saved_model/tiny/adapter_model.safetensors"))
    for name, tensor in found[0].items():
        torch.testing.assert_close(tensor, found[1][name], atol=5e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_fresh_adapter_changes_nothing(tiny_base: Path, kind: str, precision: str) -> None:
    """Also DoRA in bf16, whose magnitudes PEFT rounds; and the base's weights stay as they were, bit by bit."""
    base = load_base(tiny_base, precision, torch.device("cpu"))
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    ids = torch.arange(40, 60)[None]
    with torch.no_grad():
        expected = base.model(ids).logits.float()
        with new_adapter(base, lora(kind)):
            assert all(torch.equal(tensor, before[plain(name)]) for name, tensor in of_base(base))
            found = base.model(ids).logits.float()
    torch.testing.assert_close(found, expected, atol=2e-5 if precision == "fp32" else 0.05, rtol=0)
    after = base.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def lora(kind: str) -> Lora:
    values = {"r": 2, "lora_alpha": 4.0, "target_modules": ("q_proj", "v_proj"), **KINDS[kind]}
    return Lora(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def plain(name: str) -> str:
    return name.replace(".base_layer", "")


def of_base(base: Base) -> list[tuple[str, torch.Tensor]]:
    return [(name, tensor) for name, tensor in base.model.state_dict().items() if "lora_" not in name]


def test_doras_start_is_the_base_to_the_last_bit_in_bf16(tiny_base: Path) -> None:
    base = load_base(tiny_base, "bf16", torch.device("cpu"))
    ids = torch.arange(40, 60)[None]
    with torch.no_grad():
        expected = base.model(ids).logits
        with new_adapter(base, lora("dora")):
            assert torch.equal(base.model(ids).logits, expected)


def test_pissa_is_pefts_own(tiny_base: Path) -> None:
    """The same start, the same logits and gradients as where the base's weights are changed."""
    if peft_version.startswith("0.10."):
        pytest.skip("this PEFT has no PiSSA")
    base = load_base(tiny_base, "fp32", torch.device("cpu"))
    theirs = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_base),
        LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], init_lora_weights="pissa"),
    ).eval()
    ids = torch.arange(40, 60)[None]
    with new_adapter(base, lora("pissa")) as model:
        model.eval()
        results = []
        for one in (model, theirs):
            logits = one(ids).logits
            logits[0, -1, 70:80].sum().backward()
            trained = {name: each for name, each in one.named_parameters() if each.requires_grad}
            results.append((logits, trained))
        (ours, our_parameters), (expected, their_parameters) = results
        torch.testing.assert_close(ours, expected, atol=2e-5, rtol=0)
        assert our_parameters.keys() == their_parameters.keys()
        for name, parameter in their_parameters.items():
            torch.testing.assert_close(our_parameters[name].data, parameter.data, atol=1e-6, rtol=0)
            torch.testing.assert_close(our_parameters[name].grad, parameter.grad, atol=2e-5, rtol=1e-4)


def test_pissa_is_saved_as_a_plain_lora_of_twice_the_rank(workspace: Path, tiny_base: Path) -> None:
    patterns = {"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"v_proj": 6.0}}
    run(workspace, tiny_base, lora={"init_lora_weights": "pissa", "r": 2, "lora_alpha": 4, **patterns})
    config = adapter_config(workspace)
    wanted = {"r": 4, "lora_alpha": 8, "rank_pattern": {"q_proj": 6}, "alpha_pattern": {"v_proj": 12}}
    assert {name: config[name] for name in wanted} == wanted
    assert config["init_lora_weights"] is True
    tensors = load_file(workspace / "saved_model/tiny/adapter_model.safetensors")
    assert {name.split(".")[-3]: len(tensor) for name, tensor in tensors.items() if "lora_A" in name} == {
        "q_proj": 6,
        "v_proj": 4,
    }


def test_an_adapter_that_was_not_trained_adds_nothing_when_it_is_saved(tiny_base: Path, tmp_path: Path) -> None:
    """PiSSA's: B·A and its start cancel."""
    from runner.model.adapter import adapter_state

    base = load_base(tiny_base, "fp32", torch.device("cpu"))
    with new_adapter(base, lora("pissa")) as model:
        assert len(starts(model)) == 8
        save_adapter(model, adapter_state(model), tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    for name in (name for name in tensors if "lora_A" in name):
        product = tensors[name.replace("lora_A", "lora_B")] @ tensors[name]
        assert product.abs().max() < 1e-5


def test_a_rank_above_a_weights_own_is_named(tiny_base: Path) -> None:
    base = load_base(tiny_base, "fp32", torch.device("cpu"))
    before = [name for name, _ in base.model.named_modules()]
    words = r"^lora\.r: 17 is more than v_proj has singular values, 16\n  next: lower lora\.r, or set"
    with pytest.raises(UserError, match=words):
        new_adapter(base, Lora(r=17, target_modules=("v_proj",), init_lora_weights="pissa"))
    assert [name for name, _ in base.model.named_modules()] == before


def test_the_upper_layers_of_all_linear(workspace: Path, tiny_base: Path) -> None:
    how = {"target_modules": "all-linear", "layers_to_transform": [1]}
    figures = run(workspace, tiny_base, lora=how, train={"cache_frozen_layers": True})
    assert figures["trunk_seconds"] > 0
    names = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    config = adapter_config(workspace)
    assert (config["target_modules"], config["layers_to_transform"]) == (names, [1])
    adapted = {
        name.split("layers.")[1].rsplit(".", 2)[0]
        for name in load_file(workspace / "saved_model/tiny/adapter_model.safetensors")
    }
    assert adapted == {f"1.{'self_attn' if name[0] in 'kqov' else 'mlp'}.{name}" for name in names}


def test_the_shallow_copy_proves_every_kind(tiny_base: Path) -> None:
    """And finds a wrong layout all the same: tests/runner/scoring has the mistakes."""
    from conftest import tiny_tokenizer

    from runner.recipe.schema import PromptShape
    from runner.scoring.dataset import EncodedDataset
    from runner.scoring.prompt import build_prompt
    from runner.scoring.scorer import LabelScorer

    prompt = build_prompt(PromptShape(), "Which?", ("0", "1"), tiny_tokenizer())
    rows = EncodedDataset(prompt, [[70 + n, 80, *prompt.tail] for n in range(6)], [0, 1] * 3)
    base = load_base(tiny_base, "bf16", torch.device("cpu"))
    for kind in KINDS:
        with new_adapter(base, lora(kind)):
            subject = subject_of(LabelScorer(base.model, prompt))
            assert subject.shallow is not None
            choice = choose_layout("auto", subject, rows, 4)
            assert choice.proof is not None
            assert choice.name == "packed", (kind, choice.reason)
            assert choice.proof.shallow < 1e-4
