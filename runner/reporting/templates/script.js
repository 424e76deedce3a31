"use strict";
// Without this script the tables show all their rows, the hardest first.
const STEP = 50;
for (const table of document.querySelectorAll("table[data-tools]")) {
  const body = table.tBodies[0], tools = document.getElementById(table.dataset.tools);
  const more = document.querySelector(`button[data-for="${table.dataset.tools}"]`);
  const status = tools.querySelector("[role=status]"), all = Array.from(body.rows);
  const texts = new Map();
  let ordered = all, most = STEP, order = null, down = false;

  const text = row => {
    if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
    return texts.get(row);
  };
  const field = name => (tools.elements[name] ? tools.elements[name].value : "");
  const show = () => {
    const search = field("search").trim().toLowerCase(), kind = field("kind"), target = field("target");
    let found = 0;
    for (const row of ordered) {
      const fits = (!kind || row.dataset.kinds.split(" ").includes(kind))
        && (!target || row.dataset.target === target) && (!search || text(row).includes(search));
      row.hidden = !fits || found >= most;
      found += fits;
    }
    status.textContent = status.dataset.words.replace("%(shown)s", Math.min(found, most)).replace("%(all)s", found);
    more.hidden = found <= most;
  };
  const sort = (name, descending) => {
    order = name;
    down = descending;
    ordered = all.slice().sort((a, b) => (a.dataset[name] - b.dataset[name]) * (down ? -1 : 1));
    body.append(...ordered);
    for (const head of table.querySelectorAll("th[data-sort]")) {
      if (head.dataset.sort === name) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    if (tools.elements.sort) tools.elements.sort.value = name;
    show();
  };

  for (const head of table.querySelectorAll("th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => sort(head.dataset.sort, order === head.dataset.sort && !down));
  }
  tools.addEventListener("submit", event => event.preventDefault());
  tools.addEventListener("input", event => {
    most = STEP;
    if (event.target.name === "sort") sort(event.target.value, false);
    else show();
  });
  more.addEventListener("click", () => { most += STEP; show(); });
  addEventListener("beforeprint", () => { for (const row of all) row.hidden = false; });
  addEventListener("afterprint", show);
  tools.hidden = false;
  order = tools.elements.sort ? tools.elements.sort.value : null;
  show();
}
addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details")) each.open = true;
});
