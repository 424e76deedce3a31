"""A YAML text as a tree of values with their places, read by the rules of YAML 1.2 (its core schema).

PyYAML follows YAML 1.1, where `2e-4` is text, `no` is false, `1:30` is 90 and a repeated key silently wins. Here
`2e-4` is a number, `no` and `1:30` are text (so that a wrong type is noticed), and a repeated key is a problem.
No Python object is ever constructed from a tag: a recipe is data.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional, Union

import yaml

from grading.contract.language import translated
from runner.language import tr
from runner.recipe.typing_slips import find_slips
from runner.recipe.yaml_errors import fault_of

MAX_NODES = 2_000
"""Most values that one text may expand to. A recipe has about fifty; a few nested aliases can make billions."""

MAX_DEPTH = 50
"""Deepest nesting. A recipe has four levels; aliases can be inside aliases."""


@dataclass(frozen=True)
class Place:
    """The place of a value: `recipes/qqp.yaml:14:3`, or just `command line`."""

    source: str
    """The file as the user named it, or `command line`."""
    line: int = 0
    """Line, counted from 1; 0 where the source has no lines."""
    column: int = 0
    """Column, counted from 1."""

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else translated(self.source)


@dataclass(frozen=True)
class Problem:
    """One problem of a recipe. `str()` gives it as one line."""

    place: Place
    """Where it is."""
    key: str
    """The key in dots (`train.learning_rate`), empty for the text as a whole."""
    text: str
    """What is wrong, what was found, and what was expected."""

    def __str__(self) -> str:
        text = translated(self.text)
        return f"{self.place}: {self.key}: {text}" if self.key else f"{self.place}: {text}"


@dataclass(frozen=True)
class Entry:
    """One `key: value` of a mapping."""

    key_place: Place
    """Where the key is."""
    node: Node
    """The value."""


@dataclass(frozen=True)
class Node:
    """One value of the tree."""

    value: Union[bool, int, float, str, tuple[Node, ...], dict[str, Entry], None]
    """A scalar, a tuple of nodes (sequence) or a dict of entries (mapping)."""
    place: Place
    """Where the value is."""


class _CoreLoader(yaml.SafeLoader):
    """SafeLoader with the scalar rules of YAML 1.2's core schema. It composes nodes and never constructs objects."""

    # the base class declares it so
    yaml_implicit_resolvers: dict[str, list[tuple[str, Any]]] = {}  # noqa: RUF012


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))
# the empty scalar, as in `key:`
_CoreLoader.yaml_implicit_resolvers[""] = _CoreLoader.yaml_implicit_resolvers["\0"]

_PLAIN = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
"""The tags of mappings and lists that have no tag of their own."""


def _machine_word(text: str, base: int) -> int:
    """The number in a text. Raises ValueError for one that does not fit in 64 bits."""
    number = int(text, base) if len(text) <= 40 else 2**63
    if not -(2**63) <= number < 2**63:
        raise ValueError
    return number


_SCALARS: dict[str, Callable[[str], Any]] = {
    "tag:yaml.org,2002:null": lambda text: None,
    "tag:yaml.org,2002:bool": lambda text: (False, True)[("false", "true").index(text.lower())],
    "tag:yaml.org,2002:int": lambda text: _machine_word(text, {"0o": 8, "0x": 16}.get(text[:2], 10)),
    "tag:yaml.org,2002:float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    "tag:yaml.org,2002:str": str,
}


MOST_FAULTS = 8
"""Most faults of one text that are reported as errors of YAML."""


@dataclass(frozen=True)
class Parsed:
    """A text as a tree, and what is wrong with it."""

    root: Optional[Node]
    """The tree; None where nothing could be read."""
    problems: list[Problem]
    """All its problems as YAML."""
    warnings: list[Problem]
    """What is probably a mistake, and may be meant."""
    is_whole: bool = True
    """Whether all lines are in the tree: a line that is not YAML is left out, and the others are read."""


def parse(text: str, source: str, key: str = "") -> Parsed:
    """The tree of `text`, and all its problems as YAML. `key`: the text is the value of this key.

    An empty text gives the value None. No text makes it raise."""
    text, slips = find_slips(text, key)
    problems = [_problem(source, slip.line, slip.column, slip.text) for slip in slips if not slip.is_harmless]
    warnings = [_problem(source, slip.line, slip.column, slip.text) for slip in slips if slip.is_harmless]
    lines, last = text.split("\n"), -1
    for count in range(MOST_FAULTS + 1):
        try:
            composed = yaml.compose("\n".join(lines), Loader=_CoreLoader)
            break
        except RecursionError:
            return Parsed(None, [*problems, _problem(source, 1, 1, tr("not YAML: nested too deeply"))], warnings)
        except yaml.YAMLError as error:
            fault = fault_of(error, lines)
            # what follows directly from the fault before is no news
            if fault.line > last + 1:
                problems.append(_problem(source, fault.line, fault.column, fault.text))
            dropped = _without(lines, fault.line - 1)
            if dropped is None or count == MOST_FAULTS:
                return Parsed(None, problems, warnings, is_whole=False)
            last = dropped + 1
    if composed is None:
        return Parsed(Node(None, Place(source, 1, 1)), problems, warnings, is_whole=last < 0)
    reader = _Reader(source)
    return Parsed(reader.read(composed, "", ()), [*problems, *reader.problems], warnings, is_whole=last < 0)


def _problem(source: str, line: int, column: int, text: str) -> Problem:
    return Problem(Place(source, line, column), "", text)


def _without(lines: list[str], at: int) -> Optional[int]:
    """Empty a line, and those below it that are indented deeper; returns the last one, None where there is none."""
    if not (0 <= at < len(lines) and lines[at].strip()):
        return None
    depth = _depth(lines[at])
    lines[at], last = "", at
    for number in range(at + 1, len(lines)):
        if lines[number].strip() and _depth(lines[number]) <= depth:
            break
        lines[number], last = "", number
    return last


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def kind(value: Any) -> str:
    """A value's kind in words, with the value, as it follows `found` in a message."""
    if value is None:
        return tr("nothing")
    if isinstance(value, bool):
        return tr("the value {value}", value=str(value).lower())
    if isinstance(value, (int, float)):
        return tr("the number {value}", value=value)
    if isinstance(value, str):
        return (
            tr("the text {value!r}", value=value) if len(value) <= 60 else tr("the text {value!r}…", value=value[:60])
        )
    return tr("a mapping") if isinstance(value, dict) else tr("a list")


def plain(node: Node) -> Any:
    """The node's value as plain Python values."""
    if isinstance(node.value, dict):
        return {name: plain(entry.node) for name, entry in node.value.items()}
    return tuple(map(plain, node.value)) if isinstance(node.value, tuple) else node.value


class _Reader:
    """Walks composed YAML once, and collects problems instead of stopping at the first."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.nodes = 0

    def read(self, node: yaml.Node, key: str, above: tuple[int, ...]) -> Node:
        place = self._place(node)
        self.nodes += 1
        if id(node) in above or self.nodes > MAX_NODES or len(above) > MAX_DEPTH:
            if id(node) in above:
                self.problems.append(Problem(place, key, tr("an alias that contains itself")))
            elif self.nodes <= MAX_NODES or self.nodes == MAX_NODES + 1:
                text = tr(
                    "more than {max_nodes:,} values, or nested deeper than {max_depth}, which no recipe is",
                    max_nodes=MAX_NODES,
                    max_depth=MAX_DEPTH,
                )
                self.problems.append(Problem(place, key, text))
            return Node(None, place)
        above = (*above, id(node))
        if isinstance(node, yaml.MappingNode) and node.tag in _PLAIN:
            return Node(self._entries(node, key, above), place)
        if isinstance(node, yaml.SequenceNode) and node.tag in _PLAIN:
            return Node(tuple(self.read(item, f"{key}[{i}]", above) for i, item in enumerate(node.value)), place)
        convert = _SCALARS.get(node.tag) if isinstance(node, yaml.ScalarNode) else None
        if convert is None:
            self.problems.append(
                Problem(
                    place,
                    key,
                    tr(
                        "tag {tag} is not allowed: a recipe is plain data; put a text that begins with `!` "
                        "in straight quotes",
                        tag=node.tag,
                    ),
                )
            )
            return Node(None, place)
        try:
            return Node(convert(node.value), place)
        except ValueError:
            kind_of_value = node.tag.rpartition(":")[2]
            self.problems.append(
                Problem(
                    place,
                    key,
                    tr("{value!r} is not a valid {kind_of_value}", value=node.value[:40], kind_of_value=kind_of_value),
                )
            )
            return Node(None, place)

    def _entries(self, node: yaml.MappingNode, key: str, above: tuple[int, ...]) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            key_place = self._place(key_node)
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag not in _SCALARS:
                self.problems.append(Problem(key_place, key, tr("a key must be plain text")))
                continue
            name = str(key_node.value)
            path = f"{key}.{name}" if key else name
            if name in entries:
                first = entries[name].key_place
                self.problems.append(
                    Problem(key_place, path, tr("repeated key; it is already in line {line}", line=first.line))
                )
                continue
            entries[name] = Entry(key_place, self.read(value_node, path, above))
        return entries

    def _place(self, node: yaml.Node) -> Place:
        return Place(self.source, node.start_mark.line + 1, node.start_mark.column + 1)
