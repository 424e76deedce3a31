"""The embedded demo: its grammar, its two tasks, the text its base learned from, and the base as committed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

DEMO = Path(__file__).resolve().parents[2] / "recipes" / "demo"
BASE = DEMO / "base"
# the demo's scripts are not a package: they run from their own folder
sys.path.insert(0, str(DEMO))

import grammar  # noqa: E402
import make_base  # noqa: E402
import make_tasks  # noqa: E402
import recogniser  # noqa: E402
import vocabulary  # noqa: E402

EVERY_QUESTION = ("nothing", "whether", "agent", "patient")
SEEDS = range(40)


@pytest.fixture(scope="module")
def tasks() -> dict[str, list[make_tasks.Row]]:
    return make_tasks.tasks()


@pytest.fixture(scope="module")
def tokenizer():
    tokenizers = pytest.importorskip("tokenizers")
    return tokenizers.Tokenizer.from_file(str(BASE / "tokenizer.json"))


def read_rows(name: str) -> list[list[str]]:
    return [line.split("\t") for line in (DEMO / "data" / name).read_bytes().decode("utf-8").split("\n")[:-1]]


# The grammar.


@pytest.mark.parametrize("seed", SEEDS)
def test_the_grammar_says_sentences_and_damage_makes_none(seed):
    rng = random.Random(seed)
    for _ in range(50):
        meaning = grammar.clause(rng, EVERY_QUESTION)
        words = grammar.say(meaning, grammar.form(rng, meaning))
        assert recogniser.is_sentence(words), grammar.text(words)
        broken = grammar.damaged(rng, words)
        assert not recogniser.is_sentence(broken), grammar.text(broken)
        assert abs(len(broken) - len(words)) <= 1


@pytest.mark.parametrize("seed", SEEDS)
def test_restating_keeps_the_meaning_and_altering_changes_it(seed):
    rng = random.Random(seed)
    for _ in range(50):
        meaning = grammar.clause(rng, EVERY_QUESTION)
        way = grammar.form(rng, meaning)
        same, other_way = grammar.restated(rng, meaning, way)
        other = grammar.altered(rng, meaning)
        assert grammar.canonical(same) == grammar.canonical(meaning)
        assert grammar.canonical(other) != grammar.canonical(meaning)
        assert recogniser.is_sentence(grammar.say(same, other_way))
        assert recogniser.is_sentence(grammar.say(other, grammar.form(rng, other)))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("the dogs that the cat fears sleep .", True),
        ("the dogs that the cat fears sleeps .", False),
        ("the dogs that the cat fear sleep .", False),
        ("the dogs near the house sleep .", True),
        ("the dogs near the house sleeps .", False),
        ("which dogs does the cat fear ?", True),
        ("which dogs do the cat fear ?", False),
        ("which dogs fear the cat ?", True),
        ("is the cat feared by this dog ?", True),
        ("is the cat fears by this dog ?", False),
        ("does the cat sleep the dog ?", False),
        ("a dogs sleep .", False),
        ("dog the sleeps .", False),
        ("the dog not sleeps .", False),
        # Made by no rule of the grammar, but English: a word lost by chance must not count as damage.
        ("dogs sleep .", True),
        ("fear the dog .", True),
        ("the poor sleep .", True),
        ("the dogs the cat fears sleep .", True),
        ("the dog is by the cat .", True),
        ("", False),
        (".", False),
        ("the dog sleeps", False),
    ],
)
def test_recogniser(line, expected):
    assert recogniser.is_sentence(line.split()) is expected


def test_passive_needs_an_object():
    phrase = grammar.Phrase(("the", "the"), None, "dog", False)
    meaning = grammar.Clause(phrase, "sleep", None, "present", False, None, None, "nothing")
    with pytest.raises(ValueError, match="'sleep' has no object"):
        grammar.say(meaning, grammar.Form(passive=True))


# The tasks.


def test_committed_tasks_are_what_the_script_writes(tmp_path):
    # the order of sets and dictionaries must not matter
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, str(DEMO / "make_tasks.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60, env=environment)
    written = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.t*")}
    assert sorted(written) == sorted(make_tasks.files())
    for name, content in written.items():
        assert (DEMO / "data" / name).read_bytes() == content, f"{name} is not what make_tasks.py writes; run it"


def test_no_text_occurs_twice(tasks):
    texts = Counter(text for rows in tasks.values() for row in rows for text in row.texts)
    assert [text for text, count in texts.items() if count > 1] == []
    assert make_tasks.sentences() == frozenset(texts)


@pytest.mark.parametrize(("name", "low", "high"), [("acceptability", 0.57, 0.62), ("paraphrase", 0.37, 0.40)])
def test_label_balance_of_train_and_key(tasks, name, low, high):
    train = [row.label for row in tasks[name][: make_tasks.TRAIN_ROWS]]
    key = (DEMO / "data" / "questionBAnswer" / f"result_{name}.txt").read_text("ascii").split("\n")[:-1]
    assert len(key) == 150
    for labels in (train, key):
        assert low <= labels.count("1") / len(labels) <= high


def test_acceptability_labels_are_what_the_recogniser_finds():
    train = read_rows("questionBData/acceptability/acceptability_train.tsv")
    dev = read_rows("questionBData/acceptability/acceptability_dev.tsv")
    key = [line[0] for line in read_rows("questionBAnswer/result_acceptability.txt")]
    assert {len(row) for row in train} == {4}
    assert {len(row) for row in dev} == {3}
    for label, sentence in [(row[1], row[3]) for row in train] + list(zip(key, (row[2] for row in dev))):
        assert recogniser.is_sentence(sentence.split()) == (label == "1"), sentence


def test_paraphrase_labels_are_what_a_reader_finds():
    train = read_rows("questionBData/paraphrase/paraphrase_train.tsv")
    dev = read_rows("questionBData/paraphrase/paraphrase_dev.tsv")
    key = [line[0] for line in read_rows("questionBAnswer/result_paraphrase.txt")]
    assert train[0] == ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"]
    assert dev[0] == train[0][:-1]
    for first, second, label in [row[3:] for row in train[1:]] + [[*row[3:], one] for row, one in zip(dev[1:], key)]:
        assert (read(first) == read(second)) == (label == "1"), f"{first} / {second}"


# A reader of the paraphrase task's questions that shares nothing with the grammar but the word lists.

_ARTICLES = {"the", "a", "this", "these", "every", "many", "some", "which"}
_HELPERS = {"do": "present", "does": "present", "is": "present", "are": "present", "did": "past", "was": "past"}
_HELPERS.update({"were": "past", "will": "will", "can": "can", "must": "must"})
_PASSIVE = {"is", "are", "was", "were", "be"}
_NOUN = {
    form: (noun.singular, form == noun.plural) for noun in vocabulary.NOUNS for form in (noun.singular, noun.plural)
}
_VERB = {form: (verb.base, "present") for verb in vocabulary.VERBS for form in (verb.base, verb.third)}
_VERB.update({verb.past: (verb.base, "past") for verb in vocabulary.VERBS})


def read(question: str) -> tuple[object, ...]:
    """What a question means, as plain tuples: equal for two questions exactly if they ask the same thing."""
    words = [word for word in question.split() if word not in (",", "?")]
    time = next((time for time in vocabulary.TIMES if f" {' '.join(time)} " in f" {' '.join(words)} "), ())
    manner = next((one(word) for word in words if word in vocabulary.MANNERS), None)
    negated = "not" in words
    words = [word for word in words if word not in (*time, *vocabulary.MANNERS, "not")]
    first, words = read_phrase(words) if words[0] == "which" else (None, words)
    helper: Optional[str] = words[0] if words[0] in _HELPERS else None
    words = words[1:] if helper else words
    if words[0] in _ARTICLES:  # helper and subject have changed places
        subject, words = read_phrase(words)
    else:
        subject, first = first, None
    passive = helper in _PASSIVE or words[0] == "be"
    words = words[1:] if words[0] == "be" else words
    verb, tense = _VERB[words[0]]
    words = words[1:]
    if passive:
        assert words[0] == "by"
        words = words[1:]
    other, words = read_phrase(words) if words else (first, [])
    assert not words
    agent, patient = (other, subject) if passive else (subject, other)
    return agent, one(verb), patient, _HELPERS[helper] if helper else tense, negated, manner, time


def read_phrase(words: Sequence[str]) -> tuple[tuple[object, ...], list[str]]:
    """The noun phrase at the beginning, and the words behind it."""
    determiner, rest = words[0], list(words[1:])
    adjective = one(rest.pop(0)) if rest[0] in vocabulary.ADJECTIVES else None
    noun, plural = _NOUN[rest.pop(0)]
    about: tuple[object, ...] = ()
    if rest and rest[0] in vocabulary.PREPOSITIONS:
        where, behind = read_phrase(rest[1:])
        about, rest = (rest[0], where), behind
    elif rest and rest[0] == "that":
        other, rest = read_phrase(rest[1:]) if rest[1] in _ARTICLES else (None, rest[1:])
        helper = rest.pop(0) if rest[0] in _HELPERS else None
        verb, tense = _VERB[rest.pop(0)]
        tense = _HELPERS[helper] if helper else tense
        acts = other is None
        if other is None and vocabulary.VERB_OF[verb].transitive:
            other, rest = read_phrase(rest)
        about = (one(verb), tense, other, acts)
    return (determiner, adjective, one(noun), plural, about), rest


def one(word: str) -> str:
    return vocabulary.CANONICAL.get(word, word)


# The text that the base learned from.


def test_training_text_holds_no_answer_and_no_task_sentence():
    kept_out = make_tasks.sentences()
    rng = random.Random(3)
    words = Counter()
    for _ in range(4000):
        lines = make_base.passage(rng, kept_out)[:-1].split("\n")
        assert kept_out.isdisjoint(lines)
        words.update(word for line in lines for word in line.split(" "))
    assert not {"0", "1", "yes", "no", "true", "false", "Answer", ":"} & set(words)
    assert set(words) <= {*vocabulary.WORDS, *vocabulary.PUNCTUATION, make_base.RATHER}


def test_the_exclusion_keeps_task_sentences_out_of_the_text():
    rng = random.Random(0)
    first = make_base.passage(rng, frozenset()).split("\n")[0]
    again = make_base.passage(random.Random(0), frozenset([first]))
    assert first not in again.split("\n")


# The base as committed.


def test_tokenizer_is_what_the_script_writes(tmp_path):
    make_base.write_tokenizer(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (BASE / name).read_bytes() == (tmp_path / name).read_bytes()


def test_every_word_is_one_token_and_the_labels_are_two(tokenizer):
    for word in (*vocabulary.WORDS, *vocabulary.PUNCTUATION, make_base.RATHER):
        assert len(tokenizer.encode(word).ids) == 1, word
        assert tokenizer.encode(f"the {word}").tokens == ["the", f"▁{word}"]
    before = tokenizer.encode("\nAnswer:").ids
    zero, one_ = (tokenizer.encode(f"\nAnswer:{label}").ids for label in "01")
    assert zero[:-1] == one_[:-1] == before
    assert zero[-1] != one_[-1]


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(blacklist_categories=["Cs"])))
def test_any_text_comes_back_from_the_tokenizer(tokenizer, text):
    if any(token in text for token in make_base.SPECIAL):
        return
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert make_base.UNKNOWN not in ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text.replace("▁", " ")


def test_training_saw_the_tokenizers_own_ids(tokenizer):
    encode = {piece: i for i, piece in enumerate(make_base.pieces())}
    rng = random.Random(1)
    for _ in range(200):
        text = make_base.passage(rng, frozenset())
        ids = make_base._ids(text, encode)
        assert ids == [make_base.BOS, *tokenizer.encode(text, add_special_tokens=False).ids, make_base.EOS]


def test_base_is_a_small_gemma():
    config = json.loads((BASE / "config.json").read_text("utf-8"))
    assert config == {**make_base.CONFIG, "vocab_size": len(make_base.pieces())}
    assert config["architectures"] == ["GemmaForCausalLM"]
    assert config["hidden_act"] == config["hidden_activation"] == "gelu_pytorch_tanh"
    assert (config["pad_token_id"], config["eos_token_id"], config["bos_token_id"]) == (0, 1, 2)
    assert sorted(path.name for path in BASE.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert sum(path.stat().st_size for path in BASE.iterdir()) < 6_000_000


def test_base_has_learned_the_language():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(str(BASE), torch_dtype=torch.float32).eval()
    encode = {piece: i for i, piece in enumerate(make_base.pieces())}
    rng, kept_out = random.Random(5), make_tasks.sentences()
    rows = [make_base._ids(make_base.passage(rng, kept_out), encode) for _ in range(100)]
    with torch.no_grad():
        losses = [model(input_ids=torch.tensor([row]), labels=torch.tensor([row])).loss.item() for row in rows]
    assert sum(losses) / len(losses) < 1.5  # nats a token; log(588) = 6.4 untrained
