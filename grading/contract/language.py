"""The language of messages: English or Simplified Chinese, by gettext catalogues.

`LABELTUNE_LANG` (en, zh) decides, else the locale: the first of `LC_ALL`, `LC_MESSAGES` and `LANG` that is set. The English
words are the ids of the messages, so English needs no catalogue. Files that programs read stay English: see `english`.
"""

import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path, PurePath
from typing import Any, Callable, Optional

VARIABLE = "LABELTUNE_LANG"
"""Environment variable: the language of messages."""

LANGUAGES = ("en", "zh")
"""English, and Simplified Chinese."""

_LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")
_SIMPLIFIED = ("zh", "zh_cn", "zh_sg", "zh_hans", "zh_hans_cn", "zh_hans_sg")
_told: set[str] = set()


def language() -> str:
    """The language of messages: one of `LANGUAGES`. An unknown `LABELTUNE_LANG` is reported once, and not used."""
    wish = os.environ.get(VARIABLE, "").strip()
    if wish:
        found = _known(wish)
        if found:
            return found
        _report_unknown(wish)
    spoken = next((os.environ[name] for name in _LOCALE if os.environ.get(name)), "")
    return _known(spoken) or "en"


def _known(name: str) -> Optional[str]:
    """The language that a locale's name such as `zh_CN.UTF-8` means, None for any that is neither."""
    code = name.partition(".")[0].partition("@")[0].replace("-", "_").lower()
    if code in _SIMPLIFIED:
        return "zh"
    return "en" if code == "en" or code.startswith("en_") else None


def _report_unknown(wish: str) -> None:
    if wish not in _told:
        import logging

        from grading.contract.display import quoted

        _told.add(wish)
        words = f"{VARIABLE}={quoted(wish)}: expected en or zh; the language of the locale is used"
        logging.getLogger("labeltune").warning(words)


class Translated(str):
    """A message in another language than English. It knows its English words, for files that programs read."""

    english: str
    """Its English words."""

    def __new__(cls, text: str, english: str = "") -> "Translated":
        """`text` is what people read, `english` the same in English."""
        made = super().__new__(cls, text)
        made.english = english
        return made

    def __add__(self, other: str) -> "Translated":
        return Translated(str(self) + str(other), self.english + english(other))

    def __radd__(self, other: str) -> "Translated":
        return Translated(str(other) + str(self), english(other) + self.english)

    def __reduce__(self) -> tuple[Any, ...]:
        return Translated, (str(self), self.english)


class Marked(str):
    """A message that is a constant: English where it is written, translated where it is used, by `tr`."""

    catalogue: "Catalogue"
    """Where its translation is."""
    message: str
    """Its English words, or their template."""
    values: Mapping[str, Any]
    """What stands for the names in braces."""

    def __new__(cls, catalogue: "Catalogue", message: str, values: Mapping[str, Any]) -> "Marked":
        """`message` and `values` are those of `Catalogue.tr`."""
        made = super().__new__(cls, _filled(message, values, english))
        made.catalogue, made.message, made.values = catalogue, message, values
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)


def translated(value: Any) -> Any:
    """The value; a `Marked` message in the language of messages."""
    return value.catalogue.tr(value.message, **value.values) if isinstance(value, Marked) else value


def english(value: Any) -> Any:
    """The value with its messages in English, also those inside dicts, lists and tuples. Use it for files of programs."""
    if isinstance(value, str):
        return value.english if isinstance(value, Translated) else str(value)
    if isinstance(value, dict):
        return {english(key): english(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(english(item) for item in value)
    return value


def _filled(message: str, values: Mapping[str, Any], of: Callable[[Any], Any]) -> str:
    filled = {
        name: of(value) if type(value) is str or not isinstance(value, PurePath) else _path(value)
        for name, value in values.items()
    }
    return message.format(**filled) if values else message


def _path(path: PurePath) -> str:
    """A path as messages show it. Other foreign texts are shown by the caller, who knows how long they may be."""
    from grading.contract.display import shown  # it needs this module

    return shown(path)


class Catalogue:
    """The messages of one package, from `locale/{language}/LC_MESSAGES/{package}.mo` in its folder."""

    def __init__(self, package: Path) -> None:
        """`package`: the folder of the package."""
        self.domain = package.name
        self.folder = package / "locale"

    def tr(self, message: str, /, **values: Any) -> str:
        """The message in the language of messages.

        Args:
            message: Its English words, or what `mark` or `tr` has made of them. With `values` it is a template of `str.format`;
                alone it is taken as it is.
            values: What stands for the names in braces.
        """
        if isinstance(message, (Translated, Marked)):
            return translated(message)
        if language() == "en":
            return _filled(message, values, english)
        text = self._read(language()).gettext(message)
        return Translated(_filled(text, values, translated), _filled(message, values, english))

    def trn(self, one: str, many: str, count: int, /, **values: Any) -> str:
        """The message for a number of things: `one` for 1, else `many`. Both are templates; `count` fills `{count}`."""
        values["count"] = count
        words = one if count == 1 else many
        if language() == "en":
            return _filled(words, values, english)
        text = self._read(language()).ngettext(one, many, count)
        return Translated(_filled(text, values, translated), _filled(words, values, english))

    def mark(self, message: str, /, **values: Any) -> str:
        """A message that is a constant. The English words; `tr`, `translated` and the errors translate them."""
        return Marked(self, message, values)

    def _read(self, name: str) -> Any:
        return _read(self.folder / name / "LC_MESSAGES" / f"{self.domain}.mo")


@cache
def _read(path: Path) -> Any:
    from gettext import GNUTranslations

    with path.open("rb") as file:
        return GNUTranslations(file)


_OWN = Catalogue(Path(__file__).resolve().parent.parent)
tr, trn, mark = _OWN.tr, _OWN.trn, _OWN.mark


def speak_to_argparse() -> None:
    """Let argparse write its own words in the language of messages. Call it before a parser is made."""
    import gettext  # argparse does

    if language() == "en":
        if gettext.textdomain() == _OWN.domain:  # of a command in the same process
            gettext.textdomain("messages")
        return
    # argparse asks the process's own domain, whose language is that of the environment
    gettext.bindtextdomain(_OWN.domain, str(_OWN.folder))
    gettext.textdomain(_OWN.domain)
    os.environ["LANGUAGE"] = language()


SYSTEM = (
    mark("No such file or directory"),
    mark("Permission denied"),
    mark("No space left on device"),
    mark("Disk quota exceeded"),
    mark("Is a directory"),
    mark("Not a directory"),
    mark("File exists"),
    mark("Read-only file system"),
    mark("Input/output error"),
    mark("File name too long"),
    mark("Too many open files"),
    mark("Cannot allocate memory"),
    mark("Operation not permitted"),
    mark("Resource temporarily unavailable"),
)
"""Reasons of the operating system, which are English whatever the locale is."""


def reason_of(error: OSError) -> str:
    """Why the operating system refused something, in the language of messages; the error's type where it does not say why."""
    return tr(error.strerror or type(error).__name__)


ARGPARSE = (
    # argparse cuts 7 characters off, so a translation needs as many
    mark("usage: "),
    mark("positional arguments"),
    mark("options"),
    # Python 3.9
    mark("optional arguments"),
    mark("show this help message and exit"),
    mark("show program's version number and exit"),
    mark("%(prog)s: error: %(message)s\n"),
    mark("argument %(argument_name)s: %(message)s"),
    mark("the following arguments are required: %s"),
    mark("unrecognized arguments: %s"),
    mark("invalid choice: %(value)r (choose from %(choices)s)"),
    mark("invalid %(type)s value: %(value)r"),
    mark("ambiguous option: %(option)s could match %(matches)s"),
    mark("ignored explicit argument %r"),
    mark("not allowed with argument %s"),
    mark("one of the arguments %s is required"),
    mark("expected one argument"),
    mark("expected at most one argument"),
    mark("expected at least one argument"),
)
"""Messages of argparse's own that the commands can show."""


def joined(separator: str, messages: Iterable[str]) -> str:
    """The messages with the separator between them, as `str.join`, but their English words are kept."""
    parts = [translated(message) for message in messages]
    text = separator.join(parts)
    return Translated(text, separator.join(map(english, parts))) if any(map(_differs, parts)) else text


def _differs(message: str) -> bool:
    return isinstance(message, Translated)


def width(text: str) -> int:
    """Columns that a text takes in a terminal, where a Chinese character takes two."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(mark) else 1 + (east_asian_width(mark) in "WF") for mark in text)


def padded(text: str, columns: int, right: bool = False) -> str:
    """The text with spaces up to so many columns of a terminal; `right`: the spaces come first."""
    spaces = " " * (columns - width(text))
    return spaces + text if right else text + spaces
