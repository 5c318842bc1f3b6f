// Sorting, filtering, the theme. Every page is readable without it.
"use strict";
(() => {
  const root = document.documentElement;

  // A page may forbid storage (a file of its own origin, a private window): then a choice lasts as long as the page.
  const remembered = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
  const remember = (name, value) => { try { localStorage.setItem(name, value); } catch { /* not kept */ } };

  const saved = remembered("nasbench-rec-theme");
  if (saved === "light" || saved === "dark") root.dataset.theme = saved;

  function offerTheme() {
    const button = document.getElementById("theme");
    const system = matchMedia("(prefers-color-scheme: dark)");
    const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
    const show = () => button.setAttribute("aria-pressed", String(dark()));
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      remember("nasbench-rec-theme", root.dataset.theme);
      show();
    });
    system.addEventListener("change", show);
    button.hidden = false;
    show();
  }

  const collator = new Intl.Collator("en", { numeric: true });
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b));

  // Unknown values come last whichever way; equal ones stay in the order of the page as it was written.
  function order(rows, column, sign) {
    const known = rows.filter((row) => row.values[column] !== null);
    known.sort((a, b) => sign * compare(a.values[column], b.values[column]) || a.place - b.place);
    return known.concat(rows.filter((row) => row.values[column] === null));
  }

  function makeTable(section) {
    const data = JSON.parse(section.querySelector("script[type='application/json']").textContent);
    const table = section.querySelector("table");
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    const rows = [...body.rows].map((element, place) => ({
      element, place, values: data.rows[place], facets: data.facets[place],
    }));
    const made = { rows, order: rows, changed: () => {}, reset };
    function lay(list) {
      made.order = list;
      made.changed(); // hides first, so that a long table is laid out once and in part
      body.append(...list.map((row) => row.element));
    }

    function sort(column, direction) {
      heads.forEach((head, i) => head.setAttribute("aria-sort", i === column ? direction : "none"));
      lay(order(rows, column, direction === "ascending" ? 1 : -1));
    }
    function reset() {
      heads.forEach((head) => head.setAttribute("aria-sort", "none"));
      lay(rows);
    }
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => {
        const first = data.columns[column].descending ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        sort(column, head.getAttribute("aria-sort") === first ? other : first);
      });
      head.append(button);
      head.setAttribute("aria-sort", "none");
    });
    return made;
  }

  const MOST = 400; // Rows that are shown at once until all are asked for: the layout of thousands takes seconds.

  // A filter is a form control whose data-facet says which facet of a row it asks for; text is looked for inside it.
  function offerFilters(form, table) {
    const controls = [...form.querySelectorAll("[data-facet]")];
    const count = form.querySelector("output");
    const folded = table.rows.map((row) => row.facets.map((text) => text.toLowerCase()));
    const passes = (row) => controls.every((control) => {
      const facet = Number(control.dataset.facet);
      if (control.type !== "search") return control.value === "" || row.facets[facet] === control.options[control.selectedIndex].dataset.exact;
      return control.value.toLowerCase().split(/\s+/).every((word) => folded[row.place][facet].includes(word));
    });
    const all = form.querySelector("button[type='button']");
    let most = MOST;
    function apply() {
      let found = 0;
      for (const row of table.order) {
        const passed = passes(row);
        row.element.hidden = !passed || found >= most;
        found += passed ? 1 : 0;
      }
      all.hidden = found <= most;
      count.textContent = `${found} of ${table.rows.length} rows${all.hidden ? "" : `, the first ${most} shown`}`;
    }
    table.changed = apply;
    all.addEventListener("click", () => { most = Infinity; apply(); });
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => { most = MOST; setTimeout(() => table.reset()); });
    form.hidden = false;
    apply();
  }

  // What a link leads to may stand in a part that is closed.
  function reveal() {
    const target = document.getElementById(location.hash.slice(1));
    for (let part = target?.closest("details:not([open])"); part; part = part.closest("details:not([open])")) {
      part.open = true;
      target.scrollIntoView();
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    offerTheme();
    for (const section of document.querySelectorAll(".board")) {
      const table = makeTable(section);
      const form = document.querySelector(`form[data-table="${section.id}"]`);
      if (form) offerFilters(form, table);
    }
    addEventListener("hashchange", reveal);
    reveal();
  });
})();
