"""The pages in a headless Chromium: no fault, no request, tables that sort and filter, readable at any width, light and dark."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import Browser, Page, browser, chromium
from support.evaluated_runs import HOSTILE, evaluated, rows_of
from support.finished_runs import tiny

from runner.commands.compare import main as compare
from runner.commands.report import main as report
from runner.reporting.report import PAGE
from runner.workspace.runs import kept_runs

pytestmark = [
    pytest.mark.pages,
    pytest.mark.skipif(
        chromium() is None, reason="no Chromium here: apt install chromium, or name it in LABELTUNE_CHROMIUM"
    ),
]

AXE = os.environ.get("LABELTUNE_AXE", "")
"""The file axe.min.js of the npm package axe-core."""

SCREENSHOTS = os.environ.get("LABELTUNE_SCREENSHOTS", "")
"""A folder for pictures of the pages, to look at."""

PAGES = ("report of 743 rows", "report of 20,000 rows", "Chinese report", "comparison")

LOOKS = [(width, dark) for width in (360, 1280) for dark in (False, True)]


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of `PAGES`."""
    found: dict[str, Path] = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, rows, language in zip(PAGES, (743, 20_000, 300), ("en", "en", "zh")):
            root = tmp_path_factory.mktemp("report")
            evaluated(root, rows_of(rows, texts=HOSTILE))
            patch.setenv("LABELTUNE_LANG", language)
            assert report([str(root)]) == 0
            found[name] = root / "result/tiny" / PAGE
    root = tmp_path_factory.mktemp("compared")
    for number, skill in enumerate((2.0, 1.2, 1.9)):
        evaluated(root, rows_of(743, skill, number, HOSTILE), 2 + 2 * number, 1 + number)
    runs = [str(run.folder) for run in kept_runs(tiny(root))]
    assert compare([*runs, str(root), "--html", str(root / "compared.html")]) == 0
    return {**found, "comparison": root / "compared.html"}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "dark"), LOOKS, ids=str)
def test_nothing_is_wrong_with_it(chrome: Browser, pages: dict[str, Path], name: str, width: int, dark: bool) -> None:
    page = chrome.open(pages[name], width, dark)
    if SCREENSHOTS:
        page.screenshot(Path(SCREENSHOTS) / f"{name.replace(' ', '-')}-{width}-{'dark' if dark else 'light'}.png")
    assert page.faults() == []
    assert page.requests() == []
    assert page.ask("document.documentElement.scrollWidth") <= width
    assert page.ask("document.title") != "taken"
    assert page.ask("document.querySelectorAll('svg').length") == (1 if name == "comparison" else 6)
    background = page.ask("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") is not dark
    assert page.ask("document.querySelectorAll('table.rows tbody tr:not([hidden])').length") == 50
    assert faults_of_axe(page) == []


def faults_of_axe(page: Page) -> list[Any]:
    """Serious and critical faults that axe-core finds; none where it is not there."""
    if not AXE:
        return []
    page.ask("document.querySelectorAll('details').forEach(each => each.open = true)")
    # the page's policy forbids a script of others, the debugger's is none of the page
    page.ask(Path(AXE).read_text(encoding="utf-8") + "\n;0")
    code = "axe.run().then(found => JSON.stringify(found.violations.map(v => [v.impact, v.id, v.nodes[0].html])))"
    return [each for each in json.loads(page.ask(code)) if each[0] in ("serious", "critical")]


@pytest.mark.skipif(not AXE, reason="no axe-core here: npm pack axe-core, and name its axe.min.js in LABELTUNE_AXE")
def test_axe_finds_what_is_wrong(chrome: Browser, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text("<!DOCTYPE html><html><title>a</title><img src='data:,'><input>")
    assert {"image-alt", "label"} <= {fault for _, fault, _ in faults_of_axe(chrome.open(path))}


def test_a_large_page_opens_at_once(chrome: Browser, pages: dict[str, Path]) -> None:
    path = pages["report of 20,000 rows"]
    assert path.stat().st_size < 3_000_000
    chrome.open(path)
    timing = "performance.getEntriesByType('navigation')[0]"
    # what the machine does besides is not the page's fault: the best of three
    assert min(chrome.open(path).ask(f"{timing}.loadEventEnd - {timing}.startTime") for _ in range(3)) < 1000


def column(page: Page, number: int) -> list[str]:
    """The texts of a column of the rows that are seen."""
    code = f"Array.from(document.querySelectorAll('table.rows tbody tr:not([hidden])'), row => row.cells[{number}].innerText)"
    return page.ask(code)


def use(page: Page, field: str, value: str) -> None:
    """Change a field as a user does."""
    page.ask(
        f"(field => {{ field.value = {json.dumps(value)}; field.dispatchEvent(new Event('input', {{bubbles: true}})) }})"
        f"(document.querySelector('form.tools [name={field}]'))"
    )


def test_the_table_sorts(chrome: Browser, pages: dict[str, Path]) -> None:
    page = chrome.open(pages["report of 743 rows"])
    hardest = [float(each.rstrip("%")) for each in column(page, 3)]
    assert hardest == sorted(hardest)
    press = "document.querySelector('table.rows th[data-sort={}] button').click()"
    page.ask(press.format("number"))
    assert column(page, 0) == [str(number) for number in range(1, 51)]
    page.ask(press.format("number"))
    assert column(page, 0)[:2] == ["743", "742"]
    assert page.ask("document.querySelector('th[aria-sort]').getAttribute('aria-sort')") == "descending"
    use(page, "sort", "tokens")
    lengths = [int(each) for each in column(page, 4)]
    assert lengths == sorted(lengths)


def test_the_table_filters_and_searches(chrome: Browser, pages: dict[str, Path]) -> None:
    page = chrome.open(pages["report of 743 rows"])
    status = "document.querySelector('[role=status]').textContent"
    assert page.ask(status) == "50 of 743 rows"
    use(page, "kind", "wrong")
    assert all("✗" in each for each in column(page, 2))
    use(page, "kind", "unsure")
    assert page.ask(status) == "50 of 50 rows"
    use(page, "kind", "")
    use(page, "target", "1")
    assert set(column(page, 1)) == {"1"}
    use(page, "target", "")
    use(page, "search", "{{ 7 * 7 }}")
    assert page.ask(status) == "1 of 1 rows"
    assert column(page, 6) == [HOSTILE[3]]
    use(page, "search", "")
    page.ask("document.querySelector('button.more').click()")
    assert page.ask(status) == "100 of 743 rows"


def test_rows_of_a_comparison_are_filtered_by_who_is_right(chrome: Browser, pages: dict[str, Path]) -> None:
    page = chrome.open(pages["comparison"])
    use(page, "kind", "B+")
    assert all("B" in each.split() for each in column(page, 2))
    assert column(page, 2)


def test_it_prints_its_first_rows(chrome: Browser, pages: dict[str, Path]) -> None:
    page = chrome.open(pages["report of 743 rows"], dark=True, media="print")
    assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.ask("getComputedStyle(document.querySelector('form.tools')).display") == "none"
    seen = (
        "Array.from(document.querySelectorAll('table.rows tbody tr')).filter(row => row.offsetParent !== null).length"
    )
    assert page.ask(seen) == 30
