"""The arrows of the design, as tables: which folder imports which, and which modules may import a heavy library at the top.

The tables are the design. A new arrow is a change to them, and has to be wanted.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

HEAVY = {
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "evaluate",
    "sklearn",
    "numpy",
    "safetensors",
    "matplotlib",
    "jinja2",
    "optuna",
}

RUNNER = {
    "errors": set(),
    "system": {"errors"},
    "recipe": {"errors"},
    "workspace": {"errors", "recipe", "system"},
    "data": {"errors", "recipe", "system", "workspace"},
    "model": {"errors", "recipe", "system"},
    "evaluation": {"data", "errors", "system", "workspace"},
    "distributed": {"errors", "model", "recipe", "system"},
    "scoring": {"data", "errors", "model", "recipe", "system"},
    "training": {"data", "distributed", "errors", "evaluation", "model", "recipe", "scoring", "system"},
    "prediction": {"data", "errors", "evaluation", "model", "recipe", "scoring", "system", "workspace"},
    "reporting": {"errors", "evaluation", "recipe", "system", "workspace"},
    "stages": {
        "data",
        "distributed",
        "errors",
        "model",
        "prediction",
        "recipe",
        "scoring",
        "system",
        "training",
        "workspace",
    },
    "lookahead": {
        "data",
        "distributed",
        "errors",
        "model",
        "prediction",
        "recipe",
        "scoring",
        "stages",
        "system",
        "training",
        "workspace",
    },
    "side_run": {"distributed", "stages", "system", "workspace"},
    "search": {
        "data",
        "distributed",
        "errors",
        "evaluation",
        "recipe",
        "side_run",
        "stages",
        "system",
        "training",
        "workspace",
    },
    "ensemble": {
        "distributed",
        "errors",
        "evaluation",
        "recipe",
        "side_run",
        "stages",
        "system",
        "workspace",
    },
    "asking": {
        "data",
        "ensemble",
        "errors",
        "model",
        "prediction",
        "recipe",
        "scoring",
        "stages",
        "system",
        "workspace",
    },
    "export": {"asking", "errors", "model", "prediction", "recipe", "scoring", "system", "workspace"},
    "pipeline": {
        "distributed",
        "ensemble",
        "errors",
        "evaluation",
        "model",
        "recipe",
        "reporting",
        "search",
        "stages",
        "system",
        "workspace",
    },
    "doubtful": {
        "data",
        "distributed",
        "errors",
        "evaluation",
        "model",
        "pipeline",
        "recipe",
        "side_run",
        "stages",
        "system",
        "workspace",
    },
    "api": {"errors", "pipeline", "recipe", "reporting", "workspace"},
    "commands": {
        "asking",
        "data",
        "distributed",
        "doubtful",
        "errors",
        "evaluation",
        "export",
        "lookahead",
        "model",
        "pipeline",
        "prediction",
        "recipe",
        "reporting",
        "scoring",
        "system",
        "workspace",
    },
    "main": {"commands", "system"},
}
"""The folders and the loose modules of `runner`, each with those it may import, lowest first."""

GRADING = {
    "errors": set(),
    "contract": set(),
    "files": {"errors"},
    "rubric": set(),
    "grades": {"contract", "rubric"},
    "archives": {"errors"},
    "submission": {"archives", "contract", "errors"},
    "checks": {"contract", "errors", "grades", "rubric", "submission"},
    "report": {"contract", "errors", "grades", "rubric"},
    "audit": {"checks", "contract", "errors", "grades", "submission"},
    "grader": {"audit", "checks", "errors", "grades", "rubric", "submission"},
    "classroom": {"archives", "errors", "files", "grader", "report", "rubric", "submission"},
    "score": {
        "audit",
        "classroom",
        "contract",
        "errors",
        "files",
        "grader",
        "grades",
        "report",
        "rubric",
        "submission",
    },
    "__main__": set(),
}
"""The same of `grading`."""

EVERYWHERE = {"runner.language", "grading.contract.language", "grading.contract.display"}
"""Modules that every folder may import: messages come from everywhere."""

ARROWS = {"runner": RUNNER, "grading": GRADING}

LIGHT = {
    "answer_tree",
    "prompt",
    "tokenization",
    "token_store",
    "resume",
    "steps",
    "prediction_file",
    "calibration_file",
    "processes",
    "base",
    "sources",
    "chat_base",
    "base_folder",
    "lora_targets",
    "trackers",
    "input_form",
    "rows",
    "words",
    "answer_file",
    "older_peft",
    "facts",
    "snippet",
    "card",
    "target",
}
"""Modules of the folders below that load nothing heavy at the top: they are needed before a model is, or without one."""

HEAVY_FOLDERS = {"model", "scoring", "training", "prediction", "distributed", "asking", "export"}


def modules(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"{package} is not where this test looks for it"
    return found


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


def room(path: Path) -> str:
    """The folder below the package that a module lies in, or its own name."""
    return path.relative_to(ROOT).with_suffix("").parts[1]


def is_heavy(path: Path) -> bool:
    return room(path) in HEAVY_FOLDERS and path.stem not in {"__init__", *LIGHT}


@pytest.mark.parametrize("package", ARROWS)
def test_the_table_names_every_folder_and_nothing_else(package: str) -> None:
    rooms = {room(path) for path in modules(package)} - {"__init__"}
    assert {name for name in rooms if f"{package}.{name}" not in EVERYWHERE} == set(ARROWS[package])


@pytest.mark.parametrize("package", ARROWS)
def test_arrows_between_folders_are_those_of_the_table(package: str) -> None:
    found: dict[str, set[str]] = {name: set() for name in ARROWS[package]}
    for path in (each for each in modules(package) if room(each) not in ("__init__", "language")):
        for name in imports(path):
            parts = name.split(".")
            if ".".join(parts[:2]) in EVERYWHERE or ".".join(parts[:3]) in EVERYWHERE:
                continue
            if parts[0] == package and len(parts) > 1 and parts[1] in found and parts[1] != room(path):
                found.setdefault(room(path), set()).add(parts[1])
    assert found == ARROWS[package]


@pytest.mark.parametrize("package", ARROWS)
def test_there_is_no_circle(package: str) -> None:
    below: set[str] = set()
    for name, used in ARROWS[package].items():  # lowest first, so each may use only what comes before it
        assert used <= below, f"{name} imports {used - below}"
        below.add(name)


@pytest.mark.skipif(sys.version_info < (3, 10), reason="sys.stdlib_module_names is Python 3.10")
def test_grading_imports_the_standard_library_and_itself() -> None:
    roots = {name.partition(".")[0] for path in modules("grading") for name in imports(path)}
    assert roots <= {*sys.stdlib_module_names, "grading"}


def test_the_runner_imports_of_grading_only_the_contract() -> None:
    foreign = {name for path in modules("runner") for name in imports(path) if name.startswith("grading")}
    assert {name for name in foreign if not (name + ".").startswith("grading.contract.")} <= {"grading"}


@pytest.mark.parametrize("path", modules("runner"), ids=lambda path: f"{room(path)}.{path.stem}")
def test_heavy_libraries_are_imported_at_the_top_of_few_modules(path: Path) -> None:
    heavy = {".".join(each.relative_to(ROOT).with_suffix("").parts) for each in modules("runner") if is_heavy(each)}
    assert heavy
    if not is_heavy(path):
        top = imports(path, everywhere=False)
        assert not {name.partition(".")[0] for name in top} & HEAVY
        assert not heavy & top


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("run", ["--help"]),
        ("run", ["--check", "recipes/qqp.yaml"]),
        ("run", ["--check", "recipes/demo-paraphrase.yaml"]),
        ("doctor", []),
        ("run", ["--version"]),
        ("new", ["recipes/demo/data/questionBData/paraphrase/paraphrase_train.tsv", "--out", "recipes/qqp.yaml"]),
        ("runs", ["."]),
        ("compare", ["--help"]),
        ("report", ["--help"]),
        ("doubtful", ["--help"]),
        ("ask", ["--help"]),
        ("export", ["--help"]),
    ],
    ids=str,
)
def test_what_starts_at_once_loads_nothing_heavy(command: str, arguments: list[str]) -> None:
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        f"from runner.commands.{command} import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('loaded', *sorted(set(m.partition('.')[0] for m in sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "runner" in loaded
    assert not loaded & {*HEAVY, *("pandas", "pyarrow", "scipy", "huggingface_hub")}
    # the tokenizer alone is light, and only a look-ahead with a base needs it
    assert ("tokenizers" in loaded) == ("recipes/demo-paraphrase.yaml" in arguments)


@pytest.mark.parametrize("package", ARROWS)
def test_nothing_is_unpickled(package: str) -> None:
    """Not in `weights_only` either, which has run code before torch 2.6 (CVE-2025-32434)."""
    for path in modules(package):
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        calls = {ast.unparse(node.func) for node in tree if isinstance(node, ast.Call)}
        assert not calls & {"torch.load", "numpy.load", "np.load"}, path
        assert not imports(path) & {"pickle", "marshal", "shelve", "joblib", "torch.load"}, path
