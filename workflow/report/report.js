"use strict";
(() => {
  // The score table: sort by a header's button, filter by words.
  const table = document.getElementById("score-table");
  if (table) {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows);
    const told = document.getElementById("score-count");
    const words = document.getElementById("score-filter");
    const value = (row, column) => {
      const cell = row.cells[column];
      return "value" in cell.dataset ? parseFloat(cell.dataset.value) : cell.textContent.trim();
    };
    const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
    const sort = (column, direction) => {
      const missing = (v) => Number.isNaN(v);
      rows.sort((one, two) => {
        const a = value(one, column), b = value(two, column);
        // A missing score is neither high nor low: it goes last either way.
        if (missing(a) || missing(b)) return missing(a) - missing(b);
        return direction * compare(a, b);
      });
      body.append(...rows);
    };
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const first = head.classList.contains("number") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const next = head.getAttribute("aria-sort") === first ? other : first;
        for (const cell of table.tHead.rows[0].cells) cell.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", next);
        sort(column, next === "ascending" ? 1 : -1);
      });
    });
    const filter = () => {
      const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const names = row.dataset.names.toLowerCase();
        row.hidden = !wanted.every((word) => names.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      told.textContent = `${shown} of ${rows.length} rows`;
    };
    words.addEventListener("input", filter);
    words.closest(".controls").hidden = false;
    filter();
  }
})();
