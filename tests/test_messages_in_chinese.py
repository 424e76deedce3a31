"""Messages in Chinese: whole sentences for people, and English for files that programs read."""

import json
import re
from pathlib import Path

import pytest
from conftest import recipe_tree, write_recipe, write_tables
from support import submissions
from support.classes import run_class
from support.commands import run as grade

from grading.contract.language import Translated, english, joined, translated, width
from grading.errors import CouldNotGrade
from grading.grader import Exam
from runner.commands.new import main as new
from runner.commands.run import execute, main
from runner.errors import UserError
from runner.language import mark, tr
from runner.lookahead.findings import Findings, Section
from runner.lookahead.layout import COLUMNS, report_lines
from runner.recipe.loader import load_recipes


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABELTUNE_LANG", "zh")
    # argparse's, which a command sets: undone after the test
    monkeypatch.setenv("LANGUAGE", "zh")


def test_messages_are_whole_in_both_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    error = UserError(tr("no recipe named"), mark("lower train.learning_rate"))
    assert str(error) == "no recipe named\n  next: lower train.learning_rate"
    monkeypatch.setenv("LABELTUNE_LANG", "zh")
    error = UserError(tr("no recipe named"), mark("lower train.learning_rate"))
    assert str(error) == "没有指定配方\n  下一步：请降低 train.learning_rate"


def test_a_message_keeps_its_english_words_for_files_of_programs(chinese: None) -> None:
    words = joined("; ", [tr("no recipe named"), mark("lower train.learning_rate")])
    assert words == "没有指定配方; 请降低 train.learning_rate"
    assert english(words) == "no recipe named; lower train.learning_rate"
    assert english({"a": [words + "!", 1]}) == {"a": ["no recipe named; lower train.learning_rate!", 1]}
    assert type(english(words)) is str
    assert translated("anything else") == "anything else"
    assert json.dumps(mark("lower train.learning_rate")) == '"lower train.learning_rate"'
    assert isinstance(tr("{path}: fine", path="a"), Translated)


def test_a_recipes_mistakes_are_reported_in_chinese(chinese: None, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("task: 3\nseed: 1\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_recipes([path])
    lines = str(caught.value).splitlines()
    assert f"{path}:1:1: instruction: 缺少必需的键" in lines
    (task,) = (line for line in lines if line.startswith(f"{path}:1:7: task: 应为含有以下键的映射："))
    assert task.endswith("，实际是数字 3")
    assert any("未知的键" in line for line in lines)


def test_a_report_is_chinese_for_people_and_the_same_json_for_programs(
    chinese: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = submissions.write_answers(tmp_path / "keys")
    submissions.write_submission(tmp_path / "own", answers=("1", *submissions.ANSWERS[1:]))
    submissions.write(tmp_path / "own/result/result_QQP.txt", b"1\nyes\n")
    submissions.write_json(tmp_path / "own/pre_data/QQP/QQP_dev.json", [])
    written = {}
    for name in ("zh", "en"):
        monkeypatch.setenv("LABELTUNE_LANG", name)
        file = tmp_path / f"{name}.json"
        assert grade(tmp_path / "own", keys, "--json", str(file)) == 0
        written[name] = (capsys.readouterr().out, file.read_bytes())
    assert written["zh"][1] == written["en"][1]
    assert "分数：" in written["zh"][0]
    assert "points: " in written["en"][0]
    assert "next:" not in written["zh"][0]


def test_a_class_has_one_language(chinese: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    exam = Exam(submissions.write_answers(tmp_path / "keys"))
    for name in ("ann", "bob"):
        submissions.write_submission(tmp_path / "class" / name)
    (tmp_path / "class/eve.zip").write_bytes(b"PK nothing")
    _, lines = run_class(exam, tmp_path / "class", tmp_path / "zh")
    assert any("'eve.zip': 未评分（提交）" in line for line in lines)
    page = (tmp_path / "zh/index.html").read_text(encoding="utf-8")
    assert '<html lang="zh-CN">' in page
    for words in ("排行榜", "未评分", "适配器完全相同", "应为 zip 压缩包"):
        assert words in page
    assert "分数：100 / 100" in (tmp_path / "zh/reports/ann.txt").read_text(encoding="utf-8")
    monkeypatch.setenv("LABELTUNE_LANG", "en")
    run_class(exam, tmp_path / "class", tmp_path / "en")
    for file in (
        "class.csv",
        "reports/ann.json",
        *(f"reports/{path.name}" for path in (tmp_path / "en/reports").glob("*.json")),
    ):
        assert (tmp_path / "zh" / file).read_bytes() == (tmp_path / "en" / file).read_bytes(), file
    with pytest.raises(CouldNotGrade, match="messages in another language"):
        run_class(exam, tmp_path / "class", tmp_path / "zh", resume=True)


def test_a_drafted_recipe_has_chinese_reasons_and_can_be_read(
    chinese: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"这个产品的质量真的非常好，第 {number} 件\t{number % 2}" for number in range(40)]
    Path("评论.tsv").write_text("\n".join(["内容\t情感", *rows]) + "\n", encoding="utf-8")
    assert new(["评论.tsv", "--out", "own.yaml"]) == 0
    assert "已写入：own.yaml" in capsys.readouterr().out
    lines = Path("own.yaml").read_text(encoding="utf-8").splitlines()
    reasons = [line.rpartition("  # ") for line in lines if line.startswith(("  input", "  label"))]
    assert reasons[0][2].startswith("文本列: 约")
    # the reasons begin at one column of a terminal
    assert {width(line) for line, _, _ in reasons} == {56}
    task = load_recipes([Path("own.yaml")])[0].recipe.task
    assert (task.label, task.labels, task.input) == ("情感", ("0", "1"), "{内容}")


def test_a_chinese_report_is_aligned_and_fits_a_terminal(chinese: None) -> None:
    findings = Findings()
    findings.problem("数据" * 60 + "。", tr("make it readable"))
    lines = report_lines([Section(tr("base"), [(tr("path"), "a"), (tr("model"), "b，" * 90)])], findings)
    assert lines[0] == "基座模型   路径       a"
    assert lines[1].startswith(" " * 11 + "模型       b，")
    assert [line.partition("  ")[0] for line in lines if not line.startswith(" ")] == ["基座模型", "问题"]
    assert lines[-1] == "  下一步   请让它可以读取"
    assert all(width(line) <= COLUMNS for line in lines)
    assert not any(line.lstrip()[0] in "，。" for line in lines)


def test_an_option_that_is_a_key_is_explained_in_chinese(chinese: None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["own.yaml", "--train.epochs", "3"])
    assert "无法识别的参数：--train.epochs 3；修改配方的键时不用连字符：train.epochs=3" in capsys.readouterr().err


def test_the_files_of_a_run_are_english(
    chinese: None, tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tables(tmp_path / "run")
    execute(load_recipes([write_recipe(folder, recipe_tree(tiny_base))]), folder)
    assert "行，" in capsys.readouterr().out
    written = [
        path for path in folder.rglob("*") if path.is_file() and path.suffix in (".json", ".jsonl", ".txt", ".yaml")
    ]
    assert len(written) > 8
    for path in written:
        assert not re.search("[\u4e00-\u9fff]", path.read_text(encoding="utf-8")), path
    # the language is no input of a stage
    monkeypatch.setenv("LABELTUNE_LANG", "en")
    execute(load_recipes([folder / "tiny.yaml"]), folder)
    assert capsys.readouterr().out.count("nothing changed") == 4
