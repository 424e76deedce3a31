"""Every way a recipe can be wrong has its own sentence, with the place, and all of them come at once."""

from pathlib import Path

import pytest
import yaml

from runner.errors import RecipeError
from runner.recipe.loader import is_override, load_recipes

GOOD = """\
task:
  name: QQP
  train: data/train.tsv
  dev: data/dev.tsv
  header: true
  columns: [id, question1, question2, is_duplicate]
  input: "{question1} {question2}"
  label: is_duplicate
  labels: ["0", "1"]
instruction: Same?
base: models/base
lora: {r: 8}
train:
  learning_rate: 2e-4
decoding: {kind: label}
"""

# line of GOOD to replace, its replacement, the whole message without the file's name
CASES = [
    (
        "  learning_rate: 2e-4",
        "  learning_rat: 2e-4",
        "14:3: train.learning_rat: unknown key; did you mean learning_rate?",
    ),
    (
        "instruction: Same?",
        "instruction: Same?\nepochs: 2",
        "11:1: epochs: unknown key; did you mean train.epochs?",
    ),
    (
        "instruction: Same?",
        "instruction: Same?\ncolour: blue",
        "11:1: colour: unknown key; known are task, instruction, base, prompt, samples, lora, train, decoding, "
        "trust_remote_code, offline, search, ensemble, extends",
    ),
    (
        "  train: data/train.tsv",
        "  train: data/../../train.tsv",
        "3:10: task.train: 'data/../../train.tsv' has `..` in it; write an absolute path, or begin with ./ or ../ "
        "(from the recipe's folder)",
    ),
    (
        "base: models/base",
        "base: models/../../base",
        "11:7: base: 'models/../../base' has `..` in it; write an absolute path, or begin with ./ or ../ "
        "(from the recipe's folder)",
    ),
    (
        "  header: true",
        "  header: no",
        "5:11: task.header: expected true or false or auto, found the text 'no'; write false",
    ),
    (
        "  header: true",
        "  header: Yes",
        "5:11: task.header: expected true or false or auto, found the text 'Yes'; write true",
    ),
    (
        '  labels: ["0", "1"]',
        "  labels: [0, 1]",
        '9:12: task.labels[0]: expected text, found the number 0; for the text, put it in quotes: "0"',
    ),
    ('  labels: ["0", "1"]', '  labels: ["0"]', "9:11: task.labels: expected two labels or more, found 1"),
    ('  labels: ["0", "1"]', '  labels: ["0", "0"]', "9:11: task.labels: a label is there twice"),
    (
        '  labels: ["0", "1"]',
        '  labels: ["no way", "1"]',
        "9:11: task.labels: 'no way' cannot be a label: 1 to 32 visible ASCII characters or letters, without a space",
    ),
    ("lora: {r: 8}", "lora: {r: 0}", "12:11: lora.r: out of range: expected at least 1 and at most 1024, found 0"),
    ("lora: {r: 8}", "lora: {r: 8.0}", "12:11: lora.r: expected a whole number, found the number 8.0"),
    ("lora: {r: 8}", "lora: {r: true}", "12:11: lora.r: expected a whole number, found the value true"),
    ("lora: {r: 8}", "lora: {r: 1:30}", "12:11: lora.r: expected a whole number, found the text '1:30'"),
    ("lora: {r: 8}", "lora: {r: 8, r: 16}", "12:14: lora.r: repeated key; it is already in line 12"),
    (
        "lora: {r: 8}",
        "lora: 8",
        "12:7: lora: expected a mapping with r, lora_alpha, lora_dropout, target_modules, "
        "layers_to_transform, rank_pattern, alpha_pattern, use_rslora, use_dora and init_lora_weights, found the number 8",
    ),
    (
        "lora: {r: 8}",
        "lora: {target_modules: all-liner}",
        "12:24: lora.target_modules: expected all-linear or a list of texts, found the text 'all-liner'; "
        "did you mean all-linear?",
    ),
    (
        "lora: {r: 8}",
        "lora: {target_modules: [q_proj, lm_head]}",
        "12:24: lora.target_modules: lm_head is tied to the vocabulary: the adapter would hold the whole table; leave it out",
    ),
    ("lora: {r: 8}", "lora: {target_modules: []}", "12:24: lora.target_modules: an empty list adapts no layer"),
    (
        "lora: {r: 8}",
        "lora: {layers_to_transform: []}",
        "12:29: lora.layers_to_transform: an empty list adapts no layer",
    ),
    (
        "  learning_rate: 2e-4",
        "  cache_frozen_layers: true",
        "14:24: train.cache_frozen_layers: needs lora.layers_to_transform without layer 0: there is no frozen layer to cache",
    ),
    (
        "  learning_rate: 2e-4",
        "  keep_trunk: perhaps",
        "14:15: train.cache_frozen_layers: expected true or false, found the text 'perhaps'",
    ),
    (
        "  learning_rate: 2e-4",
        "  keep_trunk: true\n  cache_frozen_layers: false",
        "14:3: train.keep_trunk: repeated key; it is the older name of cache_frozen_layers",
    ),
    (
        "lora: {r: 8}",
        "lora: {rank_pattern: {q_proj: 0}}",
        "12:31: lora.rank_pattern.q_proj: out of range: expected at least 1, found 0",
    ),
    (
        "  learning_rate: 2e-4",
        "  learning_rate: fast",
        "14:18: train.learning_rate: expected a number or auto, found the text 'fast'",
    ),
    (
        "  learning_rate: 2e-4",
        "  learning_rate: .inf",
        "14:18: train.learning_rate: expected a finite number, found inf",
    ),
    (
        "  learning_rate: 2e-4",
        "  learning_rate: 2",
        "14:18: train.learning_rate: out of range: expected more than 0 and at most 1, found 2",
    ),
    (
        "  learning_rate: 2e-4",
        "  precision: fp16",
        "14:14: train.precision: expected auto, bf16 or fp32, found the text 'fp16'; did you mean bf16?",
    ),
    (
        "  learning_rate: 2e-4",
        "  warmup: 1",
        "14:11: train.warmup: out of range: expected at least 0 and less than 1, found 1",
    ),
    (
        "  learning_rate: 2e-4\ndecoding: {kind: label}",
        "  loss: labels\ndecoding: {kind: generate}",
        "15:18: decoding.kind: generate needs train.loss: vocabulary, found labels: it compares the labels only with each other, "
        "so the model may write any other word; set train.loss: vocabulary, or decoding.kind: label",
    ),
    (
        "decoding: {kind: label}",
        "decoding: {kind: beam}",
        "15:18: decoding.kind: expected label or generate, found the text 'beam'",
    ),
    (
        "instruction: Same?",
        'instruction: "a\\0b"',
        "10:14: instruction: has the character U+0000 in it, which no text file can contain",
    ),
    ("  header: true", "  header: !!bool yes", "5:11: task.header: 'yes' is not a valid bool"),
    (
        '  labels: ["0", "1"]',
        '  labels: ["0", "?"]',
        "9:11: task.labels: '?' marks an answer that is not a label; choose another",
    ),
    (
        "lora: {r: 8}",
        "lora: {init_lora_weights: false}",
        "12:27: lora.init_lora_weights: false starts B at random: the untuned model would not be the base; "
        "use true, gaussian or pissa",
    ),
    (
        "lora: {r: 8}",
        "lora: {init_lora_weights: pissa, use_dora: true}",
        "12:44: lora.use_dora: not together with lora.init_lora_weights: pissa: its file could not be a plain LoRA",
    ),
    (
        "  learning_rate: 2e-4",
        "  average_epochs: 9",
        "14:19: train.average_epochs: 9 epochs are more than train.epochs, 2",
    ),
    (
        "  learning_rate: 2e-4",
        "  learning_rate: automatic",
        "14:18: train.learning_rate: expected a number or auto, found the text 'automatic'",
    ),
    (
        "base: models/base",
        'base: b\nprompt: {template: "{instruction} {input}"}',
        "12:20: prompt.template: ends with {input}: put a word or a newline after it, so that the model answers there",
    ),
    (
        "base: models/base",
        'base: b\nprompt: {answers: {"0": no, "2": yes}}',
        "12:19: prompt.answers: '2' is not a label; labels are 0, 1",
    ),
    (
        "base: models/base",
        'base: b\nprompt: {answers: {"0": no}}',
        "12:19: prompt.answers: the label '1' has no answer; write one for each label, or leave the key out",
    ),
    (
        "base: models/base",
        'base: b\nprompt: {answers: {"0": no, "1": " "}}',
        "12:19: prompt.answers: the answer for '1' is empty",
    ),
    (
        "base: models/base",
        'base: b\nprompt: {answers: {"0": same, "1": " same"}}',
        "12:19: prompt.answers: '0' and '1' have the same answer 'same'",
    ),
    (
        "base: models/base",
        'base: b\nprompt: {answers: {"0": 0, "1": 1}}',
        '12:25: prompt.answers.0: expected text, found the number 0; for the text, put it in quotes: "0"',
    ),
    (
        "base: models/base",
        "base: b\nprompt: {answers: [no, yes]}",
        "12:19: prompt.answers: expected a mapping of names to texts, found a list",
    ),
    ("decoding: {kind: label}", "decoding: 3", "15:11: decoding.kind: expected label or generate, found the number 3"),
    (
        "decoding: {kind: label}",
        "decoding: {kind: label, max_new_tokens: 4}",
        "15:25: decoding.max_new_tokens: unknown key; known are kind, batch, average, calibration",
    ),
    (
        "decoding: {kind: label}",
        "  loss: vocabulary\ndecoding: {kind: generate, calibration: auto}",
        "16:28: decoding.calibration: unknown key; known are kind, max_new_tokens",
    ),
    (
        "  name: QQP",
        "  name: QQP_46",
        "2:9: task.name: 'QQP_46' cannot name a dataset: letters, digits, `.`, `-` and `_`, a letter or digit first, "
        "and no `_` followed by digits alone",
    ),
    (
        "  name: QQP",
        "  name: ../QQP",
        "2:9: task.name: '../QQP' cannot name a dataset: letters, digits, `.`, `-` and `_`, "
        "a letter or digit first, and no `_` followed by digits alone",
    ),
    (
        "  header: true",
        "  header: true\n  label_names: {duplicate: 2}",
        '6:28: task.label_names.duplicate: expected text, found the number 2; for the text, put it in quotes: "2"',
    ),
    (
        "  header: true",
        "  header: true\n  label_names: {duplicate: yes}",
        "6:16: task.label_names: 'duplicate' stands for 'yes', which is not a label; labels are 0, 1",
    ),
    ("  dev: data/dev.tsv", '  dev: " "', "4:8: task.dev: is empty"),
    ("instruction: Same?", "", "1:1: instruction: required key is missing"),
    (
        "  label: is_duplicate",
        "  label: duplicate",
        "8:10: task.label: 'duplicate' is not a column; columns are id, question1, question2, is_duplicate; "
        "did you mean is_duplicate?",
    ),
    (
        '  input: "{question1} {question2}"',
        '  input: "{question1} {is_duplicate}"',
        "7:10: task.input: has the label column {is_duplicate} in it: the model would read the answer",
    ),
    (
        '  input: "{question1} {question2}"',
        '  input: "{question3}"',
        "7:10: task.input: {question3} is not a column; columns are id, question1, question2, is_duplicate; "
        "did you mean question2?",
    ),
    (
        '  input: "{question1} {question2}"',
        '  input: "hello"',
        "7:10: task.input: names no column: every record would be the same; write {column}",
    ),
    (
        '  input: "{question1} {question2}"',
        '  input: "{question1:>9}"',
        "7:10: task.input: expected columns in braces and no other braces (a brace itself is written twice), "
        "found '{question1:>9}'",
    ),
    (
        "  columns: [id, question1, question2, is_duplicate]",
        "  columns: [id, question1, question2, id, is_duplicate]",
        "6:12: task.columns: the column 'id' is there twice",
    ),
    (
        "  header: true",
        "  header: true\n  dev_columns: [[id, question1, question2], [id, question1, is_duplicate]]",
        "6:16: task.dev_columns: two forms have the same number of columns, so they cannot be told apart",
    ),
    (
        "base: models/base",
        'base: b\nprompt: {template: "{input} {input}"}',
        "12:20: prompt.template: expected {instruction} and {input} once each and no other braces "
        "(a brace itself is written twice), found '{input} {input}'",
    ),
    (
        "  header: true",
        "  header: true\n  swap: [question1]",
        "6:9: task.swap: expected two different columns, found question1",
    ),
    (
        "  header: true",
        "  header: true\n  swap: [question1, question1]",
        "6:9: task.swap: expected two different columns, found question1, question1",
    ),
    (
        "  header: true",
        "  header: true\n  swap: [question1, question3]",
        "6:9: task.swap: 'question3' is not a column; columns are id, question1, question2, is_duplicate; "
        "did you mean question2?",
    ),
    (
        "  header: true",
        "  header: true\n  swap: [question1, id]",
        "6:9: task.swap: 'id' is not in task.input: exchanging it would change nothing",
    ),
    (
        "base: models/base",
        "base: b\nsamples: {augment: swap}",
        "12:20: samples.augment: swap needs task.swap: the two columns to exchange, for instance [question1, question2]",
    ),
    (
        "decoding: {kind: label}",
        "decoding: {kind: label, average: swap}",
        "15:34: decoding.average: swap needs task.swap: the two columns to exchange, for instance [question1, question2]",
    ),
    (
        "decoding: {kind: label}",
        "  loss: vocabulary\ndecoding: {kind: generate, average: swap}",
        "16:28: decoding.average: unknown key; known are kind, max_new_tokens",
    ),
    (
        "  learning_rate: 2e-4",
        "  class_weights: {0: 1, 2: 3}",
        "14:18: train.class_weights: expected a weight for each label (0, 1), found 0, 2",
    ),
    (
        "  learning_rate: 2e-4",
        "  class_weights: {0: 1, 1: 0}",
        "14:28: train.class_weights.1: out of range: expected more than 0, found 0",
    ),
    (
        "  learning_rate: 2e-4",
        "  class_weights: equal",
        "14:18: train.class_weights: expected none, balanced or a mapping of names to numbers, found the text 'equal'",
    ),
    (
        "decoding: {kind: label}",
        "  loss: vocabulary\ndecoding: {kind: generate}\nsamples: {balance: equal}",
        "16:18: decoding.kind: generate needs samples.balance: none: training with other label shares than the file's is "
        "undone in the label logits, and generated text has none; set decoding.kind: label",
    ),
    (
        "decoding: {kind: label}",
        "  loss: vocabulary\ndecoding: {kind: generate}\nsamples: {balance: oversample}",
        "16:18: decoding.kind: generate needs samples.balance: none: training with other label shares than the file's is "
        "undone in the label logits, and generated text has none; set decoding.kind: label",
    ),
    (
        "base: models/base",
        "base: !!python/object:os.system b",
        "11:7: base: tag tag:yaml.org,2002:python/object:os.system is not allowed: a recipe is "
        "plain data; put a text that begins with `!` in straight quotes",
    ),
    ("base: models/base", "extends: 3\nbase: b", "11:10: extends: expected the path of a recipe, found the number 3"),
    (
        "base: models/base",
        "base: [",
        "11:7: not YAML: the list that begins here is not closed: write `]` at its end, and `, ` between its values",
    ),
]


@pytest.mark.parametrize(
    ("line", "replacement", "message"), CASES, ids=[case[1].strip() or "nothing" for case in CASES]
)
def test_each_mistake_has_its_message(tmp_path: Path, line: str, replacement: str, message: str) -> None:
    assert line in GOOD
    path = tmp_path / "bad.yaml"
    path.write_text(GOOD.replace(line, replacement), encoding="utf-8")
    with pytest.raises(RecipeError) as error:
        load_recipes([path])
    assert str(error.value.problems[0]) == f"{path}:{message}"


def test_the_good_recipe_is_good(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert load_recipes([path])[0].recipe.train.learning_rate == 2e-4


def test_all_problems_of_all_recipes_come_at_once(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(GOOD.replace("{r: 8}", "{r: 0}").replace("header: true", "header: maybe"), encoding="utf-8")
    two.write_text(GOOD.replace("  name: QQP", "  nam: QQP"), encoding="utf-8")
    with pytest.raises(RecipeError) as error:
        load_recipes([one, two, tmp_path / "three.yaml"], ["train.epochs=0", "train.epoch=1"])
    lines = str(error.value).splitlines()
    assert [line.partition(str(tmp_path))[2].split(":")[0] or "command line" for line in lines] == [
        "/one.yaml", "/one.yaml", "command line", "command line", "/two.yaml", "/two.yaml", "/three.yaml",
    ]  # fmt: skip
    assert "command line: train.epoch: unknown key; did you mean epochs?" in lines
    assert "command line: train.epochs: out of range: expected at least 1, found 0" in lines
    assert lines[-1].startswith(f"{tmp_path}/three.yaml: cannot read")
    assert "there are" in lines[-1]


def test_one_syntax_error_does_not_hide_the_others(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    changes = {
        "  name: QQP": "  name： QQP",
        "  header: true": "\theader: maybe",
        "  label: is_duplicate": "  label:is_duplicat",
        "instruction: Same?": "instruction: Answer: same?",
        "lora: {r: 8}": "lora: {r: 0",
        "  learning_rate: 2e-4": "  epochs: ３\n  learning_rat: 2e-4",
    }
    text = GOOD
    for line, replacement in changes.items():
        text = text.replace(line, replacement)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as error:
        load_recipes([path])
    assert [str(problem).replace(f"{path}:", "") for problem in error.value.problems] == [
        "2:7: `：` is the fullwidth colon (U+FF1A): write a plain colon and a space: `name: QQP`",
        "5:1: there is a tab: indent with spaces, two for each level",
        "5:11: task.header: expected true or false or auto, found the text 'maybe'",
        "8:8: no space after the colon: write `label: is_duplicat`",
        "10:20: not YAML: a second `: ` in one line; put the text in straight quotes",
        "12:7: not YAML: the mapping that begins here is not closed: write `}` at its end, and `, ` between its keys",
        "14:11: train.epochs: expected a whole number, found the text '３'; `３` is the fullwidth digit three (U+FF13)",
        "15:3: train.learning_rat: unknown key; did you mean learning_rate?",
    ]


FREE = [
    'instruction: "判断：是，否（“真”）"',
    "instruction: 判断：是，否",
    "instruction: |\n  epochs： 3\n  【a，b】",
    "instruction: Same\n  epochs： 3",
    'instruction: "Same\n  epochs： 3"',
    "instruction: （a）是（b）",
    "instruction: it's “so”, don't： [，",
    "instruction: Same?  # epochs： 3，\toffline:true",
    "instruction: 'it''s：'  # “",
]


@pytest.mark.parametrize("line", FREE)
def test_free_text_may_hold_any_character(tmp_path: Path, line: str) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD.replace("instruction: Same?", line), encoding="utf-8")
    loaded = load_recipes([path])[0]
    assert loaded.warnings == ()
    assert loaded.recipe.instruction.strip() == yaml.safe_load(line)["instruction"].strip()


def test_an_instruction_in_curly_quotes_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD.replace("Same?", "“Same?”"), encoding="utf-8")
    loaded = load_recipes([path])[0]
    assert loaded.recipe.instruction == "“Same?”"
    assert loaded.warnings == (
        f"{path}:10:14: `“` is the left double quotation mark (U+201C), and the model reads it as a part of the text: "
        'write straight quotes `"`; if it is meant, put the whole text in straight quotes',
    )


def test_overrides_are_yaml_values(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD, encoding="utf-8")
    overrides = [
        "train.learning_rate=3e-5",
        "lora.target_modules=[q_proj, v_proj]",
        "decoding={kind: generate}",
        "train.loss=vocabulary",
        "base=/m/g",
    ]
    recipe = load_recipes([path], overrides)[0].recipe
    assert recipe.train.learning_rate == 3e-5
    assert recipe.lora.target_modules == ("q_proj", "v_proj")
    assert recipe.lora.r == 8
    assert recipe.decoding.kind == "generate"
    assert recipe.base == "/m/g"


def test_the_older_name_of_a_key_is_the_same_key(tmp_path: Path) -> None:
    path, child = tmp_path / "good.yaml", tmp_path / "child.yaml"
    lora = "lora: {target_modules: [q_proj], layers_to_transform: [1]}"
    path.write_text(
        GOOD.replace("lora: {r: 8}", lora).replace("learning_rate: 2e-4", "keep_trunk: true"), encoding="utf-8"
    )
    assert load_recipes([path])[0].recipe.train.cache_frozen_layers
    child.write_text("extends: good.yaml\ntrain: {cache_frozen_layers: false}\n", encoding="utf-8")
    assert not load_recipes([child])[0].recipe.train.cache_frozen_layers
    recipe = load_recipes([child], ["train.keep_trunk=true"])[0].recipe
    assert recipe.train.cache_frozen_layers
    assert recipe.digest() == load_recipes([path])[0].recipe.digest()


def test_another_kind_of_decoding_replaces_the_whole_block(tmp_path: Path) -> None:
    path, child = tmp_path / "good.yaml", tmp_path / "child.yaml"
    path.write_text(GOOD.replace("{kind: label}", "{kind: generate, max_new_tokens: 9}"), encoding="utf-8")
    child.write_text("extends: good.yaml\ndecoding: {kind: label}\n", encoding="utf-8")
    assert load_recipes([child])[0].recipe.decoding.kind == "label"


def test_extends_replaces_keys_and_names_the_file_of_a_problem(tmp_path: Path) -> None:
    parent, child = tmp_path / "parent.yaml", tmp_path / "child.yaml"
    parent.write_text(GOOD, encoding="utf-8")
    child.write_text("extends: parent.yaml\ntask: {name: other}\nlora: {lora_alpha: 4}\n", encoding="utf-8")
    recipe = load_recipes([child])[0].recipe
    assert (recipe.task.name, recipe.task.label, recipe.lora.r, recipe.lora.lora_alpha) == (
        "other",
        "is_duplicate",
        8,
        4,
    )
    parent.write_text(GOOD.replace("{r: 8}", "{r: 0}"), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"parent\.yaml:12:11: lora\.r: out of range"):
        load_recipes([child])


def test_the_value_of_a_key_is_replaced_whole(tmp_path: Path) -> None:
    path, child = tmp_path / "good.yaml", tmp_path / "child.yaml"
    space = "search: {space: {lora.r: [4], train.epochs: [1]}}\n"
    path.write_text(GOOD + space + 'prompt: {answers: {"0": "no", "1": "yes"}}\n', encoding="utf-8")
    child.write_text("extends: good.yaml\nsearch: {space: {lora.r: [2]}}\n", encoding="utf-8")
    assert load_recipes([child])[0].recipe.search.space == {"lora.r": (2,)}
    recipe = load_recipes([path], ["search.space={train.epochs: [3]}", "prompt.answers.1=sure"])[0].recipe
    assert recipe.search.space == {"train.epochs": (3,)}
    assert recipe.prompt.answers == {"0": "no", "1": "sure"}


def test_a_recipe_that_extends_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"b\.yaml:1:10: extends: .*a\.yaml extends itself"):
        load_recipes([tmp_path / "a.yaml"])


def test_two_recipes_of_a_launch_may_not_share_a_dataset(tmp_path: Path) -> None:
    path, other = tmp_path / "good.yaml", tmp_path / "other.yaml"
    for file in (path, other):
        file.write_text(GOOD, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"other\.yaml: task\.name: .*good\.yaml writes QQP too"):
        load_recipes([path, other])


def test_paths_with_a_leading_dot_start_at_their_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "good.yaml").write_text(
        GOOD.replace("models/base", "./b").replace("data/dev.tsv", "../d.tsv"), encoding="utf-8"
    )
    (tmp_path / "sub/child.yaml").write_text("extends: ../good.yaml\ntask: {train: ./t.tsv}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    recipe = load_recipes([Path("sub/child.yaml")])[0].recipe
    assert recipe.base == str(tmp_path / "b")
    assert recipe.task.dev == str(tmp_path.parent / "d.tsv")
    assert recipe.task.train == str(tmp_path / "sub/t.tsv")
    monkeypatch.chdir(tmp_path / "sub")
    assert load_recipes([Path("child.yaml")], ["base=./x"])[0].recipe.base == str(tmp_path / "sub/x")
    for value, path in (("./x.csv", str(tmp_path / "sub/x.csv")), ("x.csv", "x.csv"), ("null", None)):
        assert load_recipes([Path("child.yaml")], [f"samples.exclude={value}"])[0].recipe.samples.exclude == path


@pytest.mark.parametrize("argument", ["train.epochs=2", "train.learning-rate=1", "base=/models/gemma-2b", "base=a=b"])
def test_overrides_are_recognised(argument: str) -> None:
    assert is_override(argument)


@pytest.mark.parametrize("argument", ["recipes/qqp.yaml", "./a=b.yaml", "=3"])
def test_recipes_are_recognised(argument: str) -> None:
    assert not is_override(argument)


def test_a_bomb_of_aliases_is_refused_at_once(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join(['*' + old] * 10)}]" for old, new in zip("abcdefgh", "bcdefghi")]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"more than 2,000 values, or nested deeper than 50, which no recipe is"):
        load_recipes([path])
