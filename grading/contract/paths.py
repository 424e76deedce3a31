"""Paths: where the files of a submission are, and which dataset a file name means.

Paths are relative to a workspace or a submission, always with forward slashes.
"""

import re
import unicodedata
from typing import Optional

ANSWER_FOLDER = "data/questionBAnswer"
"""Where the answer keys are, below the grader's own checkout."""

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"

_PART = re.compile(r"(?:[^\W\d_]|[0-9.-])+")
"""Letters of any script, digits, points and dashes: what is between two underscores."""

_ANSWER_FILE = re.compile(r"result_(?P<dataset>.+?)(?:_[0-9]+)?\.txt")
_MOST_BYTES = 192
"""Most bytes of a name: a file name, with what is added to it, has at most 255."""


def is_dataset_name(name: str) -> bool:
    """Whether `name` can name a dataset: it becomes part of file names, and `_46` at its end would be a key's suffix."""
    first, *others = name.split("_")
    if len(name) > 64 or not first[:1].isalnum() or not all(map(_PART.fullmatch, (first, *others))):
        return False
    if any(part.isdigit() for part in others):
        return False
    return len(name.encode()) <= _MOST_BYTES and unicodedata.normalize("NFKC", name) == name


def train_path(dataset: str) -> str:
    """The training records: a JSON array of objects with `TRAIN_KEYS`."""
    return f"pre_data/{dataset}/{dataset}_train.json"


def dev_path(dataset: str) -> str:
    """The records to predict: a JSON array of objects with `DEV_KEYS`."""
    return f"pre_data/{dataset}/{dataset}_dev.json"


def adapter_folder(dataset: str) -> str:
    """The folder of the LoRA adapter: `ADAPTER_WEIGHTS` and `ADAPTER_CONFIG`, as PEFT saves them."""
    return f"saved_model/{dataset}"


def result_path(dataset: str) -> str:
    """The predictions, one label a line, line *i* for dev row *i*."""
    return f"result/result_{dataset}.txt"


def result_paths(dataset: str) -> tuple[str, ...]:
    """Where a result file may be, best first: the exam's text also names the workspace's root."""
    return (result_path(dataset), f"result_{dataset}.txt")


def dataset_of_answer(file_name: str) -> Optional[str]:
    """The dataset that an answer key's file name means (`result_QQP_46.txt` → `QQP`), None for any other file."""
    match = _ANSWER_FILE.fullmatch(file_name)
    return match.group("dataset") if match and is_dataset_name(match.group("dataset")) else None
