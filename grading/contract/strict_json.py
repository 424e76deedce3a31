"""Strict JSON: the rules for every JSON file of a submission."""

import json
import re
from typing import Any

from grading.contract.display import quoted
from grading.contract.language import tr

JSON_DEPTH = 32
"""Deepest nesting accepted in any JSON file of a submission; PEFT's own configuration needs 3."""


class ContractError(ValueError):
    """Bytes that break the contract. The message has what was expected and what was found; the caller adds the file."""


def parse_json(data: bytes) -> Any:
    """The value of strict JSON: UTF-8, no repeated key, no NaN or Infinity, no bare surrogate, at most `JSON_DEPTH` deep.

    Raises ContractError with the place (line and column where the parser knows it) and what was found."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ContractError(
            tr(
                "expected UTF-8 text, found byte 0x{byte:02x} at offset {offset}",
                byte=data[error.start],
                offset=error.start,
            )
        ) from None
    if text.startswith("\ufeff"):
        raise ContractError(tr("starts with a byte order mark; save it as UTF-8 without one"))
    _require_shallow(text)
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_integer, parse_float=_real
        )
    except json.JSONDecodeError as error:
        # its message and its column differ between versions of Python
        raise ContractError(tr("line {lineno} cannot be read as JSON", lineno=error.lineno)) from None
    _check_value(value)
    return value


_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
# An unclosed string matches up to the end; otherwise each quote in it would be tried as a start, in quadratic time.


def _require_shallow(text: str) -> None:
    """Raises ContractError for text nested too deep, before the parser, which is recursive."""
    depth = 0
    for match in _BRACKETS.finditer(text):
        if match[0] in "[{":
            depth += 1
            if depth > JSON_DEPTH:
                raise ContractError(tr("nested deeper than {json_depth} levels", json_depth=JSON_DEPTH))
        elif match[0] in "]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ContractError(tr("key {key} is repeated in one object", key=quoted(key, 40)))
        found[key] = value
    return found


def _no_constant(name: str) -> Any:
    raise ContractError(tr("{name} is not a JSON value", name=name))


def _integer(digits: str) -> int:
    # int() is quadratic in the digits, and newer Pythons refuse 4,300 of them with another error
    if len(digits) > 40:
        raise ContractError(tr("a number of {digits_count} digits", digits_count=len(digits)))
    return int(digits)


def _real(digits: str) -> float:
    if len(digits) > 400 or float(digits) in (float("inf"), float("-inf")):
        raise ContractError(tr("a number out of range: {digits}", digits=digits[:40]))
    return float(digits)


def _check_value(value: Any) -> None:
    """Raises ContractError if any string in the value has a bare surrogate."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise ContractError(tr("a string holds a bare surrogate: {value}", value=quoted(value, 40))) from None
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_value(key)
            _check_value(item)
    elif isinstance(value, list):
        for item in value:
            _check_value(item)


def kind_of(value: Any) -> str:
    """The JSON type of a value, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return tr("true or false")
    kinds = ((dict, tr("an object")), (list, tr("an array")), (str, tr("a string")))
    return next((words for kind, words in kinds if isinstance(value, kind)), tr("a number"))
