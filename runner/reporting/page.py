"""The page: one HTML file from a template, that loads nothing.

Every value is escaped by Jinja2. Should something be missed, the page's Content-Security-Policy lets only its own script run,
and nothing may be loaded.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grading.contract.language import language
from runner.language import tr, trn
from runner.reporting.visible import visible

TEMPLATES = Path(__file__).resolve().parent / "templates"

TAGS = {"en": "en", "zh": "zh-CN"}
"""Languages as a page names its own."""


def page(template: str, values: Mapping[str, Any], inputs: str) -> str:
    """A page.

    Args:
        template: The name of a file in `templates/`.
        values: What stands for the names in it.
        inputs: Digest of all that the page is made of; `inputs_of` reads it back.
    """
    style, script = (_text(name) for name in ("style.css", "script.js"))
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src '{_digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    own = {"language_tag": TAGS[language()], "style": style, "script": script, "policy": policy, "inputs": inputs}
    return str(_environment().get_template(template).render({**own, **values})).rstrip() + "\n"


def inputs_of(path: Path) -> str:
    """The digest that `page` has put into a file; empty where there is none."""
    try:
        with path.open(encoding="utf-8") as file:
            start = file.read(4096)
    except (OSError, ValueError):
        return ""
    return start.partition('<meta name="labeltune-inputs" content="')[2].partition('"')[0]


def templates_digest() -> str:
    """SHA-256 over the templates, the style and the script."""
    hasher = hashlib.sha256()
    for path in sorted(TEMPLATES.iterdir()):
        hasher.update(path.name.encode() + path.read_bytes())
    return hasher.hexdigest()


@functools.cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals.update(tr=tr, trn=trn)
    found.filters.update(visible=visible, percent=lambda value: f"{value:.1%}", decimal=lambda value: f"{value:.3f}")
    return found


def _text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
