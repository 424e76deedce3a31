"""The catalogues of messages, brought up to date with the code: `python docs/make_catalogues.py` in the repository's root.

It finds every `tr("…")`, `trn("…", "…", count)` and `mark("…")` in modules and in the templates of pages, adds new messages to
`{package}/locale/{language}.po` without a translation, drops those that are gone, and compiles the Chinese ones to `.mo`. English
fills itself. `--missing` lists what has no translation yet. `tests/test_language.py` fails while something is missing.
"""

from __future__ import annotations

import ast
import json
import re
import string
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).resolve().parent.parent

PACKAGES: Mapping[str, tuple[str, ...]] = {"grading": ("grading",), "runner": ("runner", "labeltune")}
"""The package that has the catalogues, and the folders whose messages are in them."""

LANGUAGES = ("en", "zh")

HEADERS = {
    "en": "Language: en\\nPlural-Forms: nplurals=2; plural=(n != 1);",
    "zh": "Language: zh_CN\\nPlural-Forms: nplurals=1; plural=0;",
}
_HEADER = "MIME-Version: 1.0\\nContent-Type: text/plain; charset=UTF-8\\nContent-Transfer-Encoding: 8bit\\n"


@dataclass(frozen=True)
class Message:
    """One message of the code."""

    id: str
    """Its English words, for one thing where there is a plural."""
    plural: Optional[str] = None
    """The English words for several things; None for a message without number."""
    formatted: bool = False
    """Whether `str.format` fills it: then it has names in braces."""


def messages(package: str) -> dict[str, Message]:
    """The messages of a package by their ids, in the order of the code."""
    found: dict[str, Message] = {}
    for folder in PACKAGES[package]:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for each in _of_python(path.read_text(encoding="utf-8")):
                known = found.get(each.id, each)
                found[each.id] = Message(each.id, known.plural or each.plural, known.formatted or each.formatted)
        for path in sorted((ROOT / folder).rglob("templates/*.html")):
            for each in _of_template(path.read_text(encoding="utf-8")):
                found.setdefault(each.id, each)
    return found


def _of_template(text: str) -> Iterator[Message]:
    """The calls of `tr` and `trn` in a Jinja2 template: as in Python, with the same quotes and commas."""
    for start in re.finditer(r"\btrn?\(", text):
        # the shortest text up to a bracket that is a whole call
        for end in re.finditer(r"\)", text[start.end() :]):
            call = text[start.start() : start.end() + end.end()]
            try:
                ast.parse(call)
            except SyntaxError:
                continue
            yield from _of_python(call)
            break


def _of_python(text: str) -> Iterator[Message]:
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = ast.unparse(node.func).rpartition(".")[2]
        texts = [each.value if isinstance(each, ast.Constant) else None for each in node.args]
        if name in ("tr", "mark") and isinstance(texts[0], str):
            yield Message(texts[0], None, bool(node.keywords))
        elif name == "trn" and isinstance(texts[0], str) and isinstance(texts[1], str):
            yield Message(texts[0], texts[1], True)


def names_in(text: str) -> set[str]:
    """The names in a template's braces, those inside of format specifications too."""
    found: set[str] = set()
    for _, name, form, _ in string.Formatter().parse(text):
        if name is not None:
            found.add(name)
        found |= names_in(form) if form else set()
    return found


def po_path(package: str, language: str) -> Path:
    """The source of a catalogue."""
    return ROOT / package / "locale" / f"{language}.po"


def mo_path(package: str, language: str) -> Path:
    """The compiled catalogue, which gettext reads."""
    return ROOT / package / "locale" / language / "LC_MESSAGES" / f"{package}.mo"


def read_po(path: Path) -> dict[str, list[str]]:
    """Message id to its translations: one, or one for each plural form; empty texts where there is none.

    It reads the files that `po_text` writes, after editing by hand too."""
    found: dict[str, list[str]] = {}
    ids: list[str] = []
    texts: list[str] = []
    target: list[str] = ids
    for line in [*path.read_text(encoding="utf-8").splitlines(), 'msgid ""']:
        key, _, value = line.partition('"')
        if not line.strip() or line.startswith("#"):
            continue
        if key.startswith("msgid ") and ids:
            found.update({ids[0]: texts} if ids[0] else {})
            ids, texts = [], []
        if key.strip():
            target = texts if key.startswith("msgstr") else ids
            target.append("")
        target[-1] += json.loads(f'"{value}')
    return found


def po_text(package: str, language: str, known: Mapping[str, list[str]]) -> str:
    """The catalogue's source: every message of the code, with the translations that are known."""
    lines = ['msgid ""', 'msgstr ""', f'"{_HEADER}"', f'"{HEADERS[language]}\\n"', ""]
    for message in messages(package).values():
        if message.formatted:
            lines.append("#, python-brace-format")
        lines.append(f"msgid {_quoted(message.id)}")
        forms = 1 if message.plural is None else 2 if language == "en" else 1
        texts = known.get(message.id, [])
        if language == "en":
            texts = [message.id] if message.plural is None else [message.id, message.plural]
        texts = (texts + [""] * forms)[:forms]
        if message.plural is None:
            lines.append(f"msgstr {_quoted(texts[0])}")
        else:
            lines.append(f"msgid_plural {_quoted(message.plural)}")
            lines += [f"msgstr[{form}] {_quoted(text)}" for form, text in enumerate(texts)]
        lines.append("")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A text as PO writes it, a line of the text in each line."""
    parts = [json.dumps(part, ensure_ascii=False) for part in text.splitlines(keepends=True)] or ['""']
    return parts[0] if len(parts) == 1 else "\n".join(['""', *parts])


def mo_bytes(package: str, language: str) -> bytes:
    """The catalogue as gettext reads it (the format of GNU gettext's `.mo`)."""
    translations = read_po(po_path(package, language))
    of_code = messages(package)
    entries = {"": f"{_HEADER}{HEADERS[language]}\\n".replace("\\n", "\n")}
    for name, texts in translations.items():
        plural = of_code[name].plural if name in of_code else None
        entries[name if plural is None else f"{name}\0{plural}"] = "\0".join(texts)
    pairs = sorted((key.encode(), value.encode()) for key, value in entries.items())
    count = len(pairs)
    tables, words = b"", b""
    start = 28 + 16 * count
    for column in (0, 1):
        for pair in pairs:
            tables += struct.pack("<II", len(pair[column]), start + len(words))
            words += pair[column] + b"\0"
    head = struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, start)
    return head + tables + words


def missing(package: str, language: str) -> list[str]:
    """Ids of the code's messages without a translation."""
    known = read_po(po_path(package, language)) if po_path(package, language).exists() else {}
    return [name for name in messages(package) if not all(known.get(name, [""]))]


def update(package: str, language: str) -> None:
    """Write both files of a catalogue."""
    source, compiled = po_path(package, language), mo_path(package, language)
    known = read_po(source) if source.exists() else {}
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(po_text(package, language, known), encoding="utf-8")
    if language != "en":
        compiled.parent.mkdir(parents=True, exist_ok=True)
        compiled.write_bytes(mo_bytes(package, language))


def main() -> None:
    """Update all catalogues, and say what is missing."""
    for package in PACKAGES:
        for language in LANGUAGES:
            if "--missing" not in sys.argv:
                update(package, language)
            left = missing(package, language)
            print(f"{package} {language}: {len(messages(package))} messages, {len(left)} without a translation")
            if "--missing" in sys.argv:
                print("".join(f"  {json.dumps(name, ensure_ascii=False)}\n" for name in left), end="")


if __name__ == "__main__":
    main()
