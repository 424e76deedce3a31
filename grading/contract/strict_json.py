"""Strict JSON: the rules for every JSON file of a submission, for one value and for an array that is read element by element."""

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator
from typing import Any

from grading.contract.display import quoted
from grading.contract.language import tr

JSON_DEPTH = 32
"""Deepest nesting accepted in any JSON file of a submission; PEFT's own configuration needs 3."""

ELEMENT_LIMIT = 1 << 20
"""Most characters of one element of an array that is read element by element, the space after it included. The memory for such an
array is a small multiple of this."""

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"[-+.0-9eE]*")

_ENDINGS = {"{": "},", "[": "],"}
"""The end of an element and the comma after it, by the element's first character."""

_ENCODINGS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
"""First bytes of other encodings: their byte order marks."""


class ContractError(ValueError):
    """Bytes that break the contract. The message has what was expected and what was found; the caller adds the file."""


class NotAnArray(ContractError):
    """JSON that is no array, where an array was expected."""


def parse_json(data: bytes) -> Any:
    """The value of strict JSON: UTF-8, no repeated key, no NaN or Infinity, no bare surrogate, at most `JSON_DEPTH` deep.

    Raises ContractError with the line where the parser knows it, and what was found."""
    text = decoded(data)
    _require_text(text)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise _unreadable(text, error.pos) from None
    except RecursionError:
        raise _too_deep() from None
    _check_value(value, JSON_DEPTH, "\\u" in text)
    return value


def read_array(pieces: Iterable[bytes]) -> Iterator[Any]:
    """The elements of an array in strict JSON, one by one, by the rules of `parse_json`.

    Args:
        pieces: The file's bytes in order, cut anywhere. Not more than a few of them are in memory at once.

    Yields:
        Each element. Those before a fault are given before it is found, so a caller must be ready to drop them.

    Raises:
        NotAnArray: Another JSON value, or several of them (JSON Lines).
        ContractError: As `parse_json`, and for an element of more than `ELEMENT_LIMIT` characters.
    """
    source = _Source(pieces)
    first = source.next_character()
    _require_text(source.text)
    if first != "[":
        raise source.not_an_array()
    source.at += 1
    if source.next_character() != "]":
        while True:
            source.next_character()
            yield from source.many() or [source.element()]
            after = source.next_character()
            if after == "]":
                break
            if after != "," or source.character_after_comma() == "]":
                raise source.unreadable()
            source.at += 1
    source.at += 1
    if source.next_character():
        raise source.unreadable()


class _Source:
    """The text of some bytes, of which only the part is kept that is being read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.text = ""
        """What has been decoded and is not dropped yet."""
        self.at = 0
        """The place in it that is read next."""
        self._pieces = iter(pieces)
        self._decoder = getincrementaldecoder("utf-8")()
        self._start = b""
        self._bytes = 0
        self._lines = 0
        self._number = 0
        self._fresh = False

    def _more(self) -> bool:
        """Decodes one more piece and drops what was read; False at the end of the file."""
        piece = next(self._pieces, None)
        self._start = self._start or (piece or b"")[:4]
        waiting = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(piece or b"", final=piece is None)
        except UnicodeDecodeError as error:
            raise _not_utf8(self._start, error, self._bytes - waiting) from None
        self._bytes += len(piece or b"")
        self._lines += self.text.count("\n", 0, self.at)
        self.text = self.text[self.at :] + text
        self.at = 0
        self._fresh = True
        return piece is not None

    def _much_more(self) -> bool:
        """Decodes pieces until the text from the place is twice as long, so that the work is linear however small they are; False
        if there is no more."""
        before = len(self.text) - self.at
        while self._more():
            if len(self.text) - self.at >= 2 * before:
                return True
        return len(self.text) - self.at > before

    def next_character(self) -> str:
        """The next character that is no space, which becomes the place; empty at the end."""
        while True:
            self.at = _end_of(_SPACE, self.text, self.at)
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._more():
                return ""

    def character_after_comma(self) -> str:
        """The character after the comma that is the place, which stays, and after spaces."""
        while True:
            end = _end_of(_SPACE, self.text, self.at + 1)
            if end < len(self.text):
                return self.text[end]
            self._require_short()
            if not self._more():
                return ""

    def many(self) -> list[Any]:
        """The values from the place to the last one that ends in the text, in one call; their end becomes the place.
        Empty where that is not so simple. It is tried once for each piece of text."""
        if not self._fresh:
            return []
        self._fresh = False
        ending = _ENDINGS.get(self.text[self.at : self.at + 1], ",")
        end = self.text.rfind(ending, self.at) + len(ending) - 1
        if end <= self.at:
            return []
        try:
            values: list[Any] = _DECODER.decode(f"[{self.text[self.at : end]}]")
            _check_value(values, JSON_DEPTH, self.text.find("\\u", self.at, end) >= 0)
        except (ValueError, RecursionError):
            return []  # one by one, which finds the place
        self.at = end
        self._number += len(values)
        return values

    def element(self) -> Any:
        """The value that begins at the place; its end becomes the place."""
        self._number += 1
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos > len(self.text) - 16
                fault = self.unreadable(error.pos)
                if cut:
                    self._require_short()
                if not cut or not self._much_more():
                    raise fault from None
                continue
            except RecursionError:
                raise _too_deep() from None
            # a number at the end of a piece may go on in the next one, as 1 of 1e5
            if isinstance(value, (int, float)) and _end_of(_NUMBER, self.text, self.at) == len(self.text):
                self._require_short()
                if self._more():
                    continue
            if end - self.at > ELEMENT_LIMIT:
                raise self._too_long()
            _check_value(value, JSON_DEPTH - 1, self.text.find("\\u", self.at, end) >= 0)
            self.at = end
            return value

    def _require_short(self) -> None:
        if len(self.text) - self.at > ELEMENT_LIMIT:
            raise self._too_long()

    def _too_long(self) -> ContractError:
        return ContractError(
            tr(
                "record {number:,} has more than {most:,} characters, or a string that does not end",
                number=self._number,
                most=ELEMENT_LIMIT,
            )
        )

    def unreadable(self, place: int = -1) -> ContractError:
        """The error of a place in the text; without one, of where it is read."""
        return _unreadable(self.text, self.at if place < 0 else place, self._lines)

    def not_an_array(self) -> ContractError:
        """The error of a file whose first value is no array."""
        first = self.next_character()
        if not first:
            return self.unreadable()
        try:
            self.element()
        except ContractError as error:
            # an object around all records is no array, however long it is
            return NotAnArray(tr("is not a JSON array")) if len(self.text) - self.at > ELEMENT_LIMIT else error
        following = self.next_character()
        if not following:
            return NotAnArray(tr("is not a JSON array"))
        if first == following == "{":
            return NotAnArray(tr("is JSON Lines, an object a line, and not one JSON array"))
        return self.unreadable()


def decoded(data: bytes, encoding: str = "utf-8") -> str:
    """UTF-8 text. Raises ContractError, which names UTF-16 and UTF-32."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise _not_utf8(data[:4], error, 0) from None


def _not_utf8(start: bytes, error: UnicodeDecodeError, before: int) -> ContractError:
    """The error of bytes that are not UTF-8. `start`: the first four of the file; `before`: those before the error's object."""
    found = next((name for mark, name in _ENCODINGS if start.startswith(mark)), "")
    if found:
        return ContractError(tr("expected UTF-8 text, found {encoding}; save it as UTF-8", encoding=found))
    return ContractError(
        tr(
            "expected UTF-8 text, found byte 0x{byte:02x} at offset {offset}",
            byte=error.object[error.start],
            offset=before + error.start,
        )
    )


def _require_text(text: str) -> None:
    """Raises ContractError for a byte order mark and for text in which every second byte is zero."""
    if text.startswith("\ufeff"):
        raise ContractError(tr("starts with a byte order mark; save it as UTF-8 without one"))
    if "\0" in text[:4]:
        raise ContractError(tr("expected UTF-8 text, found {encoding}; save it as UTF-8", encoding="UTF-16"))


def _unreadable(text: str, place: int, lines: int = 0) -> ContractError:
    """The error of a place. The parser's message and column differ between versions of Python. So does its place for a comma
    before a closing bracket: the comma's is taken. `lines`: lines before the text."""
    end = _end_of(_SPACE, text, place)
    before = text[:place].rstrip(" \t\n\r")
    if text[end : end + 1] in ("]", "}") and before.endswith(","):
        place = len(before) - 1
    return ContractError(tr("line {lineno} cannot be read as JSON", lineno=lines + text.count("\n", 0, place) + 1))


def _too_deep() -> ContractError:
    return ContractError(tr("nested deeper than {json_depth} levels", json_depth=JSON_DEPTH))


def _end_of(pattern: "re.Pattern[str]", text: str, start: int) -> int:
    """The end of the match of a pattern that always matches."""
    match = pattern.match(text, start)
    return match.end() if match else start


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ContractError(tr("key {key} is repeated in one object", key=quoted(key, 40)))
            seen.add(key)
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


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_integer, parse_float=_real
)


def _check_value(value: Any, deeper: int, escapes: bool) -> None:
    """Raises ContractError for a value nested more than `deeper` levels, and for a bare surrogate, which only a text with
    `escapes` can have."""
    if isinstance(value, str):
        if escapes:
            _require_no_surrogate(value)
        return
    if not isinstance(value, (dict, list)):
        return
    if deeper == 0:
        raise _too_deep()
    if isinstance(value, list):
        items: Iterable[Any] = value
    else:
        items = value.values()
        if escapes:
            for key in value:
                _require_no_surrogate(key)
    for item in items:
        # what is empty is the most frequent in a hostile file, and a number needs no check
        if item or deeper == 1:
            _check_value(item, deeper - 1, escapes)


def _require_no_surrogate(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ContractError(tr("a string holds a bare surrogate: {value}", value=quoted(text, 40))) from None


def kind_of(value: Any) -> str:
    """The JSON type of a value, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return tr("true or false")
    kinds = ((dict, tr("an object")), (list, tr("an array")), (str, tr("a string")))
    return next((words for kind, words in kinds if isinstance(value, kind)), tr("a number"))
