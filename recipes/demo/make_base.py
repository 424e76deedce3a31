"""Makes the demo's base model, `recipes/demo/base/`: a very small Gemma, really trained, from random numbers up.

    python recipes/demo/make_base.py             about 20 minutes on one CPU core; then nothing needs it again

What it reads: nothing. It learns to go on with text that `grammar` generates while it trains, as any language model does.
A third of the passages are corrections, the others restatements:

    the dogs that the cat fear sleep .           a sentence, possibly damaged
    rather
    the dogs that the cat fears sleep .          as it should be

    does the doctor greet the child ?            a question or a sentence
    is the doctor greeted by the child ?         the same in other words, possibly missed
    rather
    is the child greeted by the physician ?      the same in other words

What is wrong is always put right, what is right ends there or is said once more: so people write, and so the model comes
to represent what a fine-tune can use. What it never sees: an answer (`0`, `1`, `yes`, `no`), an instruction, or any sentence
of the two tasks, train and dev alike. Untuned, it answers them by chance.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import grammar
import make_tasks
import vocabulary

HERE = Path(__file__).resolve().parent

SEED = 7
STEPS = 12000
BATCH = 32
CORRECTIONS = 0.35
"""Share of corrections; the rest are restatements."""
LEARNING_RATE = 2.5e-3
"""Right for a model this narrow; a wide one would not survive it."""
WARMUP = 100
BUCKET = 4096
"""Passages drawn ahead and sorted by length, so that a batch holds few padding tokens."""

PAD, EOS, BOS, UNKNOWN = 0, 1, 2, 3
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")
RATHER = "rather"
PROMPT_WORDS = ("Answer", ":", "Is", "Do", "this", "sentence", "the", "questions", "correct", "mean", "same")
"""Words of the recipes' prompts: one token each, but in no training text."""

CONFIG = {
    "architectures": ["GemmaForCausalLM"],
    "model_type": "gemma",
    "vocab_size": 0,  # the tokenizer's, filled in below
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "hidden_act": "gelu_pytorch_tanh",  # transformers 4.38 reads this one,
    "hidden_activation": "gelu_pytorch_tanh",  # later ones this one
    "max_position_embeddings": 256,
    "initializer_range": 0.08,  # about 1/√128; below, the digits would stay so alike that no adapter could tell them apart
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,  # transformers 4.38
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},  # transformers 5
    "attention_bias": False,
    "attention_dropout": 0.0,
    "tie_word_embeddings": True,
    "use_cache": True,
    "pad_token_id": PAD,
    "eos_token_id": EOS,
    "bos_token_id": BOS,
    "torch_dtype": "float32",
}


# The training text.


def passage(rng: random.Random, kept_out: frozenset[str]) -> str:
    """A correction or a restatement, its lines ended by newlines. No line of it is in `kept_out`."""
    while True:
        lines = _correction(rng) if rng.random() < CORRECTIONS else _restatement(rng)
        if kept_out.isdisjoint(lines):
            return "".join(f"{line}\n" for line in lines)


def _correction(rng: random.Random) -> list[str]:
    meaning = grammar.clause(rng, ("nothing", "nothing", "whether", "agent", "patient"))
    words = grammar.say(meaning, grammar.form(rng, meaning))
    draw = rng.random()
    if draw < 0.5:
        broken = grammar.damaged(rng, words)
        return [_broken_off(broken, words) if draw < 0.25 else grammar.text(broken), RATHER, grammar.text(words)]
    return [grammar.text(words)]


def _restatement(rng: random.Random) -> list[str]:
    meaning = grammar.clause(rng, ("nothing", "whether", "whether", "agent", "patient"), transitive=0.9)
    way = grammar.form(rng, meaning)
    first = grammar.text(grammar.say(meaning, way))
    meaning, way = grammar.restated(rng, meaning, way)
    right = grammar.say(meaning, way)
    draw = rng.random()
    if draw < 0.5:
        wrong = grammar.say(grammar.altered(rng, meaning), way)
        return [first, _broken_off(wrong, right) if draw < 0.25 else grammar.text(wrong), RATHER, grammar.text(right)]
    return [first, grammar.text(right)]


def _broken_off(wrong: list[str], right: list[str]) -> str:
    """The line up to the first word that is not the right one's: the speaker has noticed at once."""
    same = 0
    while same < min(len(wrong), len(right)) - 1 and wrong[same] == right[same]:
        same += 1
    return grammar.text(wrong[: same + 1])


# The tokenizer.


def pieces() -> list[str]:
    """The vocabulary in the order of its ids: special tokens, the 256 bytes for whatever is no word, then marks, digits and
    words, each word both at a line's start and behind a space (written `▁`, as Gemma does)."""
    words = dict.fromkeys([*vocabulary.WORDS, RATHER, *PROMPT_WORDS, *vocabulary.PUNCTUATION, *"0123456789"])
    plain = dict.fromkeys(["\n", "▁", *words, *(f"▁{word}" for word in words)])
    return [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *plain]


def write_tokenizer(folder: Path) -> int:
    """Writes `tokenizer.json` and `tokenizer_config.json`; returns the number of ids.

    A unigram model whose every known piece costs the same, so that the fewest pieces win: a word is its own token, without
    the half-words on the way that a BPE would need. Written by hand, since a file that a new library saves is refused by an
    old one."""
    known = pieces()
    first_word = len(SPECIAL) + 256
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for i, token in enumerate(SPECIAL)
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": "\n"}, "behavior": "Isolated", "invert": False},
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "Unigram",
            "unk_id": UNKNOWN,
            "vocab": [[piece, -10.0 if i >= first_word else -100.0] for i, piece in enumerate(known)],
            "byte_fallback": True,
        },
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "bos_token": "<bos>",
        "unk_token": "<unk>",
        "padding_side": "right",
        "model_max_length": CONFIG["max_position_embeddings"],
        "clean_up_tokenization_spaces": False,
    }
    _write_json(folder / "tokenizer.json", tokenizer)
    _write_json(folder / "tokenizer_config.json", config)
    return len(known)


def _write_json(path: Path, value: object) -> None:
    path.write_bytes((json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode("utf-8"))


# Training.


def _batches(rng: random.Random, encode: dict[str, int]) -> Iterator[list[list[int]]]:
    """Token ids of passages, `BATCH` of about the same length at a time, for ever."""
    kept_out = make_tasks.sentences()
    while True:
        rows = sorted((_ids(passage(rng, kept_out), encode) for _ in range(BUCKET)), key=len)
        starts = list(range(0, BUCKET, BATCH))
        rng.shuffle(starts)
        yield from (rows[start : start + BATCH] for start in starts)


def _ids(text: str, encode: dict[str, int]) -> list[int]:
    """What the tokenizer gives for a passage, which holds known words only, but a hundred times as fast."""
    lines = (
        [encode[f"▁{word}" if i else word] for i, word in enumerate(line.split(" "))] for line in text[:-1].split("\n")
    )
    newline = encode["\n"]
    return [BOS, *(token for line in lines for token in (*line, newline)), EOS]


def train(folder: Path, steps: int) -> None:
    """Trains from random numbers and writes `config.json` and `model.safetensors`."""
    # Waiting threads that spin take the cores from whatever else runs: beside one busy program it took 20 times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import torch
    from safetensors.torch import save_file
    from transformers import GemmaConfig, GemmaForCausalLM

    torch.manual_seed(SEED)
    model = GemmaForCausalLM(GemmaConfig(**json.loads((folder / "config.json").read_text("utf-8"))))
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / WARMUP) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    encode = {piece: i for i, piece in enumerate(pieces())}
    batches = _batches(random.Random(SEED), encode)
    began, total = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        rows = next(batches)
        longest = max(map(len, rows))
        ids = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
        # Padding stands at the end, behind all that could look at it: it needs no attention mask, only no loss.
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), ignore_index=PAD)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % 100 == 0:
            print(f"step {step:5}  loss {total / 100:.4f}  {time.monotonic() - began:5.0f} s", flush=True)
            total = 0.0
    # Tokens that the text never holds were only ever pushed away, all in one direction, so that no adapter could tell the
    # answers `0` and `1` apart: they get new random vectors.
    seen = {token for _ in range(200) for row in next(batches) for token in row}
    unseen = [token for token in range(len(encode)) if token not in seen]
    with torch.no_grad():
        table = model.get_input_embeddings().weight
        table[unseen] = torch.randn(len(unseen), table.shape[1]) * CONFIG["initializer_range"]
    tensors = {name: weight.detach().contiguous() for name, weight in model.named_parameters()}  # tied: no lm_head
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the demo's base model: vocabulary, training, files.")
    parser.add_argument(
        "--out", type=Path, default=HERE / "base", help="the folder to make (default: beside this file)"
    )
    parser.add_argument(
        "--steps", type=int, default=STEPS, help=f"training steps of {BATCH} passages (default: {STEPS})"
    )
    arguments = parser.parse_args()
    out: Path = arguments.out
    aside = out.with_name(out.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    _write_json(aside / "config.json", {**CONFIG, "vocab_size": write_tokenizer(aside)})
    train(aside, arguments.steps)
    shutil.rmtree(out, ignore_errors=True)
    aside.rename(out)  # a folder that exists is finished
    print(out)


if __name__ == "__main__":
    main()
