"""The loading snippet: five lines of Python, with transformers and PEFT alone, that give each label's probability.

They compute what `labeltune ask` computes: the ids of the fixed words come from prompt.json, and only the input is tokenised.
"""

from __future__ import annotations

import json

from runner.asking.input_form import form_of
from runner.export.facts import Facts
from runner.scoring.prompt import PRIOR_SHIFT

ONE_TOKEN = 'model(torch.tensor([ids])).logits[0, -1, prompt["label_ids"]].float()'
"""The label logits where every answer is one token."""

TOKENS = (
    "torch.stack([sum(model(torch.tensor([ids + answer[:n]])).logits[0, -1].float().log_softmax(-1)[token] "
    'for n, token in enumerate(answer)) for answer in prompt["label_sequences"]])'
)
"""The same where answers have several tokens: the sum of the log-probabilities of each answer's tokens."""


def snippet(facts: Facts, merged: bool) -> str:
    """The snippet for the exported folder, which is the current one. `merged`: whether it holds the whole model."""
    base = "folder" if merged else "base"
    whole = f"AutoModelForCausalLM.from_pretrained({base}, torch_dtype=torch.{_dtype(facts)})"
    model = whole if merged else f"PeftModel.from_pretrained({whole}, folder)"
    lines = _both_orders if facts.averages_both_orders else _one_order
    return "\n".join(
        [
            "import json",
            "",
            "import torch",
            *([] if merged else ["from peft import PeftModel"]),
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            'folder = "."',
            *([] if merged else [f"base = {json.dumps(facts.base, ensure_ascii=False)}"]),
            *lines(facts, base, f"model = {model}.eval()"),
            f'print(dict(zip(prompt["labels"], {_calibrated(facts)}.softmax(-1).tolist())))',
        ]
    )


def _one_order(facts: Facts, base: str, model: str) -> list[str]:
    return [
        f"text = {json.dumps(_texts(facts)[0], ensure_ascii=False)}",
        "",
        PROMPT_LINE,
        model,
        f'ids = prompt["prefix"] + {_tokens(base, "text")} + prompt["tail"]',
        f"logits = {_score(facts)}",
    ]


def _both_orders(facts: Facts, base: str, model: str) -> list[str]:
    return [
        f"texts = {json.dumps(_texts(facts), ensure_ascii=False)}  # both orders of the pair",
        "",
        PROMPT_LINE,
        model,
        f'orders = [prompt["prefix"] + tokens + prompt["tail"] for tokens in {_tokens(base, "texts")}]',
        f"logits = torch.stack([({_score(facts)}).log_softmax(-1) for ids in orders]).mean(0)",
    ]


PROMPT_LINE = 'prompt = json.load(open(f"{folder}/prompt.json", encoding="utf-8"))'


def _tokens(base: str, texts: str) -> str:
    return f"AutoTokenizer.from_pretrained({base})({texts}, add_special_tokens=False).input_ids"


def _dtype(facts: Facts) -> str:
    return {"bf16": "bfloat16"}.get(facts.precision, "float32")


def _texts(facts: Facts) -> list[str]:
    """Texts that show the form of an input: the names of its columns; in both orders where the run averages them."""
    form = form_of(facts.recipe)
    swapped = form.swapped_text(form.columns)
    return [form.text(form.columns), *([] if swapped is None else [swapped])]


def _score(facts: Facts) -> str:
    """The label logits of one order, as a Python expression."""
    score = TOKENS if facts.prompt.get("label_sequences") else ONE_TOKEN
    shift = facts.prompt.get(PRIOR_SHIFT)
    # training had other label shares than the file, and the shift undoes it
    return f"{score} + torch.tensor({[shift[label] for label in facts.labels]})" if shift else score


def _calibrated(facts: Facts) -> str:
    found = facts.calibration
    return "logits" if found is None else f"(logits / {found.temperature!r} + torch.tensor({list(found.bias)}))"
