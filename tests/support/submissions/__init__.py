"""Tiny submissions for the grader's tests, written byte by byte with the standard library alone.

`write_submission` makes one that earns all points; a test then breaks one thing in it.
"""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

DATASET = "QQP"
ANSWERS: tuple[str, ...] = ("1", "0", "0", "1", "0", "0", "1", "0", "0", "0")
RANK = 2

Tensors = dict[str, tuple[str, list[int], bytes]]
"""Name to dtype, shape and values."""


def write_answers(folder: Path, answers: Sequence[str] = ANSWERS, name: str = "result_QQP_46.txt") -> Path:
    """An answer key in `folder`; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes("".join(f"{answer}\n" for answer in answers).encode())
    return folder


def write_submission(folder: Path, dataset: str = DATASET, answers: Sequence[str] = ANSWERS) -> Path:
    """A submission that earns every point for `dataset`; returns its folder."""
    train = [{"instruction": "Same?", "input": f"a {row}\nb {row}", "output": answers[0]} for row in range(4)]
    dev = [{"instruction": "Same?", "input": f"c {row}\nd {row}"} for row in range(len(answers))]
    write_json(folder / f"pre_data/{dataset}/{dataset}_train.json", train)
    write_json(folder / f"pre_data/{dataset}/{dataset}_dev.json", dev)
    write_json(folder / f"saved_model/{dataset}/adapter_config.json", adapter_config())
    write(folder / f"saved_model/{dataset}/adapter_model.safetensors", safetensors(adapter_tensors()))
    write(folder / f"result/result_{dataset}.txt", "".join(f"{answer}\n" for answer in answers).encode())
    return folder


def write(path: Path, data: bytes) -> None:
    """A file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """A JSON file and the folders above it."""
    write(path, json.dumps(value).encode())


def adapter_config(**changes: Any) -> dict[str, Any]:
    """An `adapter_config.json` of rank `RANK`."""
    return {"peft_type": "LORA", "r": RANK, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], **changes}


def adapter_tensors(rank: int = RANK) -> Tensors:
    """Two trained pairs, in float32 and with the names that PEFT gives them."""
    tensors: Tensors = {}
    for module in ("q_proj", "v_proj"):
        stem = f"base_model.model.model.layers.0.self_attn.{module}"
        tensors[f"{stem}.lora_A.weight"] = floats([rank, 3], [0.5] * 3 * rank)
        tensors[f"{stem}.lora_B.weight"] = floats([4, rank], [-0.25] * 4 * rank)
    return tensors


def floats(shape: list[int], values: Sequence[float]) -> tuple[str, list[int], bytes]:
    """A float32 tensor."""
    return "F32", shape, struct.pack(f"<{len(values)}f", *values)


def safetensors(tensors: Tensors, changes: Optional[dict[str, Any]] = None) -> bytes:
    """A safetensors file; `changes` replaces entries of its header."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + len(values)]}
        position += len(values)
    header.update(changes or {})
    return framed(json.dumps(header).encode()) + b"".join(values for _, _, values in tensors.values())


def framed(header: bytes) -> bytes:
    """A header, padded to eight bytes as safetensors does, after its length."""
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header
