"""The shipped recipes load and keep their promises; every key of a recipe is read by something."""

import ast
import dataclasses
import re
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from runner.commands.run import main
from runner.errors import RecipeError
from runner.recipe import schema as shapes
from runner.recipe.duration import Duration
from runner.recipe.loader import load_recipes
from runner.recipe.schema import GenerateDecoding, Recipe

SHIPPED = sorted((ROOT / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_recipe_loads(path: Path) -> None:
    assert load_recipes([path])[0].recipe.task.name


def test_all_six_are_there() -> None:
    assert {path.stem for path in SHIPPED} == {"cola", "qqp", "sst2", "laptop", "demo-acceptability", "demo-paraphrase"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_recipe_runs_from_its_own_header(path: Path) -> None:
    header = path.read_text(encoding="utf-8").split("\n\n")[0]
    assert f"accelerate launch -q runner/main.py recipes/{path.name}" in header


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_number_in_a_recipe_has_its_reason_beside_it(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        if re.match(r"\s*[\w.]+:\s*[\d.e-]+\s*(#|$)", line):
            assert re.search(r"# .{3,}", line), f"{path.name}: {line}"


@pytest.mark.parametrize("name", ["cola", "qqp"])
def test_the_exam_is_what_the_recipes_ask_for(name: str) -> None:
    recipe = load_recipes([ROOT / f"recipes/{name}.yaml"])[0].recipe
    assert (recipe.samples.train, recipe.samples.dev, recipe.task.labels) == (4000, 150, ("0", "1"))
    assert recipe.base == "google/gemma-2b"


def test_a_new_task_is_only_yaml() -> None:
    recipe = load_recipes([ROOT / "recipes/sst2.yaml"])[0].recipe
    assert (recipe.task.name, recipe.task.columns, recipe.task.input) == ("SST-2", ("sentence", "label"), "{sentence}")


def leaf_keys(shape: Any, path: str = "") -> list[tuple[str, str]]:
    """(dotted key, field name) of every key that holds a value."""
    found = []
    hints = typing.get_type_hints(shape)
    for field in dataclasses.fields(shape):
        inner = [
            one for one in (typing.get_args(hints[field.name]) or (hints[field.name],)) if dataclasses.is_dataclass(one)
        ]
        for one in inner:
            found += leaf_keys(one, f"{path}{field.name}.")
        if not inner:
            found.append((f"{path}{field.name}", field.name))
    return found


LORA_KEYS = {field.name for field in dataclasses.fields(shapes.Lora)}


def pairs_read() -> set[tuple[str, str]]:
    """(owner, name) of every attribute read in the runner, outside the modules that only load recipes: `self.train.epochs`
    gives (train, epochs)."""
    trees = [
        ast.parse(path.read_text(encoding="utf-8"))
        for path in (ROOT / "runner").rglob("*.py")
        if path.parent.name != "recipe"
    ]
    found = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            owner = node.value
            found.add((owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", ""), node.attr))
    return found


OWNERS = {"prompt": "shape", "train": "config"}
"""Blocks that also have another name in the code: `build_prompt(shape: PromptShape, …)`, `Trainer(config: Train, …)`."""


@pytest.mark.parametrize(("key", "name"), [pair for pair in leaf_keys(Recipe) if not pair[0].startswith("lora.")])
def test_every_key_is_read_by_something(key: str, name: str) -> None:
    # the kind chooses the dataclass itself
    if name == "kind":
        return
    block = key.rpartition(".")[0] or "recipe"
    owners = {block, OWNERS.get(block, block)}
    assert {(owner, name) for owner in owners} & pairs_read(), f"{key} is an option that nobody reads"


@pytest.mark.parametrize("block", ["decoding.kind=generate", "decoding={kind: generate}"])
def test_a_change_before_another_kind_is_not_dropped(block: str) -> None:
    """The recipe's own `kind: label` and its keys are replaced; what the command line has said stays."""
    path, more = [ROOT / "recipes/demo-acceptability.yaml"], [block, "train.loss=vocabulary"]
    for changes in (["decoding.max_new_tokens=3", *more], [*more, "decoding.max_new_tokens=3"]):
        assert load_recipes(path, changes)[0].recipe.decoding == GenerateDecoding("generate", 3)
    for name, value in (("calibration", "auto"), ("average", "swap")):
        for changes in ([f"decoding.{name}={value}", *more], [*more, f"decoding.{name}={value}"]):
            with pytest.raises(
                RecipeError, match=f"command line: decoding.{name}: unknown key; known are kind, max_new_t"
            ):
                load_recipes(path, changes)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("40m", 2400), ("2h", 7200), ("1.5h", 5400)], ids=str)
def test_the_number_of_rows_may_be_a_time(text: str, seconds: float) -> None:
    time = load_recipes([ROOT / "recipes/qqp.yaml"], [f"samples.train={text}"])[0].recipe.samples.train
    assert isinstance(time, Duration)
    assert time.seconds == seconds


@pytest.mark.parametrize("text", ["0m", "40 m", "40min", "-3h", "m", "1e3s", "٣s", "lots"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipes([ROOT / "recipes/qqp.yaml"], [f"samples.train={text}"])
    expected = f"samples.train: expected a whole number, all or a time such as 40m, found the text {text!r}"
    assert expected in str(error.value)


def test_a_search_has_a_time_already() -> None:
    with pytest.raises(RecipeError) as error:
        load_recipes([ROOT / "recipes/qqp.yaml"], ["samples.train=40m", "search.minutes=60"])
    assert (
        "samples.train: 40m and search.minutes are two times for one run: a search takes as many rows as fit into its own; "
        "set search.minutes: null, or samples.train: all"
    ) in str(error.value)


def test_every_lora_key_is_one_of_pefts() -> None:
    from peft import LoraConfig

    assert {field.name for field in dataclasses.fields(LoraConfig)} >= LORA_KEYS


@pytest.mark.parametrize(
    "shape", [one for one in vars(shapes).values() if dataclasses.is_dataclass(one)], ids=lambda one: one.__name__
)
def test_every_key_is_explained_below_itself(shape: Any) -> None:
    tree = ast.parse(Path(shapes.__file__).read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == shape.__name__)
    for field, below in zip(body, body[1:]):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(below, ast.Expr), f"{shape.__name__}.{ast.unparse(field.target)}"
            assert isinstance(below.value, ast.Constant)


def test_check_without_data_and_base_is_never_fine_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--check", *map(str, SHIPPED), "train.epochs=1"]) == 2
    out = capsys.readouterr().out
    # the demo's data and base are in the repository
    demos = [path for path in SHIPPED if path.name.startswith("demo-")]
    assert out.count(": fine\n") == len(demos)
    assert out.count(": a run would fail: ") == len(SHIPPED) - len(demos)
    assert not list(tmp_path.iterdir())


def test_the_page_of_recipe_keys_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import make_recipe_page; print(make_recipe_page.page(), end='')"],
        cwd=ROOT / "docs", capture_output=True, text=True, encoding="utf-8", check=True,
    )  # fmt: skip
    assert done.stdout == (ROOT / "docs/reference/recipe.md").read_text(encoding="utf-8"), (
        "run python docs/make_recipe_page.py"
    )
