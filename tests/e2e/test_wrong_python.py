"""An old Python and a missing package get a sentence before anything else."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, recipe_tree, write_recipe

from runner.errors import UserError
from runner.system.packages import RUN, require_packages

OLD = {
    name: path
    for name in ("2.7", "3.6", "3.7", "3.8")
    for path in sorted(Path("~/.pyenv/versions").expanduser().glob(f"{name}.*/bin/python"))
}
"""Old Pythons, where they are."""

ENTRIES = (
    "runner/main.py",
    "runner/__init__.py",
    "labeltune/__init__.py",
    "labeltune/__main__.py",
    "grading/__init__.py",
)


@pytest.mark.parametrize("name", ENTRIES)
def test_what_an_old_python_reads_has_no_new_syntax(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text.isascii(), "Python 2 wants another encoding declared"
    tree = list(ast.walk(ast.parse(text)))
    assert not [node for node in tree if isinstance(node, (ast.AnnAssign, ast.JoinedStr, ast.NamedExpr))]
    functions = [node for node in tree if isinstance(node, ast.FunctionDef)]
    assert not [f for f in functions if f.returns or any(each.annotation for each in f.args.args)]
    assert "__future__" not in text


@pytest.mark.parametrize(
    ("command", "who"),
    [
        (["runner/main.py", "recipes/qqp.yaml"], "labeltune"),
        (["-m", "labeltune", "run", "recipes/qqp.yaml"], "labeltune"),
        (["-m", "grading.score"], "the grader"),
    ],
    ids=["runner/main.py", "labeltune", "grader"],
)
@pytest.mark.parametrize("version", OLD or [pytest.param("none", marks=pytest.mark.skip("no old Python here"))])
def test_an_old_python_is_named(version: str, command: list[str], who: str) -> None:
    done = subprocess.run([OLD[version], "-B", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    first, step = done.stderr.splitlines()
    assert first == f"{who} needs Python 3.9 or newer; this is Python {version} ({OLD[version]})"
    assert step.startswith("  next: ")


def bare(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """The command in this Python without its installed packages; those in `folder` are there."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-S", "-B", *command], cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )


HERE = f"(Python {sys.version.split()[0]}, {sys.executable})\n  next: {sys.executable} -m pip install"


@pytest.mark.parametrize("command", [["runner/main.py", "--check", "recipes/qqp.yaml"], ["-m", "labeltune", "runs"]])
def test_a_missing_package_has_pips_name(tmp_path: Path, command: list[str]) -> None:
    done = bare(tmp_path, *command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f'the package PyYAML is not installed {HERE} "PyYAML>=6.0"\n'


def test_a_run_names_all_missing_packages_before_it_prepares_data(tmp_path: Path, workspace: Path) -> None:
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/yaml").symlink_to(Path(yaml.__file__).parent)
    recipe = str(write_recipe(workspace, recipe_tree(tmp_path)))
    said = []
    for command in (["runner/main.py", recipe, "--workspace", str(workspace)], ["-m", "labeltune", "run", recipe]):
        done = bare(tmp_path / "packages", *command)
        assert done.returncode == 2
        assert "prepare: " not in done.stdout
        said.append(done.stderr)
    assert said[0] == said[1]
    assert said[0].startswith("the package torch is not installed; the package transformers is not installed; ")
    assert '"scikit-learn>=1.2"' in said[0]
    assert not (workspace / "pre_data").exists()


def test_a_package_that_is_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "peft-0.9.0.dist-info").mkdir()
    (tmp_path / "peft-0.9.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: peft\nVersion: 0.9.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError) as error:
        require_packages(RUN)
    assert str(error.value) == f'peft 0.9.0 is older than 0.10.0 {HERE} "peft>=0.10.0"'


def test_the_versions_are_those_of_the_project_file() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for package in RUN:
        assert f'"{package.name}>={package.least}"' in project if package.least else f'"{package.name}"' in project
