// A drawing that can be moved and zoomed, and whose nodes tell their details: in html.j2 and on the live page.
"use strict";
const svg = document.querySelector("#stage svg"), details = document.getElementById("details");
const nodes = JSON.parse(document.getElementById("nodes").textContent);
const whole = svg.viewBox.baseVal, full = [whole.x, whole.y, whole.width, whole.height];
let view = [...full];
const show = () => svg.setAttribute("viewBox", view.join(" "));
function fit() { view = [...full]; show(); }
function readable() {
  const width = svg.clientWidth / 0.9, height = svg.clientHeight / 0.9;
  view = [full[0], full[1] + (full[3] - height) / 2, width, height];
  show();
}
// A picture that would be too small to read is begun at its beginning.
if (Math.min(svg.clientWidth / full[2], svg.clientHeight / full[3]) < 0.45) readable();
function zoom(factor, x = svg.clientWidth / 2, y = svg.clientHeight / 2) {
  const at = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM().inverse());
  const width = Math.min(full[2] * 4, Math.max(60, view[2] * factor)), by = width / view[2];
  view = [at.x - (at.x - view[0]) * by, at.y - (at.y - view[1]) * by, width, view[3] * by];
  show();
}
svg.addEventListener("wheel", e => { e.preventDefault(); zoom(Math.exp(e.deltaY / 500), e.clientX, e.clientY); }, { passive: false });
let grip = null, moved = false;
svg.addEventListener("pointerdown", e => { grip = [e.clientX, e.clientY, ...view]; moved = false; });
addEventListener("pointermove", e => {
  if (!grip) return;
  const scale = svg.getScreenCTM().a, dx = e.clientX - grip[0], dy = e.clientY - grip[1];
  moved ||= Math.hypot(dx, dy) > 4;
  view[0] = grip[2] - dx / scale; view[1] = grip[3] - dy / scale; show();
});
addEventListener("pointerup", () => { grip = null; });
function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}
function choose(id) {
  for (const node of svg.querySelectorAll(".node")) node.classList.toggle("chosen", node.dataset.id === id);
  for (const edge of svg.querySelectorAll(".edge")) edge.classList.toggle("near", edge.dataset.from === id || edge.dataset.to === id);
  const node = nodes[id];
  details.hidden = !node;
  if (!node) return;
  details.replaceChildren(element("h2", `${node.kind} ${node.label}`));
  if (node.description) details.append(element("p", node.description));
  const table = element("table");
  for (const [name, value] of Object.entries(node.settings)) {
    const row = element("tr");
    row.append(element("td", name), element("td", value));
    table.append(row);
  }
  for (const figure of node.figures) { const row = element("tr"); row.append(element("td", "now"), element("td", figure)); table.append(row); }
  details.append(table);
  if (node.lines.length) { const list = element("ol"); for (const line of node.lines) list.append(element("li", line)); details.append(list); }
  if (node.yaml.length) {
    const text = element("pre");
    for (const [number, line] of node.yaml) text.append(element("span", String(number).padStart(4) + "  ", "number"), line + "\n");
    details.append(text);
  }
}
svg.addEventListener("click", e => { if (!moved) choose(e.target.closest(".node")?.dataset.id); });
addEventListener("keydown", e => {
  if (e.key === "+" || e.key === "=") zoom(0.8); else if (e.key === "-") zoom(1.25);
  else if (e.key === "0") fit();
  else if (e.key === "1") readable();
  else if (e.key === "Escape") choose();
  else if (e.key === "Enter" && document.activeElement.closest?.(".node")) choose(document.activeElement.dataset.id);
});
