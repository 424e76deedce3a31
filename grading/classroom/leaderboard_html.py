"""The leaderboard as a page: one HTML file that loads nothing.

Its Content-Security-Policy allows only its own style and script, by their digests: text that escaping missed cannot run.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Optional
from urllib.parse import quote

from grading.classroom.card import Card
from grading.classroom.leaderboard import (
    FAULTS,
    Cell,
    Row,
    datasets_of,
    hundredths,
    part_points,
    parts_of,
    problem_of,
    ranked,
)
from grading.classroom.similarity import CAVEAT, KINDS, Finding
from grading.contract.display import one_line, told_apart
from grading.contract.language import language, tr, translated, trn

LONGEST_NAME = 60
"""Characters of a name that the page shows; the whole name is in the CSV and in the tooltip."""

_TAGS = {"en": "en", "zh": "zh-CN"}
"""Languages as a page names its own."""

_BINS = 20
"""Bars of the distribution, of 5 points each."""


def as_html(
    cards: Sequence[Card],
    findings: Sequence[Finding],
    title: Optional[str] = None,
    reports: Optional[Mapping[str, str]] = None,
) -> str:
    """The page. `title`: None for "Leaderboard". `reports` maps a submission's name to its file in `reports/` without `.txt`;
    None: no links."""
    page = _Page(ranked(cards), reports or {})
    policy = f"default-src 'none'; style-src '{_digest(_STYLE)}'; script-src '{_digest(_SCRIPT)}'"
    sections = [page.summary(), page.distribution(), page.leaderboard(), page.problems(), page.similarity(findings)]
    name = escape(one_line(tr("Leaderboard") if title is None else title))
    return (
        f'<!DOCTYPE html>\n<html lang="{_TAGS[language()]}">\n<head>\n<meta charset="utf-8">\n'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"{escape(policy)}; base-uri 'none'; form-action 'none'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{name}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{name}</h1>\n"
        + "".join(sections)
        + f"</main>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class _Page:
    """The sections of the page, each a complete piece of HTML."""

    def __init__(self, rows: Sequence[Row], reports: Mapping[str, str]) -> None:
        self._rows = rows
        self._reports = reports
        self._names = told_apart(row.card.name for row in rows)
        self._graded = [row for row in rows if row.rank is not None]

    def summary(self) -> str:
        """Number of submissions, and the range and median of points."""
        points = [row.card.points for row in self._graded]
        if not points:
            words = tr("{count:,} submissions, 0 graded.", count=len(self._rows))
            return f"<p>{escape(words)}</p>\n"
        words = tr(
            "{count:,} submissions, {graded:,} graded; points from {lowest} to {highest}, median {median} of 100.",
            count=len(self._rows),
            graded=len(points),
            lowest=hundredths(points[-1]),
            highest=hundredths(points[0]),
            median=hundredths((points[len(points) // 2] + points[(len(points) - 1) // 2]) / 2),
        )
        return f"<p>{escape(words)}</p>\n"

    def distribution(self) -> str:
        """The histogram of points, as a drawing and as text."""
        counts = [0] * _BINS
        for row in self._graded:
            counts[min(_BINS - 1, int(row.card.points * _BINS / 100))] += 1
        highest, step = max(counts) or 1, 100 // _BINS
        names = [_range(low, low + step) for low in range(0, 100, step)]
        words = "; ".join(f"{name}: {count}" for name, count in zip(names, counts) if count) or tr("none")
        drawn = ['<line x1="40" y1="150" x2="400" y2="150"/><line x1="40" y1="14" x2="40" y2="150"/>']
        for place, (name, count) in enumerate(zip(names, counts)):
            height = 136 * count / highest
            drawn.append(
                f'<rect x="{41 + 18 * place}" y="{150 - height:.1f}" width="16" height="{height:.1f}">'
                f"<title>{escape(tr('{range} points: {count}', range=name, count=count))}</title></rect>"
            )
        drawn += [f'<text x="{40 + 3.6 * at:g}" y="164" text-anchor="middle">{at}</text>' for at in range(0, 101, 20)]
        drawn.append(f'<text x="220" y="182" text-anchor="middle">{escape(tr("points"))}</text>')
        drawn.append(
            f'<text x="34" y="18" text-anchor="end">{highest}</text><text x="34" y="153" text-anchor="end">0</text>'
        )
        turned = 'transform="rotate(-90 14 82)"'
        drawn.append(f'<text x="14" y="82" text-anchor="middle" {turned}>{escape(tr("submissions"))}</text>')
        return (
            f"<section>\n<h2>{escape(tr('Distribution'))}</h2>\n"
            '<svg viewBox="0 0 420 190" role="img" aria-labelledby="bars words">\n'
            f'<title id="bars">{escape(tr("How many submissions have how many points"))}</title>\n'
            f'<desc id="words">{escape(tr("Submissions by points: {counts}.", counts=words))}</desc>\n'
            + "\n".join(drawn)
            + "\n</svg>\n</section>\n"
        )

    def leaderboard(self) -> str:
        """The table of submissions with a grade."""
        cards = [row.card for row in self._graded]
        datasets, parts = datasets_of(cards), parts_of(cards)
        columns = (*parts, tr("accuracy"), "MCC", "F1")
        groups = "".join(f'<th colspan="{len(columns)}" scope="colgroup">{_text(each)}</th>' for each in datasets)
        heads = [("text", tr("submission")), ("number", tr("points"))]
        heads += [("number", column) for _ in datasets for column in columns]
        head = f'<th scope="col" data-sort="number" aria-sort="ascending">{escape(tr("rank"))}</th>'
        head += "".join(f'<th scope="col" data-sort="{sort}">{escape(name)}</th>' for sort, name in heads)
        body = "".join(self._row(row, datasets, parts) for row in self._graded)
        return (
            f"<section>\n<h2>{escape(tr('Leaderboard'))}</h2>\n<p>"
            + tr(
                "Accuracy with its 95 % interval. ≈ marks whose accuracy is <b>not distinguishable from the first</b>: the "
                "intervals overlap on every dataset, another sample of rows could reverse the order."
            )
            + f'</p>\n<div class="wide" tabindex="0" role="region" aria-label="{escape(tr("Leaderboard"))}">\n'
            '<table class="sortable">\n<thead>\n'
            f'<tr><td colspan="3"></td>{groups}</tr>\n<tr>{head}</tr>\n</thead>\n<tbody>\n{body}</tbody>\n'
            "</table>\n</div>\n</section>\n"
        )

    def _row(self, row: Row, datasets: Sequence[str], parts: Sequence[str]) -> str:
        mark = ""
        if row.like_first and row.rank != 1:
            mark = f'<abbr title="{escape(tr("not distinguishable from the first"))}">≈</abbr> '
        cells = [_number(row.rank), f'<th scope="row">{mark}{self._link(row.card.name)}</th>']
        cells.append(_number(hundredths(row.card.points)))
        for dataset in datasets:
            cells += [_number(part_points(row.card, dataset, part)) for part in parts]
            found = row.card.metrics(dataset)
            if found:
                low, high = (f"{100 * end:.1f}" for end in found["interval"])
                cells.append(_number(f"{100 * found['accuracy']:.1f}", f" <small>{low}–{high}</small>"))
                cells += [_number(f"{found[key]:.2f}") for key in ("mcc", "f1")]
            else:
                cells += [_number(None)] * 3
        return f"<tr>{''.join(cells)}</tr>\n"

    def problems(self) -> str:
        """The table of submissions without a grade, and whose fault that is."""
        rows = []
        for row in self._rows:
            problem = problem_of(row.card)
            if problem:
                words = [FAULTS.get(problem["fault"], problem["fault"]), problem["reason"], problem["next_step"]]
                cells = "".join(f"<td>{_text(each)}</td>" for each in words)
                rows.append(f'<tr><th scope="row">{self._link(row.card.name)}</th>{cells}</tr>\n')
        table = _table((tr("submission"), tr("fault of"), tr("what happened"), tr("next step")), rows)
        inner = table if rows else f"<p>{escape(tr('None: every submission has a grade.'))}</p>\n"
        return f"<section>\n<h2>{escape(tr('Not graded'))}</h2>\n{inner}</section>\n"

    def similarity(self, findings: Sequence[Finding]) -> str:
        """The findings by kind."""
        blocks = [f'<section>\n<h2>{escape(tr("Similar submissions"))}</h2>\n<p class="note">{_text(CAVEAT)}</p>\n']
        for kind in KINDS:
            rows = [self._finding(finding) for finding in findings if finding.kind == kind.name]
            if rows:
                heads = (tr("submissions"), tr("dataset"), tr("shared errors"), tr("expected"), tr("finding"))
                table = _table(heads, rows)
                blocks.append(f"<h3>{_text(kind.title)}</h3>\n<p>{_text(kind.meaning)}</p>\n{table}")
        if not findings:
            words = tr("No pair is remarkable. That does not prove that everybody worked alone.")
            blocks.append(f"<p>{escape(words)}</p>\n")
        return "".join(blocks) + "</section>\n"

    def _finding(self, finding: Finding) -> str:
        names = "".join(f"<li>{self._link(name)}</li>" for name in finding.names)
        if len(finding.names) > 8:
            count = trn("{count} submission", "{count} submissions", len(finding.names))
            names = f"<details><summary>{escape(count)}</summary><ul>{names}</ul></details>"
        elif names:
            names = f"<ul>{names}</ul>"
        expected = None if finding.expected is None else f"{finding.expected:.1f}"
        numbers = _number(finding.shared) + _number(expected)
        return f"<tr><td>{names}</td><td>{_text(finding.dataset)}</td>{numbers}<td>{_text(finding.words)}</td></tr>\n"

    def _link(self, name: str) -> str:
        shown = _name(self._names.get(name) or one_line(name))
        if name not in self._reports:
            return shown
        stem = quote(self._reports[name].encode("utf-8", "surrogatepass"), safe="")
        return f'<a href="reports/{stem}.txt">{shown}</a>'


def _text(text: str) -> str:
    return escape(one_line(translated(text)))


def _range(low: int, high: int) -> str:
    if high < 100:
        return tr("{low} to below {high}", low=low, high=high)
    return tr("{low} to {high}", low=low, high=high)


def _name(name: str) -> str:
    """A name that cannot change the direction of the text around it, cut in its middle if it is very long."""
    short = one_line(name, LONGEST_NAME)
    return f"<bdi>{escape(name)}</bdi>" if short == name else f'<bdi title="{escape(name)}">{escape(short)}</bdi>'


def _number(value: Cell, more: str = "") -> str:
    return '<td class="n">–</td>' if value is None else f'<td class="n" data-value="{value}">{value}{more}</td>'


def _table(heads: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    return (
        f'<div class="wide" tabindex="0">\n<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{"".join(rows)}</tbody>\n'
        "</table>\n</div>\n"
    )


_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --dim: #5b6472; --paper: #fff; --line: #d9dee6; --head: #f3f5f8;
  --bar: #3667b8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ee; --dim: #9aa5b4; --paper: #14181e; --line: #313946; --head: #1d232c; --bar: #7ea6ea; }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3 { line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin-top: 2.2rem; }
p { max-width: 46rem; }
.note { border-left: 4px solid var(--bar); padding-left: .8rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { background: var(--head); white-space: nowrap; }
tbody th { font-weight: 500; min-width: 8rem; max-width: 22rem; overflow-wrap: anywhere; }
tbody tr:hover { background: var(--head); }
.sortable tbody th, th[data-sort="text"] { position: sticky; left: 0; }
.sortable tbody th { background: var(--paper); }
td { overflow-wrap: break-word; max-width: 36rem; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.n small, abbr { color: var(--dim); text-decoration: none; }
th[data-sort="number"], th[scope="colgroup"] { text-align: right; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--bar); outline-offset: 2px; }
th[aria-sort="ascending"] button::after { content: " \\2191"; }
th[aria-sort="descending"] button::after { content: " \\2193"; }
a { color: var(--bar); }
ul { margin: 0; padding-left: 1.1rem; min-width: 8rem; max-width: 22rem; overflow-wrap: anywhere; }
svg { width: 100%; max-width: 42rem; }
svg rect { fill: var(--bar); }
svg text { fill: var(--dim); font-size: 11px; }
svg line { stroke: var(--dim); }
@media print {
  :root { --ink: #000; --dim: #444; --paper: #fff; --line: #bbb; --head: #eee; --bar: #555; }
  body { font-size: 9pt; } .wide { overflow: visible; } th, td { padding: .15rem .3rem; } tr { break-inside: avoid; }
}
"""


_SCRIPT = """
"use strict";
// Without this script the tables stay in their order, best first.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  for (const head of table.querySelectorAll("th[data-sort]")) {
    const column = head.cellIndex, numbers = head.dataset.sort === "number";
    const value = row => {
      const cell = row.cells[column];
      return numbers ? parseFloat(cell.dataset.value) : cell.textContent.toLowerCase();
    };
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      const rows = Array.from(body.rows, row => [value(row), row]);
      rows.sort(([a], [b]) => {
        if (a !== a || b !== b) return (a !== a) - (b !== b);  // no number: last in both orders
        return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
      });
      for (const each of table.querySelectorAll("th[aria-sort]")) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...rows.map(([, row]) => row));
    });
  }
}
"""
