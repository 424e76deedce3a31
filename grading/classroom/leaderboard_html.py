"""The leaderboard as a page: one HTML file that loads nothing.

Its Content-Security-Policy allows only its own style and script, by their digests: text that escaping missed cannot run.
"""

import base64
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Optional
from urllib.parse import quote

from grading.classroom.card import Card
from grading.classroom.groups import Group, Likeness, groups
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
from grading.classroom.page_assets import SCRIPT, STYLE
from grading.classroom.similarity import CAVEAT, KINDS, SAME_ADAPTER, Finding
from grading.contract.display import one_line, told_apart
from grading.contract.language import joined, language, tr, translated, trn

LONGEST_NAME = 60
"""Characters of a name that the page shows; the whole name is in the CSV and in the tooltip."""

_TAGS = {"en": "en", "zh": "zh-CN"}
"""Languages as a page names its own."""

MOST_NAMES = 8
"""Most names of a group that are in sight; more are behind their number."""

MOST_ROWS = 5
"""Most rows of one group that are in sight."""

FEW_DATASETS = 2
"""Most datasets whose columns all fit on a screen of 1,280 pixels. With more, or on a narrow one, a few are shown at first."""

FEW_COLUMNS = 2
"""How many of a dataset's columns those few are: accuracy and MCC."""

_TITLES = {kind.name: kind.title for kind in KINDS}

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
    page = _Page(ranked(cards), findings, reports or {})
    policy = f"default-src 'none'; style-src '{_digest(STYLE)}'; script-src '{_digest(SCRIPT)}'"
    sections = [page.summary(), page.distribution(), page.leaderboard(), page.problems(), page.similarity()]
    name = escape(one_line(tr("Leaderboard") if title is None else title))
    return (
        f'<!DOCTYPE html>\n<html lang="{_TAGS[language()]}">\n<head>\n<meta charset="utf-8">\n'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"{escape(policy)}; base-uri 'none'; form-action 'none'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{name}</h1>\n"
        + "".join(sections)
        + f"</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class _Page:
    """The sections of the page, each a complete piece of HTML."""

    def __init__(self, rows: Sequence[Row], findings: Sequence[Finding], reports: Mapping[str, str]) -> None:
        self._rows = rows
        self._findings = findings
        self._groups = groups(findings)
        self._group_of = {name: group.number for group in self._groups for name in group.names}
        self._reports = reports
        self._names = told_apart(row.card.name for row in rows)
        self._graded = [row for row in rows if row.rank is not None]

    def summary(self) -> str:
        """How many are graded, not graded and alike, with links; and the range and median of points."""
        alike = trn("{count:,} group of similar ones", "{count:,} groups of similar ones", len(self._groups))
        if self._groups:
            alike = tr("{groups}, {count:,} submissions", groups=alike, count=len(self._group_of))
        facts = "".join(
            f'<li{" class=look" if look else ""}><a href="#{place}">{_counted(words)}</a></li>\n'
            for place, look, words in (
                ("leaderboard", False, tr("{count:,} graded", count=len(self._graded))),
                (
                    "not-graded",
                    len(self._rows) > len(self._graded),
                    tr("{count:,} not graded", count=len(self._rows) - len(self._graded)),
                ),
                ("alike", bool(self._groups), alike),
            )
        )
        words = tr("{count:,} submissions, {graded:,} graded.", count=len(self._rows), graded=len(self._graded))
        points = [row.card.points for row in self._graded]
        if points:
            words = tr(
                "{count:,} submissions, {graded:,} graded; points from {lowest} to {highest}, median {median} of 100.",
                count=len(self._rows),
                graded=len(points),
                lowest=hundredths(points[-1]),
                highest=hundredths(points[0]),
                median=hundredths((points[len(points) // 2] + points[(len(points) - 1) // 2]) / 2),
            )
        label = escape(tr("Overview"))
        return f'<nav aria-label="{label}">\n<ul class="facts">\n{facts}</ul>\n</nav>\n<p>{escape(words)}</p>\n'

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
        """The table of submissions with a grade, and the box that filters it."""
        if not self._graded:
            return _section("leaderboard", tr("Graded"), f"<p>{escape(tr('None.'))}</p>\n")
        cards = [row.card for row in self._graded]
        datasets, parts = datasets_of(cards), parts_of(cards)
        columns = [*parts, tr("accuracy"), "MCC", "F1"]
        top, head = "", f'<th scope="col" data-sort="number" aria-sort="ascending">{escape(tr("rank"))}</th>'
        head += f'<th scope="col" data-sort="text">{escape(tr("submission"))}</th>'
        head += f'<th scope="col" data-sort="number">{escape(tr("points"))}</th>'
        for dataset in datasets:
            top += f'<th colspan="{len(columns)}" scope="colgroup" class="first">{_text(dataset)}</th>'
            for place, name in enumerate(columns):
                kinds = _kinds_of(place, len(parts))
                head += f'<th scope="col" data-sort="number" class="{kinds}">{_breakable(name)}</th>'
        body = "".join(self._row(row, datasets, parts) for row in self._graded)
        words = tr(
            "Accuracy with its 95 % interval. ≈ marks whose accuracy is <b>not distinguishable from the first</b>: the "
            "intervals overlap on every dataset, another sample of rows could reverse the order."
        )
        table = (
            f'<div class="wide" tabindex="0" role="region" aria-label="{escape(tr("Leaderboard"))}">\n'
            f'<table class="sortable">\n<thead>\n<tr><td colspan="3"></td>{top}</tr>\n<tr>{head}</tr>\n</thead>\n'
            f"<tbody>\n{body}</tbody>\n</table>\n</div>\n"
        )
        return _section("leaderboard", tr("Graded"), f"<p>{words}</p>\n{self._tools()}{table}")

    def _tools(self) -> str:
        """The filter, and the choice of columns. The script shows them: without it they do nothing."""
        told = tr("# of {count:,} shown", count=len(self._graded))
        return (
            f'<div class="tools" id="tools" role="search" hidden>\n<label>{escape(tr("Filter by name"))} '
            '<input type="search" id="filter" autocomplete="off" spellcheck="false"></label>\n'
            f'<label><input type="checkbox" id="all" data-few="{FEW_COLUMNS}" data-fit="{FEW_DATASETS}"> '
            f'{escape(tr("all columns"))}</label>\n<span id="told" role="status" data-words="{escape(told)}"></span>\n</div>\n'
        )

    def _row(self, row: Row, datasets: Sequence[str], parts: Sequence[str]) -> str:
        name = self._link(row.card.name)
        if row.like_first and row.rank != 1:
            words = escape(tr("not distinguishable from the first"))
            name += (
                f' <span class="like" title="{words}" aria-hidden="true">≈</span><span class="unseen">{words}</span>'
            )
        if row.card.name in self._group_of:
            number = self._group_of[row.card.name]
            name += f' <a class="tag" href="#group-{number}">{escape(tr("group {number}", number=number))}</a>'
        cells = [_number(row.rank), f'<th scope="row">{name}</th>', _number(hundredths(row.card.points))]
        for number, dataset in enumerate(datasets):
            band = " band" if number % 2 else ""
            for place, (value, more) in enumerate(_numbers(row.card, dataset, parts)):
                cells.append(_number(value, more, _kinds_of(place, len(parts)) + band))
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
        heads = (tr("submission"), tr("fault of"), tr("what happened"), tr("next step"))
        none = f"<p>{escape(tr('None: every submission has a grade.'))}</p>\n"
        return _section("not-graded", tr("Not graded"), _table(tr("Not graded"), heads, rows) if rows else none)

    def similarity(self) -> str:
        """The groups of similar submissions, what the kinds of findings mean, and what could not be compared."""
        blocks = [f'<p class="note">{_text(CAVEAT)}</p>\n']
        if self._groups:
            heads = [tr("group"), tr("submissions"), *(kind.title for kind in KINDS[:-1])]
            blocks.append(
                _table(tr("Similar submissions"), heads, [self._group(group) for group in self._groups], "groups")
            )
        else:
            words = tr("No pair is remarkable. That does not prove that everybody worked alone.")
            blocks.append(f"<p>{escape(words)}</p>\n")
        for kind in KINDS:
            about = [finding for finding in self._findings if finding.kind == kind.name]
            if about:
                alone = "".join(f"<dd>{_text(finding.words)}</dd>\n" for finding in about if not finding.names)
                blocks.append(f"<dl>\n<dt>{_text(kind.title)}</dt>\n<dd>{_text(kind.meaning)}</dd>\n{alone}</dl>\n")
        return _section("alike", tr("Similar submissions"), "".join(blocks))

    def _group(self, group: Group) -> str:
        """The rows of one group, the first with its number. Only the most remarkable are in sight."""
        shown, rest = group.likenesses[:MOST_ROWS], group.likenesses[MOST_ROWS:]
        rows = [f"<td>{self._list(each.names)}</td>{self._kinds(each)}" for each in shown]
        if rest:
            pairs = "".join(f"<li>{self._pair(each)}</li>" for each in rest)
            words = trn("{count:,} more finding in this group", "{count:,} more findings in this group", len(rest))
            rows.append(f'<td colspan="4"><details><summary>{escape(words)}</summary><ul>{pairs}</ul></details></td>')
        number = f'<th scope="rowgroup" rowspan="{len(rows)}">{group.number}</th>'
        lines = "".join(f"<tr>{number if place == 0 else ''}{row}</tr>\n" for place, row in enumerate(rows))
        return f'<tbody id="group-{group.number}">\n{lines}</tbody>\n'

    def _kinds(self, likeness: Likeness) -> str:
        """A cell for each kind of finding, with its datasets."""
        cells = ""
        for kind in KINDS[:-1]:
            words = [_in_cell(finding) for finding in likeness.findings if finding.kind == kind.name]
            cells += f"<td>{escape(one_line(joined('; ', words))) or '–'}</td>"
        return cells

    def _pair(self, likeness: Likeness) -> str:
        names = ", ".join(map(self._link, likeness.names))
        words = [tr("{kind}: {found}", kind=_TITLES[each.kind], found=_in_cell(each)) for each in likeness.findings]
        return f"{names}: {escape(one_line(joined('; ', words)))}"

    def _list(self, names: Sequence[str]) -> str:
        items = "".join(f"<li>{self._link(name)}</li>" for name in names)
        if len(names) <= MOST_NAMES:
            return f'<ul class="names">{items}</ul>'
        count = trn("{count} submission", "{count} submissions", len(names))
        return f'<details><summary>{escape(count)}</summary><ul class="names">{items}</ul></details>'

    def _link(self, name: str) -> str:
        shown = _name(self._names.get(name) or one_line(name))
        if name not in self._reports:
            return shown
        stem = quote(self._reports[name].encode("utf-8", "surrogatepass"), safe="")
        return f'<a href="reports/{stem}.txt">{shown}</a>'


def _text(text: str) -> str:
    return escape(one_line(translated(text)))


def _section(place: str, title: str, inner: str) -> str:
    return f'<section aria-labelledby="{place}">\n<h2 id="{place}">{escape(title)}</h2>\n{inner}</section>\n'


def _range(low: int, high: int) -> str:
    if high < 100:
        return tr("{low} to below {high}", low=low, high=high)
    return tr("{low} to {high}", low=low, high=high)


def _name(name: str) -> str:
    """A name that cannot change the direction of the text around it, cut in its middle if it is very long."""
    short = one_line(name, LONGEST_NAME)
    return f"<bdi>{escape(name)}</bdi>" if short == name else f'<bdi title="{escape(name)}">{escape(short)}</bdi>'


def _number(value: Cell, more: str = "", classes: str = "") -> str:
    classes = f"n {classes}".strip()
    if value is None:
        return f'<td class="{classes}">–</td>'
    return f'<td class="{classes}" data-value="{value}">{value}{more}</td>'


def _numbers(card: Card, dataset: str, parts: Sequence[str]) -> list[tuple[Cell, str]]:
    """The cells of one dataset, each with what stands below its number."""
    cells: list[tuple[Cell, str]] = [(part_points(card, dataset, part), "") for part in parts]
    found = card.metrics(dataset)
    if not found:
        return cells + [(None, "")] * 3
    low, high = (f"{100 * end:.1f}" for end in found["interval"])
    cells.append((f"{100 * found['accuracy']:.1f}", f"<small>{low}–{high}</small>"))
    return cells + [(f"{found[key]:.2f}", "") for key in ("mcc", "f1")]


def _kinds_of(place: int, parts: int) -> str:
    """The classes of a dataset's column: `more` is hidden where only a few are shown, and a line is before the first."""
    return ["first more", "more", "few", "", "more"][0 if place == 0 else 1 if place < parts else place - parts + 2]


def _breakable(name: str) -> str:
    """A heading that may break after an underscore."""
    first, underscore, rest = _text(name).partition("_")
    return f"<span>{first}_</span><span>{rest}</span>" if underscore else first


def _counted(words: str) -> str:
    """The words with their first number in bold."""
    return re.sub(r"[\d,]+", lambda found: f"<strong>{found[0]}</strong>", escape(words), count=1)


def _in_cell(finding: Finding) -> str:
    """A finding in short, below the title of its kind."""
    if finding.kind == SAME_ADAPTER or finding.shared is None:
        return finding.dataset
    if finding.expected is None or finding.p is None:
        return tr("{dataset} ({errors:,} wrong)", dataset=finding.dataset, errors=finding.shared)
    return tr(
        "{dataset}: {shared:,}, expected {expected:.1f}; by chance fewer than 1 pair in 10^{exponent}",
        dataset=finding.dataset,
        shared=finding.shared,
        expected=finding.expected,
        exponent=math.floor(-math.log10(max(finding.p, 1e-99))),
    )


def _table(label: str, heads: Iterable[str], rows: Iterable[str], kind: str = "") -> str:
    """A table of rows, or of whole `tbody` elements."""
    head = "".join(f'<th scope="col">{_text(each)}</th>' for each in heads)
    body = "".join(rows)
    if not body.startswith("<tbody"):
        body = f"<tbody>\n{body}</tbody>\n"
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(label)}">\n<table class="{kind}">\n'
        f"<thead><tr>{head}</tr></thead>\n{body}</table>\n</div>\n"
    )
