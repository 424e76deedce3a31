"""The page's own style and script. They are constants: the page's policy has their digests."""

STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --dim: #556070; --paper: #fff; --band: #eef3fb; --line: #d3d9e2;
  --edge: #7d8aa0; --head: #e4e9f1; --bar: #2c5aa8; --warn: #8a4b00; --warn-paper: #fff4e0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaf0; --dim: #a3adbb; --paper: #14181e; --band: #1a2230; --line: #323b48; --edge: #74829a; --head: #252e3b;
    --bar: #8db2f0; --warn: #f0bc74; --warn-paper: #2c2214; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, "Noto Sans CJK SC", "Microsoft YaHei",
  "PingFang SC", sans-serif; }
main { max-width: 92rem; margin: 0 auto; padding: 1rem; }
h1, h2 { line-height: 1.2; overflow-wrap: anywhere; }
h1 { margin: .3rem 0 1rem; }
h2 { margin: 2.2rem 0 .6rem; scroll-margin-top: .5rem; }
p { max-width: 48rem; }
a { color: var(--bar); }
a:focus-visible, button:focus-visible, input:focus-visible, summary:focus-visible, .wide:focus-visible {
  outline: 3px solid var(--bar); outline-offset: 2px; }
.facts { display: flex; flex-wrap: wrap; gap: .6rem; list-style: none; margin: 0 0 1rem; padding: 0; }
.facts li { border: 1px solid var(--line); border-radius: .5rem; padding: .4rem .9rem; background: var(--band); }
.facts li.look { border-color: var(--warn); background: var(--warn-paper); }
.facts strong { font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.note { border-left: 4px solid var(--bar); padding-left: .8rem; }
.tools { display: flex; flex-wrap: wrap; gap: .6rem 1.2rem; align-items: center; margin: .8rem 0; }
.tools[hidden] { display: none; }
.tools input[type="search"] { font: inherit; width: 20rem; max-width: 100%; padding: .3rem .6rem; color: inherit;
  background: var(--paper); border: 1px solid var(--edge); border-radius: .3rem; }
.tools label { display: inline-flex; gap: .5rem; align-items: center; flex-wrap: wrap; }
.wide { overflow: auto; max-height: 88vh; border: 1px solid var(--line); border-radius: .3rem; }
table { border-collapse: separate; border-spacing: 0; font-size: .875rem; min-width: 100%; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
tbody:last-child > tr:last-child > * { border-bottom: 0; }
thead th, thead td { background: var(--head); vertical-align: bottom; position: sticky; top: 0; z-index: 2; line-height: 1.25; }
tbody th { font-weight: 500; min-width: 9rem; max-width: 22rem; overflow-wrap: anywhere; }
tbody td { overflow-wrap: anywhere; max-width: 36rem; min-width: 8rem; }
tbody td.n { min-width: 0; }
.sortable thead tr:first-child > * { height: 2.1rem; font-size: 1rem; }
.sortable thead tr + tr > * { top: 2.1rem; }
.sortable tbody th, .sortable th[data-sort="text"] { position: sticky; left: 0; z-index: 1; background: var(--paper); }
.sortable th[data-sort="text"] { background: var(--head); z-index: 3; }
.sortable .first { border-left: 3px solid var(--edge); padding-left: .7rem; }
.sortable th[scope="colgroup"] { text-align: center; }
.band { background: var(--band); }
.sortable tbody tr:hover > * { background: var(--head); }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.n small { display: block; color: var(--dim); font-size: .75rem; }
@media (min-width: 75rem) { table:not(.compact) .n small { display: inline; margin-left: .3rem; } }
.like { color: var(--dim); }
.tag { display: inline-block; font-size: .75rem; padding: 0 .4rem; border: 1px solid var(--warn); border-radius: .7rem;
  color: var(--warn); background: var(--warn-paper); text-decoration: none; white-space: nowrap; }
th[data-sort="number"] { text-align: right; }
th[data-sort] { white-space: nowrap; }
th[data-sort] span:first-child { display: block; }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button::after { content: "\\a0\\2195"; color: var(--dim); font-weight: 400; }
th[aria-sort="ascending"] button::after { content: "\\a0\\2191"; color: inherit; }
th[aria-sort="descending"] button::after { content: "\\a0\\2193"; color: inherit; }
.compact .more { display: none; }
.compact .few { border-left: 3px solid var(--edge); padding-left: .7rem; }
.groups tbody { scroll-margin-top: 3rem; }
.groups tbody + tbody tr:first-child > * { border-top: 2px solid var(--edge); }
.groups th[scope="rowgroup"] { min-width: 3rem; font-size: 1rem; font-variant-numeric: tabular-nums; }
.groups td { min-width: 10rem; }
.groups td:last-child { min-width: 17rem; }
.groups tbody:target { background: var(--warn-paper); }
ul.names { margin: 0; padding-left: 1.1rem; min-width: 9rem; max-width: 22rem; overflow-wrap: anywhere; }
dt { font-weight: 600; }
dd { margin: 0 0 .4rem; max-width: 48rem; }
svg { display: block; width: 100%; max-width: 36rem; }
svg rect { fill: var(--bar); }
svg text { fill: var(--dim); font-size: 11px; }
svg line { stroke: var(--dim); }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (max-width: 40rem) {
  main { padding: .6rem; }
  th, td { padding: .3rem .3rem; }
  th[data-sort]:not([aria-sort]) button::after { content: none; }
  .sortable tbody th, .sortable th[data-sort="text"] { min-width: 6.5rem; max-width: 8.5rem; }
}
@media print {
  :root { --ink: #000; --dim: #444; --paper: #fff; --band: #f4f4f4; --line: #bbb; --edge: #666; --head: #e8e8e8; --bar: #555; }
  body { font-size: 9pt; } .wide { overflow: visible; max-height: none; } .tools { display: none; } tr { break-inside: avoid; }
  thead th, thead td { position: static; } th, td { padding: .15rem .3rem; }
}
"""

SCRIPT = """
"use strict";
const nameIn = row => { const name = row.querySelector("bdi"); return name.title || name.textContent; };
// Without this script the tables stay in their order, best first, with all rows and columns.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  for (const head of table.querySelectorAll("th[data-sort]")) {
    const column = head.cellIndex, numbers = head.dataset.sort === "number";
    const value = row => {
      const cell = row.cells[column];
      return numbers ? parseFloat(cell.dataset.value) : nameIn(row).toLowerCase();
    };
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
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
  const tools = document.getElementById("tools"), asked = document.getElementById("filter");
  const told = document.getElementById("told"), all = document.getElementById("all");
  const plain = text => text.normalize("NFKC").toLowerCase();
  const names = new Map(Array.from(body.rows, row => [row, plain(nameIn(row))]));
  asked.addEventListener("input", () => {
    const words = plain(asked.value).split(/\\s+/);
    let shown = 0;
    for (const [row, name] of names) shown += !(row.hidden = !words.every(word => name.includes(word)));
    told.textContent = told.dataset.words.replace("#", shown);
  });
  const groups = Array.from(table.querySelectorAll("th[scope=colgroup]"), head => [head, head.colSpan]);
  const show = () => {
    table.classList.toggle("compact", !all.checked);
    for (const [head, columns] of groups) head.colSpan = all.checked ? columns : Number(all.dataset.few);
  };
  all.checked = groups.length <= Number(all.dataset.fit) && matchMedia("(min-width: 62rem)").matches;
  all.addEventListener("change", show);
  show();
  tools.hidden = false;
}
"""
