(() => {
  // The map of texts, one panel per checkpoint. A text under the pointer, or reached by the arrow keys, is marked in all.
  const { panels, labels, points } = JSON.parse(document.getElementById("map-data").textContent);
  const view = document.getElementById("map-view");
  const told = document.getElementById("map-told");
  const pick = document.getElementById("map-label");
  const words = document.getElementById("map-words");
  const count = document.getElementById("map-count");
  const NAMES = "http://www.w3.org/2000/svg";
  const make = (tag, attributes, parent) => {
    const element = document.createElementNS(NAMES, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    parent.append(element);
    return element;
  };
  labels.forEach((label, i) => {
    const option = document.createElement("option");
    option.value = i;
    option.textContent = `${label.name} (${label.count})`;
    pick.append(option);
  });
  const hint = "Point at a text, or put the focus on a map and use the arrow keys; Home and End go to the ends.";
  let at = -1;
  let open = points.map((_, i) => i);
  // Grey points first, so that coloured ones lie above them.
  const grey = labels.length ? labels[labels.length - 1].colour : "";
  const order = points.map((_, i) => i).sort((a, b) =>
    (labels[points[b].label].colour === grey) - (labels[points[a].label].colour === grey) || a - b);
  const drawn = panels.map((panel, p) => {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = `${panel.title}: ${panel.share} % of neighbours share the label`;
    const svg = make("svg", { viewBox: "-1.06 -1.06 2.12 2.12", tabindex: "0", role: "application",
      "aria-roledescription": "map of texts", "aria-label": `Map of texts, ${panel.title}. ${hint}` }, figure);
    const dots = [];
    for (const i of order) {
      const [x, y] = points[i].at[p];
      dots[i] = make("circle", { cx: x, cy: -y, r: 0.016, fill: labels[points[i].label].colour, "data-at": i }, svg);
    }
    const ring = make("circle", { r: 0.04, class: "ring", cx: 9, cy: 9 }, svg);
    figure.prepend(caption);
    view.append(figure);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const x = (event.clientX - box.left) / box.width * 2.12 - 1.06;
      const y = 1.06 - (event.clientY - box.top) / box.height * 2.12;
      let best = -1, least = 0.004;
      for (const i of open) {
        const [u, v] = points[i].at[p];
        const far = (u - x) ** 2 + (v - y) ** 2;
        if (far < least) [best, least] = [i, far];
      }
      if (best >= 0) show(best);
    });
    svg.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
      const place = open.indexOf(at);
      let next;
      if (event.key in steps) next = place < 0 ? 0 : (place + steps[event.key] + open.length) % open.length;
      else if (event.key === "Home") next = 0;
      else if (event.key === "End") next = open.length - 1;
      else return;
      event.preventDefault();
      if (open.length) show(open[next]);
    });
    return { dots, ring };
  });
  const show = (i) => {
    if (i === at) return;
    at = i;
    panels.forEach((_, p) => {
      const [x, y] = points[i].at[p];
      drawn[p].ring.setAttribute("cx", x);
      drawn[p].ring.setAttribute("cy", -y);
    });
    told.textContent = "";
    const name = document.createElement("b");
    name.textContent = labels[points[i].label].name;
    told.append(name, `: ${points[i].text}`);
  };
  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    open = points.map((_, i) => i).filter((i) => (!pick.value || points[i].label === Number(pick.value)) &&
      wanted.every((word) => points[i].text.toLowerCase().includes(word)));
    // Texts of one label follow each other under the arrow keys.
    open.sort((a, b) => points[a].label - points[b].label || a - b);
    const kept = new Set(open);
    for (const { dots, ring } of drawn) {
      dots.forEach((dot, i) => {
        dot.classList.toggle("out", !kept.has(i));
        // A picked label that the map has in grey is shown in ink.
        dot.classList.toggle("in", kept.has(i) && kept.size < points.length);
      });
      ring.setAttribute("cx", 9);
    }
    at = -1;
    told.textContent = hint;
    count.textContent = `${open.length} of ${points.length} texts`;
  };
  pick.addEventListener("change", filter);
  words.addEventListener("input", filter);
  for (const id of ["map-controls", "map-view", "map-told"]) document.getElementById(id).hidden = false;
  document.getElementById("map-still").classList.add("print-only");
  filter();
})();
