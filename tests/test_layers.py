"""The arrows of the design: grading knows the standard library alone; the runner knows of grading only the contract;
what starts at once imports nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

HEAVY = {"torch", "transformers", "peft", "accelerate", "datasets", "evaluate", "sklearn", "numpy", "safetensors"}

MODEL_SIDE = {
    "accelerator",
    "adapter",
    "checkpoint",
    "decoding",
    "exchange",
    "finetune",
    "holdout",
    "label_metric",
    "layout_choice",
    "layouts",
    "masks",
    "predict",
    "prefix_cache",
    "proof",
    "pruning",
    "reading",
    "scorer",
    "shallow",
    "split",
    "stack",
    "training",
    "trunk",
}
"""The modules of the runner that may import heavy libraries at their top; only the pipeline reaches them, when needed."""


def imports(path: Path, everywhere: bool = True) -> set[str]:
    """Modules that a file imports, with their dots; at its top only, or everywhere."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree)) if everywhere else tree.body
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).glob("*.py"))


@pytest.mark.skipif(sys.version_info < (3, 10), reason="sys.stdlib_module_names is Python 3.10")
@pytest.mark.parametrize("path", modules("grading"), ids=lambda path: path.stem)
def test_grading_imports_the_standard_library_and_itself(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imports(path)}
    assert roots <= {*sys.stdlib_module_names, "grading"}


@pytest.mark.parametrize("path", modules("runner"), ids=lambda path: path.stem)
def test_the_runner_imports_of_grading_only_the_contract(path: Path) -> None:
    assert {name for name in imports(path) if name.startswith("grading")} <= {"grading", "grading.contract"}


@pytest.mark.parametrize("path", modules("runner"), ids=lambda path: path.stem)
def test_heavy_libraries_are_imported_at_the_top_of_few_modules(path: Path) -> None:
    top = {name.partition(".")[0] for name in imports(path, everywhere=False)}
    if path.stem not in MODEL_SIDE:
        assert not top & HEAVY
        assert not {f"runner.{name}" for name in MODEL_SIDE} & imports(path, everywhere=False)


def test_no_module_of_the_runner_has_the_name_of_a_library() -> None:
    names = {path.stem for path in modules("runner")} - {"__init__"}
    assert not names & {*HEAVY, "yaml", "tqdm", *getattr(sys, "stdlib_module_names", ())}


@pytest.mark.parametrize("arguments", [["--help"], ["--check", "recipes/qqp.yaml"], ["--version"]], ids=str)
def test_what_starts_at_once_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from runner.command import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('loaded', *sorted(set(m.partition('.')[0] for m in sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "runner" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("path", [*(ROOT / "runner").glob("*.py"), *(ROOT / "grading").glob("*.py")], ids=str)
def test_nothing_is_unpickled(path: Path) -> None:
    """Not in `weights_only` either, which has run code before torch 2.6 (CVE-2025-32434)."""
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    loads = {ast.unparse(node.func) for node in tree if isinstance(node, ast.Call)} & {
        "torch.load",
        "numpy.load",
        "np.load",
    }
    assert not loads
    assert not imports(path) & {"pickle", "marshal", "shelve", "joblib", "torch.load"}
