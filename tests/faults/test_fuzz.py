"""Recipes and tables with anything in them: a clear error or the right result, never a traceback, never a shifted row.

LABELTUNE_CASES=10000 runs that many of each instead of a hundred.
"""

import csv
import dataclasses
import io
import json
import os
import re
from pathlib import Path
from typing import Any, Optional

import pytest
import yaml
from conftest import ROOT, recipe_tree, write_recipe

from runner.commands.run import execute
from runner.errors import DataError, RecipeError, UserError
from runner.recipe.loader import load_recipes

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

CASES = int(os.environ.get("LABELTUNE_CASES", "100"))
settled = hypothesis.settings(
    max_examples=CASES, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
)
RECIPES = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "recipes").glob("*.yaml"))]
ODD = [
    "~", "null", "true", "no", "1e9999", "-1", "0", "2e-4", "nan", "[]", "{}", "[1, [2, {a: b}]]", "''", "'{'", '"{x}"',
    "&a [*a]", "!!python/object:os.system x", "*b", "? x", "- y", "\ttab", "<<: *c", "\u2028", "\x00", "\ud7ff", "é", "../..",
    "99999999999999999999", "0x1f", "2026-11-22", "|\n  text", "# only", "%YAML 2", "---", "...", "@", "`", "extends: x.yaml",
    "1" * 400, "0x" + "f" * 5000, '"\\uD800"', "[" * 60 + "]" * 60, "!!set {a}", "1e-400",
]  # fmt: skip


@st.composite
def recipes(draw: Any) -> str:
    """A recipe of ours with some places changed."""
    lines = draw(st.sampled_from(RECIPES)).splitlines()
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        action = draw(st.sampled_from(["drop", "double", "swap", "value", "word", "indent", "cut"]))
        if action == "drop" and len(lines) > 1:
            del lines[place]
        elif action == "double":
            lines.insert(place, lines[place])
        elif action == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[place], lines[other] = lines[other], lines[place]
        elif action == "value":
            lines[place] = f"{lines[place].partition(':')[0]}: {draw(st.sampled_from(ODD))}"
        elif action == "word":
            lines[place] = draw(st.sampled_from(ODD))
        elif action == "indent":
            lines[place] = " " * draw(st.integers(0, 4)) + lines[place].lstrip()
        else:
            lines[place] = lines[place][: draw(st.integers(0, len(lines[place])))]
    return "\n".join(lines)


def test_recipes(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"

    @settled
    @hypothesis.given(st.one_of(recipes().map(str.encode), st.binary(max_size=200)))
    def check(data: bytes) -> None:
        path.write_bytes(data)
        try:
            (loaded,) = load_recipes([path])
        except RecipeError as error:
            said = str(error).splitlines()
            assert said
            assert all(line.startswith((str(path), "  ")) for line in said), said
        else:
            text = data.decode("utf-8-sig")
            if "extends" not in text:
                assert not misread(dataclasses.asdict(loaded.recipe), yaml.load(text, yaml.BaseLoader), path.parent)

    check()


def misread(value: Any, written: Any, folder: Path) -> str:
    """Where a value of the recipe is not what PyYAML finds written there, as nothing but text; empty where all is."""
    if isinstance(written, dict):
        return "".join(misread(value[name], below, folder) for name, below in written.items())
    if isinstance(written, list):
        assert len(value) == len(written)
        return "".join(misread(one, below, folder) for one, below in zip(value, written))
    if isinstance(value, bool) or value is None:
        same = written.lower() in ({"true"} if value else {"false"} if value is False else {"null", "~", ""})
    elif isinstance(value, int):
        same = value == int(written, {"0x": 16, "0o": 8}.get(written[:2], 10))
    elif isinstance(value, float):
        same = value == float(int(written, 0) if written[:2] in ("0x", "0o") else written)
    else:
        same = value in (written, os.path.abspath(folder / written))  # a path that begins with ./
    return "" if same else f"{written!r} became {value!r}; "


def test_overrides() -> None:
    path = ROOT / "recipes/qqp.yaml"
    keys = st.sampled_from(
        ["train.epochs", "lora.r", "base", "task.labels", "train", "x.y", "", ".", "decoding.kind", "a..b"]
    )
    values = st.one_of(st.sampled_from(ODD), st.text(max_size=20))

    @settled
    @hypothesis.given(st.lists(st.tuples(keys, values), max_size=3))
    def check(overrides: list[tuple[str, str]]) -> None:
        try:
            load_recipes([path], [f"{key}={value}" for key, value in overrides])
        except RecipeError as error:
            said = str(error).splitlines()
            assert all(line.startswith(("command line: ", str(path), "  ")) for line in said), said
            assert any(line.startswith("command line: ") for line in said), said

    check()


PIECES = [
    "r",
    "\t",
    "\n",
    "\r",
    "\r\n",
    '"',
    '""',
    '\t"',
    '"\t',
    "\u2028",
    "\x0c",
    "\x00",
    "\ufeff",
    "é",
    "\u0130",
    "0",
    "1",
    " ",
    "\\",
]
TOKEN = re.compile(r"r(\d+)e")


@st.composite
def tables(draw: Any, header: bool) -> tuple[bytes, bytes]:
    """A training and a dev file whose every row has a token of its own, with odd bytes put in at random places."""
    found = []
    for names, make, rows in (
        ("id\tlabel\ttext\n", lambda n: f"{n}\t{n % 2}\ttext r{n}e of {n}\n", 24),
        ("id\ttext\n", lambda n: f"{n}\ttext r{n}e of {n}\n", 6),
    ):
        data = (names if header else "").encode() + "".join(make(number) for number in range(rows)).encode()
        if draw(st.integers(0, 99)) == 0:
            data = b""
        for _ in range(draw(st.integers(0, 4))):
            place = draw(st.integers(0, len(data)))
            odd = draw(
                st.one_of(st.sampled_from(PIECES).map(str.encode), st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80"]))
            )
            data = data[:place] + odd + data[place + draw(st.integers(0, 3)) :]
        found.append(data)
    return found[0], found[1]


def rows_of(data: bytes, quoting: str) -> Optional[list[list[str]]]:
    """The rows by other means: lines at LF and fields at tabs, or Python's own CSV reader over lines at LF; None where that
    gives up."""
    if quoting == "csv":
        text = data.decode("utf-8", "replace").lstrip("\ufeff")
        try:
            rows = list(csv.reader(io.StringIO(text, newline="\n"), delimiter="\t"))
        except csv.Error:
            return None
    else:
        lines = [line[:-1] if line.endswith(b"\r") else line for line in data.split(b"\n")]
        rows = [line.decode("utf-8", "replace").split("\t") for line in lines]
    while rows and rows[-1] in ([], [""]):  # a line of a tab alone is a row, of two empty fields
        rows.pop()
    return rows


def tokens(text: str) -> set[str]:
    return set(TOKEN.findall(text))


@pytest.mark.parametrize(
    ("quoting", "header", "bad_rows"),
    [("none", False, "skip"), ("csv", False, "skip"), ("auto", True, "skip"), ("auto", False, "error")],
)
def test_tables(workspace: Path, tiny_base: Path, quoting: str, header: bool, bad_rows: str) -> None:
    tree = recipe_tree(tiny_base, samples={"train": "all", "holdout": 4, "dev": "all"})
    tree["task"].update({"quoting": quoting, "header": header, "bad_rows": bad_rows})
    recipe = load_recipes([write_recipe(workspace, tree)])

    @settled
    @hypothesis.given(tables(header))
    def check(found: tuple[bytes, bytes]) -> None:
        for name, data in zip(("train", "dev"), found):
            (workspace / f"data/tiny_{name}.tsv").write_bytes(data)
        refusal = None
        try:
            execute(recipe, workspace, ["prepare"])
        except UserError as error:
            refusal = error
        if refusal is not None:
            assert isinstance(refusal, DataError), refusal
            assert refusal.next_step
            return
        hows = [how for how in ("none", "csv") if quoting in (how, "auto")]
        readings = [[rows[header:] for how in hows if (rows := rows_of(data, how)) is not None] for data in found]
        records = json.loads((workspace / "pre_data/tiny/tiny_dev.json").read_bytes())
        assert any(are_rows(records, dev) for dev in readings[1]), records
        for name in ("train", "holdout"):
            for record in json.loads((workspace / f"pre_data/tiny/tiny_{name}.json").read_bytes()):
                assert any(
                    row[1] == record["output"] and row[2] == record["input"]
                    for train in readings[0]
                    for row in train
                    if len(row) == 3
                ), record

    check()


def are_rows(records: list[dict[str, str]], rows: list[list[str]]) -> bool:
    """Whether the dev records are these rows, each in its place."""
    return len(records) == len(rows) and all(
        tokens(record["input"]) <= tokens("\t".join(row))
        and (len(row) != 2 or "\ufffd" in row[1] or record["input"] in (row[1], row[1].strip()))
        for record, row in zip(records, rows)
    )
