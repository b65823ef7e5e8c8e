(() => {
  const points = JSON.parse(document.getElementById("data").textContent);
  const view = document.getElementById("view");
  const said = document.getElementById("said");
  const dots = [...view.querySelectorAll("circle:not(#ring)")];
  const ring = document.getElementById("ring");
  const names = [...document.querySelectorAll(".cluster h3")].map((heading) => heading.textContent);
  let open = points.map((_, i) => i);
  const show = (i) => {
    ring.setAttribute("cx", points[i].x);
    ring.setAttribute("cy", points[i].y);
    said.textContent = "";
    const name = document.createElement("b");
    name.textContent = names[points[i].in];
    said.append(name, `: ${points[i].text}`);
  };
  view.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(view.getScreenCTM().inverse());
    let best = -1, least = 0.003;
    for (const i of open) {
      const far = (points[i].x - at.x) ** 2 + (points[i].y - at.y) ** 2;
      if (far < least) [best, least] = [i, far];
    }
    if (best >= 0) show(best);
  });
  const keep = (wanted) => {
    open = points.map((_, i) => i).filter((i) => wanted(points[i]));
    const kept = new Set(open);
    dots.forEach((dot, i) => dot.classList.toggle("out", !kept.has(i)));
    document.getElementById("count").textContent = `${open.length} of ${points.length} texts`;
  };
  const field = document.getElementById("words");
  const byWords = () => {
    const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    keep((point) => wanted.every((word) => point.text.toLowerCase().includes(word)));
  };
  const mark = (number) => {
    view.querySelectorAll("text").forEach((text) => text.classList.toggle("out", number >= 0 && Number(text.dataset.in) !== number));
    if (number >= 0) keep((point) => point.in === number);
    else byWords();
  };
  document.querySelectorAll(".cluster").forEach((article) => {
    const number = Number(article.dataset.in);
    for (const event of ["pointerenter", "focus"]) article.addEventListener(event, () => mark(number));
    for (const event of ["pointerleave", "blur"]) article.addEventListener(event, () => mark(-1));
  });
  field.addEventListener("input", byWords);
  byWords();
})();
