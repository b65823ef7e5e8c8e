"use strict";
(() => {
  // Every table of the class `sortable` sorts by its headers' buttons.
  const value = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? parseFloat(cell.dataset.value) : cell.textContent.trim();
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b
    : String(a).localeCompare(String(b), "en", { numeric: true }));
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = Array.from(table.tHead.rows[0].cells);
    const sort = (column, direction) => {
      const rows = Array.from(table.tBodies[0].rows);
      const missing = (v) => Number.isNaN(v);
      rows.sort((one, two) => {
        const a = value(one, column), b = value(two, column);
        // A missing score is neither high nor low: it goes last either way.
        if (missing(a) || missing(b)) return missing(a) - missing(b);
        return direction * compare(a, b);
      });
      table.tBodies[0].append(...rows);
    };
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const first = head.classList.contains("number") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const next = head.getAttribute("aria-sort") === first ? other : first;
        for (const cell of heads) if (cell.hasAttribute("aria-sort")) cell.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", next);
        sort(column, next === "ascending" ? 1 : -1);
      });
    });
  }

  // The table of all scores is also filtered: by words, and by what its first columns hold.
  const table = document.getElementById("score-table");
  if (table) {
    const rows = Array.from(table.tBodies[0].rows);
    const told = document.getElementById("score-count");
    const words = document.getElementById("score-filter");
    const controls = document.getElementById("score-controls");
    const picks = [];
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      if (!("filter" in head.dataset)) return;
      const values = Array.from(new Set(rows.map((row) => row.cells[column].textContent.trim()))).sort(compare);
      if (values.length < 2) return;
      const label = document.createElement("label");
      const select = document.createElement("select");
      select.id = `score-pick-${column}`;
      label.htmlFor = select.id;
      label.append(head.textContent.trim(), select);
      for (const words of ["all", ...values]) {
        const option = document.createElement("option");
        option.textContent = words;
        option.value = words === "all" ? "" : `=${words}`;
        select.append(option);
      }
      controls.insertBefore(label, told);
      picks.push([column, select]);
    });
    const filter = () => {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const names = row.dataset.names.toLowerCase();
        row.hidden = !wanted.every((word) => names.includes(word)) ||
          picks.some(([column, select]) => select.value && select.value !== `=${row.cells[column].textContent.trim()}`);
        shown += row.hidden ? 0 : 1;
      }
      told.textContent = `${shown} of ${rows.length} rows`;
    };
    words.addEventListener("input", filter);
    for (const [, select] of picks) select.addEventListener("change", filter);
    controls.hidden = false;
    filter();
  }
})();
