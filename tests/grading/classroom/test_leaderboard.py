"""The leaderboard: what an examiner sees of a class, and what a hostile name cannot make of it."""

import base64
import csv
import dataclasses
import hashlib
import io
import re
from html.parser import HTMLParser

import pytest

from grading.classroom import similarity
from grading.classroom.card import Card
from grading.classroom.groups import groups
from grading.classroom.leaderboard import as_csv, ranked
from grading.classroom.leaderboard_html import as_html
from grading.classroom.page_assets import STYLE
from grading.classroom.similarity import Finding
from grading.contract.metrics import wilson_interval

SHARED = "More shared errors than the class explains"
VOID = {"meta", "link", "br", "hr", "img", "input"}

HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>'",
    "</style></script><!--",
    '=HYPERLINK("http://example.org","open")',
    "@SUM(1)",
    "-1+1",
    "+1",
    "\t=1",
    "line\nbreak\r\n",
    "\u202egnp.exe\u2066",
    "zero\u200bwidth\u2028",
    "back\\slash",
    "\udc80\ud800",
    "null\x00\x1b[2J",
    "x" * 10_000,
    "&amp;",
    "שלום",
)


def card(name, correct=120, datasets=("CoLA", "QQP"), problem=None, seconds=0.25, rows=150):
    """A card of a submission that earned everything but its wrong rows; `correct` of None: no result."""
    parts, graded, points = [], [], 0.0
    for dataset in datasets if problem is None else ():
        share = 1 / len(datasets)
        accuracy = 0.0 if correct is None else correct / rows
        for part, earned, most in (("pre_data", 10, 10), ("saved_model", 20, 20), ("result", 70 * accuracy, 70)):
            parts.append({"dataset": dataset, "part": part, "points": earned * share, "max_points": most * share})
            points += earned * share
        measures = None if correct is None else {
            "correct": correct, "accuracy": accuracy, "interval": list(wilson_interval(correct, rows)),
            "mcc": -0.125, "f1": 0.75, "majority": 0.5,
        }  # fmt: skip
        graded.append({"dataset": dataset, "rows": rows, "labels": ["0", "1"], "measures": measures})
    report = {"points": points, "max_points": 100.0, "parts": parts, "datasets": graded, "problem": problem}
    return Card(name, report, "", {}, {}, {}, seconds)


BROKEN = {"fault": "submission", "reason": "=bad <archive>", "next_step": "send another"}


class Page(HTMLParser):
    """Checks that every tag is closed in order, and keeps what tests ask for."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.text, self.policy = [], [], {}, ""
        self.rows = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names))
        self.tags.append((tag, dict(attributes)))
        if dict(attributes).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attributes)["content"]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        self.text[inside] = self.text.get(inside, "") + data
        if "tr" in self.open:
            self.rows[-1][-1] += data

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def table(text):
    return list(csv.reader(io.StringIO(text)))


def test_the_csv_of_two():
    assert as_csv([card("b", 120), card("a", 150, seconds=1)]) == (
        "rank,name,points,"
        "CoLA pre_data,CoLA saved_model,CoLA result,CoLA accuracy,CoLA accuracy from,CoLA accuracy to,CoLA MCC,CoLA F1,"
        "QQP pre_data,QQP saved_model,QQP result,QQP accuracy,QQP accuracy from,QQP accuracy to,QQP MCC,QQP F1,"
        "fault,problem,next step\n"
        "1,a,100.00,5.00,10.00,35.00,1.0000,0.9750,1.0000,-0.1250,0.7500,"
        "5.00,10.00,35.00,1.0000,0.9750,1.0000,-0.1250,0.7500,,,\n"
        "2,b,86.00,5.00,10.00,28.00,0.8000,0.7289,0.8562,-0.1250,0.7500,"
        "5.00,10.00,28.00,0.8000,0.7289,0.8562,-0.1250,0.7500,,,\n"
    )


def test_no_cards_at_all():
    assert as_csv([]) == "rank,name,points,fault,problem,next step\n"
    assert "0 submissions, 0 graded." in as_html([], ())
    Page(as_html([], ()))


def test_equal_points_share_a_rank_and_problems_have_none():
    cards = [card("d", 100), card("a", 90), card("c", 100), card("b", 110), card("z", problem=BROKEN), card("e", None)]
    assert [(row.rank, row.card.name) for row in ranked(cards)] == [
        (1, "b"), (2, "c"), (2, "d"), (4, "a"), (5, "e"), (None, "z"),
    ]  # fmt: skip
    *_, without, last = table(as_csv(cards))
    assert without[:7] == ["5", "e", "30.00", "5.00", "10.00", "0.00", ""]
    assert last[:4] == ["", "z", "0.00", ""]
    assert last[-3:] == ["submission", "'=bad <archive>", "send another"]


def test_points_are_rounded_down():
    assert table(as_csv([card("a", 149)]))[1][2] == "99.53"
    assert table(as_csv([card("a", 118, ("QQP",))]))[1][2] == "85.06"


def test_who_is_not_distinguishable_from_the_first():
    cards = [card("first", 140), card("near", 132), card("far", 110), card("none", None), card("z", problem=BROKEN)]
    assert [(row.card.name, row.like_first) for row in ranked(cards)] == [
        ("first", True), ("near", True), ("far", False), ("none", False), ("z", False),
    ]  # fmt: skip
    assert as_html(cards, ()).count('title="not distinguishable from the first"') == 1
    assert not any(row.like_first for row in ranked([card("none", None), card("too", None)]))


def test_the_csv_guards_a_spreadsheet():
    text = as_csv([card(name) for name in HOSTILE])
    text.encode("utf-8")
    rows = table(text)
    assert len(rows) == len(text.splitlines()) == len(HOSTILE) + 1
    assert all(len(row) == len(rows[0]) for row in rows)
    names = {row[1] for row in rows[1:]}
    assert not any(name.startswith(("=", "+", "-", "@", "\t", "\r")) for name in names)
    assert names >= {
        "<script>alert(1)</script>", "'=HYPERLINK(\"http://example.org\",\"open\")", "'@SUM(1)", "'-1+1", "'+1",
        "\\x09=1", "line\\x0abreak\\x0d\\x0a", "\\u202egnp.exe\\u2066", "zero\\u200bwidth\\u2028", "back\\\\slash",
        "\\udc80\\ud800", "null\\x00\\x1b[2J", "x" * 10_000, "&amp\\x3b", "שלום",
    }  # fmt: skip
    assert rows[1][9] == "-0.1250"  # a number that the grader made is a number


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("王小明", "王小明"), ("2020302110012", "2020302110012"), ("0", "0"),
        ("12a", "12a"), ("may", "may"), ("e", "e"), ("Sep", "Sep"),
        ("007", "'007"), ("20203021100121234", "'20203021100121234"), ("1e5", "'1e5"), ("1-2", "'1-2"), ("3/4", "'3/4"),
        ("12:30", "'12:30"), ("1.50", "'1.50"), ("(5)", "'(5)"), ("5%", "'5%"), ("MAR1", "'MAR1"), ("2-may", "'2-may"),
        ("5月3日", "'5月3日"), ("true", "'true"), ("1,234", "'1,234"), ("１２", "'１２"),
    ],
)  # fmt: skip
def test_a_name_stays_a_text_in_a_spreadsheet(name, cell):
    assert table(as_csv([card(name)]))[1][1] == cell


def test_rows_that_look_the_same_are_told_apart_everywhere():
    names = ["alice", "ali\u200bce", "alice\ufe0f", "\u0430lice", "alice ", "alice\u3164", "al\xadice", "\u202dalice"]
    cards = [card(name) for name in names]
    assert len({row[1] for row in table(as_csv(cards))[1:]}) == 8
    shown = re.findall("<bdi[^>]*>(.*?)</bdi>", as_html(cards, ()))
    assert len(set(shown)) == 8
    assert all(name.isascii() for name in shown)


SPLIT = (
    "x;=1+1;",
    '";=1+1',
    'x";"=1+1',
    'x;"=1+1";',
    ';"=1+1"',
    "x\t=1+1",
    "x,=1+1",
    'x","=1+1',
    "x;\n=1+1",
    "\n=1+1;",
)


@pytest.mark.parametrize(
    ("delimiter", "quoting"),
    [(",", csv.QUOTE_MINIMAL), (";", csv.QUOTE_MINIMAL), (";", csv.QUOTE_NONE), ("\t", csv.QUOTE_MINIMAL)],
)
def test_no_cell_of_the_csv_is_a_formula_wherever_it_is_split(delimiter, quoting):
    problems = [{"fault": "submission", "reason": name, "next_step": name} for name in (*SPLIT, *HOSTILE)]
    cards = [card(name) for name in (*SPLIT, *HOSTILE)]
    cards += [card(f"{name} too", problem=problem) for name, problem in zip((*SPLIT, *HOSTILE), problems)]
    text = as_csv(cards)
    rows = list(csv.reader(io.StringIO(text), delimiter=delimiter, quoting=quoting))
    assert len(rows) == len(cards) + 1
    cells = [cell for row in rows for cell in row if cell != "-0.1250"]
    assert not [cell for cell in cells if cell.lstrip(' "').startswith(tuple("=+-@"))]
    if delimiter == ",":
        assert {row[1] for row in rows} >= {"x\\x3b=1+1\\x3b", "x,=1+1", 'x","=1+1'}
    else:
        assert all(len(row) == 1 for row in rows)


def test_hostile_names_stay_text():
    findings = [Finding(HOSTILE, "QQP", similarity.SAME_RESULTS, 9, None, None, "<b>words</b>")]
    cards = [card(name) for name in HOSTILE] + [card("<i>z", problem=BROKEN)]
    reports = {name: f"{place} &\"'" for place, name in enumerate(HOSTILE)}
    text = as_html(cards, findings, "<u>title\n", reports)
    text.encode("utf-8")
    assert not re.search("[\u200b\u202e\u2066\u2028\x00\x1b\r\ud800-\udfff]", text)
    page = Page(text)
    assert {"img", "i", "u"}.isdisjoint(tag for tag, _ in page.tags)
    assert page.count("script") == page.count("style") == 1
    assert page.count("b") == 1  # the page's own
    for _, attributes in page.tags:
        assert not any(name.startswith("on") or name in ("style", "src") for name in attributes)
    names = page.text["bdi"]
    assert "<script>alert(1)</script>" in names
    assert "x" * 30 + " ... " + "x" * 30 + " (10,000 characters)" in names
    assert "x" * 31 not in names
    assert page.text["title"].startswith("<u>title\\x0a")


def test_the_policy_lets_run_the_pages_own_script_and_style_only():
    text = as_html([card("a")], ())
    page = Page(text)
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.text[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page.policy
    assert page.policy.startswith("default-src 'none'; ")
    assert page.policy.endswith("base-uri 'none'; form-action 'none'")
    assert "unsafe" not in page.policy
    assert "http://" not in text
    assert "https://" not in text


def test_the_rows_of_the_page():
    cards = [card("hand-in-1", 150), card("hand-in-2", 120), card("hand-in-3", problem=BROKEN)]
    page = Page(as_html(cards, (), reports={"hand-in-1": "hand in/1"}))
    assert page.rows[0] == ["", "CoLA", "QQP"]
    columns = ["pre_data", "saved_model", "result", "accuracy", "MCC", "F1"]
    assert page.rows[1] == ["rank", "submission", "points", *columns, *columns]
    assert page.rows[2][:8] == ["1", "hand-in-1", "100.00", "5.00", "10.00", "35.00", "100.097.5–100.0", "-0.12"]
    assert page.rows[3][:3] == ["2", "hand-in-2", "86.00"]
    assert page.rows[5] == ["hand-in-3", "the submission", "=bad <archive>", "send another"]
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == ["#leaderboard", "#not-graded", "#alike", "reports/hand%20in%2F1.txt"]
    numbers = [attributes for tag, attributes in page.tags if tag == "td" and "data-value" in attributes]
    assert len(numbers) == 2 * 14
    heads = [attributes for tag, attributes in page.tags if tag == "th" and "data-sort" in attributes]
    assert [head["data-sort"] for head in heads] == ["number", "text", *["number"] * 13]
    assert [head.get("aria-sort") for head in heads] == ["ascending", *[None] * 14]


def test_the_distribution():
    text = as_html([card("a", 150), card("b", 150), card("c", 0), card("d", problem=BROKEN)], ())
    page = Page(text)
    assert page.text["desc"] == "Submissions by points: 30 to below 35: 1; 95 to 100: 2."
    assert page.count("rect") == 20
    assert "4 submissions, 3 graded; points from 30.00 to 100.00, median 100.00 of 100." in page.text["p"]


def test_findings_by_kind_with_what_they_mean():
    many = tuple(f"copy-{place}" for place in range(9))
    findings = [
        Finding(("a", "b"), "QQP", similarity.SHARED_ERRORS, 28, 14.25, 1e-12, "said of a and b"),
        Finding(many, "QQP", similarity.SAME_ADAPTER, None, None, None, "said of many"),
        Finding((), "CoLA", similarity.TOO_FEW, None, None, None, "said of the class"),
    ]
    page = Page(as_html([card("a"), card("b")], findings))
    assert similarity.CAVEAT in page.text["p"]
    assert page.text["dt"] == "Identical adaptersMore shared errors than the class explainsNot compared"
    assert "said of the class" in page.text["dd"]
    assert page.rows[-1] == ["2", "9 submissions" + "".join(many), "QQP", "–", "–"]
    assert ["1", "ab", "–", "–", "QQP: 28, expected 14.2; by chance fewer than 1 pair in 10^12"] in page.rows
    assert page.text["summary"] == "9 submissions"
    alone = Page(as_html([card("a")], ()))
    assert similarity.CAVEAT in alone.text["p"]
    assert "That does not prove that everybody worked alone." in alone.text["p"]


def copies(names, datasets=("CoLA", "QQP"), shared=20):
    kinds = ((similarity.SAME_ADAPTER, None), (similarity.SAME_RESULTS, shared))
    return [
        Finding(tuple(names), dataset, kind, count, None, None, "") for kind, count in kinds for dataset in datasets
    ]


def pair(one, other, p=1e-9):
    return Finding((one, other), "QQP", similarity.SHARED_ERRORS, 28, 14.25, p, "")


def test_a_copy_is_one_finding_and_not_four():
    page = Page(as_html([card("a"), card("b")], copies("ab")))
    assert page.rows[-1] == ["1", "ab", "CoLA; QQP", "CoLA (20 wrong); QQP (20 wrong)", "–"]
    assert sum(row[:2] == ["1", "ab"] for row in page.rows) == 1


@pytest.mark.parametrize(
    ("findings", "found"),
    [
        ([], []),
        (copies("ab"), ["ab"]),
        (copies("ab") + copies("cd"), ["ab", "cd"]),
        ([pair("a", "b"), pair("b", "c"), pair("c", "d")], ["abcd"]),
        ([pair("a", "b"), pair("c", "d"), pair("b", "c")], ["abcd"]),
        ([pair("a", "b"), pair("c", "d"), pair("e", "f"), pair("d", "e")], ["ab", "cdef"]),
        ([*copies("bcd"), pair("a", "d"), pair("x", "y")], ["abcd", "xy"]),
        ([Finding((), "QQP", similarity.TOO_FEW, None, None, None, "")], []),
    ],
)
def test_groups_are_connected_submissions(findings, found):
    made = groups(findings)
    assert ["".join(group.names) for group in made] == found
    assert [group.number for group in made] == list(range(1, len(found) + 1))
    seen = [finding for group in made for likeness in group.likenesses for finding in likeness.findings]
    assert sorted(map(repr, seen)) == sorted(repr(finding) for finding in findings if finding.names)
    for group in made:
        assert all(set(likeness.names) <= set(group.names) for likeness in group.likenesses)


def test_a_large_group_shows_its_first_findings_and_the_number_of_the_others():
    names = [f"n{place:02}" for place in range(30)]
    page = Page(as_html([card(name) for name in names], [pair(*two) for two in zip(names, names[1:])]))
    rows = page.rows[
        page.rows.index(["group", "submissions", "Identical adapters", "Identical predictions", SHARED]) + 1 :
    ]
    assert rows[0][0] == "1"
    assert len(rows) == 6
    assert rows[-1][0].startswith("24 more findings in this group")


def test_the_top_has_the_counts_with_links():
    cards = [card("a"), card("b"), card("c"), card("z", problem=BROKEN)]
    page = Page(as_html(cards, copies("ab")))
    (nav,) = (attributes for tag, attributes in page.tags if tag == "nav")
    assert nav["aria-label"] == "Overview"
    assert page.text["a"].startswith(" graded not graded group of similar ones, 2 submissions")
    places = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert [link for link in links if link[0] == "#"] == [
        "#leaderboard",
        "#not-graded",
        "#alike",
        "#group-1",
        "#group-1",
    ]
    assert {link[1:] for link in links if link[0] == "#"} <= places
    assert len(places) == len([0 for _, attributes in page.tags if "id" in attributes])


def test_the_page_is_for_keyboards_and_screen_readers():
    page = Page(as_html([card("a"), card("b"), card("z", problem=BROKEN)], copies("ab")))
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    regions = [attributes for _, attributes in page.tags if attributes.get("class") == "wide"]
    assert [each["aria-label"] for each in regions] == ["Leaderboard", "Not graded", "Similar submissions"]
    assert all((each["tabindex"], each["role"]) == ("0", "region") for each in regions)
    labelled = {attributes["aria-labelledby"] for tag, attributes in page.tags if tag == "section" and attributes}
    assert labelled == {"leaderboard", "not-graded", "alike"}
    heads = [attributes for tag, attributes in page.tags if tag == "th" and "data-sort" in attributes]
    assert sum("aria-sort" in head for head in heads) == 1
    assert page.text["label"].split() == ["Filter", "by", "name", "all", "columns"]
    assert [attributes["role"] for tag, attributes in page.tags if tag == "span" and "role" in attributes] == ["status"]
    for words in (
        "focus-visible",
        "prefers-color-scheme: dark",
        "position: sticky",
        "@media (max-width",
        "@media print",
    ):
        assert words in page.text["style"]


def colours(scheme):
    """The variables of the light or the dark scheme; what the dark one lacks is that of the light one."""
    blocks = re.findall(r":root \{([^}]*)\}", STYLE)
    return {
        name: value
        for block in blocks[: 1 + (scheme == "dark")]
        for name, value in re.findall(r"--([\w-]+): (#\w+)", block)
    }


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aa(scheme):
    found = colours(scheme)
    for ink, papers in {
        "ink": ("paper", "band", "head", "warn-paper"), "dim": ("paper", "band", "head"),
        "bar": ("paper", "band", "head", "warn-paper"),
        "warn": ("warn-paper",),
    }.items():  # fmt: skip
        for paper in papers:
            lighter, darker = sorted((luminance(found[ink]), luminance(found[paper])), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (scheme, ink, paper)


def test_every_second_dataset_has_a_tint_and_the_others_can_be_hidden():
    page = Page(as_html([card("a", datasets=("A", "B", "C", "D"))], ()))
    kinds = [attributes["class"].split() for tag, attributes in page.tags if tag == "td" and "class" in attributes][2:]
    assert [("band" in each) for each in kinds] == ([False] * 6 + [True] * 6) * 2
    assert [each[1:3] for each in kinds[:6]] == [["first", "more"], ["more"], ["more"], ["few"], [], ["more"]]
    (choice,) = (attributes for _, attributes in page.tags if attributes.get("id") == "all")
    assert (choice["data-few"], choice["data-fit"]) == ("2", "2")


def test_the_same_cards_give_the_same_bytes():
    cards = [card(name, 100 + place % 3) for place, name in enumerate(HOSTILE)]
    assert as_csv(cards) == as_csv(cards[::-1])
    assert as_html(cards, ()) == as_html(cards[::-1], ())
    slower = [dataclasses.replace(each, seconds=9.0) for each in cards]
    assert as_csv(cards) == as_csv(slower)
    assert as_html(cards, ()) == as_html(slower, ())
