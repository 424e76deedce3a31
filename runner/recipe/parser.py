"""The recipe reader: a tree of values becomes frozen dataclasses, by their type hints and `key` rules.

Every problem is reported with its place. Reading continues after the first, so that the user can fix all at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union

from runner.language import mark, tr
from runner.recipe.duration import Duration
from runner.recipe.typing_slips import wide_character
from runner.recipe.yaml_nodes import Node, Place, Problem, kind, plain

MISSING = mark("required key is missing")
"""The text of that problem."""


class _Mismatch(Exception):
    """A value that does not have the expected type, with the place of the part that is wrong."""

    def __init__(self, place: Place, text: str, suffix: str = "") -> None:
        super().__init__(text)
        self.place, self.text, self.suffix = place, text, suffix


class RecipeReader:
    """Reads one tree. Collects all problems in `problems`, and every value that was read or is a default in `values`."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.values: dict[str, Any] = {}

    def build(self, shape: Any, node: Node, path: str) -> Any:
        """An instance of the dataclass `shape`; None after reporting its problems."""
        if not isinstance(node.value, dict):
            self._report(
                node.place,
                path,
                tr(
                    "expected a mapping with {listing}, found {value}",
                    listing=_listing(_names(shape)),
                    value=kind(node.value),
                ),
            )
            return None
        entries, before = node.value, len(self.problems)
        hints = typing.get_type_hints(shape)
        for name, entry in entries.items():
            if name not in hints:
                self._report(entry.key_place, _join(path, name), _unknown(name, shape, [] if path else ["extends"]))
        values: dict[str, Any] = {}
        for field in dataclasses.fields(shape):
            here = _join(path, field.name)
            if field.name in entries:
                values[field.name] = self._value(hints[field.name], field.metadata, entries[field.name].node, here)
            elif field.default is dataclasses.MISSING:
                self._report(node.place, here, MISSING)
            else:
                self._keep(here, field.default)
        return shape(**values) if len(self.problems) == before else None

    def _value(self, hint: Any, rule: Mapping[str, float], node: Node, path: str) -> Any:
        shapes = [shape for shape in _members(hint) if dataclasses.is_dataclass(shape)]
        if len(shapes) > 1:
            return self._variant(shapes, node, path)
        if shapes:
            return self.build(shapes[0], node, path)
        try:
            value = _read(hint, rule, node)
        except _Mismatch as mismatch:
            self._report(mismatch.place, path + mismatch.suffix, mismatch.text)
            return None
        if rule.get("path") and isinstance(value, str) and value.startswith(("./", "../")):
            folder = Path(node.place.source).parent if node.place.line else Path()
            value = os.path.abspath(folder / value)
        self._keep(path, value)
        return value

    def _variant(self, shapes: Sequence[Any], node: Node, path: str) -> Any:
        """One of several dataclasses, told apart by their `kind`."""
        rows = {typing.get_args(typing.get_type_hints(shape)["kind"])[0]: shape for shape in shapes}
        entry = node.value.get("kind") if isinstance(node.value, dict) else None
        if entry is None and isinstance(node.value, dict):
            # the first kind is the default
            return self.build(shapes[0], node, path)
        named = entry.node.value if entry else None
        if not isinstance(named, str) or named not in rows:
            found = kind(named) if entry else kind(node.value)
            place = entry.node.place if entry else node.place
            self._report(
                place,
                _join(path, "kind"),
                tr("expected {kinds}, found {found}", kinds=tr(" or ").join(rows), found=found),
            )
            return None
        return self.build(rows[named], node, path)

    def _keep(self, path: str, value: Any) -> None:
        if dataclasses.is_dataclass(value):
            for field in dataclasses.fields(value):
                self._keep(_join(path, field.name), getattr(value, field.name))
        else:
            self.values[path] = value

    def _report(self, place: Place, path: str, text: str) -> None:
        self.problems.append(Problem(place, path, text))


LIMITS = {
    "low": mark("at least {bound}"),
    "above": mark("more than {bound}"),
    "high": mark("at most {bound}"),
    "below": mark("less than {bound}"),
}
"""The range rules of `recipe.key`, in words."""

_WORDS = {
    str: mark("text"),
    bool: mark("true or false"),
    int: mark("a whole number"),
    float: mark("a number"),
    Duration: mark("a time such as 40m"),
}


def _read(hint: Any, rule: Mapping[str, float], node: Node) -> Any:
    """The node's value as the type `hint`: text, number, true or false, fixed choices, tuples and dicts of those.

    Raises _Mismatch with the text of the message."""
    members = _members(hint)
    value = node.value
    for member in members:
        origin, arguments = typing.get_origin(member), typing.get_args(member)
        if member is Any:
            return plain(node)
        if origin is tuple and isinstance(value, tuple):
            return tuple(_item(arguments[0], rule, item, f"[{index}]") for index, item in enumerate(value))
        if origin is dict and isinstance(value, dict):
            return {
                _readable(name, entry.key_place): _item(arguments[1], rule, entry.node, f".{name}")
                for name, entry in value.items()
            }
        if origin is Literal and isinstance(value, str) and value in arguments:
            return value
        if member is type(None) and value is None:
            return None
        if member is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(_ranged(value, rule, node.place))
        if member is int and isinstance(value, int) and not isinstance(value, bool):
            return _ranged(value, rule, node.place)
        if member is str and isinstance(value, str):
            return _readable(value, node.place)
        if member is bool and isinstance(value, bool):
            return value
        if member is Duration and isinstance(value, str) and Duration.is_valid(value):
            return Duration(value)
    raise _Mismatch(node.place, _expected(members, value))


def _readable(text: str, place: Place) -> str:
    """The text, if a file and a file name can contain it."""
    odd = [mark for mark in text if mark == "\0" or "\ud800" <= mark <= "\udfff"]
    if odd:
        raise _Mismatch(
            place, tr("has the character U+{ord:04X} in it, which no text file can contain", ord=ord(odd[0]))
        )
    return text


def _item(hint: Any, rule: Mapping[str, float], node: Node, suffix: str) -> Any:
    try:
        return _read(hint, rule, node)
    except _Mismatch as mismatch:
        raise _Mismatch(mismatch.place, mismatch.text, suffix + mismatch.suffix) from None


def _ranged(value: Any, rule: Mapping[str, float], place: Place) -> Any:
    if not isinstance(value, int) and not math.isfinite(value):
        raise _Mismatch(place, tr("expected a finite number, found {value}", value=value))
    held = {
        "low": value >= rule.get("low", -math.inf),
        "above": value > rule.get("above", -math.inf),
        "high": value <= rule.get("high", math.inf),
        "below": value < rule.get("below", math.inf),
    }
    if not all(held.values()):
        wanted = tr(" and ").join(tr(words).format(bound=rule[name]) for name, words in LIMITS.items() if name in rule)
        raise _Mismatch(place, tr("out of range: expected {wanted}, found {value}", wanted=wanted, value=value))
    return value


_SEPARATOR = re.compile(r"[,;、，]\s*")


def _expected(members: Sequence[Any], value: Any) -> str:
    words: list[str] = []
    for member in members:
        origin, arguments = typing.get_origin(member), typing.get_args(member)
        if origin is Literal:
            words.extend(arguments)
        elif origin is tuple:
            words.append(tr("a list of {plural}", plural=_plural(arguments[0])))
        elif origin is dict:
            words.append(tr("a mapping of names to {plural}", plural=_plural(arguments[1])))
        elif member is not type(None):
            words.append(tr(_WORDS[member]))
    choices = [word for member in members if typing.get_origin(member) is Literal for word in typing.get_args(member)]
    text = tr("expected {choice}, found {value}", choice=_choice(words), value=kind(value))
    if str in members and isinstance(value, (bool, int, float)):
        text += tr(
            '; for the text, put it in quotes: "{value}"',
            value=str(value).lower() if isinstance(value, bool) else value,
        )
    elif bool in members and isinstance(value, str) and value.lower() in ("yes", "no", "on", "off"):
        text += tr("; write {value}", value="true" if value.lower() in ("yes", "on") else "false")
    elif str in members and isinstance(value, dict):
        text += tr("; a text that begins with a brace is written in straight quotes")
    elif tuple[str, ...] in members and isinstance(value, str) and len(_SEPARATOR.split(value)) > 1:
        listed = ", ".join(json.dumps(part, ensure_ascii=False) for part in _SEPARATOR.split(value))
        text += tr("; write [{listed}]", listed=listed)
    elif isinstance(value, str):
        wide = wide_character(value)
        text += f"; {wide}" if wide else suggestion(value, choices)
    return text


def _members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) is Union else (hint,)


def _names(shape: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(shape)]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


OTHER_NAMES = {
    "num_train_epochs": "train.epochs",
    "num_epochs": "train.epochs",
    "per_device_train_batch_size": "train.batch_size",
    "train_batch_size": "train.batch_size",
    "gradient_accumulation_steps": "train.accumulation",
    "lr": "train.learning_rate",
    "lr_scheduler_type": "train.schedule",
    "warmup_ratio": "train.warmup",
    "max_seq_length": "prompt.max_length",
    "max_len": "prompt.max_length",
    "lora_r": "lora.r",
    "lora_rank": "lora.r",
    "rank": "lora.r",
    "alpha": "lora.lora_alpha",
    "dropout": "lora.lora_dropout",
    "model_name_or_path": "base",
    "model": "base",
    "prompt_template": "prompt.template",
}
"""Keys of other programs, above all of transformers' TrainingArguments, and ours."""


def _unknown(name: str, shape: Any, more: Sequence[str]) -> str:
    """Suggest a known key: the same name in a block below, or one that is spelled alike. `more`: known keys of no field."""
    names, hints = [*_names(shape), *more], typing.get_type_hints(shape)
    below = [
        f"{block}.{name}"
        for block in _names(shape)
        for inner in _members(hints[block])
        if dataclasses.is_dataclass(inner) and name in _names(inner)
    ]
    wide = wide_character(name)
    if name in OTHER_NAMES:
        return tr("unknown key; write {other_names}", other_names=OTHER_NAMES[name])
    if wide:
        return tr("unknown key; {wide}", wide=wide)
    known = tr("; did you mean {suggestion}?", suggestion=below[0]) if below else suggestion(name, names)
    if known:
        return tr("unknown key{suggestion}", suggestion=known)
    return tr("unknown key; known are {names}", names=", ".join(names))


def suggestion(word: str, words: Sequence[str]) -> str:
    """`; did you mean …?` where one of `words` is similar, else nothing."""
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.7)
    return tr("; did you mean {nearest}?", nearest=near[0]) if near else ""


def _listing(words: Sequence[str]) -> str:
    if len(words) == 1:
        return words[0]
    return tr("{first} and {last}", first=", ".join(words[:-1]), last=words[-1])


def _choice(words: Sequence[str]) -> str:
    if len(words) == 1:
        return words[0]
    return tr("{first} or {last}", first=", ".join(words[:-1]), last=words[-1])


def _plural(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return tr("lists of {plural}", plural=_plural(typing.get_args(hint)[0]))
    return {str: tr("texts"), int: tr("whole numbers"), float: tr("numbers"), Any: tr("values")}[hint]
