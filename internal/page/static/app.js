// The page: asks /api/status every two seconds and draws it. All text goes through textContent, so nothing from a log line
// can become markup.
import { Series } from "./charts.js";
import { bytes, count, duration, percent } from "./format.js";

const $ = (id) => document.getElementById(id);
const period = 2000;
const topEdges = 20;
const grades = [
  ["confirmed", "#1c7c54", "seen on the wire"],
  ["covered", "#3aa876", "told by the control plane"],
  ["provisional", "#d9b84a", "knowledge not complete yet"],
  ["border", "#d98e04", "owner changed close by"],
  ["ambiguous", "#b0507a", "several owners in the flow's time"],
  ["stale", "#8d7bc9", "only an earlier owner known"],
  ["prefix", "#5a8fb0", "a declared network"],
  ["public", "#0b8fb3", "outside: AWS service or internet"],
  ["unknown", "#8a97a0", "nothing is known"],
];

const rate = new Series($("chart-rate"), { unit: "/s", fill: true });
const lag = new Series($("chart-lag"), { unit: " s" });
let before;

function element(tag, className, text) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

function rows(table, items) {
  const body = $(table).tBodies[0];
  body.replaceChildren(...items);
  const empty = $(table).parentElement.querySelector(".empty");
  if (empty) {
    empty.hidden = items.length > 0;
    $(table).hidden = items.length === 0;
  }
}

function row(className, ...cells) {
  const tr = element("tr", className);
  tr.append(...cells.map(([cls, text]) => element("td", cls, text)));
  return tr;
}

function sum(map) {
  return Object.values(map ?? {}).reduce((a, b) => a + b, 0);
}

function drawBooks(b) {
  const items = [];
  const part = (name, map) => {
    items.push(row("total", ["", name], ["num", count(sum(map))]));
    for (const [k, v] of Object.entries(map ?? {}).filter((e) => e[1] > 0).sort((x, y) => y[1] - x[1])) items.push(row("part quiet", ["", k], ["num", count(v)]));
  };
  items.push(row("total", ["", "lines read"], ["num", count(b.lines)]));
  items.push(row("total", ["", "= decoded"], ["num", count(b.decoded)]));
  items.push(row("part quiet", ["", "delivered"], ["num", count(b.delivered)]));
  items.push(row("part quiet", ["", "in flight"], ["num", count(b.in_flight)]));
  for (const [name, map] of [["dropped by rule", b.dropped], ["dead-lettered", b.dead_lettered], ["abandoned, to be read again", b.abandoned]]) {
    if (sum(map) > 0) items.push(row("part quiet", ["", name], ["num", count(sum(map))]));
  }
  part("+ skipped", b.skipped);
  part("+ rejected", b.rejected);
  if (sum(b.payload_faults) > 0) part("payloads not readable", b.payload_faults);
  rows("books", items);
  const ok = !b.imbalance;
  $("balance").textContent = ok ? "balanced" : b.imbalance;
  $("balance").className = "pill " + (ok ? "good" : "bad");
}

function drawGrades(ends) {
  const total = sum(ends) || 1;
  const bar = [], items = [];
  for (const [name, colour, meaning] of grades) {
    const n = ends?.[name] ?? 0;
    if (n === 0) continue;
    const slice = element("i");
    slice.style.width = (100 * n) / total + "%";
    slice.style.background = colour;
    slice.title = name;
    bar.push(slice);
    const label = element("td");
    const dot = element("span", "dot");
    dot.style.background = colour;
    label.append(dot, name);
    const tr = element("tr");
    tr.append(label, element("td", "quiet", meaning), element("td", "num", count(n)), element("td", "num", percent(n / total)));
    items.push(tr);
  }
  $("grades-bar").replaceChildren(...bar);
  rows("grades", items);
  const inside = total - (ends?.public ?? 0);
  const named = (ends?.confirmed ?? 0) + (ends?.covered ?? 0);
  $("named").textContent = sum(ends) === 0 || inside === 0 ? "–" : percent(named / inside);
}

function drawEdges(s) {
  const shown = s.edges.slice(0, topEdges);
  const which = s.edges.length > shown.length ? `the ${shown.length} greatest, ` : "";
  $("edges-window").textContent = s.edge_window ? `${which}counted bytes of the last ${duration(s.edge_window * 1000)}` : "";
  const most = Math.max(1, ...shown.map((e) => e.bytes));
  rows("edges", shown.map((e) => {
    const tr = element("tr");
    const from = element("td", "bar");
    from.style.setProperty("--share", e.bytes / most);
    from.append(element("span", "", e.src));
    tr.append(from, element("td", "", e.dst), element("td", "num", bytes(e.bytes)), element("td", "num", count(e.flows)));
    return tr;
  }));
}

function drawShards(shards, worker) {
  rows("shards", shards.map((s) => row("", ["code", s.id], ["", s.state], ["code quiet", s.owner === worker ? "this worker" : s.owner], ["num", s.mine ? duration(s.lag_ms) : ""], ["num", s.mine ? count(s.in_flight) : ""], ["code quiet", s.checkpoint])));
}

// A group that was silent for so long is marked; flow logs come at least every ten minutes where there is traffic.
const quietAfter = 15 * 60_000;
let coverageBefore;

// The table is made anew only when the groups or their formats change, so that what somebody opened stays open.
function drawCoverage(groups, now) {
  const shape = JSON.stringify(groups.map((g) => [g.name, g.account, g.format]));
  const body = $("coverage").tBodies[0];
  if (body.dataset.shape !== shape) {
    body.dataset.shape = shape;
    rows("coverage", groups.map((g) => {
      const tr = row("", ["code", g.name || "(no log group)"], ["code quiet", g.account], ["num", ""], ["num", ""], ["num", ""]);
      tr.append(missing(g));
      return tr;
    }));
  }
  groups.forEach((g, i) => {
    const cells = body.rows[i].cells;
    const silent = now - new Date(g.last);
    cells[2].textContent = silent < 1000 ? "now" : duration(silent) + " ago";
    cells[2].classList.toggle("bad", silent > quietAfter);
    const old = coverageBefore?.lines.get(g.name);
    if (old !== undefined && now > coverageBefore.now) cells[3].textContent = count(Math.max(0, ((g.lines - old) * 1000) / (now - coverageBefore.now)));
    cells[4].textContent = count(g.rejected);
    cells[4].classList.toggle("bad", g.rejected > 0);
  });
  coverageBefore = { now, lines: new Map(groups.map((g) => [g.name, g.lines])) };
}

function missing(g) {
  const td = element("td");
  if (!g.format) {
    td.textContent = "no format: write a rule in pipeline.formats";
    td.className = "bad";
    return td;
  }
  if (!g.missing?.length) {
    td.textContent = "none";
    td.className = "quiet";
    return td;
  }
  const details = element("details");
  details.append(element("summary", "", g.missing.length === 1 ? g.missing[0].field : `${g.missing[0].field} and ${g.missing.length - 1} more`));
  const list = element("ul");
  list.append(...g.missing.map((m) => element("li", "", `${m.field}: ${m.cost}`)));
  details.append(list);
  td.append(details);
  return td;
}

$("config").addEventListener("toggle", async () => {
  if (!$("config").open) return;
  try {
    const answer = await fetch("/api/config", { signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error("status " + answer.status);
    $("config-text").textContent = await answer.text();
  } catch (e) {
    $("config-text").textContent = "no answer from dredge";
  }
});

function drawRejects(list) {
  rows("rejects", list.map((r) => row("", ["quiet", new Date(r.time).toLocaleTimeString()], ["", r.reason + (r.detail ? ": " + r.detail : "")], ["code quiet", `${r.partition} ${r.position} line ${r.index + 1}`], ["code", r.line])));
}

function draw(s) {
  $("where").textContent = `${s.source} → ${s.sink}`;
  $("version").textContent = `dredge ${s.version}, worker ${s.worker}, up ${duration(new Date(s.now) - new Date(s.started))}`;
  const well = s.problems.length === 0;
  $("health").textContent = well ? "all is well" : s.problems.length === 1 ? "1 problem" : s.problems.length + " problems";
  $("health").className = "pill " + (well ? "good" : "bad");
  $("problems").hidden = well;
  const list = element("ul");
  list.append(...s.problems.map((p) => element("li", "", p)));
  $("problems").replaceChildren(list);

  const now = new Date(s.now) / 1000;
  if (before && now > before.now) {
    const perSecond = Math.max(0, (s.books.delivered - before.delivered) / (now - before.now));
    $("rate").textContent = count(perSecond);
    rate.add(now, { rows: perSecond });
  }
  before = { now, delivered: s.books.delivered };

  const mine = s.shards.filter((x) => x.mine && x.state !== "ended");
  if (mine.length > 0) {
    const worst = mine.reduce((a, b) => (b.lag_ms > a.lag_ms ? b : a));
    $("lag").textContent = duration(worst.lag_ms);
    $("lag-shard").textContent = worst.id;
    lag.add(now, Object.fromEntries(mine.map((x) => [x.id, x.lag_ms / 1000])));
  }
  $("rejected").textContent = count(sum(s.books.rejected));
  drawBooks(s.books);
  drawGrades(s.ends);
  drawEdges(s);
  drawShards(s.shards, s.worker);
  drawRejects(s.rejected);
  drawCoverage(s.log_groups, new Date(s.now).getTime());
  document.documentElement.dataset.drawn = "true";
}

async function loop() {
  try {
    const answer = await fetch("/api/status", { signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error("status " + answer.status);
    draw(await answer.json());
  } catch (e) {
    $("health").textContent = "no answer from dredge";
    $("health").className = "pill bad";
  }
  setTimeout(loop, document.hidden ? period * 5 : period);
}

loop();
