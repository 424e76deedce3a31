"""Write docs/reference/recipe.md: every recipe key with its type, default, range and meaning.

    python docs/make_recipe_page.py

The dataclasses in `runner/recipe/schema.py` are the one place where a key is described; a test compares the page with
them."""

from __future__ import annotations

import ast
import dataclasses
import sys
import typing
from pathlib import Path
from typing import Any, Literal, Union

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from runner.recipe import schema as shapes  # noqa: E402  (the path comes first)
from runner.recipe.duration import Duration  # noqa: E402
from runner.recipe.parser import LIMITS  # noqa: E402

HEAD = """\
# Recipe keys

`python docs/make_recipe_page.py` makes this page from `runner/recipe/schema.py`; change it there.

A recipe is YAML, read by the rules of YAML 1.2: `2e-4` is a number, `no` is text and not false, and a repeated key is an
error. `extends: other.yaml` takes every key of another recipe that this recipe does not set itself. The
value of a key is taken whole, a mapping too: a `search.space` replaces the other one.
On the command line `key.sub=value` changes a key of every recipe in the command. Its value is read as YAML too:
`train.epochs=3`, `'lora.target_modules=[q_proj, v_proj]'`.

A relative path starts at the workspace (`--workspace`, or the current folder). A path that begins with `./` or `../` starts
at the folder of the recipe file; on the command line it starts at the current folder.
"""


def page() -> str:
    """The whole page as Markdown."""
    sections = [HEAD, _section("", shapes.Recipe, skip=True)]
    for field in dataclasses.fields(shapes.Recipe):
        members = _shapes(typing.get_type_hints(shapes.Recipe)[field.name])
        sections.extend(_section(field.name, shape) for shape in members)
    return "\n".join(sections)


def _section(name: str, shape: Any, skip: bool = False) -> str:
    hints = typing.get_type_hints(shape)
    words = {name: text.replace("|", "\\|").replace("\n", "\\n") for name, text in words_of(shape).items()}
    rows = []
    for field in dataclasses.fields(shape):
        hint = hints[field.name]
        if skip and _shapes(hint):
            rows.append(f"| [`{field.name}`](#{field.name}) | a mapping | | {words[field.name]} |")
            continue
        limits = " and ".join(
            text.format(bound=f"{field.metadata[limit]:.12g}")
            for limit, text in LIMITS.items()
            if limit in field.metadata
        )
        kind = f"{_kind(hint)}, {limits}" if limits else _kind(hint)
        older = [old for old, new in shapes.ALIASES.items() if new == f"{name}.{field.name}"]
        also = "".join(f" (also `{old.rpartition('.')[2]}`, its older name)" for old in older)
        rows.append(f"| `{field.name}`{also} | {kind} | {_default(field.default)} | {words[field.name]} |")
    lines = [f"## {name or 'The recipe'}", "", " ".join((shape.__doc__ or "").split()), ""]
    return "\n".join([*lines, "| key | value | default | meaning |", "|---|---|---|---|", *rows, ""])


def words_of(shape: Any) -> dict[str, str]:
    """The sentence below each field."""
    tree = ast.parse(Path(shapes.__file__).read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == shape.__name__)
    found = {}
    for field, below in zip(body, body[1:]):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[ast.unparse(field.target)] = " ".join(str(below.value.value).split())
    return found


def _shapes(hint: Any) -> list[Any]:
    return [member for member in (typing.get_args(hint) or (hint,)) if dataclasses.is_dataclass(member)]


def _kind(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Union:
        return " or ".join(_kind(member) for member in arguments if member is not type(None))
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in arguments)
    if origin is tuple:
        return "list of lists" if typing.get_origin(arguments[0]) is tuple else f"list of {_kind(arguments[0])}"
    if origin is dict:
        return f"mapping of names to {_kind(arguments[1])}"
    return {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "`true` or `false`",
        Duration: "time such as `40m`",
        typing.Any: "values",
    }[hint]


def _default(value: Any) -> str:
    if value is dataclasses.MISSING:
        return "required"
    if value is None or value == ():
        return ""
    return (
        f"`{str(value).lower() if isinstance(value, bool) else repr(value)[1:-1] if isinstance(value, str) else value}`"
    )


if __name__ == "__main__":
    (ROOT / "docs/reference/recipe.md").write_text(page(), encoding="utf-8")
