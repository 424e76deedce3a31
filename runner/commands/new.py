"""The command `labeltune new`: looks at a labelled file, asks nothing, and writes a recipe that runs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from grading.contract.language import speak_to_argparse
from runner.data.encoding import CODECS
from runner.data.guess import guess
from runner.data.recipe_draft import first_prompts, recipe_draft, task_name
from runner.errors import UserError
from runner.language import mark, tr
from runner.recipe.editor import schema_line
from runner.recipe.loader import load_recipes

DESCRIPTION = mark("""\
Look at a labelled file (TSV, CSV, JSONL, parquet) and write a recipe for it.

Columns, label and labels are guessed by their look. Each guess has its reason as a comment in the recipe.
""")

MOST_OTHERS = 3


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command and return its exit code."""
    speak_to_argparse()
    parser = argparse.ArgumentParser(
        prog="labeltune new", description=tr(DESCRIPTION), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, metavar="FILE", help=tr("the labelled file"))
    parser.add_argument(
        "--out", type=Path, metavar="YAML", help=tr("the recipe to write (default: recipes/NAME.yaml, or NAME.yaml)")
    )
    parser.add_argument("--base", default="google/gemma-2b", help=tr("the base model: a folder or a hub id"))
    parser.add_argument(
        "--encoding",
        choices=sorted(CODECS),
        default="auto",
        help=tr("the file's encoding, if it is not found by itself"),
    )
    options = parser.parse_args(arguments)
    try:
        print(_new(options))
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _new(options: argparse.Namespace) -> str:
    """Write the recipe; return what to print."""
    file: Path = options.file
    name = task_name(file)
    path: Path = options.out or Path("recipes" if Path("recipes").is_dir() else "", f"{name}.yaml")
    if path.exists():
        raise UserError(tr("{path}: is there already", path=path), tr("choose another name: --out FILE.yaml"))
    found = guess(file, str(file), options.encoding)
    text = schema_line(path.parent) + recipe_draft(
        found, _named(file), name, options.base, [_named(other) for other in _others(file)]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as recipe:
        recipe.write(text)
    instruction = load_recipes([path])[0].recipe.instruction
    lines = [text]
    for line, prompt in first_prompts(found, instruction):
        lines += [
            tr("the prompt of row {line} of the file, and its label:", line=line),
            *(f"  | {each}" for each in prompt.split("\n")),
            "",
        ]
    lines += [tr("written: {path}", path=path), tr("next: read it, then: labeltune run {path}", path=path)]
    return "\n".join(lines)


def _named(file: Path) -> str:
    """The file as a recipe names it: from the current folder if it is in there."""
    here = Path.cwd().resolve()
    whole = Path(os.path.abspath(file))
    return whole.relative_to(here).as_posix() if whole.is_relative_to(here) else str(whole)


def _others(file: Path) -> list[Path]:
    """Files beside a training file whose names differ only in the word for train."""
    if "train" not in file.name:
        return []
    names = (file.name.replace("train", word) for word in ("dev", "test", "validation", "valid", "val"))
    return [other for other in map(file.with_name, names) if other.is_file()][:MOST_OTHERS]
