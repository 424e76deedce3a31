"""A dev file that cannot belong to the training file is refused, and nothing else is."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, SHARED, recipe_tree, write_recipe, write_tables

from runner.commands.run import execute, main
from runner.errors import DataError
from runner.recipe.loader import load_recipes

TEXT = "the old teacher that every student likes was not invited by some friends"
WORDS = TEXT.split(" ")
TRAIN = [f"g{n:02}\t{n % 2}\t{'*' if n % 9 == 0 else ''}\t{' '.join(WORDS[n % 5 :])} {n}." for n in range(120)]
DEV = [f"d{n:02}\t{'*' if n % 4 == 0 else ''}\t{' '.join(WORDS[n % 4 :])} dev {n}." for n in range(40)]
COLUMNS = ["template_id", "label", "difficult", "sentence"]


def moved(order: str, rows: Any = DEV) -> list[str]:
    """The rows with their columns in another order."""
    return ["\t".join(row.split("\t")[int(place)] for place in order) for row in rows]


def run(folder: Path, dev: Any, train: Any = TRAIN, written: str = "utf-8", **task: Any) -> None:
    (folder / "data").mkdir(exist_ok=True)
    for name, rows in (("train", train), ("dev", dev)):
        data = "".join(f"{row}\n" for row in rows).encode(written if name == "dev" else "utf-8")
        (folder / f"data/tiny_{name}.tsv").write_bytes(data)
    keys = {"columns": COLUMNS, "input": "{sentence}", **task}
    tree = recipe_tree(Path("none"), task=keys, samples={"dev": "all"})
    execute(load_recipes([write_recipe(folder, tree)]), folder, ["prepare"])


def said(column: str, found: str) -> str:
    return f"data/tiny_dev.tsv: its column {column} cannot be the column {column} of data/tiny_train.tsv: {found}"


ORDERS = [
    ("021", "30 of 40 values are empty, in the training file 0 of 120"),
    (
        "120",
        "100% are single words such as 'd00', in the training file 100% have several words, such as "
        "'the old teacher that every student likes'",
    ),
]


@pytest.mark.parametrize(("order", "found"), ORDERS)
def test_columns_in_another_order_are_refused(tmp_path: Path, order: str, found: str) -> None:
    with pytest.raises(DataError) as error:
        run(tmp_path, moved(order))
    assert error.value.what == said("sentence", found)
    assert error.value.next_step == (
        "correct task.header or task.dev_columns: the file's columns were read as template_id, difficult, sentence; or set "
        "task.dev_differs: true if the file is right"
    )
    run(tmp_path, moved(order), dev_differs=True)
    assert (tmp_path / "pre_data/tiny/tiny_dev.json").exists()


def test_numbers_and_labels_where_sentences_are_expected_are_refused(tmp_path: Path) -> None:
    numbers = [f"d{n}\t\t{1000 + n}" for n in range(40)]
    with pytest.raises(DataError) as error:
        run(tmp_path, numbers)
    assert error.value.what == said("sentence", "100% are numbers such as 1000, in the training file 0%")
    words = {"labels": ["good", "bad"]}
    train = [row.replace("\t0\t", "\tgood\t").replace("\t1\t", "\tbad\t") for row in TRAIN]
    with pytest.raises(DataError) as error:
        run(tmp_path, [f"d{n}\t\t{'good' if n % 2 else 'bad'}" for n in range(40)], train, **words)
    assert error.value.what == said("sentence", "100% are labels such as bad, in the training file 0%")


def test_chinese_sentences_and_ids_are_told_apart_by_their_length(tmp_path: Path) -> None:
    text = "这家店的服务员态度很好菜也很好吃下次还会再来"
    train = [f"商品{n}\t{n % 2}\t\t{text}{n}" for n in range(60)]
    dev = [f"编号{n}\t\t{text}新{n}" for n in range(20)]
    run(tmp_path, dev, train)
    with pytest.raises(
        DataError, match=r"its column sentence cannot be .*: half are shorter than 4 characters, such as '编号0'"
    ):
        run(tmp_path, moved("210", dev), train)


@pytest.mark.parametrize("names", ["template_id\tdifficult\tsentence", "idx\tmark\tutterance"])
def test_a_dev_header_is_never_row_1(tmp_path: Path, names: str, capsys: pytest.CaptureFixture[str]) -> None:
    marked = [row.replace("\t\t", "\t-\t") for row in DEV]
    with_header = [names, *marked]
    if names.startswith("idx"):
        with pytest.raises(DataError) as error:
            run(tmp_path, with_header, header=False)
        assert error.value.what == (
            "data/tiny_dev.tsv:1: expected a row, found what looks like column names: 'idx | mark | utterance'"
        )
        run(tmp_path, with_header, header=False, dev_differs=True)
        assert "41 rows to predict" in capsys.readouterr().out
    run(tmp_path, with_header, header="auto")
    assert (
        "TSV, UTF-8, a header; columns template_id, difficult, sentence; 40 rows to predict" in capsys.readouterr().out
    )


@pytest.mark.parametrize(("encoding", "found"), [("gbk", "GBK"), ("utf-16", "UTF-16")])
def test_a_dev_file_in_another_encoding_is_named(tmp_path: Path, encoding: str, found: str) -> None:
    dev = [f"{row}这部电影很好看" for row in DEV]
    with pytest.raises(DataError, match=rf"data/tiny_dev.tsv:1: expected UTF-8, found {found}"):
        run(tmp_path, dev, written=encoding)
    run(tmp_path, dev, written=encoding, encoding=encoding)
    assert "这部电影很好看" in (tmp_path / "pre_data/tiny/tiny_dev.json").read_text(encoding="utf-8")


FINE: list[tuple[str, Any, Any]] = [
    ("8 rows", TRAIN, DEV[:8]),
    ("3 rows of one word", TRAIN, ["a\t\tYes", "b\t\tNo", "c\t\tThanks"]),
    ("other topics", TRAIN, [f"z{n}\t\tShort text {n}" for n in range(40)]),
    ("much longer", TRAIN, [f"z{n}\t\t{'A long story about many things. ' * 4}{n}" for n in range(40)]),
    ("some empty", TRAIN, [f"z{n}\t\t{'' if n % 5 == 0 else 'a few words'}" for n in range(40)]),
    ("in another language", TRAIN, [f"z{n}\t\t这部电影第{n}次看还是很好看" for n in range(40)]),
    ("one text often", TRAIN, [f"z{n}\t\t{WORDS[n % 3]} is the very same question as before" for n in range(40)]),
]


@pytest.mark.parametrize(("train", "dev"), [case[1:] for case in FINE], ids=[case[0] for case in FINE])
def test_what_can_belong_together_passes(tmp_path: Path, train: Any, dev: Any) -> None:
    run(tmp_path, dev, train)


def test_exchanged_texts_are_refused(tmp_path: Path) -> None:
    pair = {"columns": ["question", "label", "passage"], "input": "{question} {passage}"}
    train = [f"{' '.join(WORDS[n % 5 : n % 5 + 3])} {n}\t{n % 2}\t{TEXT} {TEXT} {n}" for n in range(40)]
    dev = [f"{' '.join(WORDS[n % 5 : n % 5 + 3])} dev {n}\t{TEXT} {TEXT} {n}" for n in range(20)]
    run(tmp_path, dev, train, **pair)
    with pytest.raises(DataError) as error:
        run(tmp_path, moved("10", dev), train, **pair)
    assert error.value.what == (
        "data/tiny_dev.tsv: its columns question and passage seem to be exchanged: half of the values have more than 146 and 23 "
        "characters, in the training file more than 19 and 147"
    )
    run(tmp_path, moved("10", dev), train, **pair, dev_differs=True)


def test_a_label_column_that_is_another_one_is_refused(tmp_path: Path) -> None:
    dev = [f"d{n}\t{n}\t\t{TEXT} dev {n}" for n in range(40)]
    with pytest.raises(DataError) as error:
        run(tmp_path, dev)
    assert error.value.what == "data/tiny_dev.tsv: its column label holds few labels, but '2', '3', '4'"


def test_an_input_of_numbers_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = ["sentence", "label", "difficult", "template_id"]
    run(
        tmp_path,
        [f"{n}\t\t{TEXT} {n}" for n in range(9)],
        [f"{n}\t{n % 2}\t\t{TEXT} {n}" for n in range(40)],
        columns=numbers,
    )
    assert (
        "data/tiny_train.tsv: task.input holds nothing but numbers, such as '0': if that is not the text, correct task.columns "
        "or task.input; the columns were read as sentence, label, difficult, template_id"
    ) in capsys.readouterr().out


def test_dev_rows_without_a_text_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, [*DEV, "d\t\t"])
    assert (
        "data/tiny_dev.tsv: 1 rows have no text, the first is line 41; not skipped: every dev row has its line in the result"
    ) in capsys.readouterr().out


RECIPES = ["demo-acceptability", "demo-paraphrase"]
EXAM_RECIPES = [
    pytest.param(name, marks=pytest.mark.skipif(not (SHARED / "exam").exists(), reason="no exam data"))
    for name in ("cola", "qqp")
]


@pytest.mark.parametrize("name", [*RECIPES, *EXAM_RECIPES])
def test_our_own_and_the_exams_files_pass(tmp_path: Path, name: str) -> None:
    if name not in RECIPES:
        (tmp_path / "data").symlink_to(SHARED / "exam/data")
    execute(load_recipes([ROOT / f"recipes/{name}.yaml"]), tmp_path, ["prepare"])


def test_questions_in_the_other_order_pass(tmp_path: Path) -> None:
    folder = ROOT / "recipes/demo/data/questionBData/paraphrase"
    lines = (folder / "paraphrase_dev.tsv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "dev.tsv").write_text("\n".join(moved("01243", lines[1:])), encoding="utf-8")
    loaded = load_recipes([ROOT / "recipes/demo-paraphrase.yaml"], [f"task.dev={tmp_path}/dev.tsv", "task.header=auto"])
    execute(loaded, tmp_path, ["prepare"])


def test_a_column_that_tells_the_label_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = [f"{n}\t{n % 2}\t{'yes' if n % 2 else 'no'}\t{' '.join(WORDS)} {n}" for n in range(40)]
    run(tmp_path, [f"{n}\tno\t{' '.join(WORDS)} dev {n}" for n in range(9)], train, input="{difficult} {sentence}")
    assert (
        "data/tiny_train.tsv: the column difficult of task.input tells the label in every row ('no' is '0'): the model will read "
        "the answer; take the column out of task.input unless the rows to predict have it too"
    ) in capsys.readouterr().out


def test_a_row_that_holds_a_columns_name_is_no_header(workspace: Path, tiny_base: Path) -> None:
    write_tables(workspace, dev=["0\ttext\t r0e of 0", *(f"{n}\ttext r{n}e of {n}" for n in range(1, 5))])
    path = write_recipe(workspace, recipe_tree(tiny_base))
    assert main([str(path), "--workspace", str(workspace), "--stages", "prepare"]) == 0
    records = json.loads((workspace / "pre_data/tiny/tiny_dev.json").read_text(encoding="utf-8"))
    assert [record["input"] for record in records][:2] == ["text\t r0e of 0", "text r1e of 1"]


def test_a_header_with_more_columns_than_the_rows_is_refused(workspace: Path, tiny_base: Path) -> None:
    path = write_recipe(workspace, recipe_tree(tiny_base, task={"header": True, "bad_rows": "skip"}))
    train = workspace / "data/tiny_train.tsv"
    train.write_text("id\tlabel\ttext\n" + train.read_text(encoding="utf-8"), encoding="utf-8")
    dev = "".join(f"{number}\tA sentence .\n" for number in range(5))
    (workspace / "data/tiny_dev.tsv").write_text("\tid\ttext\n" + dev, encoding="utf-8")
    with pytest.raises(
        DataError, match=r"5 of 5 rows are bad, so its columns are not those of its rows\n  next: correct"
    ):
        execute(load_recipes([path]), workspace, ["prepare"])
    insisted = write_recipe(
        workspace, recipe_tree(tiny_base, task={"header": True, "bad_rows": "skip", "dev_differs": True})
    )
    execute(load_recipes([insisted]), workspace, ["prepare"])
