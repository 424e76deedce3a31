"""The scorer gives the model's own logits and losses, for every architecture, in any batch."""

from typing import Any

import pytest
import torch
from conftest import tiny_tokenizer
from support.shapes import BLOCK_MASKS, SHAPES, model

from runner.errors import UserError
from runner.model.compat import body, enable_checkpointing
from runner.recipe.schema import PromptShape
from runner.scoring.collator import Collator
from runner.scoring.dataset import EncodedDataset, encode_records
from runner.scoring.label_logits import predict_label_logits
from runner.scoring.layouts import LAYOUTS, Batch, Layout, padded
from runner.scoring.prompt import Prompt, build_prompt
from runner.scoring.proof import prove_head, subject_of
from runner.scoring.scorer import LOSSES, LabelScorer

PROMPT: Prompt = build_prompt(PromptShape(), "Which?", ("0", "1"), tiny_tokenizer())
TEXTS = ["a", "some longer text", "b c", ""]
TARGETS = [1, 0, 0, 1]
RECORDS = [{"instruction": "Which?", "input": text, "output": str(target)} for text, target in zip(TEXTS, TARGETS)]
ROWS = encode_records(PROMPT, RECORDS, "training")
SUFFIXES = ROWS.suffixes


def batch_of(layout: Layout) -> Batch:
    """All rows, with their targets."""
    return Collator(ROWS, layout)(range(len(ROWS)))


@pytest.mark.parametrize(
    ("layout", "name"),
    [(layout, name) for layout in LAYOUTS for name in (BLOCK_MASKS if layout == "packed" else SHAPES)],
)
def test_label_logits_and_loss_are_the_models_own(name: str, layout: str) -> None:
    own = model(name)
    scorer = LabelScorer(own, PROMPT, "vocabulary")
    scores = scorer(batch_of(LAYOUTS[layout](own, PROMPT)))
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
    LabelScorer(own, PROMPT, "vocabulary")(batch_of(LAYOUTS[layout](own, PROMPT))).losses.sum().backward()
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
    scorer = LabelScorer(own, PROMPT)
    prove_head(subject_of(scorer), SUFFIXES)
    head = own.get_output_embeddings()
    forward = own.forward

    def scaled(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        out.logits = out.logits * 1.5
        return out

    own.forward = scaled
    head.weight.data *= 50
    with pytest.raises(UserError, match="computes more than this scorer does"):
        prove_head(subject_of(scorer), SUFFIXES)


def test_the_whole_head_is_applied_to_one_position_a_row() -> None:
    own = model("Gemma")
    seen: list[tuple[int, ...]] = []
    own.get_output_embeddings().register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    scorer = LabelScorer(own, PROMPT, "vocabulary")
    scorer(batch_of(padded(own, PROMPT)))
    assert seen == [(len(SUFFIXES), SHAPES["Gemma"]["vocab_size"])]
    assert scorer(padded(own, PROMPT)(SUFFIXES)).label_logits.shape == (len(SUFFIXES), 2)
    assert len(seen) == 1


def test_the_last_mlp_is_computed_at_answer_positions_only() -> None:
    own = model("Gemma")
    seen: list[int] = []
    for layer in body(own).layers:
        layer.mlp.gate_proj.register_forward_hook(lambda module, inputs, output: seen.append(output[..., 0].numel()))
    batch = padded(own, PROMPT)(SUFFIXES)
    LabelScorer(own, PROMPT)(batch)
    assert seen == [batch.tokens, len(SUFFIXES)]
    seen.clear()
    own(**batch.inputs)
    # the model itself computes every position
    assert seen == [batch.tokens] * 2


def test_checkpointed_layers_compute_every_position() -> None:
    own = model("Gemma").train()
    enable_checkpointing(own)
    scorer = LabelScorer(own, PROMPT)
    scorer(batch_of(padded(own, PROMPT))).losses.sum().backward()
    checkpointed = [parameter.grad.clone() for parameter in own.parameters()]
    own.zero_grad()
    own.gradient_checkpointing_disable()
    scorer(batch_of(padded(own, PROMPT))).losses.sum().backward()
    for one, other in zip(checkpointed, own.parameters()):
        torch.testing.assert_close(one, other.grad)


def test_the_labels_loss_ignores_the_rest_of_the_vocabulary() -> None:
    own = model("Gemma")
    batch = batch_of(padded(own, PROMPT))
    whole = LabelScorer(own, PROMPT, "vocabulary")(batch)
    labels = LabelScorer(own, PROMPT, "labels")(batch)
    torch.testing.assert_close(labels.label_logits, whole.label_logits, atol=1e-6, rtol=1e-6)
    expected = -whole.label_logits.log_softmax(1)[range(len(TARGETS)), TARGETS]
    torch.testing.assert_close(labels.losses, expected)
    assert (whole.losses > labels.losses + 1).all()


@pytest.mark.parametrize("answers", [None, {"0": "red", "1": "reading"}], ids=["one token", "several"])
@pytest.mark.parametrize("loss", LOSSES)
def test_label_logits_in_bf16_are_multiplied_in_fp32(loss: str, answers: Any) -> None:
    """So that close rows are not tied: in bf16 the head's own logits are multiples of 1/8 at 16 to 32."""
    own = model("Gemma").to(torch.bfloat16).eval()
    own.get_output_embeddings().weight.data *= 300
    prompt = build_prompt(PromptShape(answers=answers), "Which?", ("0", "1"), tiny_tokenizer())
    batch = padded(own, prompt)(SUFFIXES)
    scorer = LabelScorer(own, prompt, loss)
    with torch.no_grad():
        hidden = body(own)(**batch.inputs, use_cache=False)[0][batch.rows, batch.positions]
        found = scorer.all_logits(hidden)[:, prompt.label_ids]
        exact = hidden.double() @ own.get_output_embeddings().weight[[*prompt.label_ids]].double().T
        torch.testing.assert_close(found.double(), exact, atol=1e-4, rtol=1e-5)
        assert (exact.abs() > 16).any()
        assert not torch.equal(found, found.bfloat16().float())
        targets = torch.tensor(TARGETS)
        torch.testing.assert_close(LOSSES[loss](scorer, hidden, targets).label_logits, scorer.label_logits(hidden))


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("name", SHAPES)
def test_logits_are_the_same_after_the_cached_prefix_and_batched(
    name: str, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    own = model(name)
    caplog.clear()  # what transformers says about the model
    caplog.set_level("INFO")
    scorer = LabelScorer(own, PROMPT).eval()
    with torch.no_grad():
        alone = [scorer(padded(own, PROMPT)([suffix])).label_logits[0] for suffix in SUFFIXES]
        for order in (SUFFIXES, SUFFIXES[::-1]):
            found = list(predict_label_logits(subject_of(scorer), EncodedDataset(PROMPT, order), size))
            expected = alone if order is SUFFIXES else alone[::-1]
            torch.testing.assert_close(torch.stack(found), torch.stack(expected), atol=1e-5, rtol=1e-5)
    assert bool(caplog.messages) == (size > 1 and name not in BLOCK_MASKS), "a slower way is reported"


@pytest.mark.parametrize("name", SHAPES)
def test_the_cached_prefix_is_what_is_used(name: str) -> None:
    own = model(name)
    computed: list[int] = []
    hook = own.get_input_embeddings().register_forward_hook(
        lambda module, inputs, out: computed.append(inputs[0].numel())
    )
    with torch.no_grad():
        list(predict_label_logits(subject_of(LabelScorer(own, PROMPT)), EncodedDataset(PROMPT, SUFFIXES), 1))
    hook.remove()
    assert computed[-len(SUFFIXES) :] == [*map(len, SUFFIXES)]
