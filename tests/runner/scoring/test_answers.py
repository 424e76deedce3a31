"""Answers of several tokens get the sum of the model's own log-probabilities, in every layout, alone and in bulk."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_tokenizer
from support.mistakes import ANSWERS, CACHED, PACKED, cache_that_keeps_the_last_row, window_left_out
from support.shapes import BLOCK_MASKS, NEWEST, SHAPES, model

from runner.model.adapter import new_adapter
from runner.model.base import Base, BaseFiles
from runner.model.compat import enable_checkpointing
from runner.recipe.schema import Lora, PromptShape
from runner.scoring import layouts
from runner.scoring.collator import Collator
from runner.scoring.dataset import EncodedDataset, encode_records
from runner.scoring.label_logits import after_cached_prefix, predict_label_logits
from runner.scoring.layout_choice import choose_layout
from runner.scoring.layouts import LAYOUTS
from runner.scoring.prompt import Prompt, build_prompt
from runner.scoring.proof import TOLERANCE, Subject, prove, prove_head, subject_of
from runner.scoring.scorer import LabelScorer

TOKENIZER = tiny_tokenizer()
TASKS = {
    "news": ("World", "Sports", "Business", "Sci/Tech"),
    # one begins with another, two share their first tokens
    "alike": ("not", "not_so", "no", "yes"),
    "nli": ("entailment", "not_entailment"),
}
TEXTS = ["a", "some longer text than the window", "b c", "", "two words and more"]


def rows_of(task: str) -> EncodedDataset:
    """The texts with the task's labels in turn."""
    labels = TASKS[task]
    prompt = build_prompt(PromptShape(), "Which?", labels, TOKENIZER)
    records = [
        {"instruction": "Which?", "input": text, "output": labels[n % len(labels)]} for n, text in enumerate(TEXTS)
    ]
    return encode_records(prompt, records, "training")


ROWS = {task: rows_of(task) for task in TASKS}
PROMPT: Prompt = ROWS["alike"].prompt


def by_hand(own: Any, rows: EncodedDataset) -> torch.Tensor:
    """(rows, labels): each label's ids after each prompt, one forward pass each, and the sum of their log-probabilities."""
    prompt, after = rows.prompt, TOKENIZER.decode(list(rows.prompt.shared))
    sums = []
    for suffix in rows.suffixes:
        for label in prompt.labels:
            ids = TOKENIZER.convert_tokens_to_ids(list(label[len(after) :]))
            if any(other != label and other.startswith(label) for other in prompt.labels):
                ids.append(TOKENIZER.eos_token_id)
            given = [*prompt.prefix, *suffix]
            logs = own(input_ids=torch.tensor([[*given, *ids]])).logits[0].float().log_softmax(-1)
            sums.append(torch.stack([logs[len(given) - 1 + n, token] for n, token in enumerate(ids)]).sum())
    return torch.stack(sums).view(len(rows), len(prompt.labels))


def score(scorer: LabelScorer, layout: str, rows: EncodedDataset) -> Any:
    return scorer(Collator(rows, LAYOUTS[layout](scorer.model, rows.prompt))(range(len(rows))))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("layout", "name"),
    [(layout, name) for layout in LAYOUTS for name in (BLOCK_MASKS if layout == "packed" else SHAPES)],
)
def test_logits_and_losses_are_sums_of_the_models_log_probabilities(name: str, layout: str, task: str) -> None:
    own, rows = model(name), ROWS[task]
    with torch.no_grad():
        expected = by_hand(own, rows)
        whole, labels = (score(LabelScorer(own, rows.prompt, loss), layout, rows) for loss in ("vocabulary", "labels"))
    right = range(len(rows)), list(rows.targets)
    for found in (whole, labels):
        torch.testing.assert_close(found.label_logits, expected, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(whole.losses, -expected[right], atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(labels.losses, -expected.log_softmax(1)[right], atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", SHAPES)
def test_predictions_alone_and_in_bulk_are_the_sums(name: str, task: str, size: int, caplog: Any) -> None:
    own, rows = model(name), dataclasses.replace(ROWS[task], targets=[])
    caplog.clear()  # what transformers says about the model
    caplog.set_level("INFO")
    with torch.no_grad():
        found = list(predict_label_logits(subject_of(LabelScorer(own, rows.prompt).eval()), rows, size))
        torch.testing.assert_close(torch.stack(found), by_hand(own, rows), atol=1e-5, rtol=1e-6)
    assert bool(caplog.messages) == (size > 1 and name not in BLOCK_MASKS), "a slower way is reported"


def gradients(scorer: LabelScorer, layout: str, rows: EncodedDataset) -> dict[str, torch.Tensor]:
    scorer.zero_grad()
    score(scorer, layout, rows).losses.sum().backward()
    return {name: p.grad.clone() for name, p in scorer.named_parameters() if p.grad is not None}


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    scale = max(tensor.norm() for tensor in other.values())
    return max(((one[n] - other[n]).norm() / max(other[n].norm(), 1e-3 * scale)).item() for n in one)


@pytest.mark.parametrize("loss", ["vocabulary", "labels"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", BLOCK_MASKS)
def test_packed_gives_the_gradients_of_padded(name: str, attention: str, loss: str) -> None:
    try:
        own = model(name, attn_implementation=attention)
    except (ValueError, ImportError):
        pytest.skip(f"{name} has no {attention} attention here")
    if attention == "sdpa" and not NEWEST:
        pytest.skip("sdpa needs torch 2.1.1 there")
    scorer = LabelScorer(own, PROMPT, loss)
    packed, padded = (gradients(scorer, layout, ROWS["alike"]) for layout in ("packed", "padded"))
    assert largest_difference(packed, padded) < 1e-5


def test_gradients_are_those_of_the_sum_by_hand() -> None:
    own, rows = model("Gemma"), ROWS["alike"]
    found = gradients(LabelScorer(own, PROMPT), "packed", rows)
    own.zero_grad()
    (-by_hand(own, rows)[range(len(rows)), list(rows.targets)].sum()).backward()
    assert largest_difference(found, {f"model.{n}": p.grad for n, p in own.named_parameters()}) < 1e-5
    enable_checkpointing(own)
    own.train()
    assert largest_difference(gradients(LabelScorer(own, PROMPT), "packed", rows), found) < 1e-5


def test_a_packed_row_has_each_beginning_of_an_answer_once() -> None:
    own, rows = model("Gemma"), ROWS["alike"]
    assert [TOKENIZER.decode(PROMPT.tree.tokens_of(path)) for path in PROMPT.tree.paths] == ["not_s", "ye"]
    head, texts = len(PROMPT.prefix), sum(rows.lengths())
    assert LAYOUTS["packed"](own, PROMPT)(rows.suffixes).tokens == head + texts + len(rows) * len("not_sye")
    assert LAYOUTS["padded"](own, PROMPT)(rows.suffixes).tokens == 2 * len(rows) * (
        head + max(rows.lengths()) + len("not_s")
    )


def test_the_tokens_saved_are_those_that_are_not_computed() -> None:
    own, suffixes = model("Gemma"), [[7] * (3 + n * n % 17) for n in range(50)]
    batches = [suffixes[start : start + 8] for start in range(0, 50, 8)]
    plain, shared = (
        sum(LAYOUTS[name](own, PROMPT)(batch).tokens for batch in batches) for name in ("padded", "packed")
    )
    assert layouts.token_ratio(own, PROMPT, [*map(len, suffixes)], 8) == plain / shared


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", SHAPES)
def test_the_proof_holds_on_every_architecture(name: str, precision: torch.dtype) -> None:
    if precision == torch.bfloat16 and not NEWEST and name not in BLOCK_MASKS:
        pytest.skip("bf16 on the exam's stack is for the models that it packs")
    rows = ROWS["alike"]
    subject = subject_of(LabelScorer(model(name).to(precision), PROMPT))
    prove_head(subject, rows.suffixes[:1])
    assert prove(subject, (after_cached_prefix,), dataclasses.replace(rows, targets=[])).holds
    choice = choose_layout("auto", subject, rows, 4)
    assert choice.name == ("packed" if name in BLOCK_MASKS else "padded"), choice.reason
    if choice.name == "packed":
        assert choice.proof is not None
        assert choice.proof.shallow < TOLERANCE / 50


@pytest.fixture
def adapted(request: Any) -> Iterator[Subject]:
    """A tiny Llama of that precision with a fresh adapter in it, weights large enough to matter."""
    own = model("Llama", num_hidden_layers=4, initializer_range=0.2).to(request.param).requires_grad_(False)
    base = Base(BaseFiles(Path("none")), "fp32", own, TOKENIZER)
    with new_adapter(base, Lora(r=4, target_modules=("q_proj", "k_proj", "v_proj", "o_proj"))):
        yield subject_of(LabelScorer(own, PROMPT))


@pytest.mark.parametrize("mistake", [*PACKED, *ANSWERS], ids=lambda mistake: mistake.__name__)
@pytest.mark.parametrize("adapted", [torch.float32, torch.bfloat16], indirect=True, ids=str)
def test_every_mistake_of_packed_rows_is_refused(adapted: Subject, mistake: Any) -> None:
    if mistake is window_left_out:
        pytest.skip("it has no window")
    rows = ROWS["alike"]
    assert choose_layout("auto", adapted, rows, 4).name == "packed"
    with mistake(adapted.scorer.model, PROMPT):
        choice = choose_layout("auto", adapted, rows, 4)
    assert choice.name == "padded", choice.proof


@pytest.mark.parametrize("mistake", CACHED, ids=lambda mistake: mistake.__name__)
@pytest.mark.parametrize("adapted", [torch.float32, torch.bfloat16], indirect=True, ids=str)
def test_every_mistake_of_the_prefix_cache_is_refused(adapted: Subject, mistake: Any) -> None:
    if mistake is cache_that_keeps_the_last_row and not NEWEST:
        pytest.skip("a tuple does not grow")
    with mistake(adapted.scorer.model, PROMPT):
        assert not prove(adapted, (after_cached_prefix,), dataclasses.replace(ROWS["alike"], targets=[])).holds
