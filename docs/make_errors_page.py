"""Write docs/how-to/errors.md and errors.zh.md: every error message with what to do about it, in both languages.

    python docs/make_errors_page.py

The messages are read from the code and the catalogues; a test compares the pages with them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Optional

from make_catalogues import ROOT, po_path, read_po

ERRORS = ("UserError", "DataError", "CouldNotGrade", "FileProblem", "FileMissing", "OutOfMemory")
"""The errors whose first argument says what is wrong, and whose second one says what to do."""

ROOMS: Mapping[str, tuple[str, str]] = {
    "runner/recipe": ("Recipes", "配方"),
    "runner/data": ("Data files", "数据文件"),
    "runner/model": ("The base and the adapter", "基座模型和适配器"),
    "runner/scoring": ("Prompts and batches", "提示词和批次"),
    "runner/training": ("Fine-tuning", "微调"),
    "runner/prediction": ("Evaluation and prediction", "评估和预测"),
    "runner/search": ("Search", "搜索"),
    "runner/ensemble": ("Ensembles", "集成"),
    "runner/doubtful": ("Doubtful rows", "可疑的行"),
    "runner/workspace": ("Files of the workspace", "工作区的文件"),
    "runner/system": ("The machine", "机器"),
    "runner": ("Commands", "命令"),
    "labeltune": ("Commands", "命令"),
    "grading": ("Grading", "评分"),
}
"""The folders by their beginnings, the first that fits, with the headings of their messages."""

HEADS = {
    "en": """\
# Error messages and what to do

[中文](errors.zh.md). `python docs/make_errors_page.py` makes this page from the code. Search it for a few words of the message
that you see; a name in braces stands for what is filled in. Mistakes in a recipe's values come with the line, the column and
what was expected, and are not listed here.
""",
    "zh": """\
# 错误信息和处理办法

[English](errors.md)。本页由 `python docs/make_errors_page.py` 从代码生成。请用您看到的信息中的几个词来查找；花括号里的名字代表
要填入的内容。配方中取值的错误会给出行、列和应有的值，不在这里列出。
""",
}
"""What each page begins with."""


class Entry(NamedTuple):
    """One message."""

    heading: tuple[str, str]
    package: str
    problem: str
    next_step: str


def entries() -> list[Entry]:
    """Every message with its next step, each pair once."""
    found: dict[tuple[str, str], Entry] = {}
    for package in ("runner", "labeltune", "grading"):
        for path in sorted((ROOT / package).rglob("*.py")):
            place = path.relative_to(ROOT).as_posix()
            heading = next(heading for start, heading in ROOMS.items() if place.startswith(f"{start}/"))
            for problem, next_step in _pairs(ast.parse(path.read_text(encoding="utf-8"))):
                catalogue = "grading" if package == "grading" else "runner"
                found.setdefault((problem, next_step), Entry(heading, catalogue, problem, next_step))
    return list(found.values())


def page(language: str) -> str:
    """The page in one language, `en` or `zh`."""
    known = {package: read_po(po_path(package, language)) for package in ("runner", "grading")}
    place = list(HEADS).index(language)
    sections: dict[str, list[str]] = {heading[place]: [] for heading in ROOMS.values()}
    for entry in entries():
        problem, next_step = (
            " ".join(known[entry.package].get(text, [text])[0].split()) for text in (entry.problem, entry.next_step)
        )
        sections[entry.heading[place]].append(
            f"* `{_code(problem)}`" + (f"  \n  → {_prose(next_step)}" if next_step else "")
        )
    parts = [f"## {heading}\n\n" + "\n".join(sorted(lines)) + "\n" for heading, lines in sections.items() if lines]
    return "\n".join([HEADS[language], *parts])


def _pairs(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args or ast.unparse(node.func).rpartition(".")[2] not in ERRORS:
            continue
        problem = _text(node.args[0])
        if problem:
            yield problem, (_text(node.args[1]) or "") if len(node.args) > 1 else ""


def _text(node: ast.expr) -> Optional[str]:
    """The template of a message; None where it is made elsewhere."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("tr", "trn", "mark") and node.args:
        return _text(node.args[0])
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _code(text: str) -> str:
    return _named(text).replace("`", "'")


def _prose(text: str) -> str:
    return _named(text).replace("<", "&lt;").replace("*", "\\*")


def _named(text: str) -> str:
    """The template with bare names in its braces, and with the braces that are text."""
    return re.sub(r"\{(\w+)[!:][^{}]*\}", r"{\1}", text).replace("{{", "{").replace("}}", "}")


if __name__ == "__main__":
    for suffix, language in (("", "en"), (".zh", "zh")):
        (ROOT / f"docs/how-to/errors{suffix}.md").write_text(page(language), encoding="utf-8")
