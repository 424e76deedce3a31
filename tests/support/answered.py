"""Finished runs of tiny recipes that answer in different ways, made once a test session."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from conftest import recipe_tree, write_recipe

from runner.commands.run import execute
from runner.recipe.loader import load_recipes

PAIRS = [
    f"{number}\t{number % 3 // 2}\t{'ab' if number % 2 else 'ba'} one {number}\tab two {number % 5}"
    for number in range(72)
]
NEW_PAIRS = [f"{number}\tab new {number}\t{'ab' if number % 3 else 'ba'} other" for number in range(6)]

WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    # several tokens, both orders, other label shares in training, and a calibration
    "all": {
        "prompt": {"answers": {"0": "no", "1": "yes"}},
        "samples": {"balance": "oversample", "holdout": 40},
        "decoding": {"kind": "label", "average": "swap", "calibration": "auto"},
        "train": {"learning_rate": 0.02, "epochs": 8},
    },
    "ensemble": {"ensemble": {"seeds": [1, 2]}, "train": {"epochs": 1}},
    "generate": {"decoding": {"kind": "generate"}, "train": {"epochs": 1}},
}
"""Changes to the recipe of pairs, by what is special about the answers."""


@cache
def answered_run(base: Path, way: str) -> Path:
    """The workspace of a finished run over pairs of texts. Tests do not change it."""
    workspace = Path(mkdtemp(prefix=f"labeltune-{way}-"))
    (workspace / "data").mkdir()
    for name, rows in (("train", PAIRS), ("dev", NEW_PAIRS)):
        (workspace / f"data/tiny_{name}.tsv").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    task = {"columns": ["id", "label", "first", "second"], "input": "{first}\n{second}", "swap": ["first", "second"]}
    samples = {"train": 24, "holdout": 8, "dev": 6}
    changes = dict(WAYS[way])
    changes["samples"] = {**samples, **changes.get("samples", {})}
    tree = recipe_tree(base, task=task, **changes)
    if "decoding" in changes:
        tree["decoding"] = changes["decoding"]
    execute(load_recipes([write_recipe(workspace, tree)]), workspace)
    return workspace
