"""Slips of typing in a YAML text: full-width characters of a Chinese keyboard, tabs, and a missing space after a colon.

YAML knows only the ASCII characters. It takes the others for a part of the text, so that a line means something else, or
nothing. Each slip is named with its place and its cure, and repaired in memory, so that the rest can be read for mistakes.
Free text is left alone: what is in straight quotes, in a block (`|` or `>`), in a comment, or after the first line of a value.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Optional

from runner import language
from runner.language import tr

FREE_TEXT = ("instruction", "input", "template")
"""Keys whose text may begin and end with any bracket."""

SPACES = "\t\u00a0\u3000"
"""Characters that look like spaces and are none for YAML."""

_QUOTES = {"“": "”", "”": "”", "‘": "’", "＂": "＂", "＇": "＇", "「": "」", "『": "』"}
_BRACKETS = {"【": ("】", "[", "]"), "［": ("］", "[", "]"), "（": ("）", "[", "]"), "｛": ("｝", "{", "}")}
_CLOSING = {"】": "]", "］": "]", "｝": "}"}
_COMMAS = "，、"

NAMES = (
    language.mark("fullwidth comma"),
    language.mark("ideographic comma"),
    language.mark("fullwidth colon"),
    language.mark("ideographic space"),
    language.mark("no-break space"),
    language.mark("fullwidth number sign"),
    language.mark("left double quotation mark"),
    language.mark("right double quotation mark"),
    language.mark("left single quotation mark"),
    language.mark("right single quotation mark"),
    language.mark("fullwidth left parenthesis"),
    language.mark("fullwidth right parenthesis"),
    language.mark("left black lenticular bracket"),
    language.mark("right black lenticular bracket"),
    language.mark("fullwidth quotation mark"),
    language.mark("fullwidth apostrophe"),
    language.mark("fullwidth semicolon"),
    language.mark("fullwidth equals sign"),
    language.mark("fullwidth hyphen-minus"),
    language.mark("fullwidth full stop"),
)
"""Unicode's names of the characters that slip in most often."""

_KEY = re.compile(r"""(-[ ]+)?("[^"]*"|'[^']*'|[^\W\d][\w.-]*)([ \t\u3000]*)(：|:(?=[^\s/])|:)""")
_BLOCK = re.compile(r"[|>][-+0-9]*\s*(#.*)?$")
_COMMENT = re.compile(r"(^|\s)#.*$")


@dataclass(frozen=True)
class Slip:
    """One slip."""

    line: int
    """Line, counted from 1."""
    column: int
    """Column, counted from 1."""
    text: str
    """What is there, by its name, and what to write."""
    is_harmless: bool = False
    """Whether the text can be meant: then it is a warning."""


def character(mark: str) -> str:
    """A character by its name: "`：` is the fullwidth colon (U+FF1A)"."""
    if mark == "\t":
        return tr("there is a tab")
    name, code = tr(unicodedata.name(mark, "character").lower()), f"U+{ord(mark):04X}"
    return (
        tr("`{mark}` is the {name} ({code})", mark=mark, name=name, code=code)
        if mark.strip()
        else tr("there is the {name} ({code})", name=name, code=code)
    )


def wide_character(text: str) -> Optional[str]:
    """The first full-width character of a text by its name; None where there is none."""
    for mark in text:
        if (
            mark in _QUOTES
            or mark in SPACES
            or unicodedata.category(mark) == "Cf"
            or (ord(mark) > 127 and unicodedata.normalize("NFKC", mark).isascii())
        ):
            return character(mark)
    return None


def find_slips(text: str, key: str = "") -> tuple[str, list[Slip]]:
    """The text with its slips repaired, and the slips. No line is added or removed. `key`: the text is the value of this key."""
    scan = _Scan(key=key)
    if key:
        return scan.value(text), scan.slips
    lines = [scan.line(number, line) for number, line in enumerate(text.split("\n"), start=1)]
    return "\n".join(lines), scan.slips


@dataclass
class _Scan:
    """Reads line by line and remembers what is open."""

    slips: list[Slip] = field(default_factory=list)
    quote: str = ""
    """The straight quote that is open."""
    brackets: list[str] = field(default_factory=list)
    """The open brackets, outermost first."""
    block: Optional[int] = None
    """Indentation of the key whose block of text this is."""
    value_at: Optional[int] = None
    """Indentation of the key whose value may continue in the next line."""
    number: int = 0
    key: str = ""

    def line(self, number: int, line: str) -> str:
        """The line, repaired."""
        self.number = number
        # the carriage return of a Windows file is no part of the line
        line, end = (line[:-1], "\r") if line.endswith("\r") else (line, "")
        if self.quote or self.brackets:
            return self._walk(line, 0, not self.quote) + end
        body = line.lstrip(" " + SPACES)
        if not body or body.startswith("#"):
            return line + end
        indent = line[: len(line) - len(body)]
        if any(mark <= len(indent) - 1 for mark in (self.block, self.value_at) if mark is not None):
            return line + end
        self.block = self.value_at = None
        return self._key_line(indent, body) + end

    def value(self, text: str) -> str:
        """A value alone, repaired."""
        self.number = 1
        return self._value("", text)

    def _key_line(self, indent: str, body: str) -> str:
        odd = [(column, mark) for column, mark in enumerate(indent, start=1) if mark in SPACES]
        if odd:
            self._report(
                odd[0][0], tr("{character}: indent with spaces, two for each level", character=character(odd[0][1]))
            )
            indent = "".join("  " if mark in SPACES else mark for mark in indent)
        found = _KEY.match(body)
        if found is None:
            return self._walk(indent + body, len(indent) + len(body) - len(body.lstrip("- ")), True)
        dash, name, gap, colon = found.group(1) or "", *found.groups()[1:]
        value = body[found.end() :]
        self.key = name.strip("\"'")
        column = len(indent) + found.end(3) + 1
        lead = value[: len(value) - len(value.lstrip(" " + SPACES))]
        wide = next((mark for mark in lead if mark in SPACES), None)
        if colon == "：":
            cure = f"{self.key}: {value.strip(' ' + SPACES)}".strip()
            self._report(
                column,
                tr("{character}: write a plain colon and a space: `{cure}`", character=character(colon), cure=cure),
            )
        elif wide:
            self._report(
                column + 1 + lead.index(wide),
                tr("{character}: write a space after the colon", character=character(wide)),
            )
        elif value and not value[0].isspace():
            # a list of texts may hold `a:b`; in a mapping there is nothing else that it can be
            if dash:
                return self._walk(indent + body, len(indent) + len(dash), True)
            self._report(
                column, tr("no space after the colon: write `{key}: {value}`", key=self.key, value=value.strip())
            )
        else:
            return self._value(indent + dash + name + gap + colon, value)
        return self._value(f"{indent}{dash}{name}:", f" {value.lstrip(' ' + SPACES)}")

    def _value(self, head: str, value: str) -> str:
        indent = len(head) - len(head.lstrip(" "))
        bare = _COMMENT.sub("", value).strip()
        if _BLOCK.match(bare):
            self.block = indent
            return head + value
        if self.key in FREE_TEXT:
            self._free_text(head, value, bare)
        if bare and bare[0] not in "\"'[{" and bare[0] not in _BRACKETS:
            self.value_at = indent
        line, start = head + value, len(head) + len(value) - len(value.lstrip())
        close = _BRACKETS.get(bare[:1])
        if close and bare.endswith(close[0]) and self.key not in FREE_TEXT:
            self._report(
                start + 1,
                tr(
                    "{character}: write `{opening}`, and `{closing}` at the end",
                    character=character(bare[0]),
                    opening=close[1],
                    closing=close[2],
                ),
            )
            line = (
                line[:start] + close[1] + line[start + 1 : start + len(bare) - 1] + close[2] + line[start + len(bare) :]
            )
        elif bare[:1] in _QUOTES and len(bare) > 1 and bare[-1] == _QUOTES[bare[0]]:
            return self._quoted(line, start, bare)
        return self._walk(line, start, True)

    def _free_text(self, head: str, value: str, bare: str) -> None:
        """What YAML leaves out of a text without saying so."""
        start = len(head) + len(value) - len(value.lstrip()) + 1
        if bare.startswith("&"):
            self._report(start, tr("a text may not begin with `&`: put it in straight quotes"))
        comment = re.search(r"\s#(?=\S)", value)
        if comment and bare and bare[0] not in "\"'|>":
            text = tr("what follows ` #` is a comment for YAML; if it is meant, put the whole text in straight quotes")
            self._report(len(head) + comment.end(), text, is_harmless=True)

    def _quoted(self, line: str, start: int, bare: str) -> str:
        """A value between quotes that are none for YAML. Only an instruction could be meant so."""
        harmless = self.key == "instruction" and ": " not in bare and " #" not in bare
        what = tr("the model reads it as a part of the text") if harmless else tr("for YAML it is a part of the text")
        meant = tr("; if it is meant, put the whole text in straight quotes") if harmless else ""
        self._report(
            start + 1,
            tr(
                '{character}, and {what}: write straight quotes `"`{meant}',
                character=character(bare[0]),
                what=what,
                meant=meant,
            ),
            harmless,
        )
        if harmless:
            return line
        self.value_at = None
        inner = bare[1:-1]
        straight = f'"{inner}"' if '"' not in inner else "'" + inner.replace("'", "''") + "'"
        return line[:start] + straight + line[start + len(bare) :]

    def _walk(self, line: str, start: int, fresh: bool) -> str:
        """The rest of a line, character by character. `fresh`: a value can begin at `start`."""
        made, at = list(line), start
        while at < len(line):
            mark = line[at]
            if self.quote:
                at = self._in_quote(line, at)
            elif mark == "#" and (at == 0 or line[at - 1].isspace()):
                break
            elif fresh and mark in "\"'":
                self.quote, fresh = mark, False
            elif mark in "[{" and (fresh or self.brackets):
                self.brackets.append(mark)
                fresh = True
            elif self.brackets:
                at, fresh = self._in_flow(line, at, fresh, made)
            elif not mark.isspace():
                fresh = False
            at += 1
        return "".join(made)

    def _in_quote(self, line: str, at: int) -> int:
        if line[at] == "\\" and self.quote == '"':
            return at + 1
        if line[at] == self.quote:
            if self.quote == "'" and line[at + 1 : at + 2] == "'":
                return at + 1
            self.quote = ""
        return at

    def _in_flow(self, line: str, at: int, fresh: bool, made: list[str]) -> tuple[int, bool]:
        """One character inside a list or mapping; returns the place of the last one that it has read, and whether a value
        can begin after it."""
        mark = line[at]
        if mark in "]}":
            self.brackets.pop()
            return at, False
        if mark in _CLOSING and _CLOSING[mark] == {"[": "]", "{": "}"}[self.brackets[-1]]:
            self._report(
                at + 1, tr("{character}: write `{closing}`", character=character(mark), closing=_CLOSING[mark])
            )
            made[at] = _CLOSING[mark]
            self.brackets.pop()
            return at, False
        if mark in _COMMAS:
            text = tr(
                "{character}: write `, `; where it is a part of a text, put the text in straight quotes",
                character=character(mark),
            )
            self._report(at + 1, text)
            made[at] = ", "
            return at, True
        if mark == "：" and self.brackets[-1] == "{" and not fresh:
            self._report(at + 1, tr("{character}: write a plain colon and a space", character=character(mark)))
            made[at] = ": "
            return at, True
        if fresh and mark in _QUOTES:
            end = line.find(_QUOTES[mark], at + 1)
            if end > at and not {'"', "\\"} & set(line[at:end]):
                self._report(
                    at + 1,
                    tr(
                        '{character}, and for YAML it is a part of the text: write straight quotes `"`',
                        character=character(mark),
                    ),
                )
                made[at] = made[end] = '"'
                return end, False
        if mark == ":" and self._lacks_a_space(line, at):
            self._report(at + 1, tr("no space after the colon"))
            made[at] = ": "
            return at, True
        return at, (mark in ",:") or (fresh and mark.isspace())

    def _lacks_a_space(self, line: str, at: int) -> bool:
        """Whether a colon in a mapping belongs to a plain key that its value follows at once: `{r:8}`."""
        name = re.search(r"[{,]\s*[A-Za-z_]\w*$", line[:at])
        return self.brackets[-1] == "{" and name is not None and line[at + 1 : at + 2] not in ("", " ", ",", "}", "/")

    def _report(self, column: int, text: str, is_harmless: bool = False) -> None:
        self.slips.append(Slip(self.number, column, text, is_harmless))
