"""The proof on real pre-trained bases: what is right passes, what is wrong does not, whatever the noise.

Run by `tox run -e real`. Bases are looked for in $LABELTUNE_REAL or ~/.cache/labeltune, beside the checkout (`shared/models`)
and in the project; one that is not there is skipped. Rows are the exam's where it lies beside the checkout, else the demo's.
"""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, SHARED
from support.mistakes import ANSWERS, CACHED, PACKED, prefix_without_gradient, window_left_out

from runner.model.adapter import new_adapter
from runner.model.base import load_base
from runner.recipe.loader import load_recipes
from runner.recipe.schema import PromptShape
from runner.scoring.dataset import EncodedDataset, encode_records
from runner.scoring.frozen_layers import cached_frozen_layers, from_frozen_layers
from runner.scoring.label_logits import after_cached_prefix
from runner.scoring.layout_choice import Choice, choose_layout
from runner.scoring.layouts import LAYOUTS
from runner.scoring.prompt import build_prompt
from runner.scoring.proof import Subject, prove, prove_head, subject_of
from runner.scoring.scorer import LOSSES, LabelScorer

pytestmark = pytest.mark.real

CACHE = Path(os.environ.get("LABELTUNE_REAL") or Path.home() / ".cache/labeltune")
BASES = {
    "gemma-3-270m": CACHE / "gemma-3-270m",
    "smollm2-135m": CACHE / "smollm2-135m",
    "stories3M": SHARED / "models/stories3M",
    "demo": ROOT / "recipes/demo/base",
}
LARGE = ("gemma-3-270m", "smollm2-135m")
PRECISIONS = ("fp32", "bf16")
BATCHES = (1, 8, 16, 32)
WINDOW_ROW = 700
"""Tokens of a row that is longer than Gemma 3's window of 512."""


@pytest.fixture(scope="module")
def proved(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Subject, EncodedDataset]]:
    """A base in a precision, with the recipe's adapter in it and the recipe's rows: CoLA's or QQP's."""
    import sys

    sys.path.insert(0, str(ROOT / "benchmarks"))
    import rows as benchmark

    name, precision, attention, task = request.param
    if not (BASES[name] / "config.json").is_file():
        pytest.skip(f"{BASES[name]} is not there: python shared/models/real.py {name}")
    base = load_base(BASES[name], precision, torch.device("cpu"))
    base.model.set_attn_implementation(attention)
    recipe = load_recipes([benchmark.TASKS[task][0]])[0].recipe
    inputs, labels, instruction, _ = benchmark.load_inputs(task, demo=name == "demo")
    prompt = build_prompt(
        dataclasses.replace(recipe.prompt, max_length=1024), instruction, recipe.task.labels, base.tokenizer
    )
    records = [{"instruction": instruction, "input": i, "output": label} for i, label in zip(inputs[:500], labels)]
    with new_adapter(base, recipe.lora):
        yield base, subject_of(LabelScorer(base.model, prompt)), encode_records(prompt, records, "training")


SDPA = (("sdpa", "CoLA"), ("sdpa", "QQP"))


def settings(chosen: list[tuple[str, str, str]]) -> Any:
    """Of (base, attention, task), each in both precisions."""
    every = [(name, precision, *rest) for name, *rest in chosen for precision in PRECISIONS]
    return pytest.mark.parametrize("proved", every, indirect=True, ids="-".join)


@settings([(name, attention, task) for name in BASES for attention, task in (*SDPA, ("eager", "CoLA"))])
def test_what_is_right_passes(proved: Any) -> None:
    base, subject, rows = proved
    prove_head(subject, rows.suffixes[:1])
    # neither the loss nor the batch size enters the proof: a large base shows it once, a small one for all
    for loss, batch in [*zip((*LOSSES, *LOSSES), BATCHES)][-1 if base.folder.name in LARGE else 0 :]:
        subject.scorer.loss = loss
        choice = choose_layout("auto", subject, rows, batch)
        assert choice.name == "packed", choice.reason
    assert prove(subject, (after_cached_prefix,), dataclasses.replace(rows, targets=[])).holds


WORDS = {"0": " not grammatical at all", "1": " grammatical English"}
"""Answers of several tokens with every tokenizer."""


def in_words(subject: Subject, rows: EncodedDataset) -> tuple[Subject, EncodedDataset]:
    """The same rows, answered in words."""
    old = rows.prompt
    shape = PromptShape(template=old.template, max_length=old.max_length, answers=WORDS)
    prompt = build_prompt(shape, old.instruction, old.labels, old.tokenizer)
    assert prompt.tree.tokens
    records = [
        {"instruction": old.instruction, "input": f"Sentence {n} are here.", "output": old.labels[n % 2]}
        for n in range(24)
    ]
    scorer = LabelScorer(subject.scorer.model, prompt)
    return subject_of(scorer), encode_records(prompt, records, "training")


@settings([(name, "sdpa", "CoLA") for name in LARGE])
def test_answers_of_several_tokens_pass(proved: Any) -> None:
    base, *rest = proved
    subject, rows = in_words(*rest)
    prove_head(subject, rows.suffixes[:1])
    choice = choose_layout("auto", subject, rows, 16)
    assert choice.name == "packed", choice.reason
    print(base.folder.name, base.precision, choice.proof)
    assert prove(subject, (after_cached_prefix,), dataclasses.replace(rows, targets=[])).holds
    if base.precision != "fp32":
        return
    with torch.no_grad():
        packed = subject.scorer(choice.layout(rows.suffixes[:4])).label_logits
        for found, suffix in zip(packed, rows.suffixes):
            given = [*rows.prompt.prefix, *suffix]
            for score, steps in zip(found, rows.prompt.tree.steps):
                ids = [token for _, token in steps]
                logs = base.model(input_ids=torch.tensor([[*given, *ids]])).logits[0].log_softmax(-1)
                by_hand = sum(logs[len(given) - 1 + n, token] for n, token in enumerate(ids))
                assert score.item() == pytest.approx(float(by_hand), abs=1e-3)


@settings([(name, "sdpa", "CoLA") for name in LARGE])
@pytest.mark.parametrize("mistake", ANSWERS, ids=lambda mistake: mistake.__name__)
def test_a_mistake_between_answers_is_refused(proved: Any, mistake: Any) -> None:
    base, *rest = proved
    subject, rows = in_words(*rest)
    with mistake(base.model, rows.prompt):
        choice = choose_layout("auto", subject, rows, 16)
    assert choice.name == "padded", choice.proof


@settings([(name, "sdpa", "CoLA") for name in LARGE])
@pytest.mark.parametrize("mistake", PACKED, ids=lambda mistake: mistake.__name__)
def test_a_mistake_of_packed_rows_is_refused(proved: Any, mistake: Any) -> None:
    base, subject, rows = proved
    if mistake is window_left_out:
        if not getattr(base.model.config, "sliding_window", None):
            pytest.skip("it has no window")
        longest = (rows.suffixes[0] * WINDOW_ROW)[:WINDOW_ROW]
        rows = EncodedDataset(rows.prompt, [*rows.suffixes[:20], longest], rows.targets[:21])
    for some in (rows, dataclasses.replace(rows, targets=[])):
        if mistake is prefix_without_gradient and not some.targets:
            continue  # no mistake where no gradient is taken
        with mistake(base.model, rows.prompt):
            choice = choose_layout("auto", subject, some, 16)
        assert choice.name == "padded", choice.proof


@settings([(name, "sdpa", "CoLA") for name in LARGE])
@pytest.mark.parametrize("mistake", CACHED, ids=lambda mistake: mistake.__name__)
def test_a_mistake_after_the_cached_prefix_is_refused(proved: Any, mistake: Any) -> None:
    base, subject, rows = proved
    with mistake(base.model, rows.prompt):
        proof = prove(subject, (after_cached_prefix,), dataclasses.replace(rows, targets=[]))
    assert not proof.holds, proof


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", LARGE)
def test_cached_layers_pass_and_those_of_other_tokens_do_not(name: str, precision: str, tmp_path: Path) -> None:
    if not (BASES[name] / "config.json").is_file():
        pytest.skip(f"{BASES[name]} is not there: python shared/models/real.py {name}")
    base = load_base(BASES[name], precision, torch.device("cpu"))
    layers = base.model.config.num_hidden_layers
    recipe = load_recipes([ROOT / "recipes/cola.yaml"])[0].recipe
    lora = dataclasses.replace(
        recipe.lora, target_modules=("q_proj", "v_proj"), layers_to_transform=tuple(range(layers // 2, layers))
    )
    prompt = build_prompt(recipe.prompt, recipe.instruction, recipe.task.labels, base.tokenizer)
    texts = [f"The {n} dogs barks at night." if n % 2 else f"Dog number {n} sleeps." for n in range(12)]
    records = [{"instruction": recipe.instruction, "input": text, "output": str(n % 2)} for n, text in enumerate(texts)]
    rows = encode_records(prompt, records, "training")
    with new_adapter(base, lora):
        scorer = LabelScorer(base.model, prompt)
        subject = subject_of(scorer)
        choice = Choice("packed", LAYOUTS["packed"](base.model, prompt), "for this test")
        cache = cached_frozen_layers(base, scorer, layers // 2, (rows,), choice, tmp_path)
        way = from_frozen_layers(cache, scorer, choice)
        assert prove(subject, (way,), rows).holds
        # those of the stored states alone
        cache.starts = {key: start - 1 for key, start in cache.starts.items()}
        proof = prove(subject, (way,), rows)
        assert not proof.holds, proof
