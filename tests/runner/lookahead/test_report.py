"""The look-ahead: what it says of a recipe that works, and the name of every problem and warning."""

import dataclasses
import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import DEV_ROWS, ROOT, TRAIN_ROWS, recipe_tree, write_recipe, write_tables
from support.lookahead import A10, CPU, look, problems, snapshot, warnings, with_gpu, words_of

from runner.commands.run import main
from runner.lookahead.findings import Findings
from runner.lookahead.layout import COLUMNS
from runner.lookahead.lora_size import size_of
from runner.lookahead.report import look_ahead
from runner.lookahead.weight_files import read_header
from runner.lookahead.workspace_report import look_at_workspace
from runner.model.adapter import adapter_state, new_adapter
from runner.model.base import load_base
from runner.recipe.loader import load_recipes
from runner.recipe.schema import Lora
from runner.scoring.prompt import prompt_of
from runner.scoring.tokenization import encode_texts
from runner.workspace.paths import STAGE_NAMES, Workspace


@pytest.fixture
def base(tmp_path: Path, tiny_base: Path) -> Path:
    """A copy of the tiny base, to be damaged."""
    return Path(shutil.copytree(tiny_base, tmp_path / "models" / "tiny-base"))


def test_a_recipe_that_works_is_fine(workspace: Path, tiny_base: Path) -> None:
    found = look(workspace, tiny_base)
    assert not found.findings.problems
    for line in (
        f"train {workspace}/data/tiny_train.tsv: 24 rows; 0: 50.0%, 1: 50.0%",
        f"dev {workspace}/data/tiny_dev.tsv: 5 rows to predict",
        "sample 16 rows to train on (0: 50.0%, 1: 50.0%), 4 held out; one label for every row is right in 50.0%",
        "no input is in two labelled rows",
        "answers 0 -> '0' (1 token), 1 -> '1' (1 token); the model can tell them apart",
        f"path {tiny_base}",
        "gemma, 29,952 weights, f32, 121.8 kB, files whole; plain model",
        "448 parameters are trained, in 4 of 14 linear layers",
        "device CPU, 2 threads, 8.6 GB of memory free",
        "none yet in saved_model/tiny: nothing is replaced",
    ):
        assert line in words_of(found)
    # which row is the first one depends on the draw
    assert re.search(r"\| <bos>Which\? \| b?a word \d+ \| Answer:", words_of(found))
    lines = found.text().splitlines()
    assert lines[-1] == f"{found.loaded.path}: fine"
    assert len(lines) <= 60
    assert all(len(line) <= COLUMNS or "/" in line for line in lines)


def test_the_prompts_are_those_of_a_run(workspace: Path, tiny_base: Path) -> None:
    import torch

    for base, changes in (
        (tiny_base, {}),
        (ROOT / "recipes/demo/base", {"prompt": {"answers": {"0": " no", "1": " yes"}}}),
    ):
        path = write_recipe(workspace, recipe_tree(base, **changes))
        (loaded,) = load_recipes([path])
        real = prompt_of(loaded.recipe, load_base(base, "fp32", torch.device("cpu")))
        found = look(workspace, base, **changes)
        assert found.tokens is not None
        light = found.tokens.prompt
        same = ("prefix", "tail", "shared", "label_ids", "tree", "max_length", "positions")
        assert [getattr(light, name) for name in same] == [getattr(real, name) for name in same]
        texts = ["will these cats <bos> go ?", "Füße 中文 \t x", ""]
        assert encode_texts(light.tokenizer, texts) == encode_texts(real.tokenizer, texts)


def test_a_character_that_all_answers_begin_with_is_no_broken_sign(workspace: Path) -> None:
    found = look(
        workspace, ROOT / "recipes/demo/base", prompt={"max_length": 64, "answers": {"0": "好评", "1": "差评"}}
    )
    assert found.tokens is not None
    assert found.tokens.prompt.shared
    assert "| Answer: " in words_of(found)
    assert "\ufffd" not in found.text()


KINDS: dict[str, dict[str, Any]] = {
    "two targets": {"target_modules": ("q_proj", "v_proj")},
    "all linear": {},
    "upper layer": {"layers_to_transform": (1,)},
    "ranks": {"rank_pattern": {"q_proj": 3, "layers.1.mlp.*": 5}, "target_modules": "all-linear"},
    "dora": {"use_dora": True},
    "pissa": {"init_lora_weights": "pissa", "target_modules": ("k_proj",)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_is_that_of_the_real_adapter(kind: str, tiny_base: Path) -> None:
    import torch

    lora, findings = Lora(r=2, **KINDS[kind]), Findings()
    size = size_of(lora, read_header(tiny_base / "model.safetensors"), findings)
    with new_adapter(load_base(tiny_base, "fp32", torch.device("cpu")), lora) as model:
        trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
        saved = sum(tensor.numel() for tensor in adapter_state(model).values())
    assert (size.trainable, size.saved) == (trained, saved)
    assert not findings.problems


def _pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5000000000\n")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _lose_a_shard(base: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))


def _lose_a_weight(base: Path) -> None:
    index = {"weight_map": {"model.no.such.weight": "model.safetensors"}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))


def _set_config(base: Path, **values: Any) -> None:
    path = base / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "pointer": (lambda base: _pointer(base / "model.safetensors"), "model.safetensors is a Git LFS pointer of "),
    "cut": (lambda base: _cut(base / "model.safetensors"), "model.safetensors is incomplete: it has "),
    "text": (
        lambda base: (base / "model.safetensors").write_bytes(b"<html>not found</html>"),
        "model.safetensors is not a safetensors file",
    ),
    "header": (
        lambda base: (base / "model.safetensors").write_bytes(struct.pack("<Q", 4) + b"{[}]"),
        "model.safetensors is not a safetensors file",
    ),
    "shard": (_lose_a_shard, "has model-00002-of-00002.safetensors in its index, but not the file"),
    "weight": (_lose_a_weight, "1 weights of its index are in none of its files, the first is model.no.such.weight"),
    "bin only": (
        lambda base: (base / "model.safetensors").rename(base / "pytorch_model.bin"),
        "has no *.safetensors; pickled weights (*.bin) are not loaded",
    ),
    "no config": (lambda base: (base / "config.json").unlink(), "has no config.json"),
    "config": (lambda base: (base / "config.json").write_text("{"), "config.json is not a JSON object"),
    "type": (
        lambda base: _set_config(base, model_type="gemma9"),
        "this version of transformers does not know models of type gemma9",
    ),
    "no tokenizer": (
        lambda base: (base / "tokenizer.json").unlink(),
        "has no tokenizer (tokenizer.json or tokenizer.model)",
    ),
    "tokenizer": (lambda base: _pointer(base / "tokenizer.json"), "tokenizer.json is a Git LFS pointer of "),
    "vocabulary": (
        lambda base: shutil.copy(ROOT / "recipes/demo/base/tokenizer.json", base / "tokenizer.json"),
        "its tokenizer has ids up to 587, the model knows 355",
    ),
    "no folder": (shutil.rmtree, "models/tiny-base does not exist"),
}
"""What happens to a base's files, and what the look-ahead says of it."""


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_to_a_base_is_a_problem(name: str, workspace: Path, base: Path) -> None:
    damage, words = DAMAGE[name]
    damage(base)
    found = look(workspace, base)
    assert words in problems(found)
    assert all(each.next_step for each in found.findings.problems)
    assert ": a run would fail: " in found.verdict


SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "target": (
        {"lora": {"target_modules": ["q_proj", "query"]}},
        "lora.target_modules: query: meets no layer of this base -> the base's linear layers are down_proj, gate_proj, ",
    ),
    "layer": ({"lora": {"layers_to_transform": [7]}}, "lora.layers_to_transform: 7: meets no layer of this base"),
    "rank": ({"lora": {"rank_pattern": {"mlp": 4}}}, "lora.rank_pattern: mlp: meets no layer of this base"),
    "long": (
        {"prompt": {"max_length": 22}},
        "prompts are longer than prompt.max_length = 22 tokens, the longest has 26 -> raise prompt.max_length to 26",
    ),
    "no room": ({"prompt": {"max_length": 12}}, "leaves no room for an input: the fixed words take 16 tokens"),
    "rows": ({"samples": {"train": 400}}, "samples asks for 400 training and 4 held-out rows, found 24 usable rows"),
    "dev rows": ({"samples": {"dev": 150}}, "data/tiny_dev.tsv: expected 150 rows (samples.dev), found 5"),
    "columns": ({"task": {"columns": ["id", "label", "text", "more"]}}, "expected rows of 4 (id, label, text, more)"),
    "labels": ({"task": {"labels": ["0", "2"]}}, "expected the label 0 or 2, found '1'"),
    "no train": (
        {"task": {"train": "data/train.tsv"}},
        "data/train.tsv: no such file; that folder has tiny_dev.tsv, tiny_train.tsv -> put the file there, ",
    ),
    "no dev": ({"task": {"dev": "elsewhere/dev.tsv"}}, "/elsewhere/dev.tsv: no such file -> put the file there, "),
    "hub, offline": (
        {"base": "google/gemma-2b", "offline": True},
        "and offline: true or HF_HUB_OFFLINE forbids a download",
    ),
}
"""Changes to the tiny recipe, and what the look-ahead says of them."""


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_a_run_refuses_is_a_problem(name: str, workspace: Path, tiny_base: Path) -> None:
    changes, words = SETTINGS[name]
    named = changes.get("base", tiny_base)
    others = {key: value for key, value in changes.items() if key != "base"}
    assert words in problems(look(workspace, named, **others))


def test_all_problems_are_found_at_once(workspace: Path, base: Path) -> None:
    _cut(base / "model.safetensors")
    (workspace / "data/tiny_train.tsv").unlink()
    (workspace / "saved_model").write_text("a file")
    write_tables(workspace, train=["0\t3\ttext"])
    found = look(workspace, base, task={"dev": "data/none.tsv"})
    text = problems(found)
    for words in (
        "data/none.tsv",
        "found '3'",
        "is incomplete",
        "saved_model: expected a folder, found a file",
    ):
        assert words in text
    assert "fine" not in found.verdict


LOOK_TWICE: dict[str, tuple[dict[str, Any], str]] = {
    "batch": ({"train": {"batch_size": 4096}}, "4,096 rows a step, and 16 rows: 1 steps an epoch -> lower them to 16"),
    "cut": ({"prompt": {"max_length": 22, "too_long": "truncate"}}, "prompt.too_long: truncate cuts them"),
    "hub": (
        {"base": "google/gemma-2b"},
        "google/gemma-2b is not on this machine; a run downloads it from https://hub.test",
    ),
}


@pytest.mark.parametrize("name", LOOK_TWICE)
def test_a_doubtful_setting_is_a_warning(
    name: str, workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for variable, value in (
        ("HF_TOKEN", "t"),
        ("HF_ENDPOINT", "https://hub.test"),
        ("HF_HOME", str(workspace / "hub")),
    ):
        monkeypatch.setenv(variable, value)
    changes, words = LOOK_TWICE[name]
    others = {key: value for key, value in changes.items() if key != "base"}
    found = look(workspace, changes.get("base", tiny_base), **others)
    assert words in warnings(found)
    assert not found.findings.problems


def test_a_base_that_is_not_here_is_never_fine(
    workspace: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HOME", str(workspace / "hub"))
    found = look(workspace, "some/model")
    assert found.verdict.endswith("tiny.yaml: not known: the base could not be looked at, 1 warning")
    assert "inputs of 3 to 3 words" in words_of(found)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    assert "accounts that have accepted its licence; no token was found" in problems(look(workspace, "google/gemma-2b"))
    # the hub client's own layout
    model = workspace / "hub/hub/models--some--model"
    shutil.copytree(tiny_base, model / "snapshots/abc")
    (model / "refs").mkdir()
    (model / "refs/main").write_text("abc")
    assert look(workspace, "some/model").verdict.endswith("tiny.yaml: fine")


def test_repeated_rows_and_leaks_are_named_with_their_lines(workspace: Path, tiny_base: Path) -> None:
    write_tables(
        workspace, train=[*TRAIN_ROWS, "24\t1\tba word 0", "25\t0\tba word 2"], dev=["0\tba word 4", *DEV_ROWS]
    )
    found = look(workspace, tiny_base, samples={"train": "all"})
    assert "3 inputs" not in words_of(found)
    assert "2 inputs in several labelled rows, 1 of them with two labels; 1 also in dev" in words_of(found)
    assert (
        "data/tiny_train.tsv: 1 inputs have two different labels, the first on lines 1 and 25 -> correct"
        in warnings(found)
    )
    assert "1 of the rows to predict are among the drawn training rows, the first on line 5 -> remove" in warnings(
        found
    )


def test_rows_of_one_label_and_empty_inputs(workspace: Path, tiny_base: Path) -> None:
    rows = [f"{number}\t0\tword {number}" for number in range(99)]
    write_tables(
        workspace, train=[*rows, "99\t1\tother", "100\t1\tmore", "101\t0\t", "102\t1\ta\tb"], dev=["0\ta\tb", *DEV_ROWS]
    )
    found = look(workspace, tiny_base, task={"bad_rows": "skip"})
    for words in (
        "98.0% of the rows have the label '0' -> set samples.balance: oversample",
        "data/tiny_train.tsv: no hold-out row has the label '1'",
        "1 rows have an empty input column",
        "1 bad rows are skipped",
        "data/tiny_dev.tsv:1: expected 2 tab-separated fields",
    ):
        assert words in warnings(found)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("gemma-2b-it", None, "gemma-2b-it is tuned for chats (by its name)"),
        ("SmolLM-Instruct", None, "SmolLM-Instruct is tuned for chats (by its name)"),
        ("plain", "chat_template.jinja", "plain is tuned for chats (its tokenizer has a chat template)"),
        ("lit-base", None, ""),
    ],
)
def test_a_chat_model_is_a_warning(name: str, change: Any, words: str, workspace: Path, base: Path) -> None:
    base = base.rename(base.with_name(name))
    if change:
        (base / change).write_text("{{ messages }}")
    found = warnings(look(workspace, base))
    assert words in found
    assert ("chat" in found) == bool(words)


def test_a_tokenizer_that_cannot_be_read_lightly_is_said(workspace: Path, base: Path) -> None:
    (base / "tokenizer.json").rename(base / "tokenizer.model")
    found = look(workspace, base)
    assert "has tokenizer.model and no tokenizer.json: tokens, prompts and labels could not be checked" in warnings(
        found
    )
    assert "not known: the tokenizer could not be looked at" in found.verdict


def test_answer_keys_are_compared_without_reading_an_answer_of_a_row(workspace: Path, tiny_base: Path) -> None:
    keys = workspace / "data/questionBAnswer"
    keys.mkdir()
    assert "the name tiny is not compared" in words_of(look(workspace, tiny_base))
    (keys / "result_Tiny_46.txt").write_text("0\n1\n" * 3)
    assert "there is result_Tiny_46.txt, and the grader compares names exactly" in warnings(look(workspace, tiny_base))
    (keys / "result_Tiny_46.txt").rename(keys / "result_tiny_46.txt")
    found = look(workspace, tiny_base)
    assert "result_tiny_46.txt has 6 answers, and samples.dev predicts 5 rows -> set samples.dev: 6" in warnings(found)
    (keys / "result_tiny_46.txt").write_text("0\n1\n0\n1\n0\n")
    assert "result_tiny_46.txt: 5 answers, the same labels; 5 rows are predicted" in words_of(
        look(workspace, tiny_base)
    )
    (keys / "result_tiny_46.txt").write_text("no\nyes\n")
    assert "has labels that task.labels does not have: no, yes" in warnings(look(workspace, tiny_base))


def test_a_full_disk_is_a_problem(workspace: Path, tiny_base: Path) -> None:
    recipe, findings = look(workspace, tiny_base).loaded.recipe, Findings()
    look_at_workspace(recipe, Workspace(workspace, "tiny"), 1 << 60, findings)
    assert "a run writes 1,152,921,504.7 GB, and the disk has " in findings.problems[0].what


def test_what_a_run_would_replace(workspace: Path, tiny_base: Path) -> None:
    assert main([str(write_recipe(workspace, recipe_tree(tiny_base))), "--workspace", str(workspace)]) == 0
    text = words_of(look(workspace, tiny_base))
    assert "of these settings; not trained again unless data, base or code changed" in text
    text = words_of(look(workspace, tiny_base, train={"epochs": 1}))
    assert "replaced, and kept in saved_model/.runs/tiny/" in text
    (workspace / "saved_model/tiny/manifest.json").unlink()
    assert "has an adapter that no run of labeltune has finished" in warnings(look(workspace, tiny_base))


def test_costs_follow_the_machine_and_the_recipe(workspace: Path, tiny_base: Path) -> None:
    def memory(**changes: Any) -> int:
        costs = look(workspace, tiny_base, **changes).costs
        assert costs is not None
        return costs.memory

    usual = memory()
    assert memory(train={"gradient_checkpointing": True}) < usual < memory(train={"batch_size": 8})
    assert memory(lora={"r": 64}) > usual
    fast, slow = (look(workspace, tiny_base, machine) for machine in (with_gpu(A10), CPU))
    assert "device NVIDIA A10, 25.8 GB of memory, 24.7 GB free" in words_of(fast)
    assert fast.costs is not None
    assert slow.costs is not None
    assert (fast.costs.precision, slow.costs.precision) == ("bf16", "fp32")
    unknown = look(workspace, tiny_base, with_gpu(dataclasses.replace(A10, name="NVIDIA X1")))
    assert "not known for this GPU; --check=timed measures it" in words_of(unknown)
    small = look(workspace, tiny_base, with_gpu(dataclasses.replace(A10, free=1 << 20)))
    assert "training would halve its batches, or end without memory -> lower train.batch_size" in warnings(small)
    assert "NVIDIA A10 is not used: the installed torch has no CUDA" in warnings(
        look(workspace, tiny_base, with_gpu(A10, None))
    )


def test_a_time_an_ensemble_and_excluded_rows(workspace: Path, tiny_base: Path) -> None:
    found = look(workspace, tiny_base, samples={"train": "90s"}, ensemble={"seeds": [0, 1, 2]})
    assert "at most 20 rows to train on" in words_of(found)
    assert "time 90s x 3, as samples.train says" in words_of(found)
    # a search does not use samples.train
    found = look(workspace, tiny_base, samples={"train": 9000}, search={"minutes": 5})
    assert "at most 20 rows to train on" in words_of(found)
    assert not problems(found)
    alone, three = look(workspace, tiny_base).costs, look(workspace, tiny_base, ensemble={"seeds": [1, 2]}).costs
    assert alone is not None
    assert three is not None
    assert three.disk > alone.disk
    (workspace / "out.csv").write_text("line,input\n1,ba word 0\n2,ab word 1\n")
    found = look(workspace, tiny_base, samples={"exclude": "out.csv"})
    assert "22 rows; 0: 50.0%, 1: 50.0%" in words_of(found)
    (workspace / "out.csv").write_text("line,input\n1,another text\n")
    assert "out.csv: line 1" in problems(look(workspace, tiny_base, samples={"exclude": "out.csv"}))


def test_only_preparing_needs_no_base(workspace: Path) -> None:
    recipes = load_recipes([write_recipe(workspace, recipe_tree("nowhere"))])
    assert "base" in problems(look_ahead(recipes, workspace, STAGE_NAMES, CPU)[0])
    assert look_ahead(recipes, workspace, ["prepare"], CPU)[0].verdict.endswith(": fine")


def test_the_command_looks_at_every_recipe_and_writes_nothing(
    workspace: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = str(write_recipe(workspace, recipe_tree(tiny_base)))
    bad = str(write_recipe(workspace, recipe_tree(tiny_base, task={"name": "other", "dev": "none.tsv"}), "other.yaml"))
    before = snapshot(workspace, tiny_base)
    arguments = ["--workspace", str(workspace)]
    assert main(["--check", good, "train.epochs=7", *arguments]) == 0
    assert f"{good}: fine" in capsys.readouterr().out
    assert main(["--check", good, bad, *arguments]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == good
    assert f"{good}: fine" in lines
    assert lines[-1] == f"{bad}: a run would fail: 1 problem"
    assert main(["--check", good, "lora.r=0", *arguments]) == 2
    assert "lora.r" in capsys.readouterr().err
    assert snapshot(workspace, tiny_base) == before
