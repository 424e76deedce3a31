"""The proof accepts right results and refuses wrong ones, in every precision of the weights."""

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from conftest import tiny_tokenizer
from support.mistakes import CACHED, PACKED, cache_that_keeps_the_last_row, prefix_without_gradient, window_left_out
from support.shapes import BLOCK_MASKS, NEWEST, SHAPES, model

from runner.errors import UserError
from runner.model.adapter import new_adapter
from runner.model.base import Base, BaseFiles
from runner.model.compat import body
from runner.recipe.schema import Lora, PromptShape
from runner.scoring.dataset import EncodedDataset, encode_records
from runner.scoring.label_logits import after_cached_prefix, predict_label_logits
from runner.scoring.layout_choice import choose_layout
from runner.scoring.prompt import Prompt, build_prompt
from runner.scoring.proof import TOLERANCE, Subject, prove, prove_head, subject_of
from runner.scoring.scorer import LabelScorer
from runner.scoring.shallow_copy import layers_of_each_kind, shallow_copy

PROMPT: Prompt = build_prompt(PromptShape(), "Which?", ("0", "1"), tiny_tokenizer())
TEXTS = ["a", "some longer text than the window", "b c", "", "two words and more"]
ROWS: EncodedDataset = encode_records(
    PROMPT, [{"instruction": "Which?", "input": text, "output": str(n % 2)} for n, text in enumerate(TEXTS)], "training"
)
UNLABELLED = dataclasses.replace(ROWS, targets=[])
PRECISIONS = (torch.float32, torch.bfloat16)
WINDOWED = [name for name in ("Gemma3Text", "Mistral") if name in BLOCK_MASKS]


@pytest.fixture
def adapted(request: Any) -> Iterator[Subject]:
    """A tiny model of the named architecture and precision with a fresh adapter in it, weights large enough to matter."""
    name, precision = request.param
    kinds = ["sliding_attention", "full_attention"] * 2
    changes = {"num_hidden_layers": 4, "layer_types": kinds} if name == "Gemma3Text" else {}
    # shorter than the longest row, longer than the shortest
    changes |= {"sliding_window": 24} if name in WINDOWED else {}
    own = model(name, initializer_range=0.2, **changes).to(precision).requires_grad_(False)
    base = Base(BaseFiles(Path("none")), "fp32", own, tiny_tokenizer())
    with new_adapter(base, Lora(r=4, target_modules=("q_proj", "k_proj", "v_proj", "o_proj"))):
        yield subject_of(LabelScorer(own, PROMPT))


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("name", SHAPES)
def test_every_architecture_passes_where_it_can_be_computed(name: str, precision: torch.dtype) -> None:
    own = model(name).to(precision)
    if precision == torch.bfloat16 and not NEWEST and name not in BLOCK_MASKS:
        pytest.skip("bf16 on the exam's stack is for the models that it packs")
    subject = subject_of(LabelScorer(own, PROMPT))
    prove_head(subject, ROWS.suffixes[:1])
    assert prove(subject, (after_cached_prefix,), UNLABELLED).holds
    for rows in (ROWS, UNLABELLED):
        choice = choose_layout("auto", subject, rows, 4)
        assert choice.name == ("packed" if name in BLOCK_MASKS else "padded"), choice.reason
    if choice.name == "packed":
        assert choice.proof is not None
        assert choice.proof.shallow < TOLERANCE / 50, "equal ways are far below what is allowed"


@pytest.mark.parametrize("mistake", PACKED, ids=lambda mistake: mistake.__name__)
@pytest.mark.parametrize(
    "adapted",
    [(name, precision) for name in ("Llama", *WINDOWED) for precision in PRECISIONS],
    indirect=True,
    ids=lambda param: f"{param[0]}-{param[1]}",
)
def test_every_mistake_of_packed_rows_is_refused(adapted: Subject, mistake: Any) -> None:
    own = adapted.scorer.model
    if mistake is window_left_out and not getattr(own.config, "sliding_window", None):
        pytest.skip("it has no window")
    assert choose_layout("auto", adapted, ROWS, 4).name == "packed"
    for rows in (ROWS, UNLABELLED):
        if rows is UNLABELLED and mistake is prefix_without_gradient:
            continue  # no mistake where no gradient is taken
        with mistake(own, PROMPT):
            choice = choose_layout("auto", adapted, rows, 4)
        assert choice.name == "padded", choice.proof
        assert "packed is not used: " in choice.reason


@pytest.mark.parametrize("mistake", CACHED, ids=lambda mistake: mistake.__name__)
@pytest.mark.parametrize("adapted", [("Llama", each) for each in PRECISIONS], indirect=True, ids=str)
def test_every_mistake_of_the_prefix_cache_is_refused(adapted: Subject, mistake: Any, caplog: Any) -> None:
    if mistake is cache_that_keeps_the_last_row and not NEWEST:
        pytest.skip("a tuple does not grow")
    caplog.set_level("INFO")
    with torch.no_grad():
        right = list(predict_label_logits(dataclasses.replace(adapted, proved={}), UNLABELLED, 1))
        assert not caplog.messages
        with mistake(adapted.scorer.model, PROMPT):
            found = list(predict_label_logits(adapted, UNLABELLED, 1))
    assert [line.partition(", which")[0] for line in caplog.messages] == ["predicting with padded rows"]
    torch.testing.assert_close(torch.stack(found), torch.stack(right), atol=0.1, rtol=0.1)


@pytest.mark.parametrize("adapted", [("Llama", torch.bfloat16)], indirect=True, ids=str)
def test_packed_by_name_is_used_with_a_warning(adapted: Subject, caplog: Any) -> None:
    with prefix_without_gradient(adapted.scorer.model, PROMPT):
        choice = choose_layout("packed", adapted, ROWS, 4)
    assert (choice.name, choice.reason) == ("packed", "as set")
    ((logger, level, message),) = caplog.record_tuples
    assert (logger, level) == ("labeltune.scoring", logging.WARNING)
    assert choice.proof is not None
    assert message == f"train.layout: packed: {choice.proof.words()}; train.layout: auto would take padded"


def test_packed_by_name_is_an_error_where_the_model_raises() -> None:
    own = model("Llama")
    subject = subject_of(LabelScorer(own, PROMPT))
    forward = type(body(own)).forward

    def raising(self: Any, *args: Any, **named: Any) -> Any:
        if named["attention_mask"].dim() == 4:
            raise ValueError("no 4-D masks here")
        return forward(self, *args, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(body(own)), "forward", raising)
        assert choose_layout("auto", subject, ROWS, 4).name == "padded"
        with pytest.raises(UserError, match=r"train\.layout: packed: .*ValueError: no 4-D masks here"):
            choose_layout("packed", subject, ROWS, 4)


def test_the_shallow_copy_has_a_layer_of_each_kind() -> None:
    if not NEWEST:
        pytest.skip("this transformers has no layer types")
    kinds = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]
    own = model("Gemma3Text", num_hidden_layers=4, layer_types=kinds).to(torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    assert layers_of_each_kind(own) == [0, 2, 3]
    drawn = torch.get_rng_state()
    small = shallow_copy(LabelScorer(own, PROMPT)).model
    assert torch.equal(drawn, torch.get_rng_state()), "a run's random numbers are its own"
    assert small.config.layer_types == ["sliding_attention", "full_attention", "sliding_attention"]
    assert {tensor.dtype for tensor in small.parameters()} == {torch.float32}
    table = own.get_input_embeddings().weight
    assert all(tensor.data_ptr() != table.data_ptr() for tensor in small.parameters()), "the embedding is shared"
    assert sum(tensor.numel() for tensor in small.parameters()) < table.numel() + 3 * sum(
        tensor.numel() for tensor in body(own).layers[0].parameters()
    )
    assert len(body(own).layers) == own.config.num_hidden_layers == 4
    assert all(torch.equal(tensor, before[name]) for name, tensor in own.state_dict().items())


def test_layers_with_an_adapter_and_without_are_two_kinds() -> None:
    own = model("Llama", num_hidden_layers=4).requires_grad_(False)
    base = Base(BaseFiles(Path("none")), "fp32", own, tiny_tokenizer())
    with new_adapter(base, Lora(r=2, target_modules=("q_proj",), layers_to_transform=(2, 3))):
        assert layers_of_each_kind(own) == [0, 2, 3]
        small = shallow_copy(LabelScorer(own, PROMPT))
        grown = [tensor for name, tensor in small.named_parameters() if "lora_B" in name]
        assert len(grown) == 2
        assert all(tensor.any() for tensor in grown), "a B that is zero would hide A's gradient"
    assert layers_of_each_kind(own) == [0, 1]


def test_what_counts_along_the_line_is_noticed() -> None:
    """GPT-Neo's local attention looks back so many tokens of the line, whatever their positions say."""
    types = [[["global", "local"], 1]]
    small = {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "attention_types": types, "window_size": 128}
    own = transformers.GPTNeoForCausalLM(
        transformers.GPTNeoConfig(vocab_size=355, max_position_embeddings=512, initializer_range=0.2, **small)
    ).eval()
    subject = subject_of(LabelScorer(own, PROMPT))
    assert choose_layout("auto", subject, ROWS, 64).name == "padded"


def test_a_copy_that_cannot_compute_is_none(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """As where a layer's inputs are counted by the number of all layers. In fp32 the whole model is as good."""
    own = model("Llama", num_hidden_layers=4)
    kind = type(body(own))
    forward = kind.forward

    def counting(self: Any, *args: Any, **named: Any) -> Any:
        if len(self.layers) != 4:
            raise ValueError("shapes do not match")
        return forward(self, *args, **named)

    monkeypatch.setattr(kind, "forward", counting)
    for precision, taken in ((torch.float32, "packed"), (torch.bfloat16, "padded")):
        subject = subject_of(LabelScorer(own.to(precision), PROMPT))
        assert subject.shallow is None
        prove_head(subject, ROWS.suffixes[:1])
        choice = choose_layout("auto", subject, ROWS, 4)
        assert choice.name == taken, choice.reason
        caplog.clear()
        assert choose_layout("packed", subject, ROWS, 4).name == "packed"
        assert ("auto would take padded" in caplog.text) == (taken == "padded")
    assert "no layers can be copied: ValueError: shapes do not match" in choice.reason
