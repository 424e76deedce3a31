"""The adapter: what `saved_model/{dataset}` must hold to be a LoRA that PEFT could load. It is not loaded here."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from grading import contract, weights
from grading.errors import FileMissing, FileProblem
from grading.rubric import Verdict, blocked, earned, lost
from grading.submission import Submission, SubmittedFile
from grading.weights import Header, Tensor, WeightsError

WEIGHTS_LIMIT = 1 << 30
"""Most bytes of an adapter: rank 64 on every linear layer of gemma-2b is 0.3 GB in float32, the model itself 5 GB."""

CONFIG_LIMIT = 1 << 20
"""Most bytes of an adapter's configuration; PEFT writes about 1 kB."""

_SIDE = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(?:\.weight)?", re.DOTALL)
# Other tensors (`lora_magnitude_vector` of DoRA, `lora_B.bias`, whole modules saved beside the pairs) are allowed.

_ZERO_START = (True, "gaussian", "eva")
"""Values of `init_lora_weights` under which every lora_B starts as zero, so that a non-zero one has been trained."""

_TRAIN_AGAIN = "run the fine-tune stage again: accelerate launch runner/main.py RECIPE --stages finetune --fresh"
_SAVE_AGAIN = "save the adapter with PEFT: model.save_pretrained(folder), safe_serialization on"


@dataclass(frozen=True)
class Config:
    """What the grader takes from a sound `adapter_config.json`."""

    ranks: frozenset[int]
    """Ranks that a pair may have: `r`, and the values of `rank_pattern`."""
    init: Any
    """`init_lora_weights`: True unless the file says otherwise."""


class ConfigError(ValueError):
    """A configuration that is not a LoRA's. The message says what was expected and what was found."""


def check_adapter(submission: Submission, dataset: str) -> list[Verdict]:
    """The verdicts of `saved_model` for one dataset."""
    verdicts, config = _check_config(submission, f"{contract.adapter_folder(dataset)}/{contract.ADAPTER_CONFIG}")
    return verdicts + _check_weights(submission, dataset, config)


def parse_config(data: bytes) -> Config:
    """The configuration in `data`. Raises ConfigError."""
    try:
        value = contract.parse_json(data)
    except contract.ContractError as error:
        raise ConfigError(f"is no strict JSON: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError("is not a JSON object")
    if value.get("peft_type") != "LORA":
        raise ConfigError(f"has peft_type {_shown(value.get('peft_type'))}, expected 'LORA'")
    if not _is_rank(value.get("r")):
        raise ConfigError(f"has r {_shown(value.get('r'))}, expected a whole number > 0")
    if not _is_targets(value.get("target_modules")):
        raise ConfigError(
            f"has target_modules {_shown(value.get('target_modules'))}, expected a list of names or a string"
        )
    pattern = value.get("rank_pattern") or {}
    if not isinstance(pattern, dict) or not all(_is_rank(rank) for rank in pattern.values()):
        raise ConfigError(f"has rank_pattern {_shown(pattern)}, expected an object of whole numbers > 0")
    return Config(frozenset([value["r"], *pattern.values()]), value.get("init_lora_weights", True))


def pair_problem(tensors: Sequence[Tensor], ranks: Optional[frozenset[int]]) -> Optional[str]:
    """What is wrong with the pairs of lora_A and lora_B, in words, or None. `ranks` None: any rank that A and B share.

    lora_A is (rank, in, ...) and lora_B (out, rank, ...), as PEFT saves linear, embedding and convolution layers."""
    sides = {(match["module"], match["embedding"], match["side"]): tensor for match, tensor in _sides(tensors)}
    if not sides:
        return "holds no lora_A or lora_B as PEFT names them (...q_proj.lora_A.weight)"
    for (module, embedding, side), tensor in sides.items():
        if tensor.dtype not in weights.FRACTION_BITS:
            return f"tensor {_shown(tensor.name)} is {tensor.dtype}, expected one of {', '.join(weights.FRACTION_BITS)}"
        if len(tensor.shape) < 2 or 0 in tensor.shape:
            return f"tensor {_shown(tensor.name)} has shape {list(tensor.shape)}, expected two dimensions, each > 0"
        other = sides.get((module, embedding, "B" if side == "A" else "A"))
        if other is None:
            return f"tensor {_shown(tensor.name)} has no lora_{'B' if side == 'A' else 'A'} beside it"
        if side == "A" and len(other.shape) > 1 and tensor.shape[0] != other.shape[1]:
            return f"{_shown(module)}: lora_A has rank {tensor.shape[0]}, lora_B {other.shape[1]}"
        if side == "A" and ranks is not None and tensor.shape[0] not in ranks:
            stated = " or ".join(str(rank) for rank in sorted(ranks))
            return f"{_shown(module)} has rank {tensor.shape[0]}, {contract.ADAPTER_CONFIG} states {stated}"
    return None


def _check_config(submission: Submission, path: str) -> tuple[list[Verdict], Optional[Config]]:
    try:
        data = submission.read(path, CONFIG_LIMIT)
    except FileProblem as problem:
        step = _SAVE_AGAIN if isinstance(problem, FileMissing) else problem.next_step
        return [lost("config file", problem.problem, step), blocked("config format", "config file")], None
    present = earned("config file", f"{path} is there")
    try:
        config = parse_config(data)
    except ConfigError as error:
        return [present, lost("config format", f"{path} {error}", _SAVE_AGAIN)], None
    ranks = " or ".join(str(rank) for rank in sorted(config.ranks))
    return [present, earned("config format", f"{path} describes a LoRA of rank {ranks}")], config


def _check_weights(submission: Submission, dataset: str, config: Optional[Config]) -> list[Verdict]:
    folder = contract.adapter_folder(dataset)
    path = f"{folder}/{contract.ADAPTER_WEIGHTS}"
    behind = ("weights size", "weights format", "weights trained")
    try:
        file = submission.open(path)
    except FileProblem as problem:
        reason, step = problem.problem, problem.next_step
        if isinstance(problem, FileMissing):
            step = _SAVE_AGAIN
            if submission.has(f"{folder}/adapter_model.bin"):
                reason += "; adapter_model.bin is a pickle, which may run code, and is not opened"
        return [lost("weights file", reason, step)] + [blocked(check, "weights file") for check in behind]
    with file:
        present = earned("weights file", f"{path} is there")
        try:
            return [present, *_check_open_weights(file, config)]
        except FileProblem as problem:  # it changed, or its disk failed, between here and the last byte
            verdict = lost("weights file", problem.problem, problem.next_step)
            return [verdict] + [blocked(check, "weights file") for check in behind]


def _check_open_weights(file: SubmittedFile, config: Optional[Config]) -> list[Verdict]:
    if file.size == 0:
        size = lost("weights size", f"{file.path} is empty", _SAVE_AGAIN)
        return [size, blocked("weights format", "weights size"), blocked("weights trained", "weights size")]
    size = earned("weights size", f"{file.size:,} bytes")
    if file.size > WEIGHTS_LIMIT:
        reason = f"{file.path} has {file.size:,} bytes, more than the {WEIGHTS_LIMIT:,} of any adapter"
        size = lost("weights size", reason, "save the adapter alone, without the base model")
    try:
        header = weights.read_header(file)
    except WeightsError as error:
        return [
            size,
            lost("weights format", f"{file.path}: {error}", _SAVE_AGAIN),
            blocked("weights trained", "weights format"),
        ]
    if file.size != header.file_size and size.share:
        reason = f"{file.path} has {file.size:,} bytes, its header speaks of {header.file_size:,}"
        size = lost("weights size", reason, f"copy it again, or {_SAVE_AGAIN}")
    problem = pair_problem(header.tensors, config.ranks if config else None)
    if problem:
        form = lost("weights format", f"{file.path}: {problem}", _SAVE_AGAIN)
    else:
        pairs = sum(1 for match, _ in _sides(header.tensors) if match["side"] == "A")
        rank = "of the config's rank" if config else "whose ranks agree with each other (the config states none)"
        form = earned("weights format", f"safetensors with {pairs:,} complete lora pairs {rank}")
    if not size.share:
        return [size, form, blocked("weights trained", "weights size")]
    return [size, form, _check_values(file, header, config)]


def _check_values(file: SubmittedFile, header: Header, config: Optional[Config]) -> Verdict:
    lora_b = {tensor.name for match, tensor in _sides(header.tensors) if match["side"] == "B"}
    if not lora_b:
        return blocked("weights trained", "weights format")
    moved = 0
    for tensor, finite, nonzero in weights.read_values(file, header):
        if not finite:
            reason = f"{file.path}: tensor {_shown(tensor.name)} holds an infinity or NaN"
            return lost("weights trained", reason, f"lower the learning rate, then {_TRAIN_AGAIN}")
        moved += nonzero and tensor.name in lora_b
    if not moved:
        return lost(
            "weights trained", f"{file.path}: every lora_B is zero, so the adapter changes nothing", _TRAIN_AGAIN
        )
    reason = f"all values are finite, {moved:,} of {len(lora_b):,} lora_B are not zero"
    if config is not None and config.init not in _ZERO_START:
        reason += f" (which proves no training under init_lora_weights {_shown(config.init)})"
    return earned("weights trained", reason)


def _sides(tensors: Sequence[Tensor]) -> list[tuple[dict[str, Any], Tensor]]:
    found = []
    for tensor in tensors:
        match = _SIDE.fullmatch(tensor.name)
        if match:
            found.append((match.groupdict(), tensor))
    return found


def _is_rank(value: Any) -> bool:
    return type(value) is int and value > 0  # bool is no rank


def _is_targets(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(name, str) and name for name in value)
    return isinstance(value, str) and bool(value)


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 160 else text[:157] + "..."
