"use strict";
(() => {
  // The attention viewer: one text under one prompt in one layer, at one checkpoint, or at all of them below each other.
  const data = document.getElementById("attention-data");
  if (!data) return;
  const content = JSON.parse(data.textContent);
  const place = document.getElementById("attention-view");
  const told = document.getElementById("attention-told");
  const names = { sink: "first token", content: "content words", function: "function words, punctuation" };
  const make = (tag, words, name) => {
    const element = document.createElement(tag);
    if (words !== undefined) element.textContent = words;
    if (name) element.className = name;
    return element;
  };
  const percent = (weight) => `${(weight / 100).toFixed(1)} %`;
  const visible = (token) => token.trim() || token.replace(/\n/g, "⏎").replace(/ /g, "␣");
  const selects = {};
  const choose = (name, options, from) => {
    const select = (selects[name] = document.getElementById(`attention-${name}`));
    options.forEach((words, i) => {
      const element = make("option", `${words}`.length > 80 ? `${`${words}`.slice(0, 79)}…` : words);
      element.value = from + i;
      select.append(element);
    });
    select.parentElement.hidden = options.length < 2;  // nothing to choose
    select.addEventListener("change", () => draw());
  };
  let open = false;
  const numbers = (rows, tokens, spans) => {
    const part = make("details");
    part.open = open;
    part.addEventListener("toggle", () => { open = part.open; });
    const table = make("table");
    const head = table.createTHead().insertRow();
    ["token", "span", ...rows.map((row) => content.checkpoints[row.checkpoint])].forEach((words, i) => {
      const cell = make("th", words, i > 1 ? "number" : "");
      cell.scope = "col";
      head.append(cell);
    });
    const body = table.createTBody();
    tokens.forEach((token, i) => {
      const line = body.insertRow();
      line.append(make("td", visible(token)), make("td", names[spans[i]] || spans[i]));
      rows.forEach((row) => line.append(make("td", percent(row.weights[i]), "number")));
    });
    const scroll = make("div", undefined, "scroll tall");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "Attention token by token");
    scroll.append(table);
    part.append(make("summary", "Token by token, in numbers"), scroll);
    return part;
  };
  const draw = () => {
    const wanted = (name) => Number(selects[name].value);
    const rows = content.rows.filter((row) => ["text", "prompt", "layer"].every((name) => row[name] === wanted(name)) &&
      (wanted("checkpoint") < 0 || row.checkpoint === wanted("checkpoint")));
    if (!rows.length) {
      place.replaceChildren(make("p", "This was not measured.", "soft"));
      told.textContent = "";
      return;
    }
    // One scale for all that is shown, without the first token, so that checkpoints can be compared.
    const most = Math.max(...rows.map((row) => Math.max(0, ...row.weights.slice(1))), 1);
    const parts = rows.map((row) => {
      const { tokens, spans } = content.sequences[row.sequence];
      const part = make("div");
      part.append(make("h4", content.checkpoints[row.checkpoint]));
      const line = make("p", undefined, "tokens");
      const shares = {};
      tokens.forEach((token, i) => {
        const name = names[spans[i]] || spans[i];
        const mark = make("span", token.replace(/\n/g, "⏎"), spans[i]);
        mark.title = `${percent(row.weights[i])}, ${name}`;
        mark.style.setProperty("--w", spans[i] === "sink" ? 0 : row.weights[i] / most);
        line.append(mark);
        shares[name] = (shares[name] || 0) + row.weights[i];
      });
      const sums = Object.entries(shares).map(([name, share]) => `${name} ${percent(share)}`);
      part.append(line, make("p", `${sums.join(" · ")}`, "soft"));
      return part;
    });
    const { tokens, spans } = content.sequences[rows[0].sequence];
    const same = rows.filter((row) => row.sequence === rows[0].sequence);
    place.replaceChildren(...parts, numbers(same, tokens, spans));
    told.textContent = `${rows.length === 1 ? "One checkpoint" : `${rows.length} checkpoints`}, prompt ` +
      `${content.prompts[wanted("prompt")]}, layer ${content.layers[wanted("layer")]}; the darkest token gets ${percent(most)}.`;
  };
  choose("text", content.texts, 0);
  choose("prompt", content.prompts, 0);
  choose("layer", content.layers, 0);
  choose("checkpoint", ["all", ...content.checkpoints], -1);
  selects.text.closest(".controls").hidden = false;
  draw();
})();
