"""The scorer says what the model itself says, for every architecture, whatever else lies in the batch."""

from typing import Any

import pytest
import torch
import transformers
from conftest import tiny_tokenizer

from runner.errors import UserError
from runner.layouts import LAYOUTS, padded
from runner.prompt import Prompt, build_prompt
from runner.recipe import PromptShape
from runner.scorer import LabelScorer

PROMPT: Prompt = build_prompt(PromptShape(), "Which?", ("0", "1"), tiny_tokenizer())
TEXTS = ["a", "some longer text", "b c", ""]
TARGETS = [1, 0, 0, 1]
SUFFIXES = PROMPT.encode([{"instruction": "Which?", "input": text} for text in TEXTS], "dev").suffixes

SMALL = {
    "vocab_size": 355,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 128,
}
MLP = {"intermediate_size": 64, "num_key_value_heads": 1}
SHAPES: dict[str, dict[str, Any]] = {
    "Gemma": {**SMALL, **MLP, "head_dim": 16},
    "Gemma2": {**SMALL, **MLP, "head_dim": 16, "sliding_window": 8, "final_logit_softcapping": 0.5},
    "Llama": {**SMALL, **MLP},
    "Mistral": {**SMALL, **MLP, "sliding_window": 8},
    "Qwen2": {**SMALL, **MLP},
    "Phi": {**SMALL, **MLP},
    "GPT2": {"vocab_size": 355, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128},
    "OPT": {**SMALL, "ffn_dim": 64, "word_embed_proj_dim": 32},
}


def model(name: str, **changes: Any) -> Any:
    if not hasattr(transformers, f"{name}Config"):
        pytest.skip(f"this transformers has no {name}")
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**{**SHAPES[name], **changes})
    return getattr(
        transformers,
        "OPTForCausalLM" if name == "OPT" else f"{name}ForCausalLM" if name != "GPT2" else "GPT2LMHeadModel",
    )(config).eval()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_label_logits_and_loss_are_the_models_own_one_row_at_a_time(name: str, layout: str) -> None:
    own = model(name)
    scorer = LabelScorer(own, PROMPT.label_ids)
    scores = scorer(LAYOUTS[layout](PROMPT, SUFFIXES), torch.tensor(TARGETS))
    for row, suffix in enumerate(SUFFIXES):
        ids = torch.tensor([[*PROMPT.prefix, *suffix, PROMPT.label_ids[TARGETS[row]]]])
        answer = torch.full_like(ids, -100)
        answer[0, -1] = ids[0, -1]
        out = own(input_ids=ids, labels=answer)
        torch.testing.assert_close(
            scores.label_logits[row], out.logits[0, -2, list(PROMPT.label_ids)], atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(scores.losses[row], out.loss, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_are_those_of_the_models_own_loss(layout: str) -> None:
    own = model("Gemma")
    LabelScorer(own, PROMPT.label_ids)(LAYOUTS[layout](PROMPT, SUFFIXES), torch.tensor(TARGETS)).losses.sum().backward()
    ours = {name: parameter.grad.clone() for name, parameter in own.named_parameters()}
    own.zero_grad()
    for row, suffix in enumerate(SUFFIXES):
        ids = torch.tensor([[*PROMPT.prefix, *suffix, PROMPT.label_ids[TARGETS[row]]]])
        answer = torch.full_like(ids, -100)
        answer[0, -1] = ids[0, -1]
        own(input_ids=ids, labels=answer).loss.backward()
    for name, parameter in own.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", SHAPES)
def test_the_head_is_proved_and_a_head_we_do_not_know_is_refused(name: str) -> None:
    own = model(name)
    scorer = LabelScorer(own, PROMPT.label_ids)
    scorer.prove_head(padded(PROMPT, SUFFIXES))
    head = own.get_output_embeddings()
    forward = own.forward

    def scaled(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        out.logits = out.logits * 1.5
        return out

    own.forward = scaled
    head.weight.data *= 50
    with pytest.raises(UserError, match="does more than this scorer knows"):
        scorer.prove_head(padded(PROMPT, SUFFIXES))


def test_the_head_is_applied_to_one_position_a_row() -> None:
    own = model("Gemma")
    seen: list[tuple[int, ...]] = []
    own.get_output_embeddings().register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    LabelScorer(own, PROMPT.label_ids)(padded(PROMPT, SUFFIXES))
    assert seen == [(len(SUFFIXES), SHAPES["Gemma"]["vocab_size"])]
