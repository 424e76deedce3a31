"""The adapter's configuration: the parts of `adapter_config.json` that the grader needs."""

import re
from dataclasses import dataclass
from typing import Any, Optional

from grading import contract
from grading.contract.language import tr
from grading.errors import quoted

_PLAIN = re.compile(r"[A-Za-z0-9_.]{1,256}")

_MOST_PATTERNS = 1_000
"""Most entries of `rank_pattern`: each pair is compared with each of them."""


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
    """`target_modules` if it is a list of names; None if it is a pattern: a stranger's pattern is not run."""
    dora: bool
    """`use_dora`: whether each pair has a magnitude vector."""

    def ranks_of(self, module: str) -> tuple[int, ...]:
        """The ranks that the pair of a module may have: `r`, or that of the first plain name in `rank_pattern` that is the
        module's name or its ending, as in PEFT. A stranger's pattern that is more than a name is not run: with one of those
        all ranks of the file are accepted."""
        if any(not _PLAIN.fullmatch(key) for key, _ in self.patterns):
            return tuple(dict.fromkeys([self.rank, *(rank for _, rank in self.patterns)]))
        matching = (rank for key, rank in self.patterns if module == key or module.endswith(f".{key}"))
        return (next(matching, self.rank),)

    def ranks_text(self) -> str:
        """The rank for messages, shortened if there are many."""
        others = len({rank for _, rank in self.patterns} - {self.rank})
        return (
            f"{self.rank}"
            if not others
            else tr("{rank} ({others:,} others in rank_pattern)", rank=self.rank, others=others)
        )


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
    if not _is_rank(value.get("r")):
        raise ConfigError(tr("has r {r}, expected a whole number > 0", r=quoted(value.get("r"))))
    targets = value.get("target_modules")
    if not _is_targets(targets):
        raise ConfigError(
            tr("has target_modules {targets}, expected a list of names or a string", targets=quoted(targets))
        )
    pattern = value.get("rank_pattern") or {}
    if not isinstance(pattern, dict) or not all(_is_rank(rank) for rank in pattern.values()):
        raise ConfigError(
            tr("has rank_pattern {pattern}, expected an object of whole numbers > 0", pattern=quoted(pattern))
        )
    if len(pattern) > _MOST_PATTERNS:
        raise ConfigError(
            tr(
                "has {pattern_count:,} entries in rank_pattern, more than {most_patterns:,}",
                pattern_count=len(pattern),
                most_patterns=_MOST_PATTERNS,
            )
        )
    dora = value.get("use_dora") or False
    if not isinstance(dora, bool):
        raise ConfigError(tr("has use_dora {dora}, expected true or false", dora=quoted(dora)))
    return Config(
        rank=value["r"],
        patterns=tuple(pattern.items()),
        init=value.get("init_lora_weights", True),
        targets=tuple(targets) if isinstance(targets, list) else None,
        dora=dora,
    )


def _is_rank(value: Any) -> bool:
    return type(value) is int and value > 0  # True is not a rank


def _is_targets(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(name, str) and name for name in value)
    return isinstance(value, str) and bool(value)
