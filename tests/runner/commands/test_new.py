"""`labeltune new` guesses the columns and labels of well-known layouts, and its recipe prepares the file."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, SHARED
from support.layouts import LAYOUTS, real_rows, write_layout

from runner.commands.new import main
from runner.commands.run import execute
from runner.recipe.editor import schema_line
from runner.recipe.loader import load_recipes
from runner.recipe.schema import Task

PHRASES = [
    "hide new secretions",
    "contains no wit , only labored gags",
    "remains utterly satisfied",
    "on the worst revenge",
]
SENTENCES = [
    "The company said on Monday that profits rose.",
    "Profits rose, the firm said.",
    "Where is the capital of France?",
]
KINDS = ["neutral", "entailment", "contradiction"]
SHOP = "第{}次来这家店，服务很好。"


def lines(header: str, make: Any, count: int = 60) -> str:
    return "".join(f"{line}\n" for line in [*([header] if header else []), *map(make, range(count))])


LOOKS: list[tuple[str, str, str, str, list[str], list[str]]] = [
    (
        "SST-2/train.tsv", lines("sentence\tlabel", lambda n: f"{PHRASES[n % 4]} {n} \t{n % 2}"),
        "SST-2", "label", ["sentence"], ["0", "1"],
    ),
    (
        "MRPC/msr_train.tsv",
        lines(
            "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
            lambda n: f"{n % 2}\t{n}\t{n + 9}\t{SENTENCES[0]} {n}\t{SENTENCES[1]} {n}",
        ),
        "msr", "Quality", ["#1 String", "#2 String"], ["0", "1"],
    ),
    (
        "RTE/train.tsv",
        lines(
            "index\tsentence1\tsentence2\tlabel",
            lambda n: f"{n}\t{SENTENCES[0]} {n}\t{SENTENCES[1]} {n}\t{'not_' if n % 2 else ''}entailment",
        ),
        "RTE", "label", ["sentence1", "sentence2"], ["entailment", "not_entailment"],
    ),
    (
        "QNLI/train.tsv",
        lines(
            "index\tquestion\tsentence\tlabel",
            lambda n: f"{n}\t{SENTENCES[2]} {n}\t{SENTENCES[1]} {n}\t{'not_' if n % 2 else ''}entailment",
        ),
        "QNLI", "label", ["question", "sentence"], ["entailment", "not_entailment"],
    ),
    (
        "CoLA/CoLA_train.tsv", lines("", lambda n: f"gj{n % 9:02}\t{n % 2}\t{'*' if n % 2 else ''}\t{SENTENCES[n % 3]} {n}"),
        "CoLA", "label", ["text"], ["0", "1"],
    ),
    (
        "评论.csv", lines("编号,标签,内容", lambda n: f'{n},{"正面" if n % 2 else "负面"},"{SHOP.format(n)}"'),
        "评论", "标签", ["内容"], ["正面", "负面"],
    ),
    (
        "ag_news/train.csv",
        lines("Class Index,Title,Description", lambda n: f'{n % 4 + 1},"Wall St. {n} down",{SENTENCES[1].replace(",", "")} {n}'),
        "ag_news", "Class Index", ["Title", "Description"], ["1", "2", "3", "4"],
    ),
    (
        "spam.jsonl", lines("", lambda n: json.dumps({"text": f"{SENTENCES[n % 3]} {n}", "label": n % 2 * 1.0, "meta": [n]})),
        "spam", "label", ["text"], ["0", "1"],
    ),
    (
        "ratings.csv", lines("text;rating", lambda n: f'"{SENTENCES[n % 3]} {n}";{"very good" if n % 2 else "bad"}'),
        "ratings", "rating", ["text"], ["bad", "very_good"],
    ),
    (
        "MNLI/train.tsv",
        lines(
            "index\tgenre\tsentence1_binary_parse\tsentence1_parse\tsentence1\tsentence2\tlabel1\tgold_label",
            lambda n: f"{n}\t{'fiction' if n % 2 else 'travel'}\t( {SENTENCES[0]} {n} )\t(ROOT (S {SENTENCES[0]} {n}))\t"
            f"{SENTENCES[0]} {n}\t{SENTENCES[1]} {n}\t{KINDS[n % 3]}\t{KINDS[n % 3]}",
        ),
        "MNLI", "gold_label", ["sentence1", "sentence2"], sorted(["neutral", "entailment", "contradiction"]),
    ),
    (
        "snli.tsv", lines("gold_label\tsentence1", lambda n: f"{'-' if n % 21 == 20 else KINDS[n % 3]}\t{SENTENCES[0]} {n}", 62),
        "snli", "gold_label", ["sentence1"], sorted(["neutral", "entailment", "contradiction"]),
    ),
    (
        "spam.csv", lines("v1,v2,,,", lambda n: f'{"ham" if n % 3 else "spam"},"{PHRASES[1]} {n}",,,'),
        "spam", "v1", ["v2"], ["ham", "spam"],
    ),
    (
        "reviews.csv",
        lines("id,product_category,stars,body", lambda n: f"r{n},{'toy' if n % 2 else 'home'},{n % 5 + 1},{PHRASES[0]} {n}"),
        "reviews", "stars", ["body"], ["1", "2", "3", "4", "5"],
    ),
    (
        "Tweets.csv",
        lines(
            "id,airline_sentiment,sure,airline,text,created",
            lambda n: f"{n},{['good', 'bad', 'fair'][n % 3]},0.5,{'A' if n % 2 else 'B'},@A {PHRASES[0]} {n},2015-02-24 11:{n}",
        ),
        "Tweets", "airline_sentiment", ["text"], ["bad", "fair", "good"],
    ),
    (
        "Kunden.csv", lines("Nr;Text;Betrag;Klasse", lambda n: f"{n};{PHRASES[0]}, {n};{n},5;{'gut' if n % 2 else 'schlecht'}"),
        "Kunden", "Klasse", ["Text"], ["gut", "schlecht"],
    ),
    (
        "酒店.csv", lines("序号,评论 内容（正文）,情感 标签", lambda n: f"{n},{SHOP.format(n)},{'好评' if n % 2 else '差评'}"),
        "酒店", "情感 标签", ["评论 内容（正文）"], ["好评", "差评"],
    ),
    (
        "spelled.csv", lines(" Text , Label ", lambda n: f"{PHRASES[0]} {n},{['Good', ' good', 'bad', 'bad', 'good'][n % 5]}"),
        "spelled", "Label", ["Text"], ["bad", "good"],
    ),
    (
        "numbers.txt", lines("text|label", lambda n: f"{PHRASES[0]} {n}|{['0', '0.0', '1', '1.0'][n % 4]}"),
        "numbers", "label", ["text"], ["0", "1"],
    ),
    (
        "empty.csv", lines("text,label,,", lambda n: f"{PHRASES[0]} {n},{n % 2},," if n < 60 else ",,,", 62),
        "empty", "label", ["text"], ["0", "1"],
    ),
]  # fmt: skip


def new(*arguments: Any) -> int:
    return main([str(each) for each in arguments])


def task_of(recipe: Path) -> Task:
    return load_recipes([recipe])[0].recipe.task


@pytest.mark.parametrize(("name", "data", "task", "label", "inputs", "labels"), LOOKS, ids=[case[0] for case in LOOKS])
def test_well_known_layouts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    data: str,
    task: str,
    label: str,
    inputs: list[str],
    labels: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("data", name)
    path.parent.mkdir(parents=True)
    path.write_text(data, encoding="utf-8")
    assert new(path) == 0
    found = task_of(Path(f"{task}.yaml"))
    assert (found.name, found.train, found.label) == (task, f"data/{name}", label)
    assert found.input == "\n".join(f"{{{each}}}" for each in inputs)
    assert sorted(found.labels) == labels
    execute(load_recipes([Path(f"{task}.yaml")]), tmp_path, ["prepare"])
    records = json.loads(Path(f"pre_data/{task}/{task}_train.json").read_text(encoding="utf-8"))
    assert len(records) + 6 + 6 == 60


@pytest.mark.parametrize("name", [name for name in LAYOUTS if "order" not in name])
def test_every_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    train, dev = real_rows()
    write_layout(tmp_path, LAYOUTS[name], train, dev)
    assert new("data/train", "--out", "pairs.yaml") == 0
    found = task_of(Path("pairs.yaml"))
    texts = ["first", "second"] if "without header" not in name else ["text1", "text2"]
    assert found.input == "\n".join(f"{{{each}}}" for each in texts)
    assert (found.label, len(found.labels)) == ("label", 2)
    execute(load_recipes([Path("pairs.yaml")]), tmp_path, ["prepare"])
    records = json.loads((tmp_path / f"pre_data/{found.name}/{found.name}_train.json").read_text(encoding="utf-8"))
    truth = {f"{row[1]}\n{row[2]}": row[3] for row in train}
    written = {label: found.labels.index(found.label_names.get(text, text) if found.label_names else text)
               for label, text in (LAYOUTS[name].labels or {"0": "0", "1": "1"}).items()}  # fmt: skip
    assert all(found.labels.index(each["output"]) == written[truth[each["input"]]] for each in records)


def test_the_recipe_says_why_and_shows_prompts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mood_train.csv", "mood_test.csv"):
        Path(name).write_text(
            "text,label\n" + "".join(f"a fine day {n},{n % 2}\n" for n in range(40)), encoding="utf-8"
        )
    assert new("mood_train.csv", "--base", "models/base") == 0
    assert (
        Path("mood.yaml").read_text(encoding="utf-8")
        == schema_line(tmp_path)
        + """\
# mood: made by labeltune new from mood_train.csv. Every guess has its reason; correct what is wrong.
# All keys: docs/reference/recipe.md

task:
  name: "mood"                                            # names the folders and result_mood.txt
  train: "mood_train.csv"                                 # CSV with a comma, UTF-8, a header; 40 rows
  # dev: "mood_test.csv"                                  # beside it; without # its rows are predicted
  header: true                                            # the first line looks like names
  input: "{text}"                                         # the column of text: about 13 characters
  label: "label"                                          # a usual name of a label column; 2 different values in 40 rows
  labels: ["0", "1"]                                      # 0: 50%, 1: 50%

instruction: "Which label fits the text? Answer with one of: 0, 1."  # say here what each label means

prompt:
  too_long: truncate                                      # an input of more than max_length (512) tokens is cut and counted

samples: {train: all, holdout: 4, dev: all}               # of 40 rows; the hold-out chooses the best epoch

base: "models/base"                                       # a folder or a hub id
"""
    )
    out = capsys.readouterr().out
    assert out.endswith(
        "the prompt of row 2 of the file, and its label:\n"
        "  | Which label fits the text? Answer with one of: 0, 1.\n  | a fine day 0\n  | Answer: 0\n\n"
        "the prompt of row 3 of the file, and its label:\n"
        "  | Which label fits the text? Answer with one of: 0, 1.\n  | a fine day 1\n  | Answer: 1\n\n"
        "written: mood.yaml\nnext: read it, then: labeltune run mood.yaml\n"
    )
    before = Path("mood.yaml").read_bytes()
    assert new("mood_train.csv") == 2
    assert capsys.readouterr().err == "mood.yaml: is there already\n  next: choose another name: --out FILE.yaml\n"
    assert Path("mood.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("text\tn\n" + "".join(f"words here {n}\t{n}\n" for n in range(40)), "found no column of labels"),
        ("a\tb\n" + "".join(f"{n % 2}\t{n}\n" for n in range(40)), "found no column of text beside the label a"),
        (
            "text,label\n" + "".join(f"words here {n},1\n" for n in range(40)),
            "different values, each in several rows; different values in 40 rows: text 40, label 1",
        ),
        ("text,label\n", "found no column of labels: the file has no rows"),
        ("one\ntwo\nthree\n", "separated by tabs, commas, semicolons or vertical bars, found one column"),
        ("text,label\r" + "words here,1\r" * 9, "expected lines, found line ends with CR alone, as on an old Mac"),
        ("text,label,text\n" + "some words,1,a b\nmore words,0,c d\n" * 9, ":1: the column name 'text' is there twice"),
        (
            "text{raw},label\n" + "some words,1\nmore words,0\n" * 9,
            ":1: the column 'text{raw}' cannot be named in task.input",
        ),
        (
            "Survey,,\n,,\nid,text,label\n" + "".join(f"{n},some words {n},{n % 2}\n" for n in range(60)),
            ":3: found what looks like column names: 'id | text | label'\n  next: delete the 2 lines above it in the file",
        ),
        ("PK\x03\x04", "found an Excel file (.xlsx)"),
    ],
)
def test_what_cannot_be_guessed_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: str, message: str
) -> None:
    (tmp_path / "x").write_text(data, encoding="utf-8")
    assert new(tmp_path / "x", "--out", tmp_path / "x.yaml") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x.yaml").exists()


@pytest.mark.skipif(not (SHARED / "exam").exists(), reason="no exam data")
@pytest.mark.parametrize("name", ["CoLA", "QQP"])
def test_the_exams_files_are_understood(tmp_path: Path, name: str) -> None:
    assert new(SHARED / f"exam/data/questionBData/{name}/{name}_train.tsv", "--out", tmp_path / "x.yaml") == 0
    found, ours = task_of(tmp_path / "x.yaml"), task_of(ROOT / f"recipes/{name.lower()}.yaml")
    assert (found.name, sorted(found.labels)) == (ours.name, sorted(ours.labels))
    execute(load_recipes([tmp_path / "x.yaml"]), tmp_path, ["prepare"])
    assert (name != "QQP") or (found.input, found.label) == (ours.input, ours.label)
