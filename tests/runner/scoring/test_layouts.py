"""Packed rows are the padded rows, losses and gradients, on every architecture. `test_proof.py` has what `auto` makes of them."""

from typing import Any

import pytest
import torch
from conftest import tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from support.shapes import BLOCK_MASKS, NEWEST, model

from runner.model.compat import enable_checkpointing
from runner.recipe.schema import PromptShape
from runner.scoring import layouts
from runner.scoring.collator import Collator
from runner.scoring.dataset import EncodedDataset, encode_records
from runner.scoring.layout_choice import choose_layout
from runner.scoring.layouts import LAYOUTS
from runner.scoring.prompt import Prompt, build_prompt
from runner.scoring.proof import subject_of
from runner.scoring.scorer import LabelScorer

PROMPT: Prompt = build_prompt(PromptShape(), "Which?", ("0", "1"), tiny_tokenizer())
TEXTS = ["a", "some longer text than the window", "b c", "", "two words and more"]
ROWS: EncodedDataset = encode_records(
    PROMPT, [{"instruction": "Which?", "input": text, "output": str(n % 2)} for n, text in enumerate(TEXTS)], "training"
)


def gradients(scorer: LabelScorer, layout: str) -> dict[str, torch.Tensor]:
    """Losses and every gradient, by name."""
    scorer.zero_grad()
    losses = scorer(Collator(ROWS, LAYOUTS[layout](scorer.model, PROMPT))(range(len(ROWS)))).losses
    losses.sum().backward()
    found = {name: p.grad.clone() for name, p in scorer.named_parameters() if p.grad is not None}
    return {"losses": losses.detach(), **found}


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    scale = max(tensor.norm() for tensor in other.values())
    return max(((one[n] - other[n]).norm() / max(other[n].norm(), 1e-3 * scale)).item() for n in one)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", BLOCK_MASKS)
def test_packed_gives_the_padded_losses_and_gradients(name: str, attention: str) -> None:
    try:
        own = model(name, attn_implementation=attention)
    except (ValueError, ImportError):
        pytest.skip(f"{name} has no {attention} attention here")
    if attention == "sdpa" and not NEWEST:
        pytest.skip("sdpa needs torch 2.1.1 there")
    scorer = LabelScorer(own, PROMPT)
    assert largest_difference(gradients(scorer, "packed"), gradients(scorer, "padded")) < 1e-5


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(10, 300), min_size=1, max_size=12), min_size=1, max_size=9), st.integers(20, 80))
def test_packed_examples_get_the_logits_that_they_get_alone(suffixes: list[list[int]], budget: int) -> None:
    own = model("Gemma")
    scorer = LabelScorer(own, PROMPT)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(layouts, "row_tokens", lambda weights, width, prefix: budget)
        together = scorer(LAYOUTS["packed"](own, PROMPT)(suffixes)).label_logits
        for row, suffix in enumerate(suffixes):
            alone = scorer(LAYOUTS["padded"](own, PROMPT)([suffix])).label_logits[0]
            torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=1e-5)


def test_packed_computes_the_prefix_once_and_no_padding() -> None:
    own = model("Gemma")
    suffixes = [[7] * 5, [8] * 20, [9] * 11]
    assert LAYOUTS["packed"](own, PROMPT)(suffixes).tokens == len(PROMPT.prefix) + 36
    assert LAYOUTS["padded"](own, PROMPT)(suffixes).tokens == 3 * (len(PROMPT.prefix) + 20)


def test_packed_is_exact_under_gradient_checkpointing() -> None:
    own = model("Gemma")
    scorer = LabelScorer(own, PROMPT)
    plain = gradients(scorer, "padded")
    enable_checkpointing(own)
    own.train()
    assert largest_difference(gradients(scorer, "packed"), plain) < 1e-5


def test_the_tokens_saved_are_those_that_are_not_computed() -> None:
    own, suffixes = model("Gemma"), [[7] * (3 + n * n % 17) for n in range(50)]
    batches = [suffixes[start : start + 8] for start in range(0, 50, 8)]
    plain, shared = (
        sum(LAYOUTS[name](own, PROMPT)(batch).tokens for batch in batches) for name in ("padded", "packed")
    )
    assert layouts.token_ratio(own, PROMPT, [*map(len, suffixes)], 8) == plain / shared


def test_the_length_of_a_packed_line_is_the_cheapest_one() -> None:
    gemma_2b = (2 * 2048 * 2048 + 2 * 2048 * 256 + 3 * 2048 * 16384, 2048)
    for prefix in (29, 150):
        best = layouts.row_tokens(*gemma_2b, prefix)

        def cost(length: int, prefix: int = prefix) -> float:
            return (1 + prefix / (length - prefix)) * (gemma_2b[0] + 2 * gemma_2b[1] * length)

        assert cost(best) < 1.02 * min(map(cost, range(prefix + 50, 4096)))
    assert layouts.layer_size(model("Llama")) == (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64, 32)


def test_the_examples_of_the_proof_share_a_packed_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mask that lets suffixes see each other must be noticed, however long the longest rows are."""
    monkeypatch.setattr(layouts, "row_tokens", lambda weights, width, prefix: 60)
    suffixes = [[20 + n] * length for n, length in enumerate([90, 95, 3, 4, 5, 6, 7, 8, 40])]
    rows = EncodedDataset(PROMPT, suffixes, [n % 2 for n in range(len(suffixes))])
    subject = subject_of(LabelScorer(model("Llama"), PROMPT))
    assert choose_layout("auto", subject, rows, 4).name == "packed"
    real = layouts.mask_argument

    def leaking(config: Any, owners: torch.Tensor, *rest: Any) -> Any:
        return real(config, owners.clamp(max=1), *rest)

    monkeypatch.setattr(layouts, "mask_argument", leaking)
    assert choose_layout("auto", subject, rows, 4).name == "padded"
