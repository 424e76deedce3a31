"""The contract: what a submission looks like on disk, said once for the runner that writes and the grader that reads.

Paths, record shapes, the label rule, the result file and strict JSON live here and nowhere else. Standard library
only, Python 3.9: `runner` imports this one module of `grading`, and `grading` imports nothing of `runner`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Optional

TRAIN_KEYS = ("instruction", "input", "output")
"""Keys of a training record, in the order they are written."""

DEV_KEYS = ("instruction", "input")
"""Keys of a dev record: the same without the answer."""

LABELS = ("0", "1")
"""The exam's labels. A key that uses other labels brings its own set, see `label_set`."""

INDEXED = "index\tprediction"
"""Header of a result file that numbers its rows, as GLUE's test server takes them."""

PREDICTED_ROWS = 150
"""Rows of the dev file that the exam wants predicted, counted from the first."""

ANSWER_FOLDER = "data/questionBAnswer"
"""Where the answer keys lie, below the grader's own folder."""

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"

JSON_DEPTH = 32
"""Deepest nesting accepted in any JSON file of a submission; PEFT's own configuration needs 3."""

_DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(?:_[A-Za-z0-9.-]*[A-Za-z.-][A-Za-z0-9.-]*)*")
_ANSWER_FILE = re.compile(r"result_(?P<dataset>.+?)(?:_\d+)?\.txt")
_LABEL = re.compile(r"[!-~]{1,32}")


class ContractError(ValueError):
    """Bytes that break the contract. The message says what was expected and what was found; the caller knows the file."""


# Paths, relative to a workspace or a submission, always with forward slashes.


def is_dataset_name(name: str) -> bool:
    """Whether `name` can name a dataset: it becomes part of file names, and `_46` at its end would be a key's suffix."""
    return len(name) <= 64 and bool(_DATASET.fullmatch(name))


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
    """Where a result file may lie, best first: the exam's own text also speaks of the workspace's root."""
    return (result_path(dataset), f"result_{dataset}.txt")


def dataset_of_answer(file_name: str) -> Optional[str]:
    """The dataset that an answer key's file name means (`result_QQP_46.txt` → `QQP`), None for any other file."""
    match = _ANSWER_FILE.fullmatch(file_name)
    return match.group("dataset") if match and is_dataset_name(match.group("dataset")) else None


# Labels.


def is_label(text: str) -> bool:
    """Whether `text` can be a label: 1 to 32 visible ASCII characters, so that it fits a line and looks like itself."""
    return bool(_LABEL.fullmatch(text))


def label_set(answers: Iterable[str]) -> tuple[str, ...]:
    """The labels that a key admits: the exam's `LABELS` if it uses no others, else its own, sorted."""
    used = set(answers)
    return LABELS if used <= set(LABELS) else tuple(sorted(used))


# Records.


def record_problem(record: Any, keys: Sequence[str], labels: Sequence[str]) -> Optional[str]:
    """What is wrong with one record, in words, or None. `keys` is `TRAIN_KEYS` or `DEV_KEYS`."""
    if not isinstance(record, dict):
        return f"expected an object, found {_kind(record)}"
    missing = [key for key in keys if key not in record]
    if missing:
        return f"key {missing[0]!r} is missing"
    extra = [key for key in record if key not in keys]
    if extra:
        return f"key {extra[0][:40]!a} is not part of the record"
    for key in keys:
        if not isinstance(record[key], str):
            return f"{key!r} is {_kind(record[key])}, expected a string"
    if not record["instruction"].strip():
        return "'instruction' is empty"
    if "output" in keys and record["output"] not in labels:
        return f"'output' is {record['output'][:40]!a}, expected one of {', '.join(labels)}"
    return None


def format_records(records: Iterable[dict[str, str]]) -> Iterator[bytes]:
    """The records as the contract's JSON, piece by piece: a UTF-8 array, one record a line so that people and `diff` can
    read it.

    Raises UnicodeEncodeError for a bare surrogate, which no reader would accept."""
    before = "[\n"
    for record in records:
        yield (before + json.dumps(record, ensure_ascii=False, allow_nan=False)).encode("utf-8")
        before = ",\n"
    yield b"\n]\n" if before != "[\n" else b"[]\n"


# Results.


def format_result(labels: Iterable[str]) -> bytes:
    """The result file: one label a line, a newline behind each."""
    return "".join(f"{label}\n" for label in labels).encode("ascii")


def parse_result(data: bytes) -> list[str]:
    """The lines of a result file or an answer key, stripped of their line end only.

    Tolerated: a UTF-8 byte order mark, CRLF line ends, a missing or a single trailing newline, and GLUE's table: the header
    `INDEXED`, then each label behind its row's number from 0 and a tab. Nothing else: a blank or padded line stays as it
    is, so that line *i* is line *i*. Raises ContractError where the bytes are not UTF-8."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ContractError(
            f"expected UTF-8 text, found byte 0x{data[error.start]:02x} at offset {error.start}"
        ) from None
    lines = text.split("\n")  # not splitlines(): U+2028 and form feeds are no line ends here
    if lines[-1] == "":
        lines.pop()
    lines = [line[:-1] if line.endswith("\r") else line for line in lines]
    if lines[:1] != [INDEXED]:
        return lines
    return [_behind_index(row, line) for row, line in enumerate(lines[1:])]


def _behind_index(row: int, line: str) -> str:
    index = f"{row}\t"
    return line[len(index) :] if line.startswith(index) else line  # another row's number: the line is no label


# Strict JSON.


def parse_json(data: bytes) -> Any:
    """The value of strict JSON: UTF-8, no repeated key, no NaN or Infinity, no bare surrogate, at most `JSON_DEPTH` deep.

    Raises ContractError with the place (line and column where the parser knows it) and what was found."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ContractError(
            f"expected UTF-8 text, found byte 0x{data[error.start]:02x} at offset {error.start}"
        ) from None
    if text.startswith("\ufeff"):
        raise ContractError("starts with a byte order mark; save it as UTF-8 without one")
    _require_shallow(text)
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_integer, parse_float=_real
        )
    except json.JSONDecodeError as error:  # its words and its column differ from one Python to the next
        raise ContractError(f"line {error.lineno} cannot be read as JSON") from None
    _check_value(value)
    return value


_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
# A string that is not closed runs to the end: were it no match, each quote in it would be tried as a beginning.


def _require_shallow(text: str) -> None:
    """Raises ContractError for text nested too deep, before a parser that would call itself that often."""
    depth = 0
    for match in _BRACKETS.finditer(text):
        if match[0] in "[{":
            depth += 1
            if depth > JSON_DEPTH:
                raise ContractError(f"nested deeper than {JSON_DEPTH} levels")
        elif match[0] in "]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ContractError(f"key {key[:40]!a} is repeated in one object")
        found[key] = value
    return found


def _no_constant(name: str) -> Any:
    raise ContractError(f"{name} is no JSON value")


def _integer(digits: str) -> int:
    if len(digits) > 40:  # int() is quadratic in the digits, and newer Pythons refuse 4,300 of them with another error
        raise ContractError(f"a number of {len(digits)} digits")
    return int(digits)


def _real(digits: str) -> float:
    if len(digits) > 400 or float(digits) in (float("inf"), float("-inf")):
        raise ContractError(f"a number out of range: {digits[:40]}")
    return float(digits)


def _check_value(value: Any) -> None:
    """Raises ContractError for a string with a bare surrogate anywhere in a value."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise ContractError(f"a string holds a bare surrogate: {value[:40]!a}") from None
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_value(key)
            _check_value(item)
    elif isinstance(value, list):
        for item in value:
            _check_value(item)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    kinds = ((dict, "an object"), (list, "an array"), (str, "a string"))
    return next((words for kind, words in kinds if isinstance(value, kind)), "a number")
