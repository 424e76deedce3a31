"""Records and labels: the format of `pre_data`."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Optional

from grading.contract.display import quoted
from grading.contract.language import tr
from grading.contract.strict_json import kind_of

TRAIN_KEYS = ("instruction", "input", "output")
"""Keys of a training record, in the order they are written."""

DEV_KEYS = ("instruction", "input")
"""Keys of a dev record: the same without the answer."""

LABELS = ("0", "1")
"""The exam's labels. A key with other labels has its own set, see `label_set`."""

MOST_NAMED = 8
"""Most labels that a message names. The names of many would say much about a key."""

_LABEL = re.compile(r"(?:[!-~]|[^\W\d_!-~]){1,32}")
"""Visible ASCII characters and letters of any script."""


def is_label(text: str) -> bool:
    """Whether `text` can be a label: 1 to 32 visible ASCII characters or letters of any script, so that it fits on a line.

    Characters that look like others are none: a wide or a raised 1, which Unicode's NFKC form replaces."""
    return bool(_LABEL.fullmatch(text)) and unicodedata.normalize("NFKC", text) == text


def label_set(answers: Iterable[str]) -> tuple[str, ...]:
    """The labels that a key allows: the exam's `LABELS` if it uses no others, else its own, sorted."""
    used = set(answers)
    return LABELS if used <= set(LABELS) else tuple(sorted(used))


def label_words(labels: Sequence[str]) -> str:
    """The labels for a message after "one of"."""
    return ", ".join(labels) if len(labels) <= MOST_NAMED else tr("the {count:,} labels", count=len(labels))


def is_record(record: Any, keys: Sequence[str], labels: Sequence[str]) -> bool:
    """Whether `record_problem` would find none, in a fraction of its time: no message is made."""
    return (
        isinstance(record, dict)
        and record.keys() == frozenset(keys)
        and all(isinstance(value, str) for value in record.values())
        and bool(record["instruction"].strip())
        and ("output" not in keys or record["output"] in labels)
    )


def record_problem(record: Any, keys: Sequence[str], labels: Sequence[str]) -> Optional[str]:
    """The problem of one record as a phrase, or None. `keys` is `TRAIN_KEYS` or `DEV_KEYS`."""
    if not isinstance(record, dict):
        return tr("expected an object, found {record}", record=kind_of(record))
    missing = [key for key in keys if key not in record]
    if missing:
        return tr("key {missing!r} is missing", missing=missing[0])
    extra = [key for key in record if key not in keys]
    if extra:
        return tr("key {extra} is not part of the record", extra=quoted(extra[0], 40))
    for key in keys:
        if not isinstance(record[key], str):
            return tr("{key!r} is {record}, expected a string", key=key, record=kind_of(record[key]))
    if not record["instruction"].strip():
        return tr("'instruction' is empty")
    if "output" in keys and record["output"] not in labels:
        return tr(
            "'output' is {output}, expected one of {labels}",
            output=quoted(record["output"], 40),
            labels=label_words(labels),
        )
    return None


def format_records(records: Iterable[dict[str, str]]) -> Iterator[bytes]:
    """The records as JSON, piece by piece: a UTF-8 array with one record a line, for people and `diff`.

    Raises UnicodeEncodeError for a bare surrogate, which no reader would accept."""
    before = "[\n"
    for record in records:
        yield (before + json.dumps(record, ensure_ascii=False, allow_nan=False)).encode("utf-8")
        before = ",\n"
    yield b"\n]\n" if before != "[\n" else b"[]\n"
