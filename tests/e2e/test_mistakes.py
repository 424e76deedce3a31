"""Mistakes that users make, each with the exact message: what is wrong, where, what was found, and what to do next.

More of them: tests/runner/recipe/test_recipe_problems.py (keys and values), tests/grading/checks (submissions) and
tests/e2e/test_wrong_python.py (Python and packages).
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import recipe_tree, write_recipe, write_tables

from runner.commands.run import main

CHINESE: dict[str, str] = json.loads(Path(__file__).with_name("mistakes_zh.json").read_text(encoding="utf-8"))
"""The same messages in Chinese, by what is written or by the name of the mistake."""

RECIPE = """\
task:
  name: tiny
  train: data/tiny_train.tsv
  dev: data/tiny_dev.tsv
  header: false
  columns: [id, label, text]
  input: "{text}"
  label: label
  labels: ["0", "1"]
instruction: Which?
base: BASE
train:
  epochs: 2
  learning_rate: 1e-3
"""


class InRecipe(NamedTuple):
    """A mistake in the recipe's text."""

    line: str
    """A line of `RECIPE`."""
    written: str
    """What the user writes in its place."""
    message: str
    """The whole message, without the file's name."""


QUOTES = 'and for YAML it is a part of the text: write straight quotes `"`'
COMMA = "write `, `; where it is a part of a text, put the text in straight quotes"

IN_RECIPE = [
    InRecipe(
        "  epochs: 2",
        "  epochs： 2",
        "13:9: `：` is the fullwidth colon (U+FF1A): write a plain colon and a space: `epochs: 2`",
    ),
    InRecipe(
        "train:",
        "train：",
        "12:6: `：` is the fullwidth colon (U+FF1A): write a plain colon and a space: `train:`",
    ),
    InRecipe("  epochs: 2", "  epochs:2", "13:9: no space after the colon: write `epochs: 2`"),
    InRecipe("  epochs: 2", "\tepochs: 2", "13:1: there is a tab: indent with spaces, two for each level"),
    InRecipe("  epochs: 2", "  epochs:\t2", "13:10: there is a tab: write a space after the colon"),
    InRecipe(
        "  epochs: 2",
        "\u3000epochs: 2",
        "13:1: there is the ideographic space (U+3000): indent with spaces, two for each level",
    ),
    InRecipe(
        "  epochs: 2",
        "  epochs: ２",
        "13:11: train.epochs: expected a whole number, found the text '２'; `２` is the fullwidth digit two (U+FF12)",
    ),
    InRecipe(
        "  epochs: 2",
        "  epochs: 2，",
        "13:11: train.epochs: expected a whole number, found the text '2，'; `，` is the fullwidth comma (U+FF0C)",
    ),
    InRecipe(
        "  columns: [id, label, text]",
        "  columns: [id， label, text]",
        f"6:15: `，` is the fullwidth comma (U+FF0C): {COMMA}",
    ),
    InRecipe(
        "  columns: [id, label, text]",
        "  columns: [id、label, text]",
        f"6:15: `、` is the ideographic comma (U+3001): {COMMA}",
    ),
    InRecipe(
        '  labels: ["0", "1"]',
        '  labels: [“0”, "1"]',
        f"9:12: `“` is the left double quotation mark (U+201C), {QUOTES}",
    ),
    InRecipe(
        '  labels: ["0", "1"]',
        '  labels: 【"0", "1"】',
        "9:11: `【` is the left black lenticular bracket (U+3010): write `[`, and `]` at the end",
    ),
    InRecipe(
        '  labels: ["0", "1"]',
        '  labels: （"0", "1"）',
        "9:11: `（` is the fullwidth left parenthesis (U+FF08): write `[`, and `]` at the end",
    ),
    InRecipe(
        '  labels: ["0", "1"]',
        '  labels: ["0", "1"】',
        "9:20: `】` is the right black lenticular bracket (U+3011): write `]`",
    ),
    InRecipe(
        '  input: "{text}"',
        "  input: “{text}”",
        f"7:10: `“` is the left double quotation mark (U+201C), {QUOTES}",
    ),
    InRecipe(
        "instruction: Which?",
        "instruction: “Answer: 0 or 1”",
        f"10:14: `“` is the left double quotation mark (U+201C), {QUOTES}",
    ),
    InRecipe(
        "train:",
        "lora: {r:8}\ntrain:",
        "12:9: no space after the colon",
    ),
    InRecipe(
        "train:",
        "lora: {r：8}\ntrain:",
        "12:9: `：` is the fullwidth colon (U+FF1A): write a plain colon and a space",
    ),
    InRecipe(
        "instruction: Which?",
        "instruction: Answer: 0 or 1",
        "10:20: not YAML: a second `: ` in one line; put the text in straight quotes",
    ),
    InRecipe(
        '  labels: ["0", "1"]',
        '  labels: ["0", "1"',
        "9:11: not YAML: the list that begins here is not closed: write `]` at its end, and `, ` between its values",
    ),
    InRecipe('  input: "{text}"', '  input: "{text}', "7:10: not YAML: the quote that begins here is not closed"),
    InRecipe("  epochs: 2", "  epochs 2", "13:3: not YAML: expected `key: value`, or `key:` above a block"),
    InRecipe("train:", "train", "12:1: not YAML: expected `key: value`, or `key:` above a block"),
    InRecipe(
        "  learning_rate: 1e-3",
        "    learning_rate: 1e-3",
        "14:5: not YAML: this line is indented deeper than the line above, which has a value already",
    ),
    InRecipe(
        "  learning_rate: 1e-3",
        " learning_rate: 1e-3",
        "14:2: not YAML: this line is indented differently from the keys of its block",
    ),
    InRecipe(
        "  train: data/tiny_train.tsv",
        '  train: "data\\tiny\\Data.tsv"',
        "3:21: not YAML: `\\D` means nothing between double quotes: write `\\\\` for a backslash, or use single quotes",
    ),
    InRecipe(
        "instruction: Which?",
        "instruction: *Which?*",
        "10:14: not YAML: a text may not begin with `*`: put it in straight quotes",
    ),
    InRecipe(
        "instruction: Which?",
        "instruction: @Which?",
        "10:14: not YAML: a text may not begin with `@`: put it in straight quotes",
    ),
    InRecipe(
        "instruction: Which?",
        "instruction: 'It's so'",
        "10:18: not YAML: there is more after the end of the value: put the whole text in straight quotes, "
        "and write a quote in it twice",
    ),
    InRecipe(
        "instruction: Which?",
        "instruction: *Important* choose",
        "10:14: not YAML: a text may not begin with `*`: put it in straight quotes",
    ),
    InRecipe(
        "instruction: Which?",
        "instruction: &choose one",
        "10:14: a text may not begin with `&`: put it in straight quotes",
    ),
    InRecipe(
        "instruction: Which?",
        "instruction: ? really",
        "10:14: not YAML: a text may not begin with `? `: put it in straight quotes",
    ),
    InRecipe(
        "instruction: Which?",
        "instruction: - choose",
        "10:14: not YAML: a text may not begin with `- `: put it in straight quotes",
    ),
    InRecipe(
        "instruction: Which?",
        "instruction: | choose",
        "10:14: not YAML: a text may not begin with `|` or `>`, which announce a text in the lines below: "
        "put it in straight quotes",
    ),
    InRecipe(
        '  input: "{text}"',
        "  input: {text}",
        "7:10: task.input: expected text, found a mapping; a text that begins with a brace is written in straight quotes",
    ),
    InRecipe(
        '  input: "{text}"',
        '  input: "｛text｝"',
        "7:10: task.input: names no column: every record would be the same; write {column}; `｛` is the "
        "fullwidth left curly bracket (U+FF5B)",
    ),
    InRecipe(
        '  labels: ["0", "1"]',
        "  labels: 0, 1",
        '9:11: task.labels: expected a list of texts, found the text \'0, 1\'; write ["0", "1"]',
    ),
    InRecipe(
        '  labels: ["0", "1"]',
        '  labels: ["０", "1"]',
        "9:11: task.labels: '０' cannot be a label: 1 to 32 visible ASCII characters or letters, without a "
        "space; `０` is the fullwidth digit zero (U+FF10)",
    ),
    InRecipe(
        "  columns: [id, label, text]",
        "  columns: [id; label; text]",
        "7:10: task.input: {text} is not a column; columns are id; label; text; write commas between "
        "them\n{path}:8:10: task.label: 'label' is not a column; columns are id; label; text; write commas between them",
    ),
    InRecipe(
        "  train: data/tiny_train.tsv",
        "  train: https://example.com/tiny.tsv",
        "3:10: task.train: 'https://example.com/tiny.tsv' is an address; download the file, and name it here",
    ),
    InRecipe(
        "  train: data/tiny_train.tsv",
        '  train: "data\\tiny.tsv"',
        "3:10: task.train: 'data\\tiny.tsv' has a control character in it: between double quotes `\\t` is a "
        "tab; write / between folders",
    ),
    InRecipe(
        "  dev: data/tiny_dev.tsv",
        "  dev: data/tiny_train.tsv",
        "4:8: task.dev: is the training file; leave task.dev out: a part of the rows is then set aside, predicted and scored",
    ),
    InRecipe(
        "  epochs: 2",
        "  num_train_epochs: 2",
        "13:3: train.num_train_epochs: unknown key; write train.epochs",
    ),
    InRecipe(
        "  epochs: 2",
        "  \u200bepochs: 2",
        "13:3: train.\u200bepochs: unknown key; `\u200b` is the zero width space (U+200B)",
    ),
    InRecipe("train:", "---\ntrain:", "12:1: not YAML: `---` begins a second document: a recipe is one"),
]


@pytest.mark.parametrize("mistake", IN_RECIPE, ids=lambda mistake: mistake.written.strip())
def test_a_mistake_in_the_recipe(tmp_path: Path, capsys: Any, monkeypatch: Any, mistake: InRecipe) -> None:
    path = tmp_path / "tiny.yaml"
    assert f"{mistake.line}\n" in RECIPE
    path.write_text(RECIPE.replace(f"{mistake.line}\n", f"{mistake.written}\n", 1), encoding="utf-8")
    assert main([str(path), "--workspace", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"{path}:{mistake.message.replace('{path}', str(path))}\n"
    monkeypatch.setenv("LABELTUNE_LANG", "zh")
    assert main([str(path), "--workspace", str(tmp_path)]) == 2
    assert capsys.readouterr().err.replace(str(path), "{path}") == CHINESE[mistake.written]


class InPlace(NamedTuple):
    """A mistake in the files or the command."""

    name: str
    make: Callable[[Path, Path], Any]
    """Makes it in a workspace that has the recipe `tiny.yaml`, its tables and a copy of the base in `base/`. It may return
    arguments for the command."""
    message: str
    """The whole message; `{ws}` is the workspace."""


def answer_key(name: str) -> Callable[[Path, Path], None]:
    def make(ws: Path, base: Path) -> None:
        (ws / "data/questionBAnswer").mkdir()
        (ws / "data/questionBAnswer" / name).write_text("1\n")

    return make


def without(*names: str) -> Callable[[Path, Path], None]:
    def make(ws: Path, base: Path) -> None:
        for name in names:
            (base / name).unlink()

    return make


def base_has(name: str, data: bytes) -> Callable[[Path, Path], None]:
    return lambda ws, base: (base / name).write_bytes(data)


def named(*arguments: str) -> Callable[[Path, Path], list[str]]:
    return lambda ws, base: list(arguments)


def only(base: Path, name: str) -> None:
    shutil.rmtree(base)
    base.mkdir()
    (base / name).write_bytes(b"GGUF")


def cut_weights(ws: Path, base: Path) -> None:
    os.truncate(base / "model.safetensors", 50_000)


def cut_link(ws: Path, base: Path) -> None:
    (base / "model.safetensors").unlink()
    (base / "model.safetensors").symlink_to("../blobs/4d7a")


def renamed(change: str) -> Callable[[Path, Path], list[str]]:
    def make(ws: Path, base: Path) -> list[str]:
        answer_key("result_tiny_5.txt")(ws, base)
        return [change]

    return make


def a_shard(ws: Path, base: Path) -> None:
    (base / "model.safetensors").rename(base / "model-00002-of-00002.safetensors")


def an_indexed_shard(ws: Path, base: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))


def inside(ws: Path, base: Path) -> None:
    shutil.copytree(base, base / "gemma")
    for path in base.iterdir():
        if path.is_file():
            path.unlink()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4945242264\n"
NEXT = "\n  next: "
AGAIN = f"{NEXT}download or copy it again; a download that was cut resumes"
ORIGINAL = f"{NEXT}name the original model, whose weights are *.safetensors"
HUB = "is not a folder, and it cannot be downloaded from the hub: this run is offline, and the hub's cache does not have it"

IN_PLACE = [
    InPlace(
        "another spelling of the dataset",
        answer_key("result_Tiny_5.txt"),
        "task.name: 'tiny' is not 'Tiny', the dataset of {ws}/data/questionBAnswer/result_Tiny_5.txt: the grader would look for "
        f"result/result_Tiny.txt, and find nothing{NEXT}write task.name: Tiny; if it is another dataset, choose a name that is "
        "not so alike",
    ),
    InPlace(
        "a change with a Chinese equals sign",
        named("train.epochs＝3"),
        "train.epochs＝3: cannot read train.epochs\\uff1d3: No such file or directory; a change to a key is written with a plain "
        "equals sign: train.epochs=3",
    ),
    InPlace(
        "a change with a colon",
        named("train.epochs:3"),
        "train.epochs:3: cannot read train.epochs:3: No such file or directory; a change to a key is written with a plain "
        "equals sign: train.epochs=3",
    ),
    InPlace(
        "a base that is not there",
        named("base=./bas"),
        f"base: the folder {os.getcwd()}/bas does not exist{NEXT}name the model's folder: base=/models/gemma-2b",
    ),
    InPlace(
        "a base that is almost there",
        named("base={ws}/bas"),
        "base: the folder {ws}/bas does not exist; did you mean {ws}/base?"
        f"{NEXT}name the model's folder: base=/models/gemma-2b",
    ),
    InPlace(
        "half a hub id",
        named("base=gemma-2b"),
        "base: the folder {ws}/gemma-2b does not exist"
        f"{NEXT}name the model's folder: base=/models/gemma-2b, or a hub id of two parts: base=google/gemma-2b",
    ),
    InPlace(
        "a hub id without a network",
        named("base=google/gemma-2b"),
        f"base: google/gemma-2b {HUB}{NEXT}download it where there is a network, `hf download google/gemma-2b`, and copy the "
        "folder; or allow the network: offline: false, and HF_HUB_OFFLINE not set; or take it from ModelScope: "
        "base=modelscope:AI-ModelScope/gemma-2b; or name a folder: base=/models/gemma-2b",
    ),
    InPlace(
        "a base in the index but not there",
        an_indexed_shard,
        "base: {ws}/base has model-00002-of-00002.safetensors in its index, but not the file" + AGAIN,
    ),
    InPlace(
        "a shard without its index",
        a_shard,
        "base: {ws}/base has model-00002-of-00002.safetensors, but not model-00001-of-00002.safetensors" + AGAIN,
    ),
    InPlace(
        "weights that were cut",
        cut_weights,
        "base: {ws}/base/model.safetensors is incomplete: it has 50,000 of {size:,} bytes" + AGAIN,
    ),
    InPlace(
        "empty weights",
        base_has("model.safetensors", b""),
        "base: {ws}/base/model.safetensors is incomplete: it has 0 of 8 bytes" + AGAIN,
    ),
    InPlace(
        "an LFS pointer",
        base_has("model.safetensors", POINTER),
        f"base: {{ws}}/base/model.safetensors is a Git LFS pointer of {len(POINTER)} bytes, not the file itself: the folder was "
        f"cloned without git-lfs{NEXT}git lfs install && git -C {{ws}}/base lfs pull",
    ),
    InPlace(
        "a tokenizer that is a pointer",
        base_has("tokenizer.json", POINTER),
        f"base: {{ws}}/base/tokenizer.json is a Git LFS pointer of {len(POINTER)} bytes, not the file itself: the folder was "
        f"cloned without git-lfs{NEXT}git lfs install && git -C {{ws}}/base lfs pull",
    ),
    InPlace("an empty configuration", base_has("config.json", b""), "base: {ws}/base/config.json is empty" + AGAIN),
    InPlace(
        "a page for a configuration",
        base_has("config.json", b"<html>"),
        "base: {ws}/base/config.json is not a JSON object" + AGAIN,
    ),
    InPlace(
        "a page for weights",
        base_has("model.safetensors", b"<!DOCTYPE html>"),
        "base: {ws}/base/model.safetensors is not a safetensors file" + AGAIN,
    ),
    InPlace(
        "a link of the hub's cache without its file",
        cut_link,
        "base: {ws}/base/model.safetensors is a link to ../blobs/4d7a, which is not there"
        f"{NEXT}copy the folder with the files behind its links: cp -rL",
    ),
    InPlace(
        "the result file for the dataset",
        renamed("task.name=result_tiny"),
        "task.name: 'result_tiny' is not 'tiny', the dataset of {ws}/data/questionBAnswer/result_tiny_5.txt: the grader would "
        f"look for result/result_tiny.txt, and find nothing{NEXT}write task.name: tiny, the dataset's name alone",
    ),
    InPlace(
        "a change with spaces",
        named("train.epochs"),
        "train.epochs: cannot read train.epochs: No such file or directory; a change to a key is written without spaces: "
        "train.epochs=3",
    ),
    InPlace(
        "a long hyphen",
        named("—check"),
        "—check: cannot read \\u2014check: No such file or directory; an option begins with two hyphens: --check",
    ),
    InPlace(
        "no tokenizer",
        without("tokenizer.json"),
        "base: {ws}/base has no tokenizer (tokenizer.json or tokenizer.model)"
        f"{NEXT}copy the tokenizer's files from where the model comes from: tokenizer.json, tokenizer_config.json and the like",
    ),
    InPlace(
        "no weights",
        without("model.safetensors"),
        "base: {ws}/base has no *.safetensors; pickled weights (*.bin) are not loaded, because they can run code"
        f"{NEXT}the weights are missing: download or copy it again; a download that was cut resumes",
    ),
    InPlace(
        "pickled weights",
        lambda ws, base: (base / "model.safetensors").rename(base / "pytorch_model.bin"),
        "base: {ws}/base has no *.safetensors; pickled weights (*.bin) are not loaded, because they can run code"
        f"{NEXT}if you trust the model, save it with save_pretrained(folder, safe_serialization=True): "
        'python -c "from transformers import AutoModelForCausalLM as M; '
        "M.from_pretrained('{ws}/base').save_pretrained('{ws}/base', safe_serialization=True)\"",
    ),
    InPlace(
        "an adapter for a base",
        base_has("adapter_config.json", b'{"base_model_name_or_path": "google/gemma-2b"}'),
        "base: {ws}/base has an adapter in it (adapter_config.json)"
        f"{NEXT}name the base model of that adapter: base=google/gemma-2b; or merge the two and save the result as a new base",
    ),
    InPlace(
        "the weights' file for the folder",
        named("base={ws}/base/model.safetensors"),
        f"base: {{ws}}/base/model.safetensors is a file, and a base is a folder{NEXT}name its folder: base={{ws}}/base",
    ),
    InPlace(
        "a GGUF file",
        lambda ws, base: (ws / "gemma.gguf").write_bytes(b"GGUF") and ["base={ws}/gemma.gguf"],
        "base: {ws}/gemma.gguf is a GGUF file, made for llama.cpp: it cannot be trained" + ORIGINAL,
    ),
    InPlace(
        "a folder of GGUF files",
        lambda ws, base: only(base, "gemma.gguf"),
        "base: {ws}/base has GGUF files (gemma.gguf), made for llama.cpp: they cannot be trained" + ORIGINAL,
    ),
    InPlace(
        "an archive",
        lambda ws, base: (ws / "gemma.zip").write_bytes(b"PK") and ["base={ws}/gemma.zip"],
        f"base: {{ws}}/gemma.zip is an archive{NEXT}unpack it, and name the folder that has config.json",
    ),
    InPlace(
        "the folder around the model",
        inside,
        f"base: {{ws}}/base has no config.json{NEXT}name the folder inside it: base={{ws}}/base/gemma",
    ),
    InPlace(
        "another folder",
        named("base={ws}/data"),
        "base: {ws}/data has no config.json; it has tiny_dev.tsv, tiny_train.tsv"
        f"{NEXT}name the folder that the model was saved or downloaded to",
    ),
    InPlace(
        "ModelScope without its package",
        named("base=modelscope:AI-ModelScope/gemma-2b"),
        "base: modelscope:AI-ModelScope/gemma-2b is on ModelScope, and the package modelscope is not installed"
        f"{NEXT}pip install modelscope (or pip install -e '.[modelscope]'); or name the model's folder: base=/models/gemma-2b",
    ),
]


@pytest.mark.parametrize("mistake", IN_PLACE, ids=lambda mistake: mistake.name)
def test_a_mistake_in_the_files_or_the_command(
    tmp_path: Path, tiny_base: Path, capsys: Any, monkeypatch: Any, mistake: InPlace
) -> None:
    """Each is reported before any data is prepared."""
    base = tmp_path / "base"
    shutil.copytree(tiny_base, base)
    size = (base / "model.safetensors").stat().st_size
    recipe = str(write_recipe(write_tables(tmp_path), recipe_tree(base)))
    more = mistake.make(tmp_path, base)
    arguments = [each.format(ws=tmp_path) for each in more] if isinstance(more, list) else []
    assert main([recipe, *arguments, "--workspace", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.err == mistake.message.format(ws=tmp_path, size=size) + "\n"
    assert "prepare:" not in said.out
    assert len(list(tmp_path.glob("pre_data/tiny/*.json"))) == 0
    monkeypatch.setenv("LABELTUNE_LANG", "zh")
    assert main([recipe, *arguments, "--workspace", str(tmp_path)]) == 2
    chinese = (
        CHINESE[mistake.name]
        .replace("{ws}", str(tmp_path))
        .replace("{cwd}", os.getcwd())
        .replace("{size}", f"{size:,}")
    )
    assert capsys.readouterr().err == chinese


def test_what_may_be_meant_is_a_warning(tmp_path: Path, tiny_base: Path, capsys: Any) -> None:
    """An instruction in Chinese quotes, a chat model, a batch larger than the data, and a dataset's name with a slip."""
    chat = tmp_path / "gemma-it"
    shutil.copytree(tiny_base, chat)
    write_tables(tmp_path)
    (tmp_path / "data/questionBData/tin_y2").mkdir(parents=True)
    tree = recipe_tree(chat, train={"epochs": 1, "batch_size": 4096})
    path = write_recipe(tmp_path, {**tree, "task": {**tree["task"], "name": "tiny2"}})
    path.write_text(path.read_text().replace("instruction: Which?", "instruction: “Which?”"), encoding="utf-8")
    assert main([str(path), "--workspace", str(tmp_path), "--stages", "prepare,finetune"]) == 0
    warnings = [line for line in capsys.readouterr().out.splitlines() if "WARNING" in line][:4]
    place = path.read_text(encoding="utf-8").splitlines().index("instruction: “Which?”") + 1
    assert warnings == [
        f"WARNING: {path}:{place}:14: `“` is the left double quotation mark (U+201C), and the model reads it as a part of the "
        'text: write straight quotes `"`; if it is meant, put the whole text in straight quotes',
        f"WARNING: task.name: 'tiny2' is almost 'tin_y2', the dataset of {tmp_path}/data/questionBData/tin_y2; is that meant?",
        f"WARNING: base: {chat} is tuned for chats (by its name), and prompt.template is plain text, which it was not tuned on; "
        f"name the plain base ({tmp_path}/gemma), or write the marks of its chat format into prompt.template",
        "tiny2 finetune: WARNING: one optimizer step takes all 16 rows (train.batch_size × accumulation is 4,096): 1 steps in 1 "
        "epochs are few; lower it, to 1 for instance",
    ]
