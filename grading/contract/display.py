"""Display: how foreign text (names, paths, values, another program's words) is shown to people.

Text appears as it is written: Chinese, accents, emoji. Escaped, as `\\xNN`, `\\uNNNN` or `\\UNNNNNNNN`, is what a reader
cannot see, or what changes other text:

* control characters, terminal escapes, line separators, lone surrogates, private and unassigned characters;
* format characters (bidirectional marks, zero-width characters, tags), fillers, blanks, and every space but the ordinary one;
* a combining mark without a letter of its script before it, one that the letter has already, and the fourth and later ones;
* variation selectors, except the one that makes an emoji of a symbol.

`quoted`, `shown` and `one_line` are for a text inside of a message, `printed` for a whole message with its lines, `writable`
for a stream's encoding. `told_apart` shows names of one list so that no two look the same.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import PurePath, PureWindowsPath
from typing import Any, Optional
from unicodedata import category, name, normalize

from grading.contract.language import tr

MOST_MARKS = 3
"""Most combining marks that are shown on one letter. Vietnamese needs two, Hebrew three."""

LONGEST_VALUE = 160
"""Characters of a quoted value that are shown; a longer one is cut in its middle."""

LONGEST_PATH = 1_000
"""The same of a path: paths are shown whole wherever they can be."""

_ESCAPED_KINDS = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"))

_BLANKS = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u2d7f\u3164\uffa0\ufffc"
    "\U00010a3f\U0001107f\U00013441\U00013442\U00016fe4\U0001d159"
)
"""Letters, marks and symbols that show nothing: fillers, joiners, the braille blank."""

_SELECTORS = (("\ufe00", "\ufe0f"), ("\U000e0100", "\U000e01ef"))

_STACKED_JAMO = (("\u1160", "\u11ff"), ("\ud7b0", "\ud7ff"))
"""Vowels and final consonants of Hangul, which stand on the consonant before them."""

_TEXT_EMOJI = (
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9\u21aa\u2328\u23cf\u23ed-\u23ef\u23f1\u23f2\u23f8-\u23fa"
    "\u24c2\u25aa\u25ab\u25b6\u25c0\u25fb\u25fc\u2600-\u2604\u260e\u2611\u2618\u261d\u2620\u2622\u2623\u2626\u262a\u262e"
    "\u262f\u2638-\u263a\u2640\u2642\u265f\u2660\u2663\u2665\u2666\u2668\u267b\u267e\u2692\u2694-\u2697\u2699\u269b\u269c"
    "\u26a0\u26a7\u26b0\u26b1\u26c8\u26cf\u26d1\u26d3\u26e9\u26f0\u26f1\u26f4\u26f7-\u26f9\u2702\u2708\u2709\u270c\u270d"
    "\u270f\u2712\u2714\u2716\u271d\u2721\u2733\u2734\u2744\u2747\u2763\u2764\u27a1\u2934\u2935\u2b05-\u2b07\u3030\u303d"
    "\u3297\u3299\U0001f170\U0001f171\U0001f17e\U0001f17f\U0001f202\U0001f237\U0001f321\U0001f324-\U0001f32c\U0001f336"
    "\U0001f37d\U0001f396\U0001f397\U0001f399-\U0001f39b\U0001f39e\U0001f39f\U0001f3cb-\U0001f3ce\U0001f3d4-\U0001f3df"
    "\U0001f3f3\U0001f3f5\U0001f3f7\U0001f43f\U0001f441\U0001f4fd\U0001f549\U0001f54a\U0001f56f\U0001f570"
    "\U0001f573-\U0001f579\U0001f587\U0001f58a-\U0001f58d\U0001f590\U0001f5a5\U0001f5a8\U0001f5b1\U0001f5b2\U0001f5bc"
    "\U0001f5c2-\U0001f5c4\U0001f5d1-\U0001f5d3\U0001f5dc-\U0001f5de\U0001f5e1\U0001f5e3\U0001f5e8\U0001f5ef\U0001f5f3"
    "\U0001f5fa\U0001f6cb\U0001f6cd-\U0001f6cf\U0001f6e0-\U0001f6e5\U0001f6e9\U0001f6f0\U0001f6f3]\ufe0f"
    "|[0-9#*]\ufe0f\u20e3"
)
"""Symbols that are text until U+FE0F follows, and keys of a telephone (Unicode's `emoji-variation-sequences.txt`). After any
other character a selector shows nothing."""

_LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕһԁԛԝүАВЕКМНОРСТХІЈЅҮοναικρυχΑΒΕΖΗΙΚΜΝΟΡΤΥΧօոսһıɑɡǀロニエカタトハヘ‐−–‘’⁄∕꞉։·・",
    "aeopcyxijshdqwyABEKMHOPCTXIJSYovaikpuxABEZHIKMNOPTYXonuhiagl口二工力夕卜八へ---''//::••",
)
"""Letters and signs that look like others in most fonts."""

_NAMED = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_DOUBLED = {"\\": "\\\\"}
_OF_BYTES = {**_NAMED, **{chr(0xDC00 + byte): f"\\x{byte:02x}" for byte in range(0x80, 0x100)}}
_NOTHING: Mapping[str, str] = {}


def quoted(value: Any, most: int = LONGEST_VALUE) -> str:
    """A value in quotation marks, or as Python writes it, for a message. A long one is cut in its middle, with its length."""
    if isinstance(value, bytes):
        return _short(value.decode("utf-8", "surrogateescape"), _OF_BYTES, most, "'")
    if isinstance(value, (str, PurePath)):
        return _short(str(value), _NAMED, most, "'")
    return _short(repr(value), _NOTHING, most)


def shown(value: object, most: Optional[int] = LONGEST_PATH) -> str:
    """A path or a name for a message, without quotation marks. Two names never give the same text. `most`: None for all of it."""
    escapes = _NOTHING if isinstance(value, PureWindowsPath) else _DOUBLED
    return _ODD_SPACES.sub(r"\\x20", _short(str(value), escapes, most))


def one_line(text: str, most: Optional[int] = None) -> str:
    """A message that another program or a file has written, on one line. Its own backslashes stay as they are."""
    return text if _is_plain(text) and (most is None or len(text) <= most) else _short(text, _NOTHING, most)


def printed(text: str) -> str:
    """A whole message of the grader's own, with its lines. It is the last sieve: names in it have been through `quoted` or
    `shown` before."""
    return "\n".join(line if _is_plain(line) else "".join(_pieces(line)) for line in text.split("\n"))


def writable(text: str, stream: Any) -> str:
    """The text with escapes for what the stream's encoding cannot write: an ASCII or GBK terminal, say."""
    encoding = getattr(stream, "encoding", None) or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def told_apart(names: Iterable[str]) -> dict[str, str]:
    """Each name as `shown`, whole. If several look the same (`José` in two Unicode forms, a Cyrillic `а`), the ordinary spelling
    stays as it is written, and the others are escaped to ASCII."""
    looks = {each: each if each.isascii() else _look(each) for each in names}
    count, found = Counter(looks.values()), {}
    for each, look in looks.items():
        text = shown(each, None)
        if count[look] > 1 and each != look:
            text = text.encode("ascii", "backslashreplace").decode("ascii")
        found[each] = text
    return found


_ODD_SPACES = re.compile(r"\A | \Z|(?<= ) ")
"""Spaces that a page does not show: the outer ones, and each that follows another."""


def _look(text: str) -> str:
    return normalize("NFKC", "".join(char for char in text if not _is_in(char, _SELECTORS))).translate(_LOOK_ALIKES)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _short(text: str, escapes: Mapping[str, str], most: Optional[int], quote: str = "") -> str:
    if most is None or len(text) <= most:
        whole = "".join(_pieces(text, escapes))
        if most is None or len(whole) <= most:
            return f"{quote}{whole}{quote}"
    half = most // 2
    start = _first(_pieces(text[:half], escapes), half)
    end = _first(_pieces(text[-half:], escapes)[::-1], half)[::-1]
    return tr(
        "{start} ... {end} ({count:,} characters)",
        start=quote + "".join(start),
        end="".join(end) + quote,
        count=len(text),
    )


def _first(pieces: list[str], room: int) -> list[str]:
    taken = []
    for piece in pieces:
        room -= len(piece)
        if room < 0:
            break
        taken.append(piece)
    return taken


def _pieces(text: str, escapes: Mapping[str, str] = _NOTHING) -> list[str]:
    """What is shown for each character; marks that are shown are in the piece of their letter. `escapes` has further escapes."""
    pieces: list[str] = []
    base, marks, emoji_ends = "", "", 0
    for place, char in enumerate(text):
        if place < emoji_ends:
            pieces[-1] += char
            continue
        kind = _kind(char)
        if char in escapes:
            piece, base = escapes[char], ""
        elif kind == "mark":
            is_seen = base != "" and char not in marks and len(marks) < MOST_MARKS and _fits(char, base)
            marks += char
            if is_seen:
                pieces[-1] += char
                continue
            piece = _escape(char)
        elif kind == "hidden":
            piece, base = _escape(char), ""
        else:
            piece, base, marks = char, "" if char == " " else char, ""
            if text[place + 1 : place + 2] == "\ufe0f":
                found = _emoji().match(text, place)
                emoji_ends = found.end() if found else 0
        pieces.append(piece)
    return pieces


@lru_cache(maxsize=4096)
def _kind(char: str) -> str:
    """How a character is shown: `hidden` as an escape, `mark` on its base, `plain` as it is."""
    kind = category(char)
    if (char != " " and kind in _ESCAPED_KINDS) or char in _BLANKS or _is_in(char, _SELECTORS):
        return "hidden"
    if kind in ("Mn", "Me") or _is_in(char, _STACKED_JAMO):
        return "mark"
    return "plain"


def _is_in(char: str, ranges: tuple[tuple[str, str], ...]) -> bool:
    return any(first <= char <= last for first, last in ranges)


@cache
def _emoji() -> "re.Pattern[str]":
    return re.compile(_TEXT_EMOJI)  # only where it is needed: it takes milliseconds


def _fits(mark: str, base: str) -> bool:
    """Whether a mark is for every script, or of that of its base: others are shown beside it, or not at all."""
    script = name(mark, "?").partition(" ")[0]
    return script in ("COMBINING", name(base, "").partition(" ")[0])


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
