"""The header: whether the first row of a file looks like column names, where nobody has named them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence, Set

NAME = re.compile(r"(?:[^\W\d]|#)[\w.\- ]{0,39}")
"""What a column name looks like: a letter or `#`, then letters, digits, `_`, `.`, `-` and spaces."""

_WORDS = """
id idx index no number row sentence sentence1 sentence2 text text1 text2 text_a text_b label labels class
category target question question1 question2 premise hypothesis review comment content title description body
message tweet query passage answer input output sentiment score rating is_duplicate gold_label source 编号 序号 标签
类别 分类 情感 文本 内容 句子 句子1 句子2 评论 标题 问题 答案 正文
"""
COMMON_NAMES = frozenset(_WORDS.split())
"""Names that many data sets use, in small letters."""

ENOUGH_ROWS = 4
"""Rows after the first that a comparison needs."""


def looks_like_names(first: Sequence[str], others: Sequence[Sequence[str]], known: Sequence[str] = ()) -> bool:
    """Whether the first row holds names: each field looks like one, and one of them like no other value of its column.

    `known`: names that the recipe uses, which need no other proof."""
    names = [field.strip() for field in first]
    if not names or len(set(names)) < len(names) or not all(map(NAME.fullmatch, names)):
        return False
    columns = [[row[place].strip() for row in others if len(row) > place] for place in range(len(names))]
    if any(name in column for name, column in zip(names, columns)):
        return False
    usual = {*COMMON_NAMES, *(name.lower() for name in known)}
    if all(name.lower() in usual for name in names) and (len(names) > 1 or not columns[0]):
        return True
    return any(_is_odd(name, column, usual) for name, column in zip(names, columns))


def _is_odd(name: str, column: Sequence[str], usual: Set[str]) -> bool:
    """Whether a name is of another kind than the values of its column."""
    values = [value for value in column if value]
    if len(values) < ENOUGH_ROWS:
        return False
    numbers = sum(map(is_number, values))
    if numbers >= 0.95 * len(values):
        return True
    if " " not in name and not any(map(NAME_WORD.fullmatch, values)):
        return name.lower() in usual or len(values) >= 2 * ENOUGH_ROWS
    counts = Counter(values)
    return len(values) >= 20 and len(counts) <= 10 and min(counts.values()) > 1 and name.lower() in usual


NAME_WORD = re.compile(r"[^\W\d][\w.\-]{0,39}")
"""A name of one word."""


def is_number(text: str) -> bool:
    """Whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
