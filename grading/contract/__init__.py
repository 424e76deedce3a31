"""The contract: the format of a submission on disk, defined once for the runner, which writes it, and the grader.

Paths, record shapes, the label rule, the result file, strict JSON and the metrics are defined here and nowhere else. Standard
library only, Python 3.9: `runner` imports this one package of `grading`, and `grading` imports nothing of `runner`.
"""

from grading.contract.metrics import Metrics, measure, wilson_interval
from grading.contract.paths import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    ANSWER_FOLDER,
    adapter_folder,
    dataset_of_answer,
    dev_path,
    is_dataset_name,
    result_path,
    result_paths,
    train_path,
)
from grading.contract.records import (
    DEV_KEYS,
    LABELS,
    TRAIN_KEYS,
    format_records,
    is_label,
    is_record,
    label_set,
    label_words,
    record_problem,
)
from grading.contract.results import INDEXED, PREDICTED_ROWS, count_lines, format_result, parse_result
from grading.contract.strict_json import JSON_DEPTH, ContractError, NotAnArray, parse_json, read_array

__all__ = [
    "ADAPTER_CONFIG",
    "ADAPTER_WEIGHTS",
    "ANSWER_FOLDER",
    "DEV_KEYS",
    "INDEXED",
    "JSON_DEPTH",
    "LABELS",
    "PREDICTED_ROWS",
    "TRAIN_KEYS",
    "ContractError",
    "Metrics",
    "NotAnArray",
    "adapter_folder",
    "count_lines",
    "dataset_of_answer",
    "dev_path",
    "format_records",
    "format_result",
    "is_dataset_name",
    "is_label",
    "is_record",
    "label_set",
    "label_words",
    "measure",
    "parse_json",
    "parse_result",
    "read_array",
    "record_problem",
    "result_path",
    "result_paths",
    "train_path",
    "wilson_interval",
]
