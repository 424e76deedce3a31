"""The adapter: whether `saved_model/{dataset}` is a LoRA that PEFT could load. It is not loaded here."""

import math
from collections.abc import Mapping
from typing import Optional

from grading import contract
from grading.checks import safetensors_file as weights
from grading.checks.adapter_config import Config, ConfigError, parse_config
from grading.checks.base_shapes import BaseShapes
from grading.checks.lora_pairs import PairsError, find_pairs, require_base, require_config, side_names
from grading.checks.misplaced import with_misplaced
from grading.checks.safetensors_file import Header, WeightsError
from grading.contract.language import joined, mark, tr
from grading.errors import FileMissing, FileProblem, quoted
from grading.rubric import Verdict, blocked, earned, lost
from grading.submission.folder import Submission, SubmittedFile

WEIGHTS_LIMIT = 1 << 30
"""Most bytes of an adapter. Rank 64 on every linear layer of gemma-2b has 0.3 GB in float32, the model itself 5 GB."""

CONFIG_LIMIT = 1 << 20
"""Most bytes of an adapter's configuration; PEFT writes about 1 kB."""

SHARE = 20
"""One in so many values of a lora_B, and at least two, must not be zero, so that it counts as trained: training moves nearly
all of them."""

_ZERO_START = (True, "gaussian", "eva")
"""Values of `init_lora_weights` with which every lora_B starts as zero, so that a non-zero one has been trained."""

_TRAIN_AGAIN = mark("train the adapter again and save it (with labeltune: --stages finetune --fresh)")
_SAVE_AGAIN = mark("save the adapter with PEFT: model.save_pretrained(folder, safe_serialization=True)")


def check_adapter(
    submission: Submission, dataset: str, base: Optional[BaseShapes] = None
) -> tuple[list[Verdict], Optional[str]]:
    """The verdicts of `saved_model` for one dataset, and the digest of the adapter's tensors; None if its file is not sound.

    With `base`, the shapes must also be those of that base model."""
    of_config, config = _check_config(submission, dataset)
    of_weights, digest = _check_weights(submission, dataset, config, base)
    return of_config + of_weights, digest


def _check_config(submission: Submission, dataset: str) -> tuple[list[Verdict], Optional[Config]]:
    path = f"{contract.adapter_folder(dataset)}/{contract.ADAPTER_CONFIG}"
    try:
        data = submission.read(path, CONFIG_LIMIT)
    except FileProblem as problem:
        reason, step = problem.problem, problem.next_step
        if isinstance(problem, FileMissing):
            reason, step = with_misplaced(submission, path, dataset, reason, _SAVE_AGAIN)
        return [lost("config file", reason, step), blocked("config format", "config file")], None
    present = earned("config file", tr("{path} exists", path=path))
    try:
        config = parse_config(data)
    except ConfigError as error:
        return [present, lost("config format", tr("{path} {error}", path=path, error=error), _SAVE_AGAIN)], None
    return [
        present,
        earned("config format", tr("{path} describes a LoRA of rank {rank}", path=path, rank=config.ranks_text())),
    ], config


def _check_weights(
    submission: Submission, dataset: str, config: Optional[Config], base: Optional[BaseShapes]
) -> tuple[list[Verdict], Optional[str]]:
    folder = contract.adapter_folder(dataset)
    path = f"{folder}/{contract.ADAPTER_WEIGHTS}"
    dependent = ("weights size", "weights format", "weights trained")
    try:
        file = submission.open(path, WEIGHTS_LIMIT)
    except FileProblem as problem:
        reason, step = problem.problem, problem.next_step
        if isinstance(problem, FileMissing):
            reason, step = with_misplaced(submission, path, dataset, reason, _SAVE_AGAIN)
            if submission.has(f"{folder}/adapter_model.bin"):
                reason += tr("; adapter_model.bin is a pickle, which may run code, and is not opened")
        return [lost("weights file", reason, step)] + [blocked(check, "weights file") for check in dependent], None
    with file:
        present = earned("weights file", tr("{path} exists", path=path))
        try:
            verdicts, digest = _check_open_weights(file, config, base)
            file.require_unchanged()
            return [present, *verdicts], digest
        except FileProblem as problem:  # it changed, or the disk failed
            verdict = lost("weights file", problem.problem, problem.next_step)
            return [verdict] + [blocked(check, "weights file") for check in dependent], None


def _check_open_weights(
    file: SubmittedFile, config: Optional[Config], base: Optional[BaseShapes]
) -> tuple[list[Verdict], Optional[str]]:
    if file.size == 0:
        size = lost("weights size", tr("{path} is empty", path=file.path), _SAVE_AGAIN)
        return [size, blocked("weights format", "weights size"), blocked("weights trained", "weights size")], None
    size = earned("weights size", tr("{size:,} bytes", size=file.size))
    if file.size > WEIGHTS_LIMIT:
        reason = tr(
            "{path} has {size:,} bytes, more than the limit of {weights_limit:,}",
            path=file.path,
            size=file.size,
            weights_limit=WEIGHTS_LIMIT,
        )
        size = lost("weights size", reason, tr("save the adapter alone, without the base model"))
    try:
        header = weights.read_header(file)
    except WeightsError as error:
        form = lost("weights format", tr("{path}: {error}", path=file.path, error=error), _SAVE_AGAIN)
        return [size, form, blocked("weights trained", "weights format")], None
    hasher = file.hasher() if header.file_size <= file.size <= WEIGHTS_LIMIT else None
    if hasher is not None:
        # only tensors and values: other metadata does not make another adapter
        hasher.update(repr([(tensor.name, tensor.dtype, tensor.shape) for tensor in header.tensors]).encode())
    if file.size != header.file_size and size.share:
        reason = tr(
            "{path} has {size:,} bytes, its header says {file_size:,}",
            path=file.path,
            size=file.size,
            file_size=header.file_size,
        )
        size = lost("weights size", reason, tr("copy it again, or {save_again}", save_again=_SAVE_AGAIN))
    form = _check_pairs(file.path, header, config, base)
    trained = _check_values(file, header, config) if size.share else blocked("weights trained", "weights size")
    if hasher is None:
        return [size, form, trained], None
    for _ in file.pieces(header.file_size - file.position):
        pass
    return [size, form, trained], hasher.hexdigest()


def _check_pairs(path: str, header: Header, config: Optional[Config], base: Optional[BaseShapes]) -> Verdict:
    details, unused = [tr("whose ranks agree (the config states none)")], tuple[str, ...]()
    try:
        pairs = find_pairs(header.tensors)
        if config is not None:
            unused = require_config(pairs, header.tensors, config)
            details = [tr("of the config's rank and target modules") if config.targets else tr("of the config's rank")]
        if base is not None:
            known = require_base(pairs, base, unused)
            details.append(
                tr(
                    "and the base model's shapes ({known:,} of {pairs_count:,} are known)",
                    known=known,
                    pairs_count=len(pairs),
                )
            )
    except PairsError as error:
        return lost("weights format", tr("{path}: {error}", path=path, error=error), _SAVE_AGAIN)
    found = tr(
        "safetensors with {pairs_count:,} complete lora pairs {joined}",
        pairs_count=len(pairs),
        joined=joined(" ", details),
    )
    if unused:
        found = joined("; ", (found, tr("target_modules without a pair: {unused}", unused=quoted(list(unused)))))
    return earned("weights format", found)


def _needed(header: Header, sides: Mapping[str, frozenset[str]]) -> dict[str, int]:
    """How many values that count the sides must have: of a lora_B one in `SHARE`, of a lora_A any, because that of an embedding
    starts as zero and is trained for the tokens that occur."""
    values = {
        tensor.name: math.prod(tensor.shape) for tensor in header.tensors if tensor.dtype in weights.FRACTION_BITS
    }
    return {
        name: min(values[name], max(2, values[name] // SHARE)) if side == "B" else 1
        for side, names in sides.items()
        for name in names
        if values.get(name)
    }


def _check_values(file: SubmittedFile, header: Header, config: Optional[Config]) -> Verdict:
    sides = {side: side_names(header.tensors, side) for side in "AB"}
    if not sides["B"]:
        return blocked("weights trained", "weights format")
    moved, touched = dict.fromkeys(sides, 0), dict.fromkeys(sides, 0)
    missing = _needed(header, sides)
    for tensor, finite, nonzero in weights.read_values(file, header, missing):
        if not finite:
            reason = tr("{path}: tensor {name} contains inf or NaN", path=file.path, name=quoted(tensor.name))
            return lost(
                "weights trained", reason, tr("lower the learning rate, then {train_again}", train_again=_TRAIN_AGAIN)
            )
        for side, names in sides.items():
            touched[side] += nonzero and tensor.name in names
            moved[side] += tensor.name in names and missing.get(tensor.name, 1) <= 0
    for side in "BA":
        if sides[side] and not touched[side]:
            reason = tr("{path}: every lora_{side} is zero, so the adapter changes nothing", path=file.path, side=side)
            return lost("weights trained", reason, _TRAIN_AGAIN)
        if sides[side] and not moved[side]:
            reason = tr(
                "{path}: nearly every value of every lora_{side} is zero, or smaller than 1e-12, so the adapter changes "
                "next to nothing",
                path=file.path,
                side=side,
            )
            return lost("weights trained", reason, _TRAIN_AGAIN)
    reason = tr(
        "all values are finite, {nonzero:,} of {total:,} lora_B are not zero", nonzero=moved["B"], total=len(sides["B"])
    )
    if config is not None and config.init not in _ZERO_START:
        reason += tr(" (which does not prove training with init_lora_weights {init})", init=quoted(config.init))
    return earned("weights trained", reason)
