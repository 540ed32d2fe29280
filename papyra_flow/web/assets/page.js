// The live page: figures into the drawing and the tables as they come, streams and dead letters on demand.
// Whatever comes from the server is written as text, never as markup.
"use strict";
{
  const actions = document.body.dataset.actions === "yes";
  const trouble = document.getElementById("trouble");
  const browser = document.getElementById("browser"), entries = document.getElementById("entries"), tools = document.getElementById("tools");
  const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 }), exact = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
  const shown = (value, format = number) => value === null || value === undefined ? "–" : format.format(value);
  const button = (text, act) => { const made = element("button", text); made.addEventListener("click", act); return made; };

  async function ask(path, options) {
    const answer = await fetch(path, options), told = await answer.json();
    if (!answer.ok) throw new Error(told.error || answer.statusText);
    return told;
  }
  const act = (path, body) => ask(path, { method: "POST", headers: { "x-papyra-flow": "1", "content-type": "application/json" }, body: JSON.stringify(body || {}) });
  const say = error => { trouble.textContent = error ? String(error.message || error) : ""; };

  function draw(node, { figures, alarming }) {
    const place = svg.querySelector(`.node[data-id="${CSS.escape(node)}"]`);
    if (!place) return;
    place.classList.toggle("alarming", alarming);
    const badge = place.querySelector(":scope > .badge"), lines = place.querySelectorAll(":scope > .figure");
    if (badge) badge.textContent = `✗ dead ${figures.join(" ")}`;
    lines.forEach((line, place) => { line.textContent = place + 1 < lines.length ? figures[place] ?? "" : figures.slice(place).join(" · "); });
    if (nodes[node]) nodes[node].figures = figures;
  }

  function rows(table, items, make) {
    const body = document.querySelector(`#${table} tbody`);
    const there = new Map([...body.rows].map(row => [row.dataset.name, row]));
    for (const item of items) {
      let row = there.get(item.name);
      if (!row) { row = element("tr"); row.dataset.name = item.name; body.append(row); }
      make(row, item);
    }
  }
  function cells(row, texts, more) {
    while (row.cells.length < texts.length) row.append(element("td"));
    texts.forEach((text, place) => { if (row.cells[place].textContent !== text) row.cells[place].textContent = text; });
    if (row.cells.length === texts.length) row.append(more());
  }
  function stageRow(row, stage) {
    row.className = (stage.alarm ? "alarm " : "") + (stage.paused ? "paused" : "");
    row.title = stage.alarm || "";
    const seconds = stage.oldest_pending === null ? "–" : `${exact.format(stage.oldest_pending)} s`;
    cells(row, [stage.name, stage.reads, (stage.lag_exact ? "" : "≤ ") + shown(stage.lag + stage.pending), shown(stage.pending), seconds, shown(stage.rate_in),
      shown(stage.rate_out), shown(stage.p50, exact), shown(stage.p99, exact), shown(stage.consumers), shown(stage.dead)], () => {
      const cell = element("td");
      cell.append(button("dead letters", () => showDead(stage.name)));
      if (actions) cell.append(" ", button("pause", () => turn(stage.name, "pause")), " ", button("resume", () => turn(stage.name, "resume")));
      return cell;
    });
    row.cells[10].className = stage.dead ? "dead" : "";
  }
  const turn = (stage, action) => act(`/api/stages/${encodeURIComponent(stage)}/${action}`).then(() => say(), say);
  function streamRow(row, stream) {
    row.title = stream.key;
    cells(row, [stream.name, shown(stream.length), shown(stream.bytes), shown(stream.rate)], () => {
      const cell = element("td");
      cell.append(button("look", () => showStream(stream.name)));
      return cell;
    });
  }

  function open(title) {
    browser.hidden = false;
    browser.querySelector("h2").textContent = title;
    tools.replaceChildren(button("close", () => { browser.hidden = true; }));
    entries.replaceChildren();
  }
  function entryOf(id, lines) {
    const box = element("div", undefined, "entry");
    box.append(element("div", id, "id"));
    for (const [name, text, className] of lines) box.append(element("pre", name ? `${name}: ${text}` : text, className));
    return box;
  }
  async function showStream(name, before) {
    try {
      const told = await ask(`/api/streams/${encodeURIComponent(name)}${before ? `?before=${encodeURIComponent(before)}` : ""}`);
      open(`${told.stream} (${told.key})`);
      for (const entry of told.entries) entries.append(entryOf(entry.id + (entry.rows === null ? "" : ` · ${entry.rows} rows`), Object.entries(entry.fields)));
      const last = told.entries.at(-1);
      if (last) tools.append(" ", button("older", () => showStream(name, last.id)));
      say();
    } catch (error) { say(error); }
  }
  async function showDead(stage) {
    try {
      const told = await ask(`/api/dead/${encodeURIComponent(stage)}`);
      open(`dead letters of ${stage}`);
      if (!told.letters.length) entries.append(element("p", "none"));
      for (const letter of told.letters) {
        const box = entryOf(`${letter.id} · from ${letter.origin} ${letter.origin_id} · ${letter.deliveries} deliveries`,
          [["", letter.error, "error"], ...Object.entries(letter.fields), ...(letter.traceback ? [["", letter.traceback]] : [])]);
        if (actions) box.append(button("replay", () => putBack(stage, [letter.id])));
        entries.append(box);
      }
      if (actions && told.letters.length) tools.append(" ", button("replay all of these", () => putBack(stage, told.letters.map(letter => letter.id))));
      say();
    } catch (error) { say(error); }
  }
  async function putBack(stage, ids) {
    try { await act(`/api/dead/${encodeURIComponent(stage)}/replay`, { ids }); await showDead(stage); } catch (error) { say(error); }
  }

  const source = new EventSource("/api/events");
  source.addEventListener("figures", event => {
    const told = JSON.parse(event.data);
    for (const [node, figures] of Object.entries(told.nodes)) draw(node, figures);
    rows("stages", told.stages, stageRow);
    rows("streams", told.streams, streamRow);
    document.getElementById("workers").textContent = ["no workers", "1 worker"][told.workers.length] ?? `${told.workers.length} workers`;
    say();
  });
  source.addEventListener("trouble", event => say(JSON.parse(event.data).error));
  source.addEventListener("error", () => say("the page has lost its server"));
}
