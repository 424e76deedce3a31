"""The recipe file: YAML, the recipes it extends and the command line's overrides, read into a `Recipe`.

All problems of a recipe are found here, all at once and with their places, before any data or model is touched. No other
module checks a recipe again.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Optional

from grading.contract.language import reason_of
from runner.errors import RecipeError
from runner.language import mark, tr
from runner.recipe.parser import MISSING, RecipeReader
from runner.recipe.rules import contradictions
from runner.recipe.schema import ALIASES, Recipe
from runner.recipe.yaml_nodes import Entry, Node, Place, Problem, kind, parse

COMMAND_LINE = mark("command line")

RECIPE_LIMIT = 1 << 16
"""Most bytes of a recipe file; ours have about three thousand."""

MOST_CONTRADICTIONS = 30
"""Most of them reported at once: more of them are one mistake made many times."""

_OVERRIDE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*=.*", re.DOTALL)


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe and its file, where `./` paths start."""

    path: Path
    """The recipe file."""
    recipe: Recipe
    """Its values."""
    warnings: tuple[str, ...] = ()
    """What is probably a mistake in the file, and may be meant: a sentence each, with its place."""


def recipe_from(values: object) -> Optional[Recipe]:
    """The recipe with these plain values, as the record of a run has them; None where this version cannot read it."""
    root = parse(json.dumps(values), "run.json").root
    return None if root is None else RecipeReader().build(Recipe, root, "")


def is_override(argument: str) -> bool:
    """Whether a command-line argument is `key.sub=value` rather than a recipe file."""
    return bool(_OVERRIDE.fullmatch(argument))


def load_recipes(paths: Sequence[Path], overrides: Sequence[str] = ()) -> list[LoadedRecipe]:
    """Every recipe of one launch, with the overrides applied to each.

    Raises RecipeError with all problems of all recipes, in the order of the command line."""
    loaded: list[LoadedRecipe] = []
    problems: list[Problem] = []
    known: set[Problem] = set()
    for path in paths:
        found: list[Problem] = []
        notes = _Notes(found)
        recipe = _load(path, overrides, notes)
        problems.extend(problem for problem in dict.fromkeys(found) if problem not in known)
        known.update(found)
        if recipe is not None:
            loaded.append(LoadedRecipe(path, recipe, tuple(map(str, notes.warnings))))
    for index, one in enumerate(loaded):
        for other in loaded[:index]:
            if one.recipe.task.name.lower() == other.recipe.task.name.lower():
                text = tr(
                    "{path} writes {name} too; give each recipe of a launch its own name",
                    path=other.path,
                    name=one.recipe.task.name,
                )
                problems.append(Problem(Place(str(one.path)), "task.name", text))
    if problems:
        raise RecipeError(problems)
    return loaded


@dataclass
class _Notes:
    """What is found while one recipe is read."""

    problems: list[Problem]
    """Mistakes."""
    warnings: list[Problem] = field(default_factory=list)
    """What may be meant."""
    is_whole: bool = True
    """Whether every line of every file was read."""

    def tree(self, text: str, source: str) -> Optional[Node]:
        """The tree of a text; None where it cannot be read."""
        parsed = parse(text, source)
        self.problems.extend(parsed.problems)
        self.warnings.extend(parsed.warnings)
        self.is_whole = self.is_whole and parsed.is_whole
        return parsed.root


def _load(path: Path, overrides: Sequence[str], notes: _Notes) -> Optional[Recipe]:
    problems = notes.problems
    tree = _read_file(path, Place(str(path)), notes, ())
    if tree is None:
        return None
    for override in overrides:
        tree = _override(tree, override, notes)
    reader = RecipeReader()
    recipe: Optional[Recipe] = reader.build(Recipe, tree, "")
    if notes.is_whole:
        problems.extend(reader.problems)
        found = islice(contradictions(reader.values), MOST_CONTRADICTIONS)
        problems.extend(Problem(_place_of(tree, key), key, text) for key, text in found)
    else:
        # a key that seems to be missing may be in a line that could not be read
        problems.extend(problem for problem in reader.problems if problem.text != MISSING)
    if not problems:
        problems.extend(_space_problems(tree))
    order = {str(path): 0, COMMAND_LINE: 2}
    problems.sort(key=lambda problem: (order.get(problem.place.source, 1), problem.place.line, problem.place.column))
    return recipe if not problems else None


def _space_problems(tree: Node) -> list[Problem]:
    """Each value in `search.space` is read as the recipe's own value would be."""
    problems: list[Problem] = []
    for key, values in _entries(_below(tree, "search", "space")).items():
        for node in values.node.value if isinstance(values.node.value, tuple) else ():
            reader = RecipeReader()
            reader.build(Recipe, _replaced(tree, key, node), "")
            found = reader.problems or [Problem(node.place, key, text) for _, text in contradictions(reader.values)]
            problems.extend(Problem(node.place, f"search.space: {problem.key}", problem.text) for problem in found)
    return problems


def _below(node: Optional[Node], *names: str) -> Optional[Node]:
    """The node below these keys; None where there is none."""
    for name in names:
        entry = _entries(node).get(name)
        node = entry.node if entry else None
    return node


def _entries(node: Optional[Node]) -> dict[str, Entry]:
    return node.value if node is not None and isinstance(node.value, dict) else {}


def _read_file(path: Path, asked: Place, notes: _Notes, above: tuple[Path, ...]) -> Optional[Node]:
    """The tree of one file, merged over the recipes that it extends; None if it cannot be read. `asked`: the place where the
    file was named. `above`: the files that extend it."""
    problems = notes.problems
    try:
        here = path.resolve()
        if here in above:
            problems.append(Problem(asked, "extends", tr("{path} extends itself", path=path)))
            return None
        text = _bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.append(
            Problem(
                Place(str(path), error.object.count(b"\n", 0, error.start) + 1, 1),
                "",
                tr(
                    "not UTF-8 text: byte 0x{byte:02x} at offset {offset}; save the recipe as UTF-8",
                    byte=error.object[error.start],
                    offset=error.start,
                ),
            )
        )
        return None
    # ValueError: a name that no file can have. RuntimeError: links in a circle
    except (OSError, ValueError, RuntimeError) as error:
        reason = reason_of(error) if isinstance(error, OSError) and error.strerror else str(error)
        shown = ascii(str(path)[:200])[1:-1]
        problems.append(
            Problem(
                asked,
                "extends" if asked.line else "",
                tr("cannot read {shown}: {reason}{near}", shown=shown, reason=reason, near=_near(path)),
            )
        )
        return None
    tree = notes.tree(text, str(path))
    if tree is None:
        return None
    tree = _renamed(tree, problems)
    if not isinstance(tree.value, dict):
        problems.append(
            Problem(tree.place, "", tr("expected a mapping of keys, found {value}", value=kind(tree.value)))
        )
        return None
    own = dict(tree.value)
    extends = own.pop("extends", None)
    if extends is None:
        return tree
    if not isinstance(extends.node.value, str) or not extends.node.value or "\0" in extends.node.value:
        text = tr("expected the path of a recipe, found {value}", value=kind(extends.node.value))
        problems.append(Problem(extends.node.place, "extends", text))
        return Node(own, tree.place)
    parent = path.parent / extends.node.value
    below = _read_file(parent, extends.node.place, notes, (*above, here))
    return _merge(below, Node(own, tree.place)) if below is not None else None


def _bytes(path: Path) -> bytes:
    """The file's bytes. Raises OSError for a pipe, which would wait for a writer, and for a device, which may have no end."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, tr("it is not a file"))
    with path.open("rb") as file:
        data = file.read(RECIPE_LIMIT + 1)
    if len(data) > RECIPE_LIMIT:
        raise OSError(
            errno.EFBIG, tr("it is larger than {kilobytes} KiB, which no recipe is", kilobytes=RECIPE_LIMIT >> 10)
        )
    return data


def _near(path: Path) -> str:
    """What could be meant by a file that is missing: a change to a key, or a recipe in its folder."""
    wide = re.fullmatch(r"([\w.-]+)[＝：=:](.*)", str(path))
    if wide:
        return tr("; a change to a key is written with a plain equals sign: {key}={value}", key=wide[1], value=wide[2])
    if str(path)[0] in "–—":
        return tr("; an option begins with two hyphens: --{lstrip}", lstrip=str(path).lstrip("-–—"))
    if re.fullmatch(r"=|[a-z]+(\.[a-z_]+)+", str(path)):
        return tr("; a change to a key is written without spaces: train.epochs=3")
    with suppress(OSError, ValueError):
        near = sorted(str(found) for found in path.parent.glob("*.yaml"))
        return tr("; there are {near}", near=", ".join(near[:12])) if near else ""
    return ""


def _merge(below: Node, over: Node, levels: int = 2) -> Node:
    """`below` with the values of `over`: key by key in so many levels, the recipe and its blocks, and replaced below them.
    Another `kind` replaces its block, except what the command line has said: a key that the new kind lacks is then a mistake."""
    if not levels or not isinstance(below.value, dict) or not isinstance(over.value, dict):
        return over
    ours, theirs = over.value.get("kind"), below.value.get("kind")
    if ours and theirs and ours.node.value != theirs.node.value:
        asked = {name: entry for name, entry in below.value.items() if entry.key_place.source == COMMAND_LINE}
        return Node({**asked, **over.value}, over.place)
    merged = dict(below.value)
    for name, entry in over.value.items():
        node = _merge(merged[name].node, entry.node, levels - 1) if name in merged else entry.node
        merged[name] = Entry(entry.key_place, node)
    return Node(merged, over.place if over.place.line else below.place)


def _replaced(tree: Node, path: str, node: Node) -> Node:
    """The tree with another value at a path. A mapping replaces the whole mapping there."""
    name, _, rest = path.partition(".")
    entries = dict(tree.value) if isinstance(tree.value, dict) else {}
    below = entries[name].node if name in entries else Node({}, node.place)
    entries[name] = Entry(node.place, _replaced(below, rest, node) if rest else node)
    return Node(entries, tree.place)


def _override(tree: Node, override: str, notes: _Notes) -> Node:
    path, _, text = override.partition("=")
    place = Place(COMMAND_LINE)
    parsed, problems = parse(text, COMMAND_LINE, path.rpartition(".")[2]), notes.problems
    notes.warnings.extend(Problem(place, path, warning.text) for warning in parsed.warnings)
    if parsed.root is None or parsed.problems:
        problems.append(Problem(place, path, f"{text!r}: {parsed.problems[0].text}"))
        return tree
    node = _moved(parsed.root, place)
    if path == "extends":
        problems.append(Problem(place, path, tr("a recipe extends another in its file, not on the command line")))
        return tree
    # `prompt.answers.1=yes` changes one entry, `prompt.answers={…}` all of them
    levels = max(2, path.count(".") + 1)
    return _merge(tree, _renamed(_nested(path, node), problems), levels)


def _nested(path: str, node: Node) -> Node:
    """The node below the keys of a path: `{train: {epochs: node}}` for `train.epochs`."""
    for name in reversed(path.split(".")):
        node = Node({name: Entry(node.place, node)}, node.place)
    return node


def _renamed(tree: Node, problems: list[Problem]) -> Node:
    """The same tree, in which keys with an older name have their present one."""
    blocks = dict(tree.value) if isinstance(tree.value, dict) else {}
    for old, new in ALIASES.items():
        (block, old_name), (_, new_name) = old.split("."), new.split(".")
        outer = blocks.get(block)
        if outer is None or not isinstance(outer.node.value, dict) or old_name not in outer.node.value:
            continue
        values = dict(outer.node.value)
        entry = values.pop(old_name)
        if new_name in values:
            problems.append(
                Problem(entry.key_place, old, tr("repeated key; it is the older name of {new_name}", new_name=new_name))
            )
        values.setdefault(new_name, entry)
        blocks[block] = Entry(outer.key_place, Node(values, outer.node.place))
    return Node(blocks, tree.place) if blocks else tree


def _moved(node: Node, place: Place) -> Node:
    """The same tree at one place: lines and columns mean nothing in a command-line value."""
    value = node.value
    if isinstance(value, dict):
        return Node({name: Entry(place, _moved(entry.node, place)) for name, entry in value.items()}, place)
    if isinstance(value, tuple):
        return Node(tuple(_moved(item, place) for item in value), place)
    return Node(value, place)


def _place_of(tree: Node, path: str) -> Place:
    """The place of the value at `path`, or of the nearest mapping above it."""
    node = tree
    for name in path.split("."):
        if not isinstance(node.value, dict) or name not in node.value:
            break
        node = node.value[name].node
    return node.place
