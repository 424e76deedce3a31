"""The adapter's configuration: the parts of `adapter_config.json` that the grader needs, and those on which PEFT would fail.

PEFT's rules are those of `LoraConfig`, `check_target_module_exists`, `get_pattern_key` and `LoraLayer.update_layer`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Optional

from grading import contract
from grading.contract.language import mark, tr
from grading.errors import quoted

_PLAIN = re.compile(r"[A-Za-z0-9_.]{1,256}")

_MOST_PATTERNS = 1_000
"""Most entries of `rank_pattern` or `alpha_pattern`: each pair is compared with each of them."""

_MOST_PARTS = 32
"""Most parts of a module's name that a target or a pattern can have."""

MOST_RANK = 16_384
"""Largest rank. The layers of the largest open models are about as wide, and a rank beyond the width adds nothing."""

LEAST_ALPHA, MOST_ALPHA = 0.001, 65_536
"""Smallest and largest `lora_alpha`, which multiplies the adapter: with less it does nothing, more is too large for float16."""


@dataclass(frozen=True)
class Config:
    """The content of a sound `adapter_config.json`."""

    rank: int
    """`r`: the rank of every pair that no pattern names."""
    patterns: tuple[tuple[str, int], ...]
    """`rank_pattern`: names or patterns of modules, with their rank."""
    init: Any
    """`init_lora_weights`: True unless the file says otherwise."""
    targets: Optional[tuple[str, ...]]
    """`target_modules` if it is a list of names; None if it is a pattern: a stranger's pattern is not run; nor where
    `target_parameters` names more."""
    dora: bool
    """`use_dora`: whether each pair has a magnitude vector."""
    excluded: tuple[str, ...] = ()
    """`exclude_modules` if it is a list."""
    layers: Optional[frozenset[int]] = None
    """`layers_to_transform`; None: all."""
    expressions: tuple[str, ...] = ()
    """Keys whose values PEFT would run as regular expressions that may take very long."""

    def ranks_of(self, module: str) -> tuple[int, ...]:
        """The ranks that the pair of a module may have: `r`, or that of the first plain name in `rank_pattern` that is the
        module's name or its ending, as in PEFT. A stranger's pattern that is more than a name is not run: with one of those
        all ranks of the file are accepted."""
        places = self._places
        if places is None:
            return tuple(dict.fromkeys([self.rank, *(rank for _, rank in self.patterns)]))
        first = min((places[name] for name in endings(module) if name in places), default=None)
        return (self.rank if first is None else self.patterns[first][1],)

    @cached_property
    def _places(self) -> Optional[dict[str, int]]:
        """The place of each name in `patterns`; None if one of them is more than a name."""
        if any(not _PLAIN.fullmatch(key) for key, _ in self.patterns):
            return None
        return {key: place for place, (key, _) in enumerate(self.patterns)}

    def ranks_text(self) -> str:
        """The rank for messages, shortened if there are many."""
        others = len({rank for _, rank in self.patterns} - {self.rank})
        return (
            f"{self.rank}"
            if not others
            else tr("{rank} ({others:,} others in rank_pattern)", rank=self.rank, others=others)
        )


def endings(name: str) -> list[str]:
    """A module's name, and its rest after each of its last dots: a bounded number, because the name is a stranger's."""
    parts = name.rsplit(".", _MOST_PARTS)
    return [name, *(".".join(parts[start:]) for start in range(1, len(parts)))]


class ConfigError(ValueError):
    """A configuration that is not a LoRA's. The message has what was expected and what was found."""


def parse_config(data: bytes) -> Config:
    """The configuration in `data`. Raises ConfigError."""
    try:
        value = contract.parse_json(data)
    except contract.ContractError as error:
        raise ConfigError(tr("is not strict JSON: {error}", error=error)) from None
    if not isinstance(value, dict):
        raise ConfigError(tr("is not a JSON object"))
    if value.get("peft_type") != "LORA":
        raise ConfigError(tr("has peft_type {peft_type}, expected 'LORA'", peft_type=quoted(value.get("peft_type"))))
    for key, default, is_right, expected in _RULES:
        if not is_right(value.get(key, default)):
            raise _not(key, value.get(key, default), tr(expected))
    _require_ranks(value)
    targets, parameters = value.get("target_modules"), value.get("target_parameters")
    if not (_is_name(targets) or (_is_names(targets) and targets) or (parameters and targets in (None, []))):
        raise _not("target_modules", targets, tr("a list of names or a string"))
    layers = value.get("layers_to_transform")
    if isinstance(targets, str) and layers is not None:
        raise _not("layers_to_transform", layers, tr("none beside a target_modules that is a string"))
    return Config(
        rank=value["r"],
        patterns=tuple(value.get("rank_pattern", {}).items()),
        init=value.get("init_lora_weights", True),
        targets=tuple(targets) if isinstance(targets, list) and not parameters else None,
        dora=bool(value.get("use_dora")),
        excluded=tuple(value.get("exclude_modules") or ()) if isinstance(value.get("exclude_modules"), list) else (),
        layers=None if layers in (None, []) else frozenset([layers] if isinstance(layers, int) else layers),
        expressions=tuple(dict.fromkeys(key for key, text in _expressions(value) if not _is_quick(text))),
    )


def _not(key: str, found: Any, expected: str) -> ConfigError:
    return ConfigError(tr("has {key} {found}, expected {expected}", key=key, found=quoted(found), expected=expected))


def _require_ranks(value: Mapping[str, Any]) -> None:
    for key in ("rank_pattern", "alpha_pattern"):
        count = len(value.get(key, {}))
        if count > _MOST_PATTERNS:
            raise ConfigError(
                tr(
                    "has {pattern_count:,} entries in {key}, more than {most_patterns:,}",
                    pattern_count=count,
                    key=key,
                    most_patterns=_MOST_PATTERNS,
                )
            )
    largest = max(value["r"], *value.get("rank_pattern", {}).values(), 0)
    if largest > MOST_RANK:
        raise ConfigError(tr("has rank {rank}, more than {most:,}", rank=quoted(largest), most=MOST_RANK))


def _is_rank(value: Any) -> bool:
    return type(value) is int and value > 0  # True is not a rank


def _is_number(value: Any, least: float, most: float) -> bool:
    return type(value) in (int, float) and least <= value <= most


def _is_alpha(value: Any) -> bool:
    return _is_number(value, LEAST_ALPHA, MOST_ALPHA)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_name, value))


def _is_layers(value: Any) -> bool:
    layers = value if isinstance(value, list) else [value]
    return value is None or all(type(layer) is int and layer >= 0 for layer in layers)


def _maps_to(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(is_right, value.values()))


_RULES: tuple[tuple[str, Any, Callable[[Any], bool], str], ...] = (
    ("r", None, _is_rank, mark("a whole number > 0")),
    ("rank_pattern", {}, _maps_to(_is_rank), mark("an object of whole numbers > 0")),
    ("lora_alpha", 8, _is_alpha, mark("a number from 0.001 to 65,536")),
    ("alpha_pattern", {}, _maps_to(_is_alpha), mark("an object of numbers from 0.001 to 65,536")),
    ("lora_dropout", 0, lambda value: _is_number(value, 0, 1), mark("a number from 0 to 1")),
    ("use_dora", False, lambda value: value is None or isinstance(value, bool), mark("true or false")),
    ("use_rslora", False, lambda value: value is None or isinstance(value, bool), mark("true or false")),
    ("bias", "none", lambda value: value in ("none", "all", "lora_only"), mark("none, all or lora_only")),
    ("exclude_modules", None, lambda value: value is None or isinstance(value, str) or _is_names(value),
     mark("a list of names or a string")),
    ("modules_to_save", None, lambda value: value is None or _is_names(value), mark("a list of names")),
    ("target_parameters", None, lambda value: value is None or _is_names(value), mark("a list of names")),
    ("layers_to_transform", None, _is_layers, mark("a whole number >= 0 or a list of them")),
    ("layers_pattern", None, lambda value: value is None or isinstance(value, str) or _is_names(value),
     mark("a list of names or a string")),
)  # fmt: skip
"""A key, the value that PEFT takes where the file has none, whether PEFT could use a value, and what is expected."""


def _expressions(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What PEFT runs as regular expressions on the names of modules, each with its key."""
    for key in ("target_modules", "exclude_modules"):
        if isinstance(value.get(key), str) and value[key] != "all-linear":
            yield key, value[key]
    for key in ("rank_pattern", "alpha_pattern", "modules_to_save", "layers_pattern"):
        found = value.get(key) or ()
        for text in [found] if isinstance(found, str) else found:
            yield key, text


def _is_quick(expression: str) -> bool:
    """Whether a regular expression takes a bounded time on a name: at most four repetitions and groups together, no group that is
    repeated, nothing that looks around or back. `.*\\.layers\\.\\d+\\..*(q_proj|v_proj)` is one."""
    bare = re.sub(r"\\[^1-9]", "x", expression, flags=re.DOTALL).replace("(?:", "(")
    parts = sum(bare.count(sign) for sign in "*+?{(")
    return len(expression) <= 1_000 and parts <= 4 and not re.search(r"\)[*+?{]|\(\?|\\", bare)
