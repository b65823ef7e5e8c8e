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

  // The attention viewer: one text, one checkpoint or all of them below each other.
  const data = document.getElementById("attention-data");
  if (data) {
    const content = JSON.parse(data.textContent);
    const place = document.getElementById("attention-view");
    const text = document.getElementById("attention-text");
    const checkpoint = document.getElementById("attention-checkpoint");
    const make = (tag, words, name) => {
      const element = document.createElement(tag);
      if (words !== undefined) element.textContent = words;
      if (name) element.className = name;
      return element;
    };
    const percent = (share) => `${(share * 100).toFixed(1)} %`;
    const option = (select, value, words) => {
      const element = make("option", words);
      element.value = value;
      select.append(element);
    };
    content.texts.forEach((words, i) => option(text, i, words.length > 80 ? `${words.slice(0, 79)}…` : words));
    option(checkpoint, "all", "all checkpoints");
    content.checkpoints.forEach((words, i) => option(checkpoint, i, words));
    const draw = () => {
      const rows = content.rows.filter((row) => row.text === Number(text.value) &&
        (checkpoint.value === "all" || row.checkpoint === Number(checkpoint.value)));
      // One scale for all that is shown, without the first token, so that checkpoints can be compared.
      const most = Math.max(...rows.map((row) => Math.max(0, ...row.weights.slice(1))), 1e-9);
      place.replaceChildren(...rows.map((row) => {
        const { tokens, spans } = content.sequences[row.sequence];
        const part = make("div");
        part.append(make("h3", content.checkpoints[row.checkpoint]));
        const line = make("p", undefined, "tokens");
        tokens.forEach((token, i) => {
          const mark = make("span", token.replace(/\n/g, "⏎"), i === 0 ? `${spans[i]} sink` : spans[i]);
          mark.title = `${percent(row.weights[i])}, ${i === 0 ? "first token" : spans[i]}`;
          mark.style.setProperty("--w", i === 0 ? 0 : row.weights[i] / most);
          line.append(mark);
        });
        const shares = {};
        spans.forEach((span, i) => {
          const name = i === 0 ? "first token" : span;
          shares[name] = (shares[name] || 0) + row.weights[i];
        });
        const top = tokens.map((token, i) => [token.trim() || "␣", row.weights[i]]).slice(1)
          .sort((a, b) => b[1] - a[1]).slice(0, 5).map(([token, share]) => `“${token}” ${percent(share)}`);
        const sums = Object.entries(shares).map(([name, share]) => `${name} ${percent(share)}`);
        part.append(line, make("p", `${sums.join(", ")}. Most: ${top.join(", ")}.`, "soft"));
        return part;
      }));
    };
    text.addEventListener("change", draw);
    checkpoint.addEventListener("change", draw);
    text.closest(".controls").hidden = false;
    draw();
  }
})();
