"""The scorer says what the model itself says, for every architecture, whatever else lies in the batch."""

from typing import Any

import pytest
import torch
from conftest import tiny_tokenizer
from shapes import BLOCK_MASKS, SHAPES, model

from runner.errors import UserError
from runner.layouts import LAYOUTS, padded
from runner.prompt import Prompt, build_prompt
from runner.recipe import PromptShape
from runner.scorer import LabelScorer

PROMPT: Prompt = build_prompt(PromptShape(), "Which?", ("0", "1"), tiny_tokenizer())
TEXTS = ["a", "some longer text", "b c", ""]
TARGETS = [1, 0, 0, 1]
SUFFIXES = PROMPT.encode([{"instruction": "Which?", "input": text} for text in TEXTS], "dev").suffixes


@pytest.mark.parametrize(
    ("layout", "name"),
    [(layout, name) for layout in LAYOUTS for name in (BLOCK_MASKS if layout == "packed" else SHAPES)],
)
def test_label_logits_and_loss_are_the_models_own_one_row_at_a_time(name: str, layout: str) -> None:
    own = model(name)
    scorer = LabelScorer(own, PROMPT.label_ids)
    scores = scorer(LAYOUTS[layout](own)(PROMPT, SUFFIXES), torch.tensor(TARGETS))
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
    LabelScorer(own, PROMPT.label_ids)(
        LAYOUTS[layout](own)(PROMPT, SUFFIXES), torch.tensor(TARGETS)
    ).losses.sum().backward()
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
    scorer.prove_head(padded(own)(PROMPT, SUFFIXES))
    head = own.get_output_embeddings()
    forward = own.forward

    def scaled(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        out.logits = out.logits * 1.5
        return out

    own.forward = scaled
    head.weight.data *= 50
    with pytest.raises(UserError, match="does more than this scorer knows"):
        scorer.prove_head(padded(own)(PROMPT, SUFFIXES))


def test_the_head_is_applied_to_one_position_a_row() -> None:
    own = model("Gemma")
    seen: list[tuple[int, ...]] = []
    own.get_output_embeddings().register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    LabelScorer(own, PROMPT.label_ids)(padded(own)(PROMPT, SUFFIXES))
    assert seen == [(len(SUFFIXES), SHAPES["Gemma"]["vocab_size"])]
