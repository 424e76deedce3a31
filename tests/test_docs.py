"""The documents name files, tests, commands and options that exist, and their examples are valid."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

from runner.recipe.loader import load_recipes

PAGES = sorted(
    {*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *(ROOT / "docs").rglob("*.md")}, key=lambda path: path.as_posix()
)
COMMANDS = {"runner/main.py": ["runner/main.py"], "grading.score": ["-m", "grading.score"]}
"""What a command line names, and what Python is given to start it."""

LABELTUNE = ("run", "check", "new", "doctor", "doubtful", "runs", "report", "compare", "ask", "export", "grade")
"""What the `labeltune` command can do."""


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[str]:
    """The command lines of a page: in blocks and in running text, without comments."""
    text = page.read_text(encoding="utf-8")
    lines = "\n".join(blocks(page, "sh") + blocks(page, "bash")).replace("\\\n", " ").splitlines()
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    starts = ("make ", "python ", "python -m ", "accelerate launch", "labeltune ")
    return [line.split(" #")[0].strip() for line in lines + inline if line.strip().startswith(starts)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def linked_pages(page: Path) -> set[Path]:
    """The Markdown files that a page has links to."""
    links = re.findall(r"\]\(([^)\s#:]+\.md)[#)]", page.read_text(encoding="utf-8"))
    return {(page.parent / link).resolve() for link in links}


@cache
def help_of(command: str) -> str:
    return subprocess.run(
        [sys.executable, *COMMANDS[command], "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def test_the_pages_are_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/reference/recipe.md", "docs/tutorial/first-run.md"} <= {
        name_of(page) for page in PAGES
    }


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, new = set(), {ROOT / "README.md"}
    while new:
        reached |= new
        new = {target for page in new for target in linked_pages(page)} - reached
    assert {name_of(page) for page in PAGES if (ROOT / "docs") in page.parents} <= set(map(name_of, reached))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_and_test_that_is_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:runner|grading|recipes|benchmarks|docs|tests)/[\w./-]+\.(?:py|yaml|md))`", text):
        assert (ROOT / path).exists(), path
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"`(test_\w+\.py)`", text)) <= tests


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_exists(page: Path) -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for command in commands(page):
        words = command.split()
        if words[0] == "make":
            assert words[1] in targets, command
        elif words[:2] == ["python", "-m"] and len(words) > 2:
            module = ROOT / words[2].replace(".", "/")
            assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), command
        elif words[0] == "accelerate":
            assert {word for word in words if word.endswith(".py")} <= {"runner/main.py"}, command
        elif words[0] == "python" and words[1].endswith(".py"):
            assert (ROOT / words[1]).exists(), command
        elif words[0] == "labeltune":
            assert words[1] in LABELTUNE, command


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_option_is_one_of_the_command(page: Path) -> None:
    for command in commands(page):
        for name in COMMANDS:
            if name in command.split():
                own = command.split(name, 1)[1]
                for option in re.findall(r"(?<!\S)--[a-z-]+", own):
                    assert option in help_of(name), command


@pytest.mark.skipif(not (ROOT / "labeltune").is_dir(), reason="the package is not there")
@pytest.mark.parametrize("name", LABELTUNE)
def test_the_labeltune_command_has_what_the_readme_names(name: str) -> None:
    entry = re.search(
        r'^labeltune = "([\w.]+):(\w+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert entry
    code = f"import sys\nfrom {entry[1]} import {entry[2]}\nsys.argv = ['labeltune', {name!r}, '--help']\n{entry[2]}()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_examples_compile(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, name_of(page), "exec")


def test_the_readme_has_one_python_example() -> None:
    (example,) = blocks(ROOT / "README.md", "python")
    for name in ("load_recipe", "run", "Classifier.load", "grade"):
        assert f"labeltune.{name}(" in example


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_recipes_in_the_documents_load(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "yaml"):
        path = tmp_path / "example.yaml"
        path.write_text(block, encoding="utf-8")
        assert load_recipes([path])[0].recipe.task.name


def test_contributing_names_every_folder() -> None:
    plan = blocks(ROOT / "CONTRIBUTING.md", "")[0]
    for package in ("runner", "grading"):
        below = plan.split(f"{package}/", 1)[1]
        folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
        assert folders
        assert {name for name in folders if f"  {name}/ " not in below} == set()


CHINESE = [page for page in PAGES if page.name.endswith(".zh.md")]


def test_there_are_chinese_pages() -> None:
    assert {"README.zh.md", "docs/tutorial/first-run.zh.md", "docs/how-to/from-exam-scripts.zh.md"} <= {
        name_of(page) for page in CHINESE
    }


@pytest.mark.parametrize("page", CHINESE, ids=name_of)
def test_a_chinese_page_has_the_code_and_the_headings_of_the_english_one(page: Path) -> None:
    english = page.with_name(page.name.replace(".zh.md", ".md"))
    code = r"^ *```(\w*)\n(.*?)^ *```"
    texts = [each.read_text(encoding="utf-8") for each in (page, english)]
    chinese, original = (re.findall(code, text, re.DOTALL | re.MULTILINE) for text in texts)
    assert chinese == original
    levels = [
        re.findall(r"^(#+) ", re.sub(code, "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE) for text in texts
    ]
    assert levels[0] == levels[1] or page.name == "words.zh.md"
    assert f"]({page.name})" in texts[1]
    assert f"]({english.name})" in texts[0]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_of_errors_is_up_to_date(language: str) -> None:
    code = f"import make_errors_page; print(make_errors_page.page({language!r}), end='')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "docs", capture_output=True, text=True, encoding="utf-8", check=True
    )
    page = ROOT / "docs/how-to" / ("errors.md" if language == "en" else "errors.zh.md")
    assert done.stdout == page.read_text(encoding="utf-8"), "run python docs/make_errors_page.py"
    assert done.stdout.count("\n  → ") > 150
